//! The page for a person: one file, no outside resource, nothing that only works with a script.
//!
//! The visitor's part comes first and stands alone; the operator's (see `operator`) is folded until someone must
//! act. `page.js` asks the same URL for a newer page every second and turns this one into it, so that there is one
//! renderer, here, and none in the browser.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::foreign::Escaped;
use super::operator::Operator;
use super::view::{Situation, View};
use crate::warmup::Progress;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Allows the style and the script above by their hashes, requests to our own origin for updates, the icon, and
/// nothing else. A test keeps the hashes true and prints the new ones.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; \
    style-src 'sha256-GJD6p43KKknMVKIJ9zpoo/apjgNTvD3rjPMoGFG/waI='; \
    script-src 'sha256-pUHEcuQjuPiAZqeX6xYaypsnihn4Zh/B44JMro4E34w='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// For browsers without scripts, in seconds. They lose their place on the page each time.
const REFRESH: u32 = 5;

/// The whole document.
pub(super) fn write(view: &View) -> String {
    Document(view).to_string()
}

struct Document<'a>(&'a View);

impl Display for Document<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let view = self.0;
        let (lang, title, colour) = (view.words.lang, Escaped(&view.sentence), tone(view.situation).1);
        write!(
            f,
            "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n\
             <title>{title}</title>\n\
             <link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 \
             16'%3E%3Ccircle cx='8' cy='8' r='6' fill='%23{colour}'/%3E%3C/svg%3E\">\n"
        )?;
        if view.repeatable && view.situation.passes_by_itself() {
            writeln!(f, "<noscript><meta http-equiv=\"refresh\" content=\"{REFRESH}\"></noscript>")?;
        }
        write!(f, "<style>{STYLE}</style>\n</head>\n<body>\n{}", Main(view))?;
        write!(f, "<p id=\"note\" role=\"status\"></p>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
    }
}

/// What changes while the page is open. The script's words ride along as data, since a script has no language.
struct Main<'a>(&'a View);

impl Display for Main<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let view = self.0;
        let words = view.words;
        let live = match (view.situation.passes_by_itself(), view.repeatable) {
            (true, true) => "reload",
            (true, false) => "tell",
            (false, _) => "off",
        };
        writeln!(
            f,
            "<main data-tone=\"{}\" data-live=\"{live}\" data-back=\"{}\" data-failing=\"{}\" data-lost=\"{}\" \
             data-copied=\"{}\">",
            tone(view.situation).0,
            Escaped(&view.send_again),
            Escaped(&view.still_failing),
            Escaped(words.lost),
            Escaped(words.copied),
        )?;
        writeln!(f, "<header>\n<p class=\"label\">{}</p>", Escaped(view.situation.scene(words).label))?;
        writeln!(f, "<h1 aria-live=\"polite\">{}</h1>", Escaped(&view.sentence))?;
        writeln!(f, "<p id=\"advice\">{}</p>", Escaped(view.advice))?;
        // An empty reference is this very URL, query and all, which the server need not know.
        let shown = if view.repeatable && !view.situation.passes_by_itself() { "" } else { " hidden" };
        writeln!(f, "<p id=\"again\"{shown}><a class=\"button\" href=\"\">{}</a></p>", Escaped(words.try_again))?;
        meta(f, view)?;
        writeln!(f, "</header>")?;
        if view.problem.simulated {
            writeln!(f, "<p class=\"simulated\">{}</p>", Escaped(words.simulated))?;
        }
        if view.detailed {
            write!(f, "{}", Operator(view))?;
        }
        writeln!(f, "</main>")
    }
}

/// How long it takes, and what to quote when asking for help.
fn meta(f: &mut Formatter<'_>, view: &View) -> fmt::Result {
    let words = view.words;
    writeln!(f, "<div id=\"meta\">")?;
    if view.situation == Situation::Starting {
        let label = Escaped(words.starting.label);
        match view.progress {
            Some(Progress { usual, elapsed }) => writeln!(
                f,
                "<progress class=\"bar\" max=\"{}\" value=\"{}\" aria-label=\"{label}\"></progress>",
                usual.median.as_millis().max(1),
                elapsed.min(usual.median).as_millis(),
            )?,
            None => writeln!(f, "<div class=\"bar\" role=\"progressbar\" aria-label=\"{label}\"></div>")?,
        }
        writeln!(f, "<p>{}</p>", Escaped(&how_long(view)))?;
    }
    write!(f, "<p>{} <code id=\"reference\">{}</code>", Escaped(words.reference), Escaped(&view.request_id))?;
    if let (false, Some(root)) = (view.detailed, view.problem.findings.first()) {
        write!(f, " · <code>{}</code>", Escaped(root.code))?;
    }
    writeln!(f, "</p>\n</div>")
}

/// For how long it has been starting, and how long that usually takes.
pub(super) fn how_long(view: &View) -> String {
    (view.words.how_long)(view.lasted, view.progress.map(|progress| progress.usual.median))
}

/// The name of a situation's look, and its colour in the tab.
fn tone(situation: Situation) -> (&'static str, &'static str) {
    match situation {
        Situation::Starting | Situation::Checking => ("wait", "2f63d8"),
        Situation::Down => ("down", "c0362c"),
        Situation::Broken | Situation::TimedOut | Situation::Busy => ("broken", "b26a00"),
        Situation::Back => ("back", "1d7a45"),
    }
}

