//! What rules read out of the evidence, and how its values are worded: one place, so that two findings never say the
//! same thing in two ways.

use std::time::{Duration, SystemTime};

use super::redact::redact;
use crate::evidence::{Container, Engine, Evidence, Failure, HealthStatus, Moment, Status, Target};
use crate::phrase::{Phrase, Say as _, phrase};
use crate::readiness::{LONG_START, should_be_here};

/// One line of a finding's evidence: its name, in English, and what was seen.
pub(super) type Row = (&'static str, Phrase);

/// A row. Every name that a language must know is a literal in one of these.
macro_rules! row {
    ($name:literal, $value:expr) => {{
        use $crate::phrase::Say as _;
        ($name, $value.say())
    }};
}
pub(super) use row;

/// The target, as far as the engine vouches for it now: what it said before it went away may be outdated.
pub(super) fn target(evidence: &Evidence) -> &Target {
    match evidence.engine {
        Engine::Available { .. } | Engine::Simulated => &evidence.target,
        Engine::Unknown | Engine::Unavailable { .. } | Engine::Forbidden { .. } => &Target::Unknown,
    }
}

/// The target's container, if it is running and nothing else.
pub(super) fn running(evidence: &Evidence) -> Option<&Container> {
    target(evidence).found().filter(|container| container.status == Status::Running)
}

/// The target's container, if it has been running for so long that it should have become ready.
pub(super) fn settled(evidence: &Evidence) -> Option<&Container> {
    running(evidence).filter(|container| {
        let starting = container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Starting);
        !starting && runs_for(container, evidence).is_some_and(|age| age >= LONG_START)
    })
}

/// Whether the engine knows the target and says that none of its processes can answer now.
pub(super) fn away(evidence: &Evidence) -> bool {
    match target(evidence) {
        Target::Unknown => false,
        Target::Absent { .. } => misses_target(evidence),
        Target::Found(container) => match container.status {
            Status::Created | Status::Restarting | Status::Removing | Status::Exited | Status::Dead => true,
            Status::Running | Status::Paused | Status::Other => false,
        },
    }
}

/// Whether no container serves the upstream though one should: an upstream that never was one of this engine's
/// need not be one.
pub(super) fn misses_target(evidence: &Evidence) -> bool {
    match target(evidence) {
        Target::Absent { last: Some(_) } => true,
        Target::Absent { last: None } => should_be_here(evidence),
        Target::Unknown | Target::Found(_) => false,
    }
}

/// What went wrong on the wire, the request at hand before the newest probe.
pub(super) fn failures(evidence: &Evidence) -> impl Iterator<Item = &Failure> {
    let cut_by_us = |failure: &&Failure| matches!(failure, Failure::RetryBudgetSpent | Failure::Loop);
    evidence.exchange.iter().filter(move |failure| !cut_by_us(failure)).chain(&evidence.probe)
}

/// How long ago a moment was; zero if its clock is ahead of ours.
pub(super) fn age(at: SystemTime, evidence: &Evidence) -> Duration {
    evidence.seen_at.duration_since(at).unwrap_or_default()
}

/// For how long the target runs, by our own clock where its start was seen.
fn runs_for(container: &Container, evidence: &Evidence) -> Option<Duration> {
    evidence.seen_for.or_else(|| container.started.as_ref().map(|started| age(started.at, evidence)))
}

/// How long ago the target was started.
pub(super) fn started(container: &Container, evidence: &Evidence) -> Phrase {
    since(runs_for(container, evidence))
}

pub(super) fn ago(moment: Option<&Moment>, evidence: &Evidence) -> Phrase {
    since(moment.map(|moment| age(moment.at, evidence)))
}

/// `3 minutes ago`: coarse, since a title is read at a glance and the rows carry the exact time.
fn since(age: Option<Duration>) -> Phrase {
    match age {
        None => phrase!("at an unknown time"),
        Some(age) if age < Duration::from_secs(1) => phrase!("just now"),
        Some(age) => phrase!("{0} ago", span(age)),
    }
}

/// `3 minutes`: the largest unit that fits.
pub(super) fn span(duration: Duration) -> Phrase {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 1) => phrase!("1 second"),
        (0, 0, 0, _) => phrase!("{0} seconds", seconds),
        (0, 0, 1, _) => phrase!("1 minute"),
        (0, 0, _, _) => phrase!("{0} minutes", minutes),
        (0, 1, _, _) => phrase!("1 hour"),
        (0, _, _, _) => phrase!("{0} hours", hours),
        (1, _, _, _) => phrase!("1 day"),
        (_, _, _, _) => phrase!("{0} days", days),
    }
}

