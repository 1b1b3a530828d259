//! The page for a person: one file, no outside resource, nothing that only works with a script.
//!
//! The visitor's part comes first and stands alone; the operator's (see `operator`) is folded until someone must
//! act. `page.js` asks the same URL for a newer page every second and turns this one into it, so that there is one
//! renderer, here, and none in the browser.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::brand::{Brand, SCRIPT, STYLE};
use super::foreign::Escaped;
use super::operator::Operator;
use super::view::{Situation, View};
use crate::config::Support;
use crate::warmup::Progress;

/// For browsers without scripts, in seconds. They lose their place on the page each time.
const REFRESH: u32 = 5;

/// The whole document.
pub(super) fn write(view: &View, brand: &Brand) -> String {
    Document(view, brand).to_string()
}

struct Document<'a>(&'a View, &'a Brand);

impl Display for Document<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(view, brand) = *self;
        head(f, view, view.repeatable && view.situation.passes_by_itself())?;
        if let Some(css) = &brand.css {
            // Not escaped, since a browser would not undo it here; nothing in it ends the element.
            writeln!(f, "<style>{css}</style>")?;
        }
        write!(f, "</head>\n<body>\n{}", Main(view, brand.logo.as_deref()))?;
        write!(f, "<p id=\"note\" role=\"status\"></p>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
    }
}

/// The document up to the style sheet. One that is to be renewed is so without scripts, too.
pub(super) fn head(f: &mut Formatter<'_>, view: &View, renewed: bool) -> fmt::Result {
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
    if renewed {
        writeln!(f, "<noscript><meta http-equiv=\"refresh\" content=\"{REFRESH}\"></noscript>")?;
    }
    writeln!(f, "<style>{STYLE}</style>")
}

/// What changes while the page is open. The script's words ride along as data, since a script has no language.
struct Main<'a>(&'a View, Option<&'a str>);

impl Display for Main<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(view, logo) = *self;
        let words = view.words;
        let live = match (view.situation.passes_by_itself(), view.repeatable) {
            (true, true) => "reload",
            (true, false) => "tell",
            (false, _) => "off",
        };
        writeln!(
            f,
            "<main data-tone=\"{}\" data-live=\"{live}\" data-back=\"{}\" data-failing=\"{}\" data-lost=\"{}\" \
             data-copied=\"{}\" data-stay=\"{}\">",
            tone(view.situation).0,
            Escaped(&view.send_again),
            Escaped(&view.still_failing),
            Escaped(words.lost),
            Escaped(words.copied),
            Escaped(view.stay),
        )?;
        writeln!(f, "<header>")?;
        if let Some(logo) = logo {
            // It says nothing that the page does not.
            writeln!(f, "<img class=\"logo\" src=\"{}\" alt=\"\">", Escaped(logo))?;
        }
        writeln!(f, "<p class=\"label\">{}</p>", Escaped(view.situation.scene(words).label))?;
        writeln!(f, "<h1 aria-live=\"polite\">{}</h1>", Escaped(&view.sentence))?;
        writeln!(f, "<p id=\"advice\">{}</p>", Escaped(view.advice))?;
        operators_words(f, view)?;
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

/// What the operator has to say, and whom to turn to.
fn operators_words(f: &mut Formatter<'_>, view: &View) -> fmt::Result {
    if let Some(note) = &view.note {
        writeln!(f, "<p class=\"own\">{}</p>", Escaped(note))?;
    }
    let Some(support) = &view.support else { return Ok(()) };
    write!(f, "<p class=\"own\">{}{}", Escaped(view.words.support), Escaped(view.words.colon))?;
    match support {
        Support::Words(text) => write!(f, "{}", Escaped(text))?,
        Support::Link { target, shown } => {
            write!(f, "<a href=\"{}\" rel=\"noreferrer\">{}</a>", Escaped(target), Escaped(shown))?;
        }
    }
    writeln!(f, "</p>")
}

