//! The target's container ended: how, and why nothing starts it again. One ending is exactly one finding (a loop that
//! is fed by the kernel's out-of-memory killer is two), so [`ending`] decides which and the rules only word it.

use std::time::SystemTime;

use super::facts::{self, Row, row};
use super::{Code, Confidence, Finding, Severity, log, remedy};
use crate::evidence::{Container, Evidence, RestartPolicy, Status};
use crate::phrase::{Phrase, phrase};
use crate::readiness::{CRASH_LOOP_WINDOW, ENDED_TOGETHER, SETTLED, SHUTDOWN_MOST, crash_loop};

/// 128 + SIGKILL.
const KILLED: i64 = 137;

/// The kernel killed it since it used more memory than it may.
pub(super) fn oom_killed(evidence: &Evidence) -> Option<Finding> {
    let container = facts::target(evidence).found()?;
    let killed = match container.status {
        Status::Exited | Status::Restarting => {
            ran_out_of_memory(container, evidence) || fed_the_loop(container, evidence)
        }
        // While it is up between two crashes the engine has already cleared the flag.
        Status::Running => fed_the_loop(container, evidence),
        Status::Created | Status::Paused | Status::Removing | Status::Dead | Status::Other => false,
    };
    if !killed {
        return None;
    }
    let limit = container.memory_limit.map(mebibytes);
    let (name, when) = (&container.name, facts::ago(container.finished.as_ref(), evidence));
    let title = match &limit {
        Some(limit) => {
            phrase!("{0} was killed for want of memory {1}: it used more than its limit of {2}", name, when, limit)
        }
        None => phrase!("{0} was killed for want of memory {1}: the host ran out of memory", name, when),
    };
    let limit = row!("memory limit", limit.unwrap_or_else(|| phrase!("none")));
    Some(Finding {
        code: Code::TargetOomKilled,
        severity: Severity::Error,
        // The engine may have missed the flag, but not the event.
        confidence: if container.oom_killed { Confidence::Certain } else { Confidence::Likely },
        title,
        evidence: facts::rows_after(vec![limit], container),
        remedies: [remedy::start(evidence, container), remedy::more_memory(container)].into_iter().flatten().collect(),
    })
}

/// It keeps dying, and its restart policy keeps reviving it.
pub(super) fn crash_looping(evidence: &Evidence) -> Option<Finding> {
    let container = facts::target(evidence).found().filter(|container| crash_loop(container, evidence))?;
    let deaths: Vec<_> =
        evidence.events.iter().filter(|event| &*event.action == "die" && within_loop(event.at.at, evidence)).collect();
    // While it is up between two crashes its own exit code reads 0: the last death knows better.
    let code = match container.status {
        Status::Restarting => Some(container.exit_code),
        _ => deaths.last().and_then(|death| death.exit_code),
    };
    let (name, count) = (&container.name, container.restart_count);
    let mut decisive: Vec<Row> = vec![];
    if !deaths.is_empty() {
        decisive.push(row!("ended lately", phrase!("{0} times in {1}", deaths.len(), facts::span(CRASH_LOOP_WINDOW))));
    }
    if let (Some(code), Status::Running) = (code, container.status) {
        decisive.push(row!("last exit code", facts::exit_code(code)));
    }
    decisive.extend(log::last_words(evidence));
    Some(Finding {
        code: Code::TargetCrashLoop,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: match code {
            Some(code) => phrase!(
                "{0} keeps crashing: the engine has restarted it {1} times, last with exit code {2}",
                name,
                count,
                code
            ),
            None => phrase!("{0} keeps crashing: the engine has restarted it {1} times", name, count),
        },
        evidence: facts::rows_after(decisive, container),
        remedies: remedy::logs(container).into_iter().collect(),
    })
}

