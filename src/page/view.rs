//! What a page says, before its format is chosen: the disclosure happens here, once for all formats.
//!
//! A format never sees the diagnosis, only a [`View`]. What the reader may not know is not in it, and every foreign
//! string in it is harmless as text already.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::words::{LONG, Scene, Words};
use super::{Audience, chain, foreign, problem, seconds};
use crate::config::{Detail, Support};
use crate::diagnosis::redact::redact_lines;
use crate::diagnosis::{Confidence, Diagnosis, Finding, Severity};
use crate::evidence::{Bound, Container, Engine, Evidence, Failure, Moment, Status, Target};
use crate::phrase::Phrase;
use crate::readiness::{State, outlook};
use crate::warmup::Progress;

/// More than any deployment has; a page must end.
const NETWORKS_SHOWN: usize = 16;
/// Of one finding.
const FACTS_SHOWN: usize = 24;
/// The engine's short id.
const SHORT_ID: usize = 12;

/// Everything that a format needs.
pub(super) struct View {
    pub words: &'static Words,
    pub situation: Situation,
    pub sentence: String,
    pub advice: &'static str,
    /// What the script says in its place; empty where nothing else is to be said.
    pub stay: &'static str,
    /// What the operator has to say.
    pub note: Option<Arc<str>>,
    pub support: Option<Support>,
    /// Said by the script, when the upstream is ready and the page cannot load itself.
    pub send_again: String,
    pub still_failing: String,
    /// Whether the page may send the same request again.
    pub repeatable: bool,
    /// For how long the state has lasted.
    pub lasted: Duration,
    /// How far the warm-up has got, if that is known.
    pub progress: Option<Progress>,
    /// Where the target's facts are its last known ones.
    pub gone: bool,
    /// How the engine answers; `None` if the reader may not know.
    pub engine: Option<String>,
    /// Whether the operator's part is shown at all.
    pub detailed: bool,
    /// Whether it is open whatever has happened.
    pub unfolded: bool,
    pub request_id: String,
    pub problem: problem::Problem,
}

/// Longer than a restart takes to look like anything else, where the target runs.
const RESTART: Duration = Duration::from_secs(15);

fn broken(diagnosis: &Diagnosis) -> bool {
    diagnosis.findings.first().is_some_and(|root| root.severity == Severity::Error)
}

/// Whether a target that was ready stays away for longer than a restart. Where its return would be pointless to wait for, the
/// operator has said how long that is (`ANTEROOM_GRACE`), and the state ends with it.
fn is_no_restart(diagnosis: &Diagnosis) -> bool {
    diagnosis.lasted > RESTART && outlook(&diagnosis.evidence).cause().is_none()
}

/// What happened, as a visitor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Situation {
    /// It will be there soon.
    Starting,
    /// It will not.
    Down,
    /// It does not answer, and nobody knows yet which of the two it is.
    Checking,
    /// It is there, and broke this one exchange.
    Broken,
    /// It is there, and did not answer this one request.
    TimedOut,
    /// It is there; this request was not sent, to protect it.
    Busy,
    /// It is there.
    Back,
}

impl Situation {
    pub fn of(diagnosis: &Diagnosis, status: StatusCode) -> Self {
        // No state of the target mends that.
        if status == StatusCode::LOOP_DETECTED {
            return Self::Broken;
        }
        match diagnosis.state {
            // What is found to be broken will not mend itself by warming up, and a visitor need not wait for it. A
            // target that was ready is given the time of a restart first.
            State::Warming { fell, .. } if broken(diagnosis) && (fell.is_none() || is_no_restart(diagnosis)) => {
                Self::Down
            }
            State::Warming { .. } => Self::Starting,
            State::Down { .. } => Self::Down,
            State::Unknown => Self::Checking,
            State::Ready { .. } | State::Suspect { .. } => {
                let Evidence { exchange, bound, .. } = &diagnosis.evidence;
                match (exchange, bound, status) {
                    (_, _, StatusCode::BAD_GATEWAY) => Self::Broken,
                    (_, _, StatusCode::GATEWAY_TIMEOUT) => Self::TimedOut,
                    (Some(Failure::RetryBudgetSpent), _, _)
                    | (_, Some(Bound::Number { .. } | Bound::Bytes { .. }), _) => Self::Busy,
                    (None, None, _) if matches!(diagnosis.state, State::Ready { .. }) => Self::Back,
                    (Some(_) | None, _, _) => Self::Checking,
                }
            }
        }
    }

