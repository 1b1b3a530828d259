//! The page of the admin port: how things stand, for the people who run it, also while all is well. It is the
//! operator's part of the page, with what anteroom counts beside it.
//!
//! Its own labels are English in every language, as the metrics are that they stand beside.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::brand::{Brand, SCRIPT};
use super::foreign::Escaped;
use super::html::{head, tone};
use super::operator::{Operator, fact};
use super::problem::Problem;
use super::view::{self, View};
use super::{Audience, Format, Language, Page, text};
use crate::config::Detail;
use crate::diagnosis::{self, Diagnosis, Finding};
use crate::warmup::Usual;
/// More than there are; what is counted has bounded labels.
const COUNTERS_SHOWN: usize = 500;

/// What is shown beside the diagnosis.
#[derive(Clone, Debug)]
pub struct Vitals<'a> {
    /// Requests.
    pub held: usize,
    pub draining: bool,
    /// Of anteroom.
    pub uptime: Duration,
    /// How long the target usually takes to become ready, if that was learned.
    pub usual: Option<Usual>,
    /// What was wrong before it became ready.
    pub last: Option<Trouble<'a>>,
    /// Everything that is counted, in Prometheus' text format.
    pub metrics: &'a str,
}

/// A time that is over, in which it was not ready.
#[derive(Clone, Debug)]
pub struct Trouble<'a> {
    /// The gravest of what was the root cause.
    pub root: &'a Finding,
    pub lasted: Duration,
    /// Since it ended.
    pub ago: Duration,
}

/// Renders how things stand. The status is always 200: it is about the upstream, and not in its place.
pub fn render(diagnosis: &Diagnosis, vitals: &Vitals<'_>, detail: Detail, language: Language, format: Format) -> Page {
    let brand = Brand::default();
    let language = if format == Format::Problem { Language::ENGLISH } else { language };
    let audience = Audience { detail, repeatable: true, request_id: "", language, brand: &brand };
    let mut view = view::view(diagnosis, &audience, diagnosis::status(diagnosis));
    view.unfolded = true;
    let (content_type, content_security_policy, body) = match format {
        Format::Html => ("text/html; charset=utf-8", Some(brand.policy), Document(&view, vitals).to_string()),
        Format::Problem => ("application/json", None, json(&view, vitals)),
        Format::Text => ("text/plain; charset=utf-8", None, plain(&view, vitals)),
    };
    let status = StatusCode::OK;
    Page { status, retry_after: None, content_type, language, content_security_policy, body }
}

struct Document<'a>(&'a View, &'a Vitals<'a>);

impl Display for Document<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(view, vitals) = *self;
        let (words, (tone, _)) = (view.words, tone(view.situation));
        head(f, view, true)?;
        write!(f, "</head>\n<body>\n")?;
        writeln!(
            f,
            "<main data-tone=\"{tone}\" data-live=\"watch\" data-lost=\"{}\" data-copied=\"{}\">\n<header>\n\
             <p class=\"label\">{}</p>\n<h1 aria-live=\"polite\">{}</h1>\n</header>",
            Escaped(words.lost),
            Escaped(words.copied),
            Escaped(view.situation.scene(words).label),
            Escaped(&view.sentence),
        )?;
        if view.problem.simulated {
            writeln!(f, "<p class=\"simulated\">{}</p>", Escaped(words.simulated))?;
        }
        write!(f, "{}", Operator(view))?;
        writeln!(f, "<details class=\"operator\" open lang=\"en\">\n<summary><span>anteroom</span></summary>")?;
        writeln!(f, "<section>\n<h2>Now</h2>\n<dl>")?;
        rows(view, vitals).iter().try_for_each(|(name, value)| fact(f, name, Escaped(value)))?;
        writeln!(f, "</dl>\n</section>\n<section>\n<h2>Counted</h2>\n<table>")?;
        for (name, value) in counters(vitals.metrics) {
            writeln!(f, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Escaped(name), Escaped(value))?;
        }
        write!(f, "</table>\n</section>\n</details>\n</main>\n<p id=\"note\" role=\"status\"></p>\n")?;
        write!(f, "<script>{SCRIPT}</script>\n</body>\n</html>\n")
    }
}

fn plain(view: &View, vitals: &Vitals<'_>) -> String {
    let mut all = text::write(view);
    let lines = rows(view, vitals).into_iter().map(|(name, value)| format!("{name}: {value}\n"));
    all.push('\n');
    all.extend(lines);
    all.push('\n');
    for (name, value) in counters(vitals.metrics) {
        writeln!(all, "{name} {value}").expect("a string takes whatever is written to it");
    }
    all
}

