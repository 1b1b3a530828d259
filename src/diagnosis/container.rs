//! What is wrong with the target's container itself, other than that it ended (see [`super::ending`]): absent, never
//! started, impossible to start, frozen, dead, unhealthy, or simply not ready yet.

use super::facts::{self, Row, row};
use super::redact::redact;
use super::{Code, Confidence, Finding, Severity, log, remedy};
use crate::evidence::{Container, Evidence, Failure, HealthStatus, Status, Target};
use crate::phrase::{Phrase, phrase};
use crate::readiness::ABOUT_TO_START;

/// No container serves the upstream's name, or the one that does is being removed.
pub(super) fn absent(evidence: &Evidence) -> Option<Finding> {
    let host = &evidence.upstream.host;
    let (last, is_there) = match facts::target(evidence) {
        Target::Absent { last } if facts::misses_target(evidence) => (last.as_deref(), false),
        Target::Found(container) if container.status == Status::Removing => (Some(container.as_ref()), true),
        Target::Unknown | Target::Absent { .. } | Target::Found(_) => return None,
    };
    let (title, mut rows, remedy) = match last {
        Some(last) => (
            match is_there {
                true => phrase!("{0} is being removed: no container answers to the name {1} any more", last.name, host),
                false => phrase!("{0} was removed: no container answers to the name {1} any more", last.name, host),
            },
            vec![row!("state", phrase!("absent")), row!("last container", last.name)],
            remedy::create(evidence, last),
        ),
        None => (
            phrase!(
                "There is no container that answers to the name {0}: it was never made, or ANTEROOM_UPSTREAM names another",
                host
            ),
            vec![row!("state", phrase!("absent"))],
            remedy::bring_up_ours(evidence),
        ),
    };
    rows.push(row!("upstream", evidence.upstream.authority()));
    if let Some(last) = last {
        rows.push(row!("image", redact(&last.image)));
    }
    if let Some(compose) = last.or(evidence.ourselves.as_deref()).and_then(|container| container.compose.as_ref()) {
        rows.push(row!("project", compose.project));
    }
    if let Some(compose) = last.and_then(|container| container.compose.as_ref()) {
        rows.push(row!("service", compose.service));
    }
    Some(Finding {
        code: Code::TargetAbsent,
        severity: Severity::Error,
        // Of one that nobody has seen, a name is all that is known.
        confidence: if last.is_some() { Confidence::Certain } else { Confidence::Likely },
        title,
        evidence: rows,
        remedies: remedy.into_iter().collect(),
    })
}

/// Another container or program holds the port of the host that this one should publish.
pub(super) fn port_conflict(evidence: &Evidence) -> Option<Finding> {
    let container = failed_start(evidence).filter(|container| is_port_conflict(&container.error))?;
    let port = conflicting_port(&container.error);
    Some(Finding {
        code: Code::PortConflict,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: match port {
            Some(port) => phrase!("{0} cannot start: port {1} of the host is already taken", container.name, port),
            None => phrase!("{0} cannot start: a port of the host is already taken", container.name),
        },
        evidence: facts::rows_after(error_row(container), container),
        remedies: [port.map(remedy::who_publishes), remedy::start(evidence, container)].into_iter().flatten().collect(),
    })
}

/// A file or a directory may not be used by whom the container runs as, or a program in it may not be run.
pub(super) fn permission_denied(evidence: &Evidence) -> Option<Finding> {
    let Some(container) = failed_start(evidence).filter(|container| is_denied(&container.error)) else {
        return log::permission_denied(evidence);
    };
    Some(Finding {
        code: Code::PermissionDenied,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!("{0} cannot start: permission denied ({1})", container.name, redact(&container.error)),
        evidence: facts::rows_after(error_row(container), container),
        remedies: [remedy::mounts(container), mended_start(evidence, container)].into_iter().flatten().collect(),
    })
}

/// What should be mounted into it cannot be.
pub(super) fn mount_failed(evidence: &Evidence) -> Option<Finding> {
    let container = failed_start(evidence)
        .filter(|container| is_mount_failure(&container.error) && !is_denied(&container.error))?;
    Some(Finding {
        code: Code::MountFailed,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!("{0} cannot start: a mount fails ({1})", container.name, redact(&container.error)),
        evidence: facts::rows_after(error_row(container), container),
        remedies: [remedy::mounts(container), mended_start(evidence, container)].into_iter().flatten().collect(),
    })
}

fn mended_start(evidence: &Evidence, container: &Container) -> Option<super::Remedy> {
    let mut retry = remedy::start(evidence, container)?;
    retry.effect = phrase!("{0} First mend what the error names.", retry.effect);
    Some(retry)
}