    /// Whether a page should open by itself once the upstream is ready. Not where the upstream *is* ready and this
    /// request failed all the same: repeating it by itself could break the upstream again and again.
    pub fn passes_by_itself(self) -> bool {
        match self {
            Self::Starting | Self::Down | Self::Checking | Self::Back => true,
            Self::Broken | Self::TimedOut | Self::Busy => false,
        }
    }

    pub fn scene(self, words: &'static Words) -> &'static Scene {
        match self {
            Self::Starting => &words.starting,
            Self::Down => &words.down,
            Self::Checking => &words.checking,
            Self::Broken => &words.broken,
            Self::TimedOut => &words.timed_out,
            Self::Busy => &words.busy,
            Self::Back => &words.back,
        }
    }
}

/// What of a diagnosis an audience may see, in words. What programs printed, a health
/// check or the target itself, is shown at `full` alone, and what looks like a secret not even there.
pub(super) fn view(diagnosis: &Diagnosis, audience: &Audience<'_>, status: StatusCode) -> View {
    let words = audience.language.0;
    let evidence = &diagnosis.evidence;
    let situation = Situation::of(diagnosis, status);
    let scene = situation.scene(words);
    let sent = matches!(
        evidence.exchange,
        Some(
            Failure::ClosedEarly
                | Failure::NoAnswer
                | Failure::SpeaksTls
                | Failure::NotHttp { .. }
                | Failure::NotReady { .. }
        )
    );
    let repeatable = audience.repeatable;
    let (advice, stay) = match situation {
        _ if !repeatable && sent => (words.uncertain, ""),
        _ if !repeatable && situation.passes_by_itself() => (words.not_delivered, words.keep_open),
        Situation::Starting if diagnosis.lasted > LONG => (words.long, ""),
        _ => (scene.advice, ""),
    };
    let send_again = if sent { words.check_first } else { words.send_again };
    let detailed = audience.detail >= Detail::State;
    View {
        words,
        situation,
        sentence: words.about(scene.sentence, evidence),
        advice,
        stay,
        note: audience.brand.note.clone(),
        support: audience.brand.support.clone(),
        send_again: words.about(send_again, evidence),
        still_failing: words.about(words.still_failing, evidence),
        repeatable,
        lasted: diagnosis.lasted,
        progress: diagnosis.evidence.warmup,
        gone: matches!(evidence.target, Target::Absent { .. }),
        engine: detailed.then(|| engine(&evidence.engine, words)),
        detailed,
        unfolded: false,
        request_id: audience.request_id.to_owned(),
        problem: document(diagnosis, situation, words, audience, status),
    }
}

fn document(
    diagnosis: &Diagnosis,
    situation: Situation,
    words: &'static Words,
    audience: &Audience<'_>,
    status: StatusCode,
) -> problem::Problem {
    let evidence = &diagnosis.evidence;
    let detailed = audience.detail >= Detail::State;
    let full = audience.detail >= Detail::Full;
    let root = diagnosis.findings.first();
    let sentence = words.about(situation.scene(words).sentence, evidence);
    problem::Problem {
        kind: root.map_or_else(|| "about:blank".into(), |root| format!("{}{}", problem::FINDINGS, root.code.as_str())),
        title: root.map_or(status.canonical_reason().unwrap_or_default(), |root| (words.meaning)(root.code)).into(),
        status: status.as_u16(),
        detail: root.filter(|_| detailed).map_or(sentence, |root| said(&root.title, words)),
        instance: audience.request_id.to_owned(),
        state: diagnosis.state.name(),
        findings: diagnosis.findings.iter().map(|found| finding(found, words, detailed)).collect(),
        target: evidence.target.last_known().filter(|_| detailed).map(|known| target(known, evidence, full)),
        chain: chain::links(diagnosis, situation, words, detailed),
        timeline: if detailed { timeline(evidence) } else { Vec::new() },
        log: if full { printed(evidence.log.iter().map(|line| &**line)) } else { Vec::new() },
        warmup: match diagnosis.state {
            State::Warming { attempts, .. } => {
                let learned = evidence.warmup.map(|progress| progress.usual);
                Some(problem::Warmup {
                    elapsed_seconds: diagnosis.lasted.as_secs(),
                    attempts,
                    usual_seconds: learned.map(|usual| usual.median.as_secs()),
                    p95_seconds: learned.map(|usual| usual.p95.as_secs()),
                    remaining_seconds: evidence.warmup.and_then(|it| it.remaining()).map(|left| seconds(left).into()),
                    learned_from: learned.map(|usual| usual.count),
                })
            }
            State::Unknown | State::Ready { .. } | State::Suspect { .. } | State::Down { .. } => None,
        },
        simulated: evidence.engine == Engine::Simulated,
    }
}

/// A finding's own title names containers; without details the code's meaning stands in for it.
pub(super) fn finding(found: &Finding, words: &'static Words, detailed: bool) -> problem::Finding {
    let facts = found.evidence.iter().take(if detailed { FACTS_SHOWN } else { 0 });
    let remedies = found.remedies.iter().take(if detailed { usize::MAX } else { 0 });
    problem::Finding {
        code: found.code.as_str(),
        title: if detailed { said(&found.title, words) } else { (words.meaning)(found.code).into() },
        severity: found.severity.as_str(),
        confidence: found.confidence.as_str(),
        weight: match (words.severity)(found.severity) {
            severity if found.confidence == Confidence::Certain => severity.to_owned(),
            severity => format!("{severity}{}{}", words.comma, (words.confidence)(found.confidence)),
        },
        evidence: facts
            .map(|(name, value)| problem::Fact { name, value: said(value, words), label: words.phrases.find(name) })
            .collect(),
        remedies: remedies
            .map(|remedy| problem::Remedy {
                command: foreign::command(&remedy.command),
                effect: said(&remedy.effect, words),
                permanent: remedy.permanent,
            })
            .collect(),
    }
}

/// A phrase in the reader's language, harmless. Each foreign text is made so by itself, since the nets for secrets do
/// not know where one ends in a sentence of another script; and the whole once more, since two of them may make one.
fn said(phrase: &Phrase, words: &Words) -> String {
    match phrase.foreign() {
        Some(text) => foreign::line(text),
        None => foreign::line(&phrase.with_foreign(foreign::line).said_in(&words.phrases)),
    }
}

/// What a program printed, without secrets and without anything but text.
fn printed<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    redact_lines(lines).iter().map(|line| foreign::line(line)).collect()
}

