//! Failures as a label: which kinds there are, without what was seen of each.

use crate::evidence::Failure;

/// How many [`Failure`]s there are.
pub const REASONS: usize = 13;

/// Their names. A series that begins at its first event hides that event from `rate()`, so all are told from the start.
pub const NAMES: [&str; REASONS] = [
    "name_not_resolved",
    "name_resolved_outside",
    "refused",
    "unreachable",
    "connect_timeout",
    "tls",
    "closed_early",
    "no_answer",
    "speaks_tls",
    "not_http",
    "not_ready",
    "retry_budget_spent",
    "loop",
];

/// Where in [`NAMES`] a failure is.
pub const fn index(failure: &Failure) -> usize {
    match failure {
        Failure::NameNotResolved { .. } => 0,
        Failure::NameResolvedOutside { .. } => 1,
        Failure::Refused { .. } => 2,
        Failure::Unreachable { .. } => 3,
        Failure::ConnectTimeout => 4,
        Failure::Tls { .. } => 5,
        Failure::ClosedEarly => 6,
        Failure::NoAnswer => 7,
        Failure::SpeaksTls => 8,
        Failure::NotHttp { .. } => 9,
        Failure::NotReady { .. } => 10,
        Failure::RetryBudgetSpent => 11,
        Failure::Loop => 12,
    }
}

/// Those that can keep a connection from coming about.
pub const OF_CONNECTIONS: std::ops::Range<usize> = 0..10;
/// Those after which something may be sent again.
pub const OF_RETRIES: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 10];
/// Those that a probe can meet.
pub const OF_PROBES: std::ops::Range<usize> = 0..11;