/// How long it takes, and what to quote when asking for help.
fn meta(f: &mut Formatter<'_>, view: &View) -> fmt::Result {
    let words = view.words;
    writeln!(f, "<div id=\"meta\">")?;
    if view.situation == Situation::Starting {
        let label = Escaped(words.starting.label);
        match view.progress {
            // One that takes longer than usual has no end that could be shown.
            Some(Progress { usual, elapsed }) if elapsed < usual.median => writeln!(
                f,
                "<progress class=\"bar\" max=\"{}\" value=\"{}\" aria-label=\"{label}\"></progress>",
                usual.median.as_millis().max(1),
                elapsed.as_millis(),
            )?,
            Some(_) | None => writeln!(f, "<div class=\"bar\" role=\"progressbar\" aria-label=\"{label}\"></div>")?,
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
    (view.words.how_long)(
        view.lasted,
        view.progress.map(|progress| progress.usual.median).filter(|usual| *usual >= Duration::from_secs(1)),
    )
}

/// The name of a situation's look, and its colour in the tab.
pub(super) fn tone(situation: Situation) -> (&'static str, &'static str) {
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

    use crate::config::{Detail, Support};
    use crate::evidence::Failure;
    use crate::page::brand::{Brand, Css, Image};
    use crate::page::{Audience, Format, fixtures, render};

    fn html(diagnosis: &crate::diagnosis::Diagnosis) -> String {
        render(diagnosis, &fixtures::someone(Detail::State), Format::Html).body
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
    fn what_an_operator_adds_stands_in_its_place_and_is_escaped() {
        const EVIL: &str = "Ask <b>us</b> & \"them\" </p><script>";
        const ESCAPED: &str = "Ask &lt;b&gt;us&lt;/b&gt; &amp; &quot;them&quot; &lt;/p&gt;&lt;script&gt;";
        let css = Css::new(b":root { --ground: #123456 }").expect("honest CSS");
        let brand = Brand::default().with_css(css, "HASH").with_logo(Image::Png, "iVBORw0KGgo=");
        for (support, shown) in [
            (Support::Words(EVIL.into()), format!("<p class=\"own\">Whom to ask: {ESCAPED}</p>")),
            (
                Support::Link { target: "https://a/?b=1&\"c".into(), shown: EVIL.into() },
                format!(
                    "<p class=\"own\">Whom to ask: <a href=\"https://a/?b=1&amp;&quot;c\" rel=\"noreferrer\">{ESCAPED}</a></p>"
                ),
            ),
        ] {
            let brand = brand.clone().with_words(Some(support), Some(EVIL.into()));
            for detail in [Detail::Summary, Detail::State] {
                let reader = Audience { brand: &brand, ..fixtures::someone(detail) };
                let page = render(&fixtures::exited(), &reader, Format::Html);
                let policy = page.content_security_policy.expect("a policy");
                assert!(policy.to_str().is_ok_and(|it| it.ends_with(" 'sha256-HASH'")), "{policy:?}");
                let page = page.body;
                assert!(page.contains(&shown), "{page}");
                assert!(page.contains(&format!("<p class=\"own\">{ESCAPED}</p>")));
                assert!(page.contains("</style>\n<style>:root { --ground: #123456 }</style>\n</head>"));
                assert!(
                    page.contains("<header>\n<img class=\"logo\" src=\"data:image/png;base64,iVBORw0KGgo=\" alt=\"\">")
                );
                assert_eq!(page.matches("<script").count(), 1);
            }
        }
        let plain = html(&fixtures::exited());
        assert!(!plain.contains("class=\"own\"") && !plain.contains("<img"));
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
    fn what_is_read_aloud_changes_only_with_the_situation() {
        let mut diagnosis = fixtures::warming();
        let earlier = html(&diagnosis);
        diagnosis.lasted += std::time::Duration::from_secs(1);
        let later = html(&diagnosis);
        assert_ne!(earlier, later, "the page tells how long it takes");
        for page in [&earlier, &later] {
            assert_eq!(page.matches("aria-live=").count(), 1);
            assert_eq!(page.matches("role=\"status\"").count(), 1);
            assert!(page.contains("<h1 aria-live=\"polite\">Analytics is starting.</h1>"));
            assert!(page.contains("<p id=\"note\" role=\"status\"></p>"), "the script says little there");
        }
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
    fn an_honest_page_has_less_than_thirty_kibibytes_as_the_documentation_says() {
        for diagnosis in fixtures::honest() {
            for reader in fixtures::everyone(Detail::State) {
                let size = render(&diagnosis, &reader, Format::Html).body.len();
                assert!(size < 30 << 10, "{size} bytes");
            }
        }
    }

    #[test]
    fn only_a_page_that_passes_by_itself_renews_itself() {
        let post = Audience { repeatable: false, ..fixtures::someone(Detail::State) };
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
    fn a_request_that_may_have_been_carried_out_is_not_asked_for_again() {
        let mut diagnosis = fixtures::warming();
        for (exchange, is_uncertain) in
            [(None, false), (Some(Failure::ClosedEarly), true), (Some(Failure::NoAnswer), true)]
        {
            diagnosis.evidence.exchange = exchange;
            let post = Audience { repeatable: false, ..fixtures::someone(Detail::State) };
            let page = render(&diagnosis, &post, Format::Html).body;
            assert!(page.contains("data-live=\"tell\""));
            assert_eq!(page.contains("It is not certain"), is_uncertain, "{page}");
            assert_eq!(
                page.contains("Please check whether your request was carried out before"),
                is_uncertain,
                "{page}"
            );
            assert_eq!(page.contains("Please send your request again"), !is_uncertain, "{page}");
        }
    }

    #[test]
    fn what_only_a_script_can_do_is_promised_by_the_script_alone() {
        let post = Audience { repeatable: false, ..fixtures::someone(Detail::State) };
        let page = render(&fixtures::warming(), &post, Format::Html).body;
        let shown: String = page.split('<').filter_map(|part| Some(part.split_once('>')?.1)).collect();
        assert!(shown.contains("Your request was not delivered. Please send it again in a while."), "{shown}");
        assert!(!shown.contains("it will tell you"), "{shown}");
        assert!(page.contains("data-stay=\"Your request was not delivered. Keep this page open: it will tell you"));
        assert!(html(&fixtures::warming()).contains("data-stay=\"\""), "after a GET there is nothing else to say");
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
    fn a_page_is_of_one_language_and_has_the_engines_words_as_they_are() {
        let pages = fixtures::everyone(Detail::State).map(|it| render(&fixtures::exited(), &it, Format::Html).body);
        let [english, chinese] = pages.collect::<Vec<_>>().try_into().expect("two languages");
        assert!(english.contains("<html lang=\"en\">") && english.matches(" lang=").count() == 1);
        assert!(chinese.contains("<html lang=\"zh-Hans\">") && chinese.matches(" lang=").count() == 1);
        assert!(chinese.contains("<th scope=\"row\">退出码</th>"), "{chinese}");
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