fn target(container: &Container, evidence: &Evidence, full: bool) -> problem::Target {
    let text = |moment: &Option<Moment>| moment.as_ref().map(|moment| foreign::line(&moment.text));
    let passed = |moment: &Option<Moment>| moment.as_ref().and_then(|moment| ago(moment.at, evidence.seen_at));
    let compose = container.compose.as_ref();
    let networks = container.networks.iter().take(NETWORKS_SHOWN);
    problem::Target {
        name: foreign::line(&container.name),
        id: foreign::line(&container.id).chars().take(SHORT_ID).collect(),
        image: foreign::line(&container.image),
        status: if evidence.target.found().is_some() { container.status.as_str() } else { chain::ABSENT },
        exit_code: container.exit_code,
        has_ended: matches!(container.status, Status::Restarting | Status::Exited | Status::Dead),
        oom_killed: container.oom_killed,
        health: container.health.as_ref().map(|health| health.status.as_str()),
        health_output: match &container.health {
            Some(health) if full => printed(health.last_output.lines()),
            Some(_) | None => Vec::new(),
        },
        restart_count: container.restart_count,
        restart_policy: container.restart_policy.to_string(),
        started: text(&container.started),
        finished: text(&container.finished),
        networks: networks.map(|attachment| foreign::line(&attachment.network)).collect(),
        project: compose.map(|compose| foreign::line(&compose.project)),
        service: compose.map(|compose| foreign::line(&compose.service)),
        started_ago: passed(&container.started),
        finished_ago: passed(&container.finished),
    }
}

fn timeline(evidence: &Evidence) -> Vec<problem::Happening> {
    let shown = evidence.events.len().saturating_sub(crate::evidence::EVENTS_KEPT);
    evidence.events[shown..]
        .iter()
        .map(|event| problem::Happening {
            at: foreign::line(&event.at.text),
            action: foreign::line(&event.action),
            exit_code: event.exit_code,
            ago: ago(event.at.at, evidence.seen_at),
        })
        .collect()
}

/// `None` for a moment in the future: the engine's clock is another one, and a negative age helps nobody.
fn ago(at: SystemTime, now: SystemTime) -> Option<Duration> {
    now.duration_since(at).ok()
}

fn engine(engine: &Engine, words: &Words) -> String {
    match engine {
        Engine::Unknown => words.engine.unknown.into(),
        Engine::Available { version } => format!("{} {}", words.engine.available, foreign::line(version)),
        Engine::Unavailable { reason } => format!("{} {}", words.engine.unavailable, foreign::line(reason)),
        Engine::Forbidden { reason } => format!("{} {}", words.engine.forbidden, foreign::line(reason)),
        Engine::Simulated => words.engine.simulated.into(),
    }
}
