//! `application/problem+json` (RFC 9457): what a program is told, and the plain data that the other formats write
//! out. The members and their order are stable; later versions only add some. `docs/problem.schema.json` describes
//! them, and a test keeps it to these structs.
//!
//! The document *is* its structs: deriving serde leaves nothing that could differ from what is documented.

use std::time::Duration;

use serde::Serialize;

use super::chain::Look;

/// Where each code is explained; `type` is this and the code.
pub(super) const FINDINGS: &str = "https://github.com/anteroom/anteroom/blob/main/docs/findings.md#";

/// The document. Strings are harmless already (see `foreign`), and nothing is in it that its reader may not see.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    /// Explains the root cause's code; `about:blank` (RFC 9457 §4.2.1) if no cause is known.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every occurrence of a code, as §3.1.3 asks.
    pub title: String,
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The request's id, as a relative reference: it is what the log is searched for.
    pub instance: String,
    /// `ready`, `suspect`, `warming`, `down` or `unknown`.
    pub state: &'static str,
    /// Root cause first.
    pub findings: Vec<Finding>,
    /// `null` if there is none, or if its reader may not know.
    pub target: Option<Target>,
    /// From the client's side to the service's.
    pub chain: Vec<Link>,
    /// Oldest first.
    pub timeline: Vec<Happening>,
    /// The last lines of the target's log, oldest first, without secrets; only there at detail `full`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// `null` unless warming.
    pub warmup: Option<Warmup>,
    /// Only there if true: the evidence was made up by `anteroom demo`.
    #[serde(skip_serializing_if = "is_false")]
    pub simulated: bool,
}

/// A named cause.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub code: &'static str,
    pub title: String,
    /// `info`, `warning` or `error`.
    pub severity: &'static str,
    /// `certain`, `likely` or `possible`: how sure it is that this is the cause.
    pub confidence: &'static str,
    pub evidence: Vec<Fact>,
    pub remedies: Vec<Remedy>,
    /// The severity in the reader's language, and how sure it is where that is not certain.
    #[serde(skip)]
    pub weight: String,
}

/// One thing that was seen.
#[derive(Debug, Serialize)]
pub(super) struct Fact {
    /// English, whatever the language: a program knows it by this.
    pub name: &'static str,
    pub value: String,
    /// The name in the reader's language.
    #[serde(skip)]
    pub label: &'static str,
}

/// What mends it.
#[derive(Debug, Serialize)]
pub(super) struct Remedy {
    /// `null` if it cannot be shown exactly as it would run.
    pub command: Option<String>,
    pub effect: String,
    pub permanent: bool,
}

/// The container behind the upstream's name.
#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub name: String,
    /// The first twelve digits, as the engine's own tools print it.
    pub id: String,
    pub image: String,
    /// The engine's word; `absent` if the container was there and is gone, and the rest is what was seen last.
    pub status: &'static str,
    pub exit_code: i64,
    /// Whether it had ended when it was last seen, so that the code is that of its last run.
    #[serde(skip)]
    pub has_ended: bool,
    pub oom_killed: bool,
    /// `null` without a health check.
    pub health: Option<&'static str>,
    /// What its last check printed, line by line, without secrets; only there at detail `full`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health_output: Vec<String>,
    pub restart_count: u64,
    /// As compose spells it, e.g. `on-failure:3`.
    pub restart_policy: String,
    /// RFC 3339; `null` if it never started.
    pub started: Option<String>,
    /// RFC 3339; `null` if it never ended.
    pub finished: Option<String>,
    pub networks: Vec<String>,
    /// Compose's; `null` if compose did not make it.
    pub project: Option<String>,
    pub service: Option<String>,
    #[serde(skip)]
    pub started_ago: Option<Duration>,
    #[serde(skip)]
    pub finished_ago: Option<Duration>,
}

/// One station on the way of a request.
#[derive(Debug, Serialize)]
pub(super) struct Link {
    pub name: String,
    /// `router`, `anteroom`, `target`, or, for each thing that it needs, `dependency`.
    pub role: &'static str,
    /// The first one that is not is where the way ends.
    pub ok: bool,
    /// What it did or how it is, for people.
    #[serde(skip)]
    pub note: String,
    #[serde(skip)]
    pub look: Look,
}

/// An event of the container.
#[derive(Debug, Serialize)]
pub(super) struct Happening {
    /// RFC 3339.
    pub at: String,
    /// The engine's word.
    pub action: String,
    pub exit_code: Option<i64>,
    #[serde(skip)]
    pub ago: Option<Duration>,
}

