//! What a client gets when its request cannot pass: [`render`] turns a diagnosis into an answer.
//!
//! ```text
//! Diagnosis ──view (what may this reader know?)──▶ View ──┬─ html ──▶ a person with a browser
//!                                                         ├─ text ──▶ a person at a terminal
//! request headers ──negotiate──▶ Format ─────────────────▶└─ problem ▶ a program
//!                 ──language───▶ Language
//! ```
//!
//! Disclosure and the taming of foreign strings happen once, in `view`; the formats see only its result. All words
//! are in `words`, one file a language.

pub mod brand;
mod chain;
mod drawing;
pub(crate) mod foreign;
mod html;
pub mod language;
pub mod negotiate;
pub mod notice;
mod operator;
mod problem;
pub mod status;
pub(crate) mod text;
mod view;
mod words;

#[cfg(test)]
mod contrast;
#[cfg(test)]
mod fixtures;

use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::config::Detail;
use crate::diagnosis::{self, Diagnosis};
use crate::readiness::State;

pub use brand::Brand;
pub use language::Language;

/// Who asks, and how much they may see.
#[derive(Clone, Debug)]
pub struct Audience<'a> {
    /// What may be disclosed.
    pub detail: Detail,
    /// The page may ask again for them, which does nothing else: of GET and HEAD.
    pub repeatable: bool,
    /// The request's id, shown so that a visitor's report can be found in the log: of our making, and a URI reference as
    /// it is (RFC 3986 §4.2).
    pub request_id: &'a str,
    /// What they read. A problem document is English all the same: programs compare its words.
    pub language: Language,
    /// What the operator adds.
    pub brand: &'a Brand,
}

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page that updates itself.
    Html,
    /// `application/problem+json`, RFC 9457.
    Problem,
    /// `text/plain`, fit for a terminal.
    Text,
}

/// A rendered answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// 503 while the upstream is not ready, 502 for a broken exchange, 504 for one without an answer, 508 for a request that
    /// came back to us. A 200 only where it is ready and no request is spoken of: to one that did not pass nobody answers
    /// with that.
    pub status: StatusCode,
    /// In seconds; for `Retry-After`. None with 502 and 504, where nobody knows that a repetition would fare better.
    pub retry_after: Option<u32>,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// For `Content-Language`.
    pub language: Language,
    /// For HTML: the policy under which its inline style and script are allowed and nothing else is.
    pub content_security_policy: Option<HeaderValue>,
    /// UTF-8.
    pub body: String,
}

/// The readiness, in an answer that tells of it alone: by it the page's script knows that an answer is ours.
pub const STATE: HeaderName = HeaderName::from_static("x-anteroom-state");

impl Page {
    /// Writes what it is into an answer's head.
    pub fn describe(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(self.language.tag()));
        // Nothing may store it, but whoever does all the same should know that others get another format or language.
        headers.insert(VARY, HeaderValue::from_static(negotiate::VARIES_BY));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(self.content_security_policy.clone().map(|policy| (CONTENT_SECURITY_POLICY, policy)));
        headers.extend(self.retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
    }
}

/// While warming: about the time between two looks of an impatient person.
const RETRY_SOON: u32 = 2;
/// While down: someone must act first, and clients need not hurry.
const RETRY_LATER: u32 = 10;

/// Renders a diagnosis for someone.
pub fn render(diagnosis: &Diagnosis, audience: &Audience<'_>, format: Format) -> Page {
    let status = diagnosis::status(diagnosis);
    let language = if format == Format::Problem { Language::ENGLISH } else { audience.language };
    let view = view::view(diagnosis, &Audience { language, ..*audience }, status);
    let (content_type, content_security_policy, body) = match format {
        Format::Html => {
            let brand = audience.brand;
            ("text/html; charset=utf-8", Some(brand.policy.clone()), html::write(&view, brand))
        }
        Format::Problem => ("application/problem+json", None, view.problem.json()),
        Format::Text => ("text/plain; charset=utf-8", None, text::write(&view)),
    };
    Page { status, retry_after: retry_after(diagnosis, status), content_type, language, content_security_policy, body }
}

