//! What went wrong between us and an address that was found: no connection, a broken exchange, or what we ourselves
//! cut short.
//!
//! A failure of the request at hand is a fact. The same failure of a probe is normal while a target starts, so it
//! becomes a finding only when the target has been running for long.

use std::net::IpAddr;

use super::facts::{self, Row};
use super::redact::redact;
use super::{Code, Confidence, Finding, Severity, log, remedy};
use crate::evidence::{Container, Evidence, Failure, HealthStatus};

/// Packets to the address vanish.
pub(super) fn connect_timeout(evidence: &Evidence) -> Option<Finding> {
    let timed_out = facts::failures(evidence).any(|failure| *failure == Failure::ConnectTimeout);
    // Right after a kill an address is still resolved though nothing answers there: that says nothing new.
    if !timed_out || facts::away(evidence) {
        return None;
    }
    let upstream = facts::upstream(evidence);
    let container = facts::running(evidence);
    let decisive: Vec<Row> = vec![("connection", format!("{upstream}: {}", facts::failure(&Failure::ConnectTimeout)))];
    Some(Finding {
        code: Code::ConnectTimeout,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: format!(
            "{upstream} does not answer connection attempts: its address is stale, or a firewall drops the packets"
        ),
        evidence: match container {
            Some(container) => facts::rows_after(decisive, container),
            None => decisive,
        },
        remedies: container.and_then(|container| remedy::recreate(evidence, container)).into_iter().collect(),
    })
}

/// It refuses on the port that we were told, and accepts on another one that it declares.
pub(super) fn port_mismatch(evidence: &Evidence) -> Option<Finding> {
    let (container, address) = refused(evidence)?;
    let (port, open) = (evidence.upstream.port, evidence.elsewhere?);
    let mut decisive: Vec<Row> = vec![("accepts connections on", open.to_string())];
    decisive.extend(port_rows(evidence, container, address));
    Some(Finding {
        code: Code::PortMismatch,
        severity: Severity::Error,
        // Both may be meant, and the one we ask may only be later.
        confidence: Confidence::Likely,
        title: format!("{} does not listen on port {port}, where requests are sent, but on {open}", container.name),
        evidence: facts::rows_after(decisive, container),
        remedies: remedy::other_port(evidence, open).into_iter().collect(),
    })
}

/// What asks from within its container finds it well, and we find nobody: the check asks 127.0.0.1, and we cannot.
pub(super) fn listens_on_loopback(evidence: &Evidence) -> Option<Finding> {
    let (container, address) = refused(evidence)?;
    let healthy = container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy);
    let said = log::loopback(evidence).map(redact);
    if !healthy && said.is_none() || evidence.elsewhere.is_some() {
        return None;
    }
    let mut decisive: Vec<Row> = said.iter().map(|line| ("log", line.clone())).collect();
    decisive.extend(port_rows(evidence, container, address));
    let why = if healthy { "is healthy by its own check, but" } else { "runs, but" };
    let where_else = if said.is_some() { "" } else { ", or on another port" };
    Some(Finding {
        code: Code::ListensOnLoopback,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: format!(
            "{} {why} refuses connections from outside its container on port {}: it listens on 127.0.0.1 alone{where_else}",
            container.name, evidence.upstream.port
        ),
        evidence: facts::rows_after(decisive, container),
        remedies: remedy::listeners(container).into_iter().collect(),
    })
}

/// It has long been running, and still nothing listens on the port.
pub(super) fn port_refused(evidence: &Evidence) -> Option<Finding> {
    facts::settled(evidence)?;
    let (container, address) = refused(evidence)?;
    if port_mismatch(evidence).is_some() || listens_on_loopback(evidence).is_some() {
        return None;
    }
    let port = evidence.upstream.port;
    let declared = declared_ports(container);
    let hint = if declared.is_empty() || container.declares(port) {
        String::new()
    } else {
        format!("; its image declares {declared}")
    };
    Some(Finding {
        code: Code::PortRefused,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: format!(
            "{} started {}, but nothing listens on its port {port}{hint}",
            container.name,
            facts::ago(container.started.as_ref(), evidence)
        ),
        evidence: facts::rows_after(port_rows(evidence, container, address), container),
        remedies: [
            remedy::logs(container),
            remedy::listeners(container),
            remedy::restart(evidence, container),
            remedy::health_check(evidence, container),
        ]
        .into_iter()
        .flatten()
        .collect(),
    })
}

/// The target's container, if it runs and refuses connections, and the address that did.
fn refused(evidence: &Evidence) -> Option<(&Container, IpAddr)> {
    let container = facts::running(evidence)?;
    facts::failures(evidence).find_map(|failure| match failure {
        Failure::Refused { address } => Some((container, *address)),
        _ => None,
    })
}

