//! What is wrong with the rest of the project: what the target needs, what it shares its name with, and what stands
//! before it. That it is a deployment of CVAT is known by its services' names.

use super::facts::{self, Row, row};
use super::{Code, Confidence, Finding, Severity, remedy};
use crate::evidence::{Container, Evidence, Failure, Status};
use crate::phrase::{Phrase, phrase};
use crate::readiness::{CRASH_LOOP_DEATHS, ailing_dependency, hopeless_dependency};

/// A service that the target needs does not run, and will not by itself. An error where the target says that it is not
/// healthy; a warning where it answers all the same, since what it shows may be empty, and beside its own end.
pub(super) fn dependency_down(evidence: &Evidence) -> Option<Finding> {
    let target = facts::target(evidence).found()?;
    let (dependency, severity, confidence) = match (&evidence.probe, target.status) {
        (Some(Failure::NotReady { .. }), Status::Running) => {
            (hopeless_dependency(target, evidence)?, Severity::Error, Confidence::Likely)
        }
        (None, Status::Running) => (ailing(target, evidence)?, Severity::Warning, Confidence::Certain),
        // It may have ended for want of it.
        (_, Status::Exited | Status::Restarting) => {
            (ailing_dependency(target, evidence)?, Severity::Warning, Confidence::Possible)
        }
        _ => return None,
    };
    let how = match dependency.status {
        Status::Running => phrase!("unhealthy"),
        status => in_words(status),
    };
    let mut decisive: Vec<Row> = vec![row!("needed by", target.name)];
    if let (Severity::Error, Some(failure)) = (severity, &evidence.probe) {
        let connection = phrase!("{0}: {1}", evidence.upstream.authority(), facts::failure(failure));
        decisive.insert(0, row!("connection", connection));
    }
    let mend = match dependency.status {
        Status::Paused => remedy::unpause(evidence, dependency),
        // It runs, or the engine keeps starting it: only its log says why that does not help.
        Status::Running | Status::Restarting => remedy::logs(dependency),
        _ => remedy::start(evidence, dependency),
    };
    Some(Finding {
        code: Code::DependencyDown,
        severity,
        confidence,
        title: consequence(target, dependency, how, severity),
        evidence: facts::rows_after(decisive, dependency),
        remedies: [mend, remedy::waits_for(target, dependency)].into_iter().flatten().collect(),
    })
}

/// What it means for the target that a service which it needs is away.
fn consequence(target: &Container, dependency: &Container, how: Phrase, severity: Severity) -> Phrase {
    let (name, needed) = (&target.name, &dependency.name);
    match (severity, service(dependency)) {
        (Severity::Error, _) => {
            phrase!("{0} says that it is not healthy, and {1}, which it needs, is {2}", name, needed, how)
        }
        _ if target.status != Status::Running => phrase!("{0} needs {1}, which is {2}", name, needed, how),
        (_, Some(CLICKHOUSE)) if is_cvat_grafana(target) => {
            phrase!("{0} is up, but {1} is {2}: dashboards will be empty", name, needed, how)
        }
        (_, Some(VECTOR)) if is_cvat_grafana(target) => {
            phrase!("{0} is up, but {1} is {2}: dashboards get no new data", name, needed, how)
        }
        _ => phrase!("{0} is up, but {1}, which it needs, is {2}", name, needed, how),
    }
}

/// A service that the target needs, or that of CVAT fills its dashboards, and that is not well.
fn ailing<'a>(target: &Container, evidence: &'a Evidence) -> Option<&'a Container> {
    let project = &target.compose.as_ref()?.project;
    let is_vector = |other: &&Container| {
        is_cvat_grafana(target)
            && service(other) == Some(VECTOR)
            && other.compose.as_ref().is_some_and(|its| its.project == *project && !its.one_off)
            && matches!(other.status, Status::Exited | Status::Dead | Status::Paused)
    };
    ailing_dependency(target, evidence).or_else(|| evidence.others.iter().find(is_vector))
}