fn retry_after(diagnosis: &Diagnosis, status: StatusCode) -> Option<u32> {
    let remaining = diagnosis.evidence.warmup.and_then(|progress| progress.remaining());
    (status == StatusCode::SERVICE_UNAVAILABLE).then_some(match diagnosis.state {
        State::Down { .. } => RETRY_LATER,
        // Rounded up: who comes a moment too early has to come again.
        State::Warming { .. } => remaining.map_or(RETRY_SOON, |left| seconds(left).max(1)),
        State::Unknown | State::Ready { .. } | State::Suspect { .. } => RETRY_SOON,
    })
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) use self::tests::schema;

#[cfg(test)]
mod tests {
    mod disclosure;
    mod notice;
    mod phrases;
    pub(crate) mod schema;

    use super::*;
    use crate::alarm::Condition;
    use crate::warmup::{Progress, Usual};

    #[test]
    fn status_and_retry_after_follow_what_happened() {
        let cases = [
            (fixtures::warming(), 503, Some(2)),
            (fixtures::exited(), 503, Some(10)),
            (fixtures::broken(), 502, None),
            (fixtures::timed_out(), 504, None),
        ];
        for (diagnosis, status, retry_after) in cases {
            for format in [Format::Html, Format::Problem, Format::Text] {
                let page = render(&diagnosis, &fixtures::someone(Detail::State), format);
                assert_eq!((page.status.as_u16(), page.retry_after), (status, retry_after));
                assert_eq!(page.content_security_policy.is_some(), format == Format::Html);
            }
        }
    }

    #[test]
    fn who_has_learned_how_long_it_takes_says_so() {
        let mut diagnosis = fixtures::warming();
        let seconds = Duration::from_secs;
        let usual = Usual { median: seconds(60), p95: seconds(90), count: 7 };
        for (elapsed, retry_after) in
            [(seconds(42), 18), (Duration::from_millis(59_001), 1), (seconds(61), 29), (seconds(91), 2)]
        {
            diagnosis.evidence.warmup = Some(Progress { usual, elapsed });
            let page = render(&diagnosis, &fixtures::someone(Detail::State), Format::Problem);
            assert_eq!(page.retry_after, Some(retry_after), "{elapsed:?}");
            let problem: serde_json::Value = serde_json::from_str(&page.body).expect("JSON");
            let remaining = problem["warmup"]["remaining_seconds"].as_u64();
            assert_eq!(remaining, (elapsed < usual.p95).then_some(retry_after.into()), "{elapsed:?}");
        }
        diagnosis.evidence.warmup = Some(Progress { usual, elapsed: seconds(42) });
        let body = |format| render(&diagnosis, &fixtures::someone(Detail::State), format).body;
        let problem: serde_json::Value = serde_json::from_str(&body(Format::Problem)).expect("JSON");
        let warmup = &problem["warmup"];
        let told =
            ["usual_seconds", "p95_seconds", "remaining_seconds", "learned_from"].map(|name| warmup[name].as_u64());
        assert_eq!(told, [Some(60), Some(90), Some(18), Some(7)]);
        let page = body(Format::Html);
        assert!(page.contains("<progress class=\"bar\" max=\"60000\" value=\"42000\""), "{page}");
        assert!(page.contains("usually ready after"), "{page}");
        assert!(body(Format::Text).contains("usually ready after"));
    }

    #[test]
    fn nobody_is_told_to_wait_for_what_is_broken() {
        let say = |diagnosis: &Diagnosis| {
            render(diagnosis, &fixtures::someone(Detail::State), Format::Text).body.lines().next().map(str::to_owned)
        };
        let mut hanging = fixtures::warming();
        assert_eq!(say(&hanging).as_deref(), Some("Analytics is starting."));
        hanging.findings = fixtures::exited().findings;
        assert_eq!(say(&hanging).as_deref(), Some("Analytics is not available right now."));
        // A restart passes through the same findings.
        let now = std::time::Instant::now();
        hanging.state = State::Warming { since: now, attempts: 1, fell: Some(now) };
        hanging.lasted = std::time::Duration::from_secs(5);
        assert_eq!(say(&hanging).as_deref(), Some("Analytics is starting."));
        // One that runs by then does not restart any more; how long one may be away the operator has said.
        hanging.lasted = std::time::Duration::from_secs(30);
        assert_eq!(say(&hanging).as_deref(), Some("Analytics is not available right now."));
        for mut away in [fixtures::exited(), fixtures::absent()] {
            (away.state, away.lasted) = (hanging.state, hanging.lasted);
            assert_eq!(say(&away).as_deref(), Some("Analytics is starting."));
            assert_eq!(super::notice::condition(&away), Condition::Waits);
        }
        assert_eq!(super::notice::condition(&hanging), Condition::Out);
    }