/// The engine's own network set-up may lack permissions, too: that is no matter of the container's files.
fn is_denied(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    let signs = ["iptables", "external connectivity", "endpoint", "privileged port"];
    let of_engine = signs.iter().any(|sign| error.contains(sign));
    error.contains("permission denied") && !of_engine
}

/// The words of the engine and of its runtime. Where there is no room on the disk, that is what is wrong.
fn is_mount_failure(error: &str) -> bool {
    let signs = ["error mounting", "error while mounting", "bind source path does not exist", "invalid mount config"];
    signs.iter().any(|sign| error.contains(sign)) && !is_disk_full(error)
}

fn is_disk_full(error: &str) -> bool {
    error.contains("no space left on device")
}

/// The engine could not start it, for a reason that has no rule of its own.
pub(super) fn start_failed(evidence: &Evidence) -> Option<Finding> {
    let container = failed_start(evidence).filter(|container| {
        let error = &container.error;
        let known = is_port_conflict(error) || is_denied(error) || is_mount_failure(error);
        !known && super::network::stale_attachment(evidence, container).is_none()
    })?;
    let error = &container.error;
    let first = if error.contains("exec format error") {
        remedy::architecture(container)
    } else if is_disk_full(error) {
        Some(remedy::disk_use())
    } else {
        None
    };
    Some(Finding {
        code: Code::TargetStartFailed,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!("The engine could not start {0}: {1}", container.name, redact(&container.error)),
        evidence: facts::rows_after(error_row(container), container),
        remedies: [first, mended_start(evidence, container)].into_iter().flatten().collect(),
    })
}

/// Created, and nobody started it: `compose create`, or `up` gave up on a dependency.
pub(super) fn never_started(evidence: &Evidence) -> Option<Finding> {
    let container = facts::target(evidence).found()?;
    let fresh = container.created.as_ref().is_some_and(|created| facts::age(created.at, evidence) < ABOUT_TO_START);
    if container.status != Status::Created || !container.error.is_empty() || fresh {
        return None;
    }
    // `up` leaves a container in this state when what it depends on does not get healthy, and says so nowhere else.
    let ailing: Vec<&str> = evidence.others.iter().filter(|other| ailing(other, container)).map(|c| &*c.name).collect();
    let (name, when) = (&container.name, facts::ago(container.created.as_ref(), evidence));
    let (title, decisive): (_, Vec<Row>) = match &ailing[..] {
        [] => (phrase!("{0} was created {1} and never started", name, when), vec![]),
        ailing => {
            let any = Phrase::list(" or ", ailing);
            (
                phrase!("{0} was created {1} and never started; if it depends on {2}, that is why", name, when, any),
                vec![row!("unhealthy or ended in its project", Phrase::list(", ", ailing))],
            )
        }
    };
    Some(Finding {
        code: Code::TargetNeverStarted,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title,
        evidence: facts::rows_after(decisive, container),
        remedies: remedy::start(evidence, container).into_iter().collect(),
    })
}

/// Frozen: its kernel accepts connections, and nobody ever answers.
pub(super) fn paused(evidence: &Evidence) -> Option<Finding> {
    let container = with_status(evidence, Status::Paused)?;
    Some(Finding {
        code: Code::TargetPaused,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!("{0} is paused: it accepts connections, but nothing in it runs", container.name),
        evidence: facts::rows(container),
        remedies: remedy::unpause(evidence, container).into_iter().collect(),
    })
}

/// The engine tried to remove it and could not.
pub(super) fn dead(evidence: &Evidence) -> Option<Finding> {
    let container = with_status(evidence, Status::Dead)?;
    Some(Finding {
        code: Code::TargetDead,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!("{0} is dead: the engine began to remove it and could not finish", container.name),
        evidence: facts::rows(container),
        remedies: remedy::recreate(evidence, container).into_iter().collect(),
    })
}

/// It runs, but its own health check fails.
pub(super) fn unhealthy(evidence: &Evidence) -> Option<Finding> {
    let container = facts::running(evidence)?;
    let health = container.health.as_ref().filter(|health| health.status == HealthStatus::Unhealthy)?;
    // A ready path that answers knows better than the container's check, which may itself be wrong.
    let contradicted = evidence.upstream.ready_path.is_some() && facts::failures(evidence).next().is_none();
    let output = &health.last_output;
    let cannot_run = ["executable file not found", "no such file or directory: unknown", "exec failed"];
    // A restart would cut off what works: it is the check that is broken.
    if cannot_run.iter().any(|sign| output.contains(sign)) {
        return Some(Finding {
            code: Code::TargetUnhealthy,
            severity: if contradicted { Severity::Warning } else { Severity::Error },
            confidence: Confidence::Certain,
            title: phrase!(
                "{0} runs, but its health check cannot be run: its program is not in the image",
                container.name
            ),
            evidence: facts::rows(container),
            remedies: [remedy::health_log(container), remedy::other_health_check(evidence, container)]
                .into_iter()
                .flatten()
                .collect(),
        });
    }
    Some(Finding {
        code: Code::TargetUnhealthy,
        severity: if contradicted { Severity::Warning } else { Severity::Error },
        confidence: Confidence::Certain,
        title: phrase!("{0} runs, but its health check fails ({1} in a row)", container.name, health.failing_streak),
        evidence: facts::rows(container),
        remedies: [remedy::health_log(container), remedy::restart(evidence, container)].into_iter().flatten().collect(),
    })
}

