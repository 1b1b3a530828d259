//! From evidence to a verdict: [`diagnose`] asks an ordered list of rules what they make of it.
//!
//! A rule is a small pure function `fn(&Evidence) -> Option<Finding>`: it looks at several fields (one alone often
//! lies: see [`outlook`](crate::readiness::outlook)), and either names a cause together with the evidence that decided it, or
//! says nothing. The list is ordered by causality: the first finding is the root cause, what follows are its
//! consequences or side findings. To add a rule: write the function in the file of its family, give it a match and
//! a near miss among the scenes of the tests, put it into [`RULES`] where its cause belongs, add its code to [`Code`], to
//! [`Code::ALL`], and a section to `docs/findings.md`.

mod command;
mod container;
pub mod deployment;
mod ending;
mod exchange;
pub(crate) mod facts;
#[cfg(test)]
pub(crate) mod fixtures;
mod holding;
mod log;
mod network;
mod ourselves;
mod project;
pub(crate) mod redact;
mod remedy;
#[cfg(test)]
pub(crate) mod scenes;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use http::StatusCode;

pub(crate) use self::command::is_treacherous;
use crate::evidence::{Evidence, Failure};
use crate::phrase::Phrase;
use crate::readiness::State;

/// The verdict on one request or one moment: what a page is rendered from.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    pub state: State,
    /// For how long that state has lasted.
    pub lasted: Duration,
    /// Root cause first. Empty only when nothing is wrong.
    pub findings: Vec<Finding>,
    pub evidence: Evidence,
}

/// A named cause, with what decided it and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    pub severity: Severity,
    pub confidence: Confidence,
    /// One plain sentence for the operator.
    pub title: Phrase,
    /// Name, in English, and value, in the order in which they convince.
    pub evidence: Vec<(&'static str, Phrase)>,
    pub remedies: Vec<Remedy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is broken by it.
    Info,
    /// Will pass by itself, or is a risk.
    Warning,
    /// Someone must act.
    Error,
}

impl Severity {
    /// As documents have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// How sure a finding is of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// What was seen fits, and so would something else.
    Possible,
    /// Deduced from several things that were seen, none of which says it outright.
    Likely,
    /// It was seen: the engine, the resolver or the connection says so.
    Certain,
}

impl Confidence {
    /// As documents have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// What mends a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// For a shell, quoted; commands that are run together, a line each. Or a compose snippet, where `permanent`.
    pub command: String,
    /// What it will do, in one sentence.
    pub effect: Phrase,
    /// Whether it keeps the fault from coming back, rather than mending it once.
    pub permanent: bool,
}

/// Stable, greppable names of causes. Each has a section in `docs/findings.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    TargetWarming,
    TargetExited,
    TargetNotRestarted,
    TargetStoppedByHand,
    TargetOomKilled,
    TargetCrashLoop,
    TargetStartFailed,
    TargetNeverStarted,
    TargetAbsent,
    TargetPaused,
    TargetDead,
    DependencyDown,
    TargetUnhealthy,
    PortConflict,
    NetworkNotShared,
    NetworkStale,
    AliasMissing,
    AliasDuplicated,
    NameNotResolved,
    NameResolvedOutside,
    ConnectTimeout,
    PortRefused,
    NoAnswer,
    ClosedEarly,
    NotHttp,
    TlsMismatch,
    UpstreamError,
    ProxyLoop,
    EngineUnavailable,
    EngineForbidden,
    WaitingRoomFull,
    HeldBytesSpent,
    RetryBudgetSpent,
    PatienceEnded,
    PortMismatch,
    ListensOnLoopback,
    PermissionDenied,
    MountFailed,
    OneOffContainer,
    AuthBackendDown,
    EvidenceContradictory,
    PluginDownloadFailed,
    ImageMissing,
    NetworkAmbiguous,
    RouterInvalid,
    ProjectOrphans,
    DiskFull,
    RestartedLately,
    RestartPolicyMissing,
    HealthCheckMissing,
    DashboardNotEnabled,
}

