//! From evidence to a verdict: [`diagnose`] asks an ordered list of rules what they make of it.
//!
//! A rule is a small pure function `fn(&Evidence) -> Option<Finding>`: it looks at several fields (one alone often
//! lies, see the notes on `restarting`), and either names a cause together with the evidence that decided it, or
//! says nothing. The list is ordered by causality: the first finding is the root cause, what follows are its
//! consequences or side findings. To add a rule: write the function in the file of its family, give it a match and
//! a near miss, put it into [`RULES`] where its cause belongs, add its code to [`Code`].

use std::time::Duration;

use crate::evidence::Evidence;
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
    /// One plain sentence for the operator.
    pub title: String,
    /// Name and value, in the order in which they convince.
    pub evidence: Vec<(&'static str, String)>,
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

/// What mends a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// For a shell, quoted; one command a line. Or a compose snippet, where `permanent`.
    pub command: String,
    /// What it will do, in one sentence.
    pub effect: String,
    /// Whether it keeps the fault from coming back, rather than mending it once.
    pub permanent: bool,
}

/// Stable, greppable names of causes. Documented in DESIGN's list of codes.
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
    UpstreamError,
    EngineUnavailable,
    EngineForbidden,
    WaitingRoomFull,
    RetryBudgetSpent,
}

impl Code {
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
            Self::UpstreamError => "upstream-error",
            Self::EngineUnavailable => "engine-unavailable",
            Self::EngineForbidden => "engine-forbidden",
            Self::WaitingRoomFull => "waiting-room-full",
            Self::RetryBudgetSpent => "retry-budget-spent",
        }
    }
}

/// One question to the evidence.
pub type Rule = fn(&Evidence) -> Option<Finding>;

/// Every rule, root causes before their consequences.
pub const RULES: &[Rule] = &[];

/// Asks every rule, in order.
pub fn diagnose(state: State, lasted: Duration, evidence: Evidence) -> Diagnosis {
    let findings = RULES.iter().filter_map(|rule| rule(&evidence)).collect();
    Diagnosis { state, lasted, findings, evidence }
}