/// The problem document, as a request would get it now, and what stands beside it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    /// For how long the state has lasted.
    lasted_seconds: u64,
    usual: Option<Learned>,
    last: Option<Past>,
    anteroom: Ourselves,
}

#[derive(Serialize)]
struct Learned {
    usual_seconds: u64,
    p95_seconds: u64,
    learned_from: usize,
}

#[derive(Serialize)]
struct Past {
    code: &'static str,
    title: String,
    lasted_seconds: u64,
    ended_seconds_ago: u64,
}

#[derive(Serialize)]
struct Ourselves {
    version: &'static str,
    uptime_seconds: u64,
    held: usize,
    draining: bool,
    counted: Map<String, Value>,
}

fn json(view: &View, vitals: &Vitals<'_>) -> String {
    let told = Told {
        problem: &view.problem,
        lasted_seconds: view.lasted.as_secs(),
        usual: vitals.usual.map(|usual| Learned {
            usual_seconds: usual.median.as_secs(),
            p95_seconds: usual.p95.as_secs(),
            learned_from: usual.count,
        }),
        last: vitals.last.as_ref().map(|last| Past {
            code: last.root.code.as_str(),
            title: view::finding(last.root, view.words, view.detailed).title,
            lasted_seconds: last.lasted.as_secs(),
            ended_seconds_ago: last.ago.as_secs(),
        }),
        anteroom: Ourselves {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: vitals.uptime.as_secs(),
            held: vitals.held,
            draining: vitals.draining,
            counted: counters(vitals.metrics).filter_map(|(name, value)| Some((name.into(), number(value)?))).collect(),
        },
    };
    // Strings, numbers and lists under string keys: serde_json has no reason to refuse any of them.
    serde_json::to_string(&told).expect("a document of plain data always serializes")
}

fn number(text: &str) -> Option<Value> {
    text.parse::<u64>().map(Value::from).ok().or_else(|| text.parse::<f64>().ok().map(Value::from))
}

fn rows(view: &View, vitals: &Vitals<'_>) -> Vec<(&'static str, String)> {
    let words = view.words;
    let duration = words.duration;
    let mut rows = vec![("State", format!("{}{}{}", view.problem.state, words.comma, duration(view.lasted)))];
    if let Some(usual) = vitals.usual {
        let Usual { median, p95, count } = usual;
        let exact = |it: Duration| if it.as_secs() == 0 { format!("{} ms", it.as_millis()) } else { duration(it) };
        let learned = format!("{}, 19 of 20 within {}, learned from {count}", exact(median), exact(p95));
        rows.push(("Usual warm-up", learned));
    }
    if let Some(last) = &vitals.last {
        let finding = view::finding(last.root, words, view.detailed);
        let when = format!("{}, for {}", (words.ago)(last.ago), duration(last.lasted));
        rows.push(("Last not ready", format!("{when}: {}: {}", finding.code, finding.title)));
    }
    rows.push(("Requests held", vitals.held.to_string()));
    if vitals.draining {
        rows.push(("Stopping", "requests that run may finish".to_owned()));
    }
    rows.push(("anteroom", format!("version {}, up for {}", env!("CARGO_PKG_VERSION"), duration(vitals.uptime))));
    rows
}