/// Of CVAT: where events are kept, and what brings them there.
const CLICKHOUSE: &str = "cvat_clickhouse";
const VECTOR: &str = "cvat_vector";

fn service(container: &Container) -> Option<&str> {
    container.compose.as_ref().map(|compose| &*compose.service)
}

/// A container that `docker compose run` made of the target's service still runs. Where Traefik's labels route, it gets
/// every second request.
pub(super) fn one_off(evidence: &Evidence) -> Option<Finding> {
    let target = facts::running(evidence)?;
    let is_twin = |other: &&Container| {
        let (Some(its), Some(ours)) = (&other.compose, &target.compose) else { return false };
        its.one_off && other.status == Status::Running && (&its.project, &its.service) == (&ours.project, &ours.service)
    };
    let other = evidence.others.iter().find(is_twin)?;
    Some(Finding {
        code: Code::OneOffContainer,
        severity: Severity::Info,
        confidence: Confidence::Certain,
        title: phrase!(
            "{0}, made by `docker compose run`, still runs beside {1}: a router that goes by labels sends it half of all \
             requests",
            other.name,
            target.name
        ),
        evidence: facts::rows(other),
        remedies: remedy::stop(other).into_iter().collect(),
    })
}

/// Who has to let users in is away: Traefik asks it before it asks us, and answers for it with an empty 500.
pub(super) fn auth_backend_down(evidence: &Evidence) -> Option<Finding> {
    let target = facts::target(evidence).found().filter(|target| is_cvat_grafana(target))?;
    let project = &target.compose.as_ref()?.project;
    let is_server = |other: &&Container| {
        other.compose.as_ref().is_some_and(|its| its.project == *project && &*its.service == "cvat_server")
    };
    let server = evidence.others.iter().find(is_server)?;
    let crashes = server.status == Status::Restarting && server.restart_count >= CRASH_LOOP_DEATHS;
    if !crashes && !matches!(server.status, Status::Exited | Status::Dead | Status::Paused | Status::Created) {
        return None;
    }
    Some(Finding {
        code: Code::AuthBackendDown,
        severity: Severity::Info,
        confidence: Confidence::Likely,
        title: phrase!(
            "{0} is {1}: it decides who may see analytics, so Traefik answers with an empty 500 before anteroom is asked",
            server.name,
            in_words(server.status)
        ),
        evidence: facts::rows(server),
        remedies: match server.status {
            Status::Paused => remedy::unpause(evidence, server),
            Status::Restarting => remedy::logs(server),
            _ => remedy::start(evidence, server),
        }
        .into_iter()
        .collect(),
    })
}

/// The engine's word and what was tried do not agree: something answers in the place of a target that, by the former,
/// cannot. No rule, since the state decides.
pub(super) fn contradiction(evidence: &Evidence, refuted: Finding) -> Finding {
    Finding {
        code: Code::EvidenceContradictory,
        severity: Severity::Warning,
        confidence: Confidence::Certain,
        title: phrase!(
            "{0} answers, although the engine says: {1}. Something else may answer in its place",
            evidence.upstream.authority(),
            refuted.title
        ),
        evidence: refuted.evidence,
        remedies: vec![],
    }
}

/// The engine's word for a status, as a sentence has it.
fn in_words(status: Status) -> Phrase {
    match status {
        Status::Created => phrase!("created"),
        Status::Running => phrase!("running"),
        Status::Paused => phrase!("paused"),
        Status::Restarting => phrase!("restarting"),
        Status::Removing => phrase!("removing"),
        Status::Exited => phrase!("exited"),
        Status::Dead => phrase!("dead"),
        Status::Other => phrase!("unknown"),
    }
}

fn is_cvat_grafana(container: &Container) -> bool {
    container.compose.as_ref().is_some_and(|compose| &*compose.service == "cvat_grafana")
}