/// An exit code and what it means, after the conventions of POSIX shells (126, 127, 128 + signal) and of the engine (255).
pub(super) fn exit_code(code: i64) -> Phrase {
    let meaning = match code {
        0 => phrase!("it ended by itself or when asked to, without an error"),
        1 => phrase!("an error of the program; its log says which"),
        125 => phrase!("the engine could not run it"),
        126 => phrase!("its command could not be executed: not executable, or permission denied"),
        127 => phrase!("its command was not found in the image"),
        128 => phrase!("the engine could not start it"),
        130 => phrase!("interrupted, SIGINT"),
        134 => phrase!("it aborted itself, SIGABRT"),
        137 => {
            phrase!("killed, SIGKILL: by hand, after a stop that took too long, or by the kernel for want of memory")
        }
        139 => phrase!("it crashed, SIGSEGV"),
        143 => phrase!("asked to stop, SIGTERM"),
        255 => phrase!("the engine lost it, as in a power failure; or an error of the program"),
        _ => return code.say(),
    };
    phrase!("{0} ({1})", code, meaning)
}

/// A failure in a few words.
pub(crate) fn failure(failure: &Failure) -> Phrase {
    match failure {
        Failure::NameNotResolved { reason } => phrase!("name not resolved: {0}", reason.with_foreign(redact)),
        Failure::NameResolvedOutside { address } => phrase!("name resolved to the foreign address {0}", address),
        Failure::Refused { address } => phrase!("connection refused by {0}", address),
        Failure::Unreachable { reason } => phrase!("unreachable: {0}", redact(reason)),
        Failure::ConnectTimeout => phrase!("no answer to the connection attempt"),
        Failure::Tls { reason } => phrase!("no TLS: {0}", reason.with_foreign(redact)),
        Failure::ClosedEarly => phrase!("connection closed before the answer"),
        Failure::NoAnswer => phrase!("connected, but no answer in time"),
        Failure::SpeaksTls => phrase!("answered plain HTTP with TLS"),
        Failure::NotHttp { reason } => phrase!("answer is not HTTP: {0}", reason.with_foreign(redact)),
        Failure::NotReady { status } => phrase!("answered {0}", status),
        Failure::RetryBudgetSpent => phrase!("not tried again: the retry budget is spent"),
        Failure::Loop => phrase!("not sent: the request had passed through here before"),
    }
}

/// The names of a container's networks, as a row shows them.
pub(super) fn networks(container: &Container) -> Phrase {
    match &container.networks[..] {
        [] => phrase!("none"),
        networks => Phrase::list(", ", networks.iter().map(|attachment| &*attachment.network)),
    }
}

/// Everything about a container that a finding may rest on, in the order in which it convinces.
pub(super) fn rows(container: &Container) -> Vec<Row> {
    let ended = !matches!(container.status, Status::Running | Status::Paused | Status::Created);
    let mut rows = vec![row!("state", container.status.as_str())];
    // Of a container that is up again, exit code and OOM flag are leftovers: the engine resets the code to 0.
    if ended || container.exit_code != 0 && container.status == Status::Created {
        rows.push(row!("exit code", exit_code(container.exit_code)));
    }
    if ended {
        rows.push(row!("OOM killed", if container.oom_killed { phrase!("yes") } else { phrase!("no") }));
    }
    if !container.error.is_empty() {
        rows.push(row!("error", redact(&container.error)));
    }
    rows.push(row!("health", health(container)));
    rows.push(row!("restarts", container.restart_count));
    rows.push(row!("restart policy", container.restart_policy.to_string()));
    rows.push(row!("started", container.started.as_ref().map_or_else(|| phrase!("never"), |moment| moment.text.say())));
    if let Some(finished) = container.finished.as_ref().filter(|_| ended) {
        rows.push(row!("finished", finished.text));
    }
    rows.push(row!("container", container.name));
    rows.push(row!("image", redact(&container.image)));
    rows.push(row!("networks", networks(container)));
    if let Some(compose) = &container.compose {
        rows.push(row!("project", compose.project));
        rows.push(row!("service", compose.service));
    }
    rows
}

/// Puts what decided a finding in front of everything else that is known of the container.
pub(super) fn rows_after(decisive: Vec<Row>, container: &Container) -> Vec<Row> {
    let mut all = decisive;
    all.extend(rows(container));
    all
}

fn health(container: &Container) -> Phrase {
    match &container.health {
        None => phrase!("no health check"),
        Some(health) => match health.status {
            HealthStatus::Starting => "starting".say(),
            HealthStatus::Healthy => "healthy".say(),
            HealthStatus::Unhealthy => phrase!("unhealthy, {0} failed in a row", health.failing_streak),
        },
    }
}