/// A reboot, a power failure or a restart of the engine ended it, and its policy does not bring it back.
pub(super) fn not_restarted(evidence: &Evidence) -> Option<Finding> {
    let Ending::NotRestarted(container, interruption) = ending(evidence)? else { return None };
    let name = &container.name;
    let when = facts::ago(container.finished.as_ref(), evidence);
    let what = match interruption {
        Interruption::PowerLoss => {
            phrase!("{0} was cut off when the host or the engine went down without warning ({1})", name, when)
        }
        Interruption::Reboot => phrase!("{0} has been down since the host rebooted (it ended {1})", name, when),
        Interruption::EngineRestart => {
            phrase!("{0} was stopped {1} when the container engine restarted, as others were", name, when)
        }
    };
    let mut decisive: Vec<Row> = vec![row!("restart policy", container.restart_policy.to_string())];
    if let Some(booted) = evidence.booted_at {
        decisive.push(row!("host booted", phrase!("{0} ago", facts::span(facts::age(booted, evidence)))));
    }
    Some(Finding {
        code: Code::TargetNotRestarted,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: not_again(what, container),
        evidence: facts::rows_after(decisive, container),
        remedies: [remedy::start(evidence, container), remedy::always_restart(container)]
            .into_iter()
            .flatten()
            .collect(),
    })
}

/// It is stopped although its policy would restart it after any other end.
pub(super) fn stopped_by_hand(evidence: &Evidence) -> Option<Finding> {
    let Ending::StoppedByHand(container) = ending(evidence)? else { return None };
    Some(Finding {
        code: Code::TargetStoppedByHand,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: phrase!(
            "{0} was stopped by hand {1} (exit code {2}): otherwise its restart policy `{3}` would have started it again",
            container.name,
            facts::ago(container.finished.as_ref(), evidence),
            container.exit_code,
            container.restart_policy.to_string()
        ),
        evidence: facts::rows(container),
        remedies: remedy::start(evidence, container).into_iter().collect(),
    })
}

/// It ended, and nothing more can be told than how.
pub(super) fn exited(evidence: &Evidence) -> Option<Finding> {
    let Ending::Exited(container) = ending(evidence)? else { return None };
    let asked_to_stop = matches!(container.exit_code, 0 | 130 | 143);
    let used_up = matches!(container.restart_policy, RestartPolicy::OnFailure { most }
        if container.exit_code != 0 && most > 0 && container.restart_count >= most);
    let when = facts::ago(container.finished.as_ref(), evidence);
    let what = phrase!("{0} exited {1} with code {2}", container.name, when, container.exit_code);
    Some(Finding {
        code: Code::TargetExited,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: match used_up {
            true => {
                phrase!("{0}, and its restart policy `{1}` has given up", what, container.restart_policy.to_string())
            }
            false => not_again(what, container),
        },
        evidence: match asked_to_stop {
            true => facts::rows(container),
            false => facts::rows_after(log::last_words(evidence), container),
        },
        remedies: [
            remedy::start(evidence, container),
            remedy::logs(container).filter(|_| !asked_to_stop),
            remedy::always_restart(container).filter(|_| container.restart_policy == RestartPolicy::No),
        ]
        .into_iter()
        .flatten()
        .collect(),
    })
}

enum Ending<'a> {
    NotRestarted(&'a Container, Interruption),
    StoppedByHand(&'a Container),
    Exited(&'a Container),
}

enum Interruption {
    PowerLoss,
    Reboot,
    EngineRestart,
}

/// Whether the last run of a container ended for want of memory. The engine's flag misses a kill that the engine hears
/// of after the exit (seen on 20.10, under load); the event does not.
fn ran_out_of_memory(container: &Container, evidence: &Evidence) -> bool {
    let this_run = |at: SystemTime| container.started.as_ref().is_none_or(|started| at >= started.at);
    // The flag may be a child's of a run that was stopped in peace later.
    let in_peace = matches!(container.exit_code, 0 | 130 | 143);
    container.oom_killed && !in_peace || container.exit_code == KILLED && ooms(evidence).any(this_run)
}

/// Whether a loop is fed by the kernel's out-of-memory killer. The events of a service go on from a container to its
/// successor, whom its memory is not to be blamed on.
fn fed_the_loop(container: &Container, evidence: &Evidence) -> bool {
    let its_own = |at: &SystemTime| container.created.as_ref().is_none_or(|created| *at >= created.at);
    crash_loop(container, evidence) && ooms(evidence).filter(its_own).any(|at| within_loop(at, evidence))
}

fn ooms(evidence: &Evidence) -> impl Iterator<Item = SystemTime> {
    evidence.events.iter().filter(|event| &*event.action == "oom").map(|event| event.at.at)
}

/// How an exited container ended, if neither memory nor a failed start is the cause.
fn ending(evidence: &Evidence) -> Option<Ending<'_>> {
    let container = facts::target(evidence).found().filter(|container| container.status == Status::Exited)?;
    if ran_out_of_memory(container, evidence) || !container.error.is_empty() {
        return None;
    }
    Some(if brings_back(container) {
        Ending::StoppedByHand(container)
    } else if let Some(interruption) = interruption(container, evidence) {
        Ending::NotRestarted(container, interruption)
    } else {
        Ending::Exited(container)
    })
}

/// Whether the policy restarts a container after an end like this one, unless someone stopped it.
fn brings_back(container: &Container) -> bool {
    match container.restart_policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { most } => container.exit_code != 0 && (most == 0 || container.restart_count < most),
    }
}