    #[test]
    fn who_asks_while_all_is_well_is_told_so() {
        let page = render(&fixtures::back(), &fixtures::someone(Detail::State), Format::Problem);
        assert_eq!((page.status, page.retry_after), (StatusCode::OK, None));
        assert!(page.body.contains("\"status\":200"), "{}", page.body);
    }

    #[test]
    fn a_summary_tells_no_name_no_evidence_and_no_remedy_in_any_format() {
        for (diagnosis, reader) in everybody_of(Detail::Summary) {
            for format in FORMATS {
                let body = render(&diagnosis, &reader, format).body;
                for secret in [
                    "cvat_grafana",
                    "grafana",
                    "cvat_cvat",
                    "5f3c8d21",
                    "docker",
                    "restart",
                    "10.1.2",
                    "on-failure",
                    "exit code",
                    "2026-11-23",
                    "evil",
                    "/home/",
                ] {
                    // The script and the style are the same for everyone.
                    let told = body.split("<style>").next().into_iter().chain(body.split("</style>").nth(1));
                    let told: String = told.map(|part| part.split("<script>").next().unwrap_or(part)).collect();
                    assert!(!told.to_lowercase().contains(secret), "{secret:?} in {told}");
                }
            }
        }
    }

    #[test]
    fn what_programs_printed_is_shown_at_full_alone_and_without_secrets() {
        let mut diagnosis = fixtures::hostile();
        diagnosis.evidence.log = ["listening <b>here</b>".into(), "\u{1b}[31mTOKEN=swordfish".into()].into();
        for format in FORMATS {
            for detail in [Detail::Summary, Detail::State, Detail::Full] {
                let body = render(&diagnosis, &fixtures::someone(detail), format).body;
                for printed in ["hunter", "listening", "TOKEN"] {
                    assert_eq!(body.contains(printed), detail == Detail::Full, "{printed} in {detail:?} {format:?}");
                }
                assert!(!body.contains("swordfish") && !body.contains('\u{1b}'), "{body}");
                assert!(format != Format::Html || !body.contains("<b>here"), "{body}");
            }
        }
    }

    #[test]
    fn every_format_of_every_situation_names_the_request() {
        for detail in [Detail::Summary, Detail::State, Detail::Full] {
            for (diagnosis, reader) in everybody_of(detail) {
                for format in FORMATS {
                    assert!(render(&diagnosis, &reader, format).body.contains(fixtures::REQUEST_ID));
                }
            }
        }
    }

    #[test]
    fn a_page_is_in_the_language_of_its_reader_and_says_so() {
        for (diagnosis, reader) in everybody_of(Detail::State) {
            let chinese = reader.language.tag() == "zh-Hans";
            for format in [Format::Html, Format::Text] {
                let page = render(&diagnosis, &reader, format);
                assert_eq!(page.language, reader.language);
                assert_eq!(page.body.contains("编号"), chinese, "{}", page.body);
                for label in ["Reference", "Container engine", "Path of a request", "This service", "Analytics"] {
                    assert!(!(chinese && page.body.contains(label)), "{label} in {}", page.body);
                }
            }
        }
    }

    #[test]
    fn a_problem_document_is_the_same_for_readers_of_every_language() {
        for diagnosis in fixtures::all() {
            let mut readers = fixtures::everyone(Detail::State);
            let mut document = || {
                let page = render(&diagnosis, &readers.next()?, Format::Problem);
                assert_eq!(page.language, Language::ENGLISH);
                Some(page.body)
            };
            let english = document();
            assert!(english.is_some() && document() == english);
        }
    }

    const FORMATS: [Format; 3] = [Format::Html, Format::Problem, Format::Text];

    fn everybody_of(detail: Detail) -> impl Iterator<Item = (Diagnosis, Audience<'static>)> {
        let each = move |diagnosis: Diagnosis| fixtures::everyone(detail).map(move |it| (diagnosis.clone(), it));
        fixtures::all().into_iter().flat_map(each)
    }
}
