//! What somebody is told who does not look at a page: that the upstream is down, or is back. The same disclosure as
//! everywhere, through `view`, but never what a program printed: a message goes to other people's servers.
//!
//! `docs/notification.schema.json` describes the JSON, and a test keeps it to this struct.

mod chat;

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use super::problem::{FINDINGS, Finding};
use super::view::{self, Situation, View};
use super::{Audience, Brand, Language, foreign};
use crate::alarm::Condition;
use crate::config::{Detail, Template};
use crate::diagnosis::{self, Diagnosis};
use crate::readiness::State;

/// A message, before its format is chosen. Strings are harmless already, and nothing is in it that its reader may not
/// see.
#[derive(Debug, Serialize)]
pub struct Notice {
    /// The same each time that this message is sent, so that a receiver can tell a repetition.
    id: String,
    event: &'static str,
    /// What happened, without names.
    sentence: String,
    /// The readiness.
    state: &'static str,
    /// RFC 3339: since when it is so.
    since: String,
    /// How long the outage has lasted, or had when it ended.
    outage_seconds: u64,
    /// `null` if the reader may not know.
    upstream: Option<String>,
    /// The root cause, as it was when the outage was told. `null` if none is known.
    finding: Option<Finding>,
    /// Explains the cause's code.
    documentation: Option<String>,
    /// Only there if true.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
}

/// What only the shell knows of a message.
#[derive(Clone, Debug)]
pub struct Occasion {
    pub id: String,
    /// RFC 3339.
    pub since: String,
    pub outage: Duration,
}

/// How things stand, as far as an alarm is concerned. What a page calls unavailable is an outage: a target that runs
/// and is found to be broken is one, too.
pub fn condition(diagnosis: &Diagnosis) -> Condition {
    match diagnosis.state {
        State::Ready { .. } => Condition::Well,
        State::Unknown | State::Suspect { .. } => Condition::Unsure,
        State::Warming { .. } | State::Down { .. } => match Situation::of(diagnosis, StatusCode::SERVICE_UNAVAILABLE) {
            Situation::Down => Condition::Out,
            _ => Condition::Waits,
        },
    }
}

impl Notice {
    /// It is down.
    pub fn fell(diagnosis: &Diagnosis, detail: Detail, occasion: Occasion) -> Self {
        let mut view = see(diagnosis, detail);
        let finding = (!view.problem.findings.is_empty()).then(|| view.problem.findings.remove(0));
        let documentation = finding.as_ref().map(|root| format!("{FINDINGS}{}", root.code));
        let upstream = &diagnosis.evidence.upstream;
        Self {
            id: occasion.id,
            event: "down",
            sentence: view.sentence,
            state: view.problem.state,
            since: occasion.since,
            outage_seconds: occasion.outage.as_secs(),
            upstream: view.detailed.then(|| foreign::line(&upstream.authority())),
            finding,
            documentation,
            simulated: view.problem.simulated,
        }
    }

    /// What was down is back. Of the remedies only those stay that keep it from coming again.
    pub fn recovered(self, diagnosis: &Diagnosis, detail: Detail, occasion: Occasion) -> Self {
        let view = see(diagnosis, detail);
        let finding = self.finding.map(|mut finding| {
            finding.remedies.retain(|remedy| remedy.permanent);
            finding
        });
        Self {
            id: occasion.id,
            event: "up",
            sentence: view.sentence,
            state: view.problem.state,
            since: occasion.since,
            outage_seconds: occasion.outage.as_secs(),
            finding,
            ..self
        }
    }

    /// Its media type, and itself.
    pub fn write(&self, template: Template) -> (&'static str, String) {
        match template {
            // Strings, numbers and lists under string keys: serde_json has no reason to refuse any of them.
            Template::Json => ("application/json", serde_json::to_string(self).expect("plain data always serializes")),
            Template::Slack => ("application/json", chat::slack(self)),
            Template::Text => ("text/plain; charset=utf-8", chat::text(self)),
        }
    }

    fn is_down(&self) -> bool {
        self.event == "down"
    }

    /// Since when, and for how long.
    fn when(&self) -> String {
        let outage = (Language::ENGLISH.0.duration)(Duration::from_secs(self.outage_seconds));
        let what = if self.is_down() { format!("Down since {}", self.since) } else { format!("Down for {outage}") };
        self.upstream.iter().fold(what, |what, upstream| format!("{what}, {upstream}"))
    }
}

/// In English: programs compare words, and a channel has readers of every language.
fn see(diagnosis: &Diagnosis, detail: Detail) -> View {
    let brand = Brand::default();
    let language = Language::ENGLISH;
    let audience =
        Audience { detail: detail.min(Detail::State), repeatable: true, request_id: "", language, brand: &brand };
    view::view(diagnosis, &audience, diagnosis::status(diagnosis))
}