/// What ended it from outside, where a host or an engine went down.
fn interruption(container: &Container, evidence: &Evidence) -> Option<Interruption> {
    let started = container.started.as_ref()?.at;
    let finished = container.finished.as_ref()?.at;
    let witnessed = evidence.events.iter().any(|event| &*event.action == "die" && event.at.at >= started);
    let companions = evidence.ourselves.as_deref().into_iter().chain(evidence.others.iter());
    let companions: Vec<bool> = companions
        .filter(|other| matches!(other.restart_policy, RestartPolicy::Always | RestartPolicy::UnlessStopped))
        .filter(|other| other.created.as_ref().is_some_and(|created| created.at < finished))
        .filter(|other| other.status == Status::Running)
        .map(|other| ended_together(other, container))
        .collect();
    let together = companions.iter().filter(|together| **together).count();
    let across_a_boot = evidence.booted_at.is_some_and(|booted| started < booted && finished < booted + ENDED_TOGETHER);
    // After a power failure the engine finds it gone, writes 255 and the time of its own start, and tells no event.
    // A program may exit with 255 too: then there was an event, or no boot and no companion that tells the same.
    // One that cannot be executed here ends so at once, whatever befell the host.
    let was_short = finished.duration_since(started).unwrap_or_default() < SETTLED;
    if container.exit_code == 255
        && !witnessed
        && !was_short
        && (evidence.booted_at.is_none_or(|boot| started < boot) || together > 0)
    {
        return Some(Interruption::PowerLoss);
    }
    // A program that failed is not the reboot's victim, and neither is what was stopped long before. A host that was
    // off for days looks the same, so there the companions decide: whatever ended with the target came back.
    let as_asked = matches!(container.exit_code, 0 | 130 | 137 | 143 | 255);
    let in_shutdown = evidence.booted_at.is_some_and(|booted| finished + SHUTDOWN_MOST >= booted);
    if across_a_boot && (as_asked && in_shutdown || together > 0) {
        Some(Interruption::Reboot)
    } else if together * 2 > companions.len() {
        // One that came back at that time may have crashed; when most of them did, the engine was the cause.
        Some(Interruption::EngineRestart)
    } else {
        None
    }
}

/// Whether the other one's last run ended with the target's, and it was started again since.
fn ended_together(other: &Container, target: &Container) -> bool {
    // One that never ended was merely started later, as the slower half of an `up` is.
    let (Some(started), Some(ended), Some(finished)) = (&other.started, &other.finished, &target.finished) else {
        return false;
    };
    let apart = ended.at.duration_since(finished.at).unwrap_or_else(|ahead| ahead.duration());
    apart <= ENDED_TOGETHER && started.at >= ended.at
}

fn within_loop(at: SystemTime, evidence: &Evidence) -> bool {
    facts::age(at, evidence) < CRASH_LOOP_WINDOW
}

/// How a title goes on about an end that no policy undoes.
fn not_again(what: Phrase, container: &Container) -> Phrase {
    match container.restart_policy {
        RestartPolicy::No => phrase!("{0} and has no restart policy", what),
        RestartPolicy::Always | RestartPolicy::UnlessStopped | RestartPolicy::OnFailure { .. } => {
            phrase!(
                "{0}, and its restart policy `{1}` does not start it again",
                what,
                container.restart_policy.to_string()
            )
        }
    }
}

fn mebibytes(bytes: u64) -> Phrase {
    phrase!("{0} MiB", bytes / (1024 * 1024))
}