/// Names with their labels, and values. Buckets of histograms are for machines, and what never happened is left out
/// where there are many of a kind.
fn counters(metrics: &str) -> impl Iterator<Item = (&str, &str)> {
    let samples = metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let shown = samples.filter(|(name, value)| {
        let (bare, labelled) = name.split_once('{').map_or((*name, false), |(bare, _)| (bare, true));
        let zero = value.parse::<f64>().is_ok_and(|value| value == 0.0);
        !(bare.ends_with("_bucket") || labelled && zero)
    });
    shown.take(COUNTERS_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::fixtures;

    const METRICS: &str = "# HELP a_b Some.\n# TYPE a_b gauge\na_b 0\na_total{c=\"d e\"} 3\na_total{c=\"f\"} 0\n\
                           t_bucket{le=\"1.0\"} 4\nt_sum 1.5\n# EOF\n";

    fn vitals(last: Option<Trouble<'_>>) -> Vitals<'_> {
        let usual = Usual { median: Duration::from_secs(12), p95: Duration::from_secs(15), count: 7 };
        Vitals { held: 3, draining: false, uptime: Duration::from_secs(61), usual: Some(usual), last, metrics: METRICS }
    }

    fn told(diagnosis: &Diagnosis, vitals: &Vitals<'_>, detail: Detail, format: Format) -> String {
        let page = render(diagnosis, vitals, detail, Language::ENGLISH, format);
        assert_eq!((page.status, page.retry_after), (StatusCode::OK, None));
        page.body
    }

    #[test]
    fn while_all_is_well_it_says_so_and_what_was_wrong_last() {
        let exited = fixtures::exited();
        let (lasted, ago) = (Duration::from_secs(65), Duration::from_secs(7000));
        let vitals = vitals(Some(Trouble { root: &exited.findings[0], lasted, ago }));
        let text = told(&fixtures::back(), &vitals, Detail::State, Format::Text);
        assert!(text.starts_with("Analytics is ready.\n"), "{text}");
        let end = "\
State: ready, 1 h 56 min
Usual warm-up: 12 s, 19 of 20 within 15 s, learned from 7
Last not ready: 1 h ago, for 1 min 5 s: target-exited: The container cvat_grafana has exited with code 1, and nothing will start it again.
Requests held: 3
anteroom: version 0.1.0, up for 1 min 1 s

a_b 0
a_total{c=\"d e\"} 3
t_sum 1.5
";
        assert!(text.ends_with(end), "{text}");
        assert!(!text.contains("Reference"), "no request is spoken of");
        let document: Value =
            serde_json::from_str(&told(&fixtures::back(), &vitals, Detail::State, Format::Problem)).expect("JSON");
        assert_eq!((&document["status"], &document["state"]), (&200.into(), &"ready".into()));
        assert_eq!(document["last"]["code"], "target-exited");
        assert_eq!((&document["anteroom"]["held"], &document["usual"]["learned_from"]), (&3.into(), &7.into()));
        assert_eq!(document["anteroom"]["counted"]["a_total{c=\"d e\"}"], 3);
        assert_eq!(document["anteroom"]["counted"]["t_sum"], 1.5);
        let page = told(&fixtures::back(), &vitals, Detail::State, Format::Html);
        for part in ["data-tone=\"back\"", "<h1 aria-live=\"polite\">Analytics is ready.</h1>", "Last not ready"] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("The page is loading"));
    }

    #[test]
    fn a_warm_up_of_less_than_a_second_is_none_of_no_time() {
        let usual = Usual { median: Duration::from_millis(300), p95: Duration::from_millis(1200), count: 7 };
        let vitals = Vitals { usual: Some(usual), ..vitals(None) };
        let text = told(&fixtures::back(), &vitals, Detail::State, Format::Text);
        assert!(text.contains("Usual warm-up: 300 ms, 19 of 20 within 1 s, learned from 7\n"), "{text}");
    }

    #[test]
    fn an_outage_is_told_with_its_evidence_remedies_chain_and_timeline() {
        let page = told(&fixtures::exited(), &vitals(None), Detail::State, Format::Html);
        for part in [
            "<details class=\"operator\" open>\n<summary><span>For the people who run it</span>",
            "The container cvat_grafana has exited with code 1",
            "docker compose -p cvat -f docker-compose.yml",
            "<li class=\"bad\"><b>cvat_grafana</b>",
            "<ol class=\"timeline\">",
            "<tr><th scope=\"row\">a_total{c=&quot;d e&quot;}</th><td>3</td></tr>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let document: Value =
            serde_json::from_str(&told(&fixtures::exited(), &vitals(None), Detail::State, Format::Problem))
                .expect("JSON");
        assert_eq!((&document["status"], &document["lasted_seconds"]), (&503.into(), &3600.into()));
        assert_eq!(document["last"], Value::Null);
    }

    #[test]
    fn it_renews_itself_and_needs_nothing_that_its_policy_forbids() {
        for diagnosis in fixtures::honest() {
            let page = told(&diagnosis, &vitals(None), Detail::Full, Format::Html);
            assert!(page.contains("data-live=\"watch\"") && page.contains("<noscript><meta http-equiv=\"refresh\""));
            for forbidden in [" style=", " onclick=", "<img", "<form", "<base", "<iframe", " src=", "@import"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
        }
    }

    #[test]
    fn no_hostile_string_becomes_markup_and_none_is_endless() {
        let hostile = fixtures::hostile();
        let last = Trouble { root: &hostile.findings[0], lasted: Duration::MAX, ago: Duration::ZERO };
        for format in [Format::Html, Format::Problem, Format::Text] {
            let body = told(&hostile, &vitals(Some(last.clone())), Detail::Full, format);
            assert!(format != Format::Html || !body.contains("<script>alert") && !body.contains("\" onload="));
            assert!(body.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
            assert!(body.len() < 128 << 10, "{}", body.len());
        }
    }
}