impl Code {
    /// Every code, in the order of [`RULES`]; what is said when no rule speaks comes first, and what only a look at the
    /// whole deployment tells last (see [`deployment`]).
    pub const ALL: [Self; 51] = [
        Self::TargetWarming,
        Self::ProxyLoop,
        Self::TargetAbsent,
        Self::NetworkStale,
        Self::PortConflict,
        Self::PermissionDenied,
        Self::MountFailed,
        Self::TargetStartFailed,
        Self::TargetNeverStarted,
        Self::TargetOomKilled,
        Self::PluginDownloadFailed,
        Self::TargetCrashLoop,
        Self::TargetNotRestarted,
        Self::TargetStoppedByHand,
        Self::TargetExited,
        Self::TargetPaused,
        Self::TargetDead,
        Self::NetworkNotShared,
        Self::AliasMissing,
        Self::AliasDuplicated,
        Self::NameResolvedOutside,
        Self::NameNotResolved,
        Self::ConnectTimeout,
        Self::DependencyDown,
        Self::TargetUnhealthy,
        Self::PortMismatch,
        Self::ListensOnLoopback,
        Self::PortRefused,
        Self::TlsMismatch,
        Self::NotHttp,
        Self::NoAnswer,
        Self::ClosedEarly,
        Self::UpstreamError,
        Self::OneOffContainer,
        Self::AuthBackendDown,
        Self::EvidenceContradictory,
        Self::WaitingRoomFull,
        Self::HeldBytesSpent,
        Self::RetryBudgetSpent,
        Self::PatienceEnded,
        Self::EngineUnavailable,
        Self::EngineForbidden,
        Self::DiskFull,
        Self::ImageMissing,
        Self::RouterInvalid,
        Self::NetworkAmbiguous,
        Self::RestartedLately,
        Self::ProjectOrphans,
        Self::RestartPolicyMissing,
        Self::HealthCheckMissing,
        Self::DashboardNotEnabled,
    ];

    /// The code as pages, logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TargetWarming => "target-warming",
            Self::TargetExited => "target-exited",
            Self::TargetNotRestarted => "target-not-restarted",
            Self::TargetStoppedByHand => "target-stopped-by-hand",
            Self::TargetOomKilled => "target-oom-killed",
            Self::TargetCrashLoop => "target-crash-loop",
            Self::TargetStartFailed => "target-start-failed",
            Self::TargetNeverStarted => "target-never-started",
            Self::TargetAbsent => "target-absent",
            Self::TargetPaused => "target-paused",
            Self::TargetDead => "target-dead",
            Self::TargetUnhealthy => "target-unhealthy",
            Self::PortConflict => "port-conflict",
            Self::NetworkNotShared => "network-not-shared",
            Self::NetworkStale => "network-stale",
            Self::AliasMissing => "alias-missing",
            Self::AliasDuplicated => "alias-duplicated",
            Self::NameNotResolved => "name-not-resolved",
            Self::NameResolvedOutside => "name-resolved-outside",
            Self::ConnectTimeout => "connect-timeout",
            Self::PortRefused => "port-refused",
            Self::NoAnswer => "no-answer",
            Self::ClosedEarly => "closed-early",
            Self::NotHttp => "not-http",
            Self::TlsMismatch => "tls-mismatch",
            Self::UpstreamError => "upstream-error",
            Self::ProxyLoop => "proxy-loop",
            Self::EngineUnavailable => "engine-unavailable",
            Self::EngineForbidden => "engine-forbidden",
            Self::WaitingRoomFull => "waiting-room-full",
            Self::HeldBytesSpent => "held-bytes-spent",
            Self::PatienceEnded => "patience-ended",
            Self::DependencyDown => "dependency-down",
            Self::RetryBudgetSpent => "retry-budget-spent",
            Self::PortMismatch => "port-mismatch",
            Self::ListensOnLoopback => "listens-on-loopback",
            Self::PermissionDenied => "permission-denied",
            Self::MountFailed => "mount-failed",
            Self::OneOffContainer => "one-off-container",
            Self::AuthBackendDown => "auth-backend-down",
            Self::PluginDownloadFailed => "plugin-download-failed",
            Self::EvidenceContradictory => "evidence-contradictory",
            Self::ImageMissing => "image-missing",
            Self::NetworkAmbiguous => "network-ambiguous",
            Self::RouterInvalid => "router-invalid",
            Self::ProjectOrphans => "project-orphans",
            Self::DiskFull => "disk-full",
            Self::RestartedLately => "restarted-lately",
            Self::RestartPolicyMissing => "restart-policy-missing",
            Self::HealthCheckMissing => "health-check-missing",
            Self::DashboardNotEnabled => "dashboard-not-enabled",
        }
    }
}

/// One question to the evidence.
pub type Rule = fn(&Evidence) -> Option<Finding>;