/// How far the warm-up is.
#[derive(Debug, Serialize)]
pub(super) struct Warmup {
    /// Since when it has not been ready.
    pub elapsed_seconds: u64,
    /// Probes that failed so far.
    pub attempts: u32,
    /// From its start, as its last warm-ups have shown; `null`, like all that follows, while nothing was learned.
    pub usual_seconds: Option<u64>,
    /// Nineteen of twenty take no longer.
    pub p95_seconds: Option<u64>,
    /// Until the usual time, or past that until the longest usual one, rounded up; `null` past both, too, and where it is
    /// not its start that keeps it from being ready.
    pub remaining_seconds: Option<u64>,
    /// From how many warm-ups.
    pub learned_from: Option<usize>,
}

impl Problem {
    /// The document's bytes.
    pub fn json(&self) -> String {
        // Strings, numbers and lists under string keys: serde_json has no reason to refuse any of them.
        serde_json::to_string(self).expect("a document of plain data always serializes")
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Detail;
    use crate::page::{Format, Page, fixtures, render};
    use serde_json::Value;

    fn document(page: &Page) -> Value {
        assert_eq!(page.content_type, "application/problem+json");
        serde_json::from_str(&page.body).expect("a problem document is JSON")
    }

    #[test]
    fn the_document_has_the_documented_members_in_their_order() {
        let page = render(&fixtures::exited(), &fixtures::someone(Detail::State), Format::Problem);
        let keys = [
            "type", "title", "status", "detail", "instance", "state", "findings", "target", "chain", "timeline",
            "warmup",
        ];
        let at = keys.map(|key| page.body.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} is missing")));
        // `status` and `title` occur deeper as well, but first at the top.
        assert!(at.is_sorted(), "{}", page.body);
        let document = document(&page);
        assert_eq!(document.as_object().map(serde_json::Map::len), Some(keys.len()));
        assert_eq!(document["type"], format!("{FINDINGS}target-exited"));
        assert_eq!(document["status"], 503);
        assert_eq!(document["instance"], fixtures::REQUEST_ID);
        assert_eq!(document["state"], "down");
        assert_eq!(document["findings"][0]["code"], "target-exited");
        assert_eq!(document["findings"][0]["severity"], "error");
        assert_eq!(document["findings"][0]["evidence"][0]["name"], "exit code");
        assert!(
            document["findings"][0]["remedies"][0]["command"].as_str().is_some_and(|c| c.ends_with("cvat_grafana"))
        );
        assert_eq!(document["target"]["id"], "5f3c8d21b9e0");
        assert_eq!(document["target"]["exit_code"], 1);
        assert_eq!(document["target"]["restart_policy"], "no");
        assert_eq!(document["chain"][2]["role"], "target");
        assert_eq!(document["chain"][2]["ok"], false);
        assert_eq!(document["timeline"][1]["exit_code"], 1);
        assert_eq!(document["warmup"], Value::Null);
    }

    #[test]
    fn a_warming_target_has_a_warmup_and_a_simulated_one_says_so() {
        let mut diagnosis = fixtures::warming();
        diagnosis.evidence.engine = crate::evidence::Engine::Simulated;
        let document = document(&render(&diagnosis, &fixtures::someone(Detail::State), Format::Problem));
        assert_eq!(document["warmup"]["elapsed_seconds"], 42);
        assert_eq!(document["warmup"]["attempts"], 84);
        assert_eq!(document["simulated"], true);
    }

    #[test]
    fn without_a_finding_the_document_is_about_its_status_alone() {
        let mut diagnosis = fixtures::warming();
        diagnosis.findings.clear();
        let document = document(&render(&diagnosis, &fixtures::someone(Detail::State), Format::Problem));
        assert_eq!(document["type"], "about:blank");
        assert_eq!(document["title"], "Service Unavailable");
    }

    #[test]
    fn hostile_strings_stay_strings() {
        let body = render(&fixtures::hostile(), &fixtures::someone(Detail::Full), Format::Problem).body;
        assert!(serde_json::from_str::<Value>(&body).is_ok());
        for dangerous in ['\u{1b}', '\u{202e}', '\0', '\u{7f}'] {
            assert!(!body.contains(dangerous));
            assert!(!body.contains(&format!("\\u{:04x}", u32::from(dangerous))));
        }
        assert!(body.len() < 64 * 1024, "{}", body.len());
    }
}