/// What is said when nothing is wrong but that it is not ready: no rule, since it is the absence of findings.
pub(super) fn warming(evidence: &Evidence) -> Finding {
    let failure = facts::failures(evidence).next();
    let upstream = evidence.upstream.authority();
    let decisive = failure.map(|failure| row!("connection", phrase!("{0}: {1}", upstream, facts::failure(failure))));
    let decisive: Vec<Row> = decisive.into_iter().collect();
    let (title, rows) = match facts::target(evidence) {
        Target::Found(container) => (warming_title(container, evidence), facts::rows_after(decisive, container)),
        Target::Unknown | Target::Absent { .. } => (
            match failure {
                Some(failure) => phrase!("{0} is not ready yet: {1}", upstream, facts::failure(failure)),
                None => phrase!("{0} has not answered yet", upstream),
            },
            if decisive.is_empty() { vec![row!("upstream", upstream)] } else { decisive },
        ),
    };
    Finding {
        code: Code::TargetWarming,
        severity: Severity::Warning,
        // The absence of a cause is no proof of none, all the less where the engine has not told.
        confidence: if facts::target(evidence).found().is_some() { Confidence::Likely } else { Confidence::Possible },
        title,
        evidence: rows,
        remedies: vec![],
    }
}

fn warming_title(container: &Container, evidence: &Evidence) -> Phrase {
    let name = &container.name;
    match container.status {
        Status::Created => phrase!("{0} was created and is about to be started", name),
        Status::Restarting => phrase!(
            "{0} ended with exit code {1}, and the engine is starting it again (restart {2})",
            name,
            container.exit_code,
            container.restart_count
        ),
        Status::Running | Status::Paused | Status::Removing | Status::Exited | Status::Dead | Status::Other => {
            let checked = container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Starting);
            let port = evidence.upstream.port;
            let since = facts::started(container, evidence);
            match facts::failures(evidence).next() {
                Some(Failure::Refused { .. }) => {
                    phrase!("{0} started {1} and does not accept connections on port {2} yet", name, since, port)
                }
                Some(failure) => {
                    phrase!("{0} started {1} and is not ready yet: {2}", name, since, facts::failure(failure))
                }
                None if checked => phrase!("{0} started {1} and its health check has not passed yet", name, since),
                None => phrase!("{0} started {1} and is not ready yet", name, since),
            }
        }
    }
}

fn with_status(evidence: &Evidence, status: Status) -> Option<&Container> {
    facts::target(evidence).found().filter(|container| container.status == status)
}

/// A container whose last start the engine refused. The engine clears the error with the next start that succeeds.
fn failed_start(evidence: &Evidence) -> Option<&Container> {
    facts::target(evidence)
        .found()
        .filter(|container| matches!(container.status, Status::Created | Status::Exited) && !container.error.is_empty())
}

fn error_row(container: &Container) -> Vec<Row> {
    vec![row!("error", redact(&container.error))]
}

/// The engine's words, of its proxy and of its firewall rules, from 20.10 to 28.
fn is_port_conflict(error: &str) -> bool {
    error.contains("port is already allocated") || error.contains("address already in use")
}

/// The port that an error like `Bind for 0.0.0.0:8080 failed: port is already allocated` names. In
/// `host port for 0.0.0.0:8080:172.18.0.2:80/tcp` the container's follows.
fn conflicting_port(error: &str) -> Option<u16> {
    let after = |before: &str| error.split_once(before)?.1.split([' ', '/']).next();
    if let Some(both) = after("host port for ") {
        let (_, port) = both.split_once(if both.starts_with('[') { "]:" } else { ":" })?;
        return port.split(':').next()?.parse().ok();
    }
    ["Bind for ", "host port ", "bind port ", "listen tcp4 ", "listen tcp "].iter().find_map(|before| {
        let (_, port) = after(before)?.trim_end_matches(':').rsplit_once(':')?;
        port.parse().ok()
    })
}

/// Whether another container of the same project is in a state that keeps its dependants from being started.
fn ailing(other: &Container, target: &Container) -> bool {
    let project = |container: &Container| container.compose.as_ref().map(|compose| compose.project.clone());
    let unhealthy = other.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy);
    let ended = other.status == Status::Exited && other.exit_code != 0;
    project(other).is_some() && project(other) == project(target) && (ended || unhealthy)
}