/// How long ago something was, if that can be told.
pub(super) fn age(view: &View, ago: Option<Duration>) -> String {
    ago.map(|ago| (view.words.ago)(ago)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use http::Method;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::config::Detail;
    use crate::page::{Audience, Format, fixtures, render};

    fn html(diagnosis: &crate::diagnosis::Diagnosis) -> String {
        render(diagnosis, &fixtures::someone(Detail::State), Format::Html).body
    }

    #[test]
    fn the_policy_allows_exactly_this_style_and_this_script() {
        for (what, text) in [("style", STYLE), ("script", SCRIPT)] {
            let allowed = format!("{what}-src 'sha256-{}';", BASE64_STANDARD.encode(Sha256::digest(text)));
            assert!(CONTENT_SECURITY_POLICY.contains(&allowed), "put into the policy: {allowed}");
        }
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"), "an end tag would cut them short");
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe") && !CONTENT_SECURITY_POLICY.contains("http"));
    }

    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        for diagnosis in fixtures::honest() {
            let page = html(&diagnosis);
            for forbidden in
                [" style=", " onclick=", " onload=", "<img", "<form", "<base", "<iframe", " src=", "@import"]
            {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            assert_eq!(page.matches("<script").count(), 1);
            assert_eq!(page.matches("<style").count(), 1);
        }
    }

    #[test]
    fn no_hostile_string_becomes_markup() {
        let page = html(&fixtures::hostile());
        assert!(!page.contains("alert(1)</script>") && !page.contains("<script>alert"));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(!page.contains("\" onload="));
        for c in page.chars() {
            assert!(c == '\n' || !c.is_control() && c != '\u{202e}', "{:04x}", u32::from(c));
        }
        assert!(page.len() < 128 * 1024, "{}", page.len());
    }

    #[test]
    fn every_page_fits_into_fourteen_kibibytes_compressed() {
        let everyone = || fixtures::everyone(Detail::State);
        let pages = fixtures::all()
            .into_iter()
            .flat_map(|diagnosis| everyone().map(move |reader| render(&diagnosis, &reader, Format::Html).body));
        for page in pages {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(page.as_bytes()).expect("a Vec takes every byte");
            let size = gzip.finish().expect("a Vec takes every byte").len();
            // What one round trip carries at the start of a connection.
            assert!(size <= 14 * 1024, "{size} bytes");
        }
    }

    #[test]
    fn only_a_page_that_passes_by_itself_renews_itself() {
        let post = Audience { method: &Method::POST, ..fixtures::someone(Detail::State) };
        let refresh = "http-equiv=\"refresh\"";
        let cases = [
            (fixtures::warming(), "reload", "tell"),
            (fixtures::exited(), "reload", "tell"),
            (fixtures::broken(), "off", "off"),
            (fixtures::timed_out(), "off", "off"),
            (fixtures::busy(), "off", "off"),
        ];
        for (diagnosis, after_get, after_post) in cases {
            let (got, posted) = (html(&diagnosis), render(&diagnosis, &post, Format::Html).body);
            assert!(got.contains(&format!("data-live=\"{after_get}\"")));
            assert_eq!(got.contains(refresh), after_get == "reload");
            assert_eq!(got.contains("id=\"again\" hidden"), after_get == "reload");
            assert!(posted.contains(&format!("data-live=\"{after_post}\"")));
            assert!(!posted.contains(refresh));
            assert!(posted.contains("id=\"again\" hidden"));
        }
    }

    #[test]
    fn the_details_are_open_when_someone_must_act_and_folded_while_it_starts() {
        assert!(html(&fixtures::exited()).contains("<details class=\"operator\" open>"));
        assert!(html(&fixtures::broken()).contains("<details class=\"operator\">"));
        assert!(html(&fixtures::warming()).contains("<details class=\"operator\">"));
        let summary = render(&fixtures::exited(), &fixtures::someone(Detail::Summary), Format::Html).body;
        assert!(!summary.contains("<details"));
        assert!(summary.contains("target-exited"));
    }

    #[test]
    fn what_stays_english_in_another_language_is_marked_so() {
        let pages = fixtures::everyone(Detail::State).map(|it| render(&fixtures::exited(), &it, Format::Html).body);
        let [english, chinese] = pages.collect::<Vec<_>>().try_into().expect("two languages");
        assert!(english.contains("<html lang=\"en\">") && english.matches(" lang=").count() == 1);
        assert!(chinese.contains("<html lang=\"zh-Hans\">"));
        for marked in [
            "<p class=\"title\" lang=\"en\">The container cvat_grafana has exited",
            "<table lang=\"en\">",
            "<p><span lang=\"en\">Starts the container again.</span>",
        ] {
            assert!(chinese.contains(marked), "{marked}");
        }
        assert!(chinese.contains("exited，退出码 1"), "{chinese}");
    }

    #[test]
    fn a_simulated_diagnosis_is_labelled_so() {
        let mut diagnosis = fixtures::exited();
        assert!(!html(&diagnosis).contains("class=\"simulated\""));
        diagnosis.evidence.engine = crate::evidence::Engine::Simulated;
        assert!(html(&diagnosis).contains("class=\"simulated\""));
    }
}
