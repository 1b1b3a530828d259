//! What rules read out of the evidence, and how its values are worded: one place, so that two findings never say the
//! same thing in two ways.

use std::time::{Duration, SystemTime};

use super::redact::redact;
use crate::evidence::{Container, Engine, Evidence, Failure, HealthStatus, Moment, Status, Target};
use crate::readiness::single_label;

/// One line of a finding's evidence: name and value.
pub(super) type Row = (&'static str, String);

/// A start that takes longer than this is no slow start any more. CVAT's Grafana needs about a minute when it
/// downloads its plugin over a bad line; five leave room for a slow disk.
pub(super) const LONG_START: Duration = Duration::from_secs(5 * 60);

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
        !starting && container.started.as_ref().is_some_and(|started| age(started.at, evidence) >= LONG_START)
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
        Target::Absent { last: None } => evidence.ourselves.is_some() && single_label(&evidence.upstream.host),
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

/// `3 minutes ago`: coarse, since a title is read at a glance and the rows carry the exact time.
pub(super) fn ago(moment: Option<&Moment>, evidence: &Evidence) -> String {
    match moment.map(|moment| age(moment.at, evidence)) {
        None => "at an unknown time".to_owned(),
        Some(age) if age < Duration::from_secs(1) => "just now".to_owned(),
        Some(age) => span(age) + " ago",
    }
}

/// `3 minutes`: the largest unit that fits.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// An exit code and what it means, after the conventions of POSIX shells (126, 127, 128 + signal) and of the engine (255).
pub(super) fn exit_code(code: i64) -> String {
    let meaning = match code {
        0 => "it ended by itself or when asked to, without an error",
        1 => "an error of the program; its log says which",
        125 => "the engine could not run it",
        126 => "its command could not be executed: not executable, or permission denied",
        127 => "its command was not found in the image",
        128 => "the engine could not start it",
        130 => "interrupted, SIGINT",
        134 => "it aborted itself, SIGABRT",
        137 => "killed, SIGKILL: by hand, after a stop that took too long, or by the kernel for want of memory",
        139 => "it crashed, SIGSEGV",
        143 => "asked to stop, SIGTERM",
        255 => "the engine lost it, as in a power failure; or an error of the program",
        _ => return code.to_string(),
    };
    format!("{code} ({meaning})")
}

/// Where requests should go, as an operator writes it: `grafana:3000`, `[::1]:3000`.
pub(super) fn upstream(evidence: &Evidence) -> String {
    let (host, port) = (&evidence.upstream.host, evidence.upstream.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A failure in a few words.
pub(super) fn failure(failure: &Failure) -> String {
    match failure {
        Failure::NameNotResolved { reason } => format!("name not resolved: {}", redact(reason)),
        Failure::NameResolvedOutside { address } => format!("name resolved to the foreign address {address}"),
        Failure::Refused { address } => format!("connection refused by {address}"),
        Failure::Unreachable { reason } => format!("unreachable: {}", redact(reason)),
        Failure::ConnectTimeout => "no answer to the connection attempt".to_owned(),
        Failure::Tls { reason } => format!("no TLS: {}", redact(reason)),
        Failure::ClosedEarly => "connection closed before the answer".to_owned(),
        Failure::NoAnswer => "connected, but no answer in time".to_owned(),
        Failure::SpeaksTls => "answered plain HTTP with TLS".to_owned(),
        Failure::NotHttp { reason } => format!("answer is not HTTP: {}", redact(reason)),
        Failure::NotReady { status } => format!("answered {status}"),
        Failure::RetryBudgetSpent => "not tried again: the retry budget is spent".to_owned(),
        Failure::Loop => "not sent: the request had passed through here before".to_owned(),
    }
}

/// The names of a container's networks, as a row shows them.
pub(super) fn networks(container: &Container) -> String {
    let names: Vec<&str> = container.networks.iter().map(|attachment| &*attachment.network).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Everything about a container that a finding may rest on, in the order in which it convinces.
pub(super) fn rows(container: &Container) -> Vec<Row> {
    let ended = !matches!(container.status, Status::Running | Status::Paused | Status::Created);
    let mut rows = vec![("state", container.status.as_str().to_owned())];
    // Of a container that is up again, exit code and OOM flag are leftovers: the engine resets the code to 0.
    if ended || container.exit_code != 0 && container.status == Status::Created {
        rows.push(("exit code", exit_code(container.exit_code)));
    }
    if ended {
        rows.push(("OOM killed", if container.oom_killed { "yes" } else { "no" }.to_owned()));
    }
    if !container.error.is_empty() {
        rows.push(("error", redact(&container.error)));
    }
    rows.push(("health", health(container)));
    rows.push(("restarts", container.restart_count.to_string()));
    rows.push(("restart policy", container.restart_policy.to_string()));
    rows.push(("started", container.started.as_ref().map_or("never", |moment| &moment.text).to_owned()));
    if let Some(finished) = container.finished.as_ref().filter(|_| ended) {
        rows.push(("finished", finished.text.clone().into()));
    }
    rows.push(("container", container.name.clone().into()));
    rows.push(("image", redact(&container.image)));
    rows.push(("networks", networks(container)));
    if let Some(compose) = &container.compose {
        rows.push(("project", compose.project.clone().into()));
        rows.push(("service", compose.service.clone().into()));
    }
    rows
}

/// Puts what decided a finding in front of everything else that is known of the container.
pub(super) fn rows_after(decisive: Vec<Row>, container: &Container) -> Vec<Row> {
    let mut all = decisive;
    all.extend(rows(container));
    all
}

fn health(container: &Container) -> String {
    match &container.health {
        None => "no health check".to_owned(),
        Some(health) => match health.status {
            HealthStatus::Starting => "starting".to_owned(),
            HealthStatus::Healthy => "healthy".to_owned(),
            HealthStatus::Unhealthy => format!("unhealthy, {} failed in a row", health.failing_streak),
        },
    }
}