/// Every rule, root causes before their consequences.
pub const RULES: &[Rule] = &[
    // The way leads back to us: whatever else was seen is not of the service that was meant.
    exchange::proxy_loop,
    // There is nothing that could run, or nothing that can start it.
    container::absent,
    network::stale,
    container::port_conflict,
    container::permission_denied,
    container::mount_failed,
    container::start_failed,
    container::never_started,
    // It ran, and ended. Memory before the loop that it feeds.
    ending::oom_killed,
    log::plugin_download_failed,
    ending::crash_looping,
    ending::not_restarted,
    ending::stopped_by_hand,
    ending::exited,
    // It is there, but frozen or half removed.
    container::paused,
    container::dead,
    // It runs, but the way to it is broken: the network before the name, the name before the address.
    network::not_shared,
    network::alias_missing,
    network::alias_duplicated,
    network::resolved_outside,
    network::not_resolved,
    exchange::connect_timeout,
    // It can be reached, and does not work.
    project::dependency_down,
    container::unhealthy,
    exchange::port_mismatch,
    exchange::listens_on_loopback,
    exchange::port_refused,
    exchange::tls_mismatch,
    exchange::not_http,
    exchange::no_answer,
    exchange::closed_early,
    exchange::upstream_error,
    // Beside what this request met.
    project::one_off,
    project::auth_backend_down,
    // What we cut short ourselves, and what we could not see.
    holding::waiting_room_full,
    holding::held_bytes_spent,
    exchange::retry_budget_spent,
    holding::patience_ended,
    ourselves::engine_unavailable,
    ourselves::engine_forbidden,
];

/// Asks every rule, in order. Unless the state is ready there is always a finding: where no rule explains why
/// requests do not pass, the target is taken to be warming up.
pub fn diagnose(state: State, lasted: Duration, evidence: Evidence) -> Diagnosis {
    let mut findings: Vec<Finding> = RULES.iter().filter_map(|rule| rule(&evidence)).collect();
    let ready = matches!(state, State::Ready { .. });
    if ready && !evidence.is_of_request() {
        // Requests pass, which refutes whoever says that they cannot: that evidence is older, or of another container.
        let refuted = findings.iter().find(|finding| finding.severity == Severity::Error).cloned();
        findings.retain(|finding| finding.severity < Severity::Error);
        if let (State::Ready { despite: Some(_), .. }, Some(refuted)) = (state, refuted) {
            findings.insert(0, project::contradiction(&evidence, refuted));
        }
    } else if !findings.iter().any(|finding| explains(finding, ready)) {
        findings.insert(0, container::warming(&evidence));
    }
    offer_once(findings.iter_mut());
    command::in_words_of(&evidence.engine, findings.iter_mut().flat_map(|finding| &mut finding.remedies));
    Diagnosis { state, lasted, findings, evidence }
}

/// The status that a request with this diagnosis is answered with: 502 for a broken exchange and 504 for one that took
/// too long, as RFC 9110 §15.6 has them, 508 for one that goes round in circles (RFC 5842 §7.2), else 503: come again later. 200 is for those who ask how things stand while all
/// is well.
pub fn status(diagnosis: &Diagnosis) -> StatusCode {
    match &diagnosis.evidence.exchange {
        None if matches!(diagnosis.state, State::Ready { .. }) && diagnosis.evidence.bound.is_none() => StatusCode::OK,
        Some(Failure::Tls { .. } | Failure::ClosedEarly | Failure::SpeaksTls | Failure::NotHttp { .. }) => {
            StatusCode::BAD_GATEWAY
        }
        Some(Failure::NoAnswer) => StatusCode::GATEWAY_TIMEOUT,
        Some(Failure::Loop) => StatusCode::LOOP_DETECTED,
        Some(
            Failure::NameNotResolved { .. }
            | Failure::NameResolvedOutside { .. }
            | Failure::Refused { .. }
            | Failure::Unreachable { .. }
            | Failure::ConnectTimeout
            | Failure::NotReady { .. }
            | Failure::RetryBudgetSpent,
        )
        | None => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether a finding says why requests do not pass, rather than what else is the matter.
fn explains(finding: &Finding, ready: bool) -> bool {
    match finding.code {
        Code::EngineUnavailable | Code::EngineForbidden | Code::PatienceEnded => false,
        // In front of a target that is not ready they are consequences of its being so.
        Code::WaitingRoomFull | Code::HeldBytesSpent | Code::RetryBudgetSpent => ready,
        // A risk beside a target that may merely be starting: its remedy, which may take the whole project down, must
        // not lead.
        Code::AliasDuplicated => ready,
        _ => finding.severity > Severity::Info,
    }
}

/// A command that the root cause offers is not repeated by its consequences.
fn offer_once<'a>(findings: impl Iterator<Item = &'a mut Finding>) {
    let mut offered = HashSet::new();
    for finding in findings {
        finding.remedies.retain(|remedy| offered.insert(remedy.command.clone()));
    }
}
