//! What went wrong between us and an address that was found: no connection, a broken exchange, or what we ourselves
//! cut short.
//!
//! A failure of the request at hand is a fact. The same failure of a probe is normal while a target starts, so it
//! becomes a finding only when the target has been running for long.

use std::net::IpAddr;

use super::facts::{self, Row, row};
use super::redact::redact;
use super::{Code, Confidence, Finding, Severity, log, remedy};
use crate::evidence::{Container, Evidence, Failure, HealthStatus};
use crate::phrase::{Phrase, phrase};

/// Packets to the address vanish.
pub(super) fn connect_timeout(evidence: &Evidence) -> Option<Finding> {
    let timed_out = facts::failures(evidence).any(|failure| *failure == Failure::ConnectTimeout);
    // Right after a kill an address is still resolved though nothing answers there: that says nothing new.
    if !timed_out || facts::away(evidence) {
        return None;
    }
    let upstream = evidence.upstream.authority();
    let container = facts::running(evidence);
    let decisive: Vec<Row> =
        vec![row!("connection", phrase!("{0}: {1}", upstream, facts::failure(&Failure::ConnectTimeout)))];
    Some(Finding {
        code: Code::ConnectTimeout,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: phrase!(
            "{0} does not answer connection attempts: its address is stale, or a firewall drops the packets",
            upstream
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
    let (container, address) = refused(evidence).filter(|_| !evidence.was_ready)?;
    let (port, open) = (evidence.upstream.port, evidence.elsewhere?);
    // A young one may open its ports one after another.
    let (severity, confidence) = match facts::settled(evidence) {
        Some(_) => (Severity::Error, Confidence::Likely),
        None => (Severity::Warning, Confidence::Possible),
    };
    let mut decisive: Vec<Row> = vec![row!("accepts connections on", open)];
    decisive.extend(port_rows(evidence, container, address));
    Some(Finding {
        code: Code::PortMismatch,
        severity,
        confidence,
        title: phrase!(
            "{0} does not listen on port {1}, where requests are sent, but on {2}",
            container.name,
            port,
            open
        ),
        evidence: facts::rows_after(decisive, container),
        remedies: remedy::other_port(evidence, open).into_iter().collect(),
    })
}

/// What asks from within its container finds it well, and we find nobody: the check asks 127.0.0.1, and we cannot.
pub(super) fn listens_on_loopback(evidence: &Evidence) -> Option<Finding> {
    let (container, address) = refused(evidence)?;
    let healthy = container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy);
    let said = log::loopback(evidence);
    // One that has served us listens where we can reach it: a process of its own is restarting.
    if !healthy && said.is_none() || evidence.elsewhere.is_some() || evidence.was_ready {
        return None;
    }
    let mut decisive: Vec<Row> = said.iter().map(|line| row!("log", line)).collect();
    decisive.extend(port_rows(evidence, container, address));
    let what = match healthy {
        true => phrase!("{0} is healthy by its own check", container.name),
        false => phrase!("{0} runs", container.name),
    };
    let what =
        phrase!("{0}, but refuses connections from outside its container on port {1}", what, evidence.upstream.port);
    Some(Finding {
        code: Code::ListensOnLoopback,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: match said {
            Some(_) => phrase!("{0}: it listens on 127.0.0.1 alone", what),
            None => phrase!("{0}: it listens on 127.0.0.1 alone, or on another port", what),
        },
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
    let declared = container.declared_ports();
    let when = facts::started(container, evidence);
    let what = phrase!("{0} started {1}, but nothing listens on its port {2}", container.name, when, port);
    Some(Finding {
        code: Code::PortRefused,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: match &declared[..] {
            [_, ..] if !container.declares(port) => {
                phrase!("{0}; its image declares {1}", what, Phrase::list(", ", declared))
            }
            _ => what,
        },
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

fn port_rows(evidence: &Evidence, container: &Container, address: IpAddr) -> Vec<Row> {
    let declared = container.declared_ports();
    vec![
        row!("connection", phrase!("refused by {0} on port {1}", address, evidence.upstream.port)),
        row!("declared ports", if declared.is_empty() { phrase!("none") } else { Phrase::list(", ", declared) }),
    ]
}

/// It can be reached, and its idea of TLS is not ours.
pub(super) fn tls_mismatch(evidence: &Evidence) -> Option<Finding> {
    if facts::failures(evidence).any(|failure| *failure == Failure::SpeaksTls) {
        let title = phrase!("{0} speaks TLS, and is spoken to in plain HTTP", evidence.upstream.authority());
        let mut finding = broken(evidence, Code::TlsMismatch, title, &Failure::SpeaksTls);
        finding.remedies.extend(remedy::over_tls(evidence));
        return Some(finding);
    }
    // No warming target shows it: its certificate does not change while it starts.
    let reason = facts::failures(evidence).find_map(|failure| match failure {
        Failure::Tls { reason } => Some(reason.with_foreign(redact)),
        _ => None,
    })?;
    let title = phrase!("No TLS with {0}: {1}", evidence.upstream.authority(), reason);
    Some(broken(evidence, Code::TlsMismatch, title, &Failure::Tls { reason }))
}

/// What answers on the port is no web server.
pub(super) fn not_http(evidence: &Evidence) -> Option<Finding> {
    // The one failure that no warming target shows: even a probe's is meant as it looks.
    let reason = facts::failures(evidence).find_map(|failure| match failure {
        Failure::NotHttp { reason } => Some(reason.with_foreign(redact)),
        _ => None,
    })?;
    let title = phrase!("What answers at {0} does not speak HTTP: {1}", evidence.upstream.authority(), reason);
    Some(broken(evidence, Code::NotHttp, title, &Failure::NotHttp { reason }))
}

/// Connected, and then silence.
pub(super) fn no_answer(evidence: &Evidence) -> Option<Finding> {
    meant(evidence, &Failure::NoAnswer)?;
    let title = phrase!("{0} accepts connections, but did not answer in time", evidence.upstream.authority());
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
    let title = phrase!("{0} closed the connection before it answered", evidence.upstream.authority());
    Some(broken(evidence, Code::ClosedEarly, title, &Failure::ClosedEarly))
}

/// It has long been running, and its ready path still answers with an error; or it has answered nothing else so far.
pub(super) fn upstream_error(evidence: &Evidence) -> Option<Finding> {
    // Unless it is away by now, which is another matter.
    if let (Some(failure @ Failure::NotReady { status }), None) = (&evidence.exchange, &evidence.probe) {
        let upstream = evidence.upstream.authority();
        let title = phrase!("{0} accepts connections, but has given no good answer yet: {1}", upstream, status);
        return Some(broken(evidence, Code::UpstreamError, title, failure));
    }
    let container = facts::settled(evidence)?;
    let Some(Failure::NotReady { status }) = evidence.probe else { return None };
    let path = evidence.upstream.ready_path.as_deref().unwrap_or("/");
    let when = facts::started(container, evidence);
    let what = phrase!("{0} started {1}, but {2} answers {3}", container.name, when, path, status);
    // What is wrong with a 4xx is more often the question than the answer.
    let title = match status {
        400..500 => phrase!("{0}: the ready path may be wrong", what),
        _ => what,
    };
    Some(broken(evidence, Code::UpstreamError, title, &Failure::NotReady { status }))
}

/// A request that we had passed on came back.
pub(super) fn proxy_loop(evidence: &Evidence) -> Option<Finding> {
    if evidence.exchange != Some(Failure::Loop) {
        return None;
    }
    let upstream = evidence.upstream.authority();
    Some(Finding {
        code: Code::ProxyLoop,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!(
            "What anteroom sends to {0} comes back to it: ANTEROOM_UPSTREAM leads to anteroom itself, or to the proxy \
             before it",
            upstream
        ),
        evidence: vec![row!("connection", phrase!("{0}: {1}", upstream, facts::failure(&Failure::Loop)))],
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
        title: phrase!(
            "So many requests to {0} failed within seconds that this one was not tried again",
            evidence.upstream.authority()
        ),
        evidence: vec![row!("connection", facts::failure(&Failure::RetryBudgetSpent))],
        remedies: vec![],
    })
}

/// Whether a failure is more than a symptom of starting.
fn meant(evidence: &Evidence, failure: &Failure) -> Option<()> {
    let of_request = evidence.exchange.as_ref() == Some(failure);
    let of_probe = evidence.probe.as_ref() == Some(failure) && facts::settled(evidence).is_some();
    (of_request || of_probe).then_some(())
}

fn broken(evidence: &Evidence, code: Code, title: Phrase, failure: &Failure) -> Finding {
    let decisive: Vec<Row> =
        vec![row!("connection", phrase!("{0}: {1}", evidence.upstream.authority(), facts::failure(failure)))];
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