fn declared_ports(container: &Container) -> String {
    let mut ports = [&container.exposed_ports[..], &container.routed_ports].concat();
    ports.sort_unstable();
    ports.dedup();
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn port_rows(evidence: &Evidence, container: &Container, address: IpAddr) -> Vec<Row> {
    let declared = Some(declared_ports(container)).filter(|ports| !ports.is_empty());
    vec![
        ("connection", format!("refused by {address} on port {}", evidence.upstream.port)),
        ("declared ports", declared.unwrap_or_else(|| "none".to_owned())),
    ]
}

/// It can be reached, and its idea of TLS is not ours.
pub(super) fn tls_mismatch(evidence: &Evidence) -> Option<Finding> {
    if facts::failures(evidence).any(|failure| *failure == Failure::SpeaksTls) {
        let title = format!("{} speaks TLS, and is spoken to in plain HTTP", facts::upstream(evidence));
        let mut finding = broken(evidence, Code::TlsMismatch, title, &Failure::SpeaksTls);
        finding.remedies.extend(remedy::over_tls(evidence));
        return Some(finding);
    }
    // No warming target shows it: its certificate does not change while it starts.
    let reason = facts::failures(evidence).find_map(|failure| match failure {
        Failure::Tls { reason } => Some(redact(reason)),
        _ => None,
    })?;
    let title = format!("No TLS with {}: {reason}", facts::upstream(evidence));
    Some(broken(evidence, Code::TlsMismatch, title, &Failure::Tls { reason: reason.into() }))
}

/// What answers on the port is no web server.
pub(super) fn not_http(evidence: &Evidence) -> Option<Finding> {
    // The one failure that no warming target shows: even a probe's is meant as it looks.
    let reason = facts::failures(evidence).find_map(|failure| match failure {
        Failure::NotHttp { reason } => Some(redact(reason)),
        _ => None,
    })?;
    let title = format!("What answers at {} does not speak HTTP: {reason}", facts::upstream(evidence));
    Some(broken(evidence, Code::NotHttp, title, &Failure::NotHttp { reason: reason.into() }))
}

/// Connected, and then silence.
pub(super) fn no_answer(evidence: &Evidence) -> Option<Finding> {
    meant(evidence, &Failure::NoAnswer)?;
    let title = format!("{} accepts connections, but did not answer in time", facts::upstream(evidence));
    let mut finding = broken(evidence, Code::NoAnswer, title, &Failure::NoAnswer);
    // One slow request is no reason for a restart; a probe that hangs as well is.
    if evidence.probe == Some(Failure::NoAnswer) {
        let container = facts::running(evidence);
        finding.remedies.extend(container.and_then(|container| remedy::restart(evidence, container)));
        finding.remedies.extend(container.and_then(|container| remedy::health_check(evidence, container)));
    }
    Some(finding)
}

/// The connection ended before the head of an answer.
pub(super) fn closed_early(evidence: &Evidence) -> Option<Finding> {
    meant(evidence, &Failure::ClosedEarly)?;
    let title = format!("{} closed the connection before it answered", facts::upstream(evidence));
    Some(broken(evidence, Code::ClosedEarly, title, &Failure::ClosedEarly))
}

/// It has long been running, and its ready path still answers with an error; or it has answered nothing else so far.
pub(super) fn upstream_error(evidence: &Evidence) -> Option<Finding> {
    // Unless it is away by now, which is another matter.
    if let (Some(failure @ Failure::NotReady { status }), None) = (&evidence.exchange, &evidence.probe) {
        let upstream = facts::upstream(evidence);
        let title = format!("{upstream} accepts connections, but has given no good answer yet: {status}");
        return Some(broken(evidence, Code::UpstreamError, title, failure));
    }
    let container = facts::settled(evidence)?;
    let Some(Failure::NotReady { status }) = evidence.probe else { return None };
    let path = evidence.upstream.ready_path.as_deref().unwrap_or("/");
    // What is wrong with a 4xx is more often the question than the answer.
    let hint = if (400..500).contains(&status) { ": the ready path may be wrong" } else { "" };
    let title = format!(
        "{} started {}, but {path} answers {status}{hint}",
        container.name,
        facts::ago(container.started.as_ref(), evidence)
    );
    Some(broken(evidence, Code::UpstreamError, title, &Failure::NotReady { status }))
}

/// A request that we had passed on came back.
pub(super) fn proxy_loop(evidence: &Evidence) -> Option<Finding> {
    if evidence.exchange != Some(Failure::Loop) {
        return None;
    }
    let upstream = facts::upstream(evidence);
    Some(Finding {
        code: Code::ProxyLoop,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: format!(
            "What anteroom sends to {upstream} comes back to it: ANTEROOM_UPSTREAM leads to anteroom itself, or to the \
             proxy before it"
        ),
        evidence: vec![("connection", format!("{upstream}: {}", facts::failure(&Failure::Loop)))],
        // Only the operator knows which service was meant.
        remedies: vec![],
    })
}

/// So much was tried again lately that this was not.
pub(super) fn retry_budget_spent(evidence: &Evidence) -> Option<Finding> {
    if evidence.exchange != Some(Failure::RetryBudgetSpent) {
        return None;
    }
    Some(Finding {
        code: Code::RetryBudgetSpent,
        severity: Severity::Warning,
        confidence: Confidence::Certain,
        title: format!(
            "So many requests to {} failed within seconds that this one was not tried again",
            facts::upstream(evidence)
        ),
        evidence: vec![("connection", facts::failure(&Failure::RetryBudgetSpent))],
        remedies: vec![],
    })
}

/// Whether a failure is more than a symptom of starting.
fn meant(evidence: &Evidence, failure: &Failure) -> Option<()> {
    let of_request = evidence.exchange.as_ref() == Some(failure);
    let of_probe = evidence.probe.as_ref() == Some(failure) && facts::settled(evidence).is_some();
    (of_request || of_probe).then_some(())
}

fn broken(evidence: &Evidence, code: Code, title: String, failure: &Failure) -> Finding {
    let decisive: Vec<Row> =
        vec![("connection", format!("{}: {}", facts::upstream(evidence), facts::failure(failure)))];
    let container = facts::target(evidence).found();
    Finding {
        code,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title,
        evidence: match container {
            Some(container) => facts::rows_after(decisive, container),
            None => decisive,
        },
        remedies: container.and_then(remedy::logs).into_iter().collect(),
    }
}
