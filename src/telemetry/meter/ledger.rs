//! What one worker counts of its requests.
//!
//! Each worker has a ledger of its own, on cache lines of its own, so that no request waits for another thread's count:
//! a request costs three additions to memory that nobody else writes to, no lock, no look-up and no allocation. Only
//! whoever asks for `/metrics` adds the ledgers up.

use std::array::from_fn;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::histogram::{self, Histogram, OF_REQUESTS};
use super::reason::{self, REASONS};
use crate::diagnosis::Code;
use crate::evidence::Failure;
use crate::lock::lock;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The upstream's answer was passed on.
    Passed,
    /// The same, after it had been held.
    Held,
    /// The same, after it had been sent more than once.
    Retried,
    /// It was answered with a diagnosis.
    Diagnosed,
    /// It was refused, for the client's own mistake as a rule.
    Refused,
    /// It was for us: a page that asks how things stand, an `OPTIONS` that may go no further.
    Own,
    /// Its client left before there was an answer.
    Left,
}

impl Fate {
    const ALL: [Self; 7] =
        [Self::Passed, Self::Held, Self::Retried, Self::Diagnosed, Self::Refused, Self::Own, Self::Left];
    /// Those for which it is of interest how long it took.
    const TIMED: [Self; 4] = [Self::Passed, Self::Held, Self::Retried, Self::Diagnosed];

    /// As the log and the metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Held => "held",
            Self::Retried => "retried",
            Self::Diagnosed => "diagnosed",
            Self::Refused => "refused",
            Self::Own => "own",
            Self::Left => "left",
        }
    }

    /// Whether an answer with a status of this class can be expected. The others are told only where there are any.
    fn usually_has(self, class: usize) -> bool {
        match self {
            Self::Passed | Self::Held | Self::Retried => class != NONE,
            Self::Diagnosed => class == 5,
            Self::Refused => class == 4,
            Self::Own => class == 2,
            Self::Left => class == NONE,
        }
    }
}

/// Classes of statuses, by their first digit; 0 is [`NONE`].
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// There was no answer.
const NONE: usize = 0;

/// The counters of one worker.
#[derive(Debug)]
// Two cache lines, since processors fetch them in pairs.
#[repr(align(128))]
pub struct Ledger {
    requests: [[AtomicU64; CLASSES.len()]; Fate::ALL.len()],
    durations: [Histogram; Fate::TIMED.len()],
    held: Histogram,
    diagnosed: [AtomicU64; Code::ALL.len()],
    retries: [AtomicU64; REASONS],
    connect_failures: [AtomicU64; REASONS],
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            requests: from_fn(|_| zeros()),
            durations: from_fn(|_| Histogram::new(OF_REQUESTS)),
            held: Histogram::new(OF_REQUESTS),
            diagnosed: zeros(),
            retries: zeros(),
            connect_failures: zeros(),
        }
    }
}

impl Ledger {
    /// A request has ended with this status, or without an answer; so long after its arrival.
    pub fn ended(&self, fate: Fate, status: Option<StatusCode>, took: Duration) {
        let class = status.map_or(NONE, |status| usize::from(status.as_u16() / 100));
        // A status has three digits, of which the first may be any (RFC 9110 §15).
        let class = if class < CLASSES.len() { class } else { CLASSES.len() - 1 };
        self.requests[fate as usize][class].fetch_add(1, Relaxed);
        if let Some(durations) = self.durations.get(fate as usize) {
            durations.observe(took);
        }
    }

    /// A request was held for so long, whatever came of it.
    pub fn held(&self, duration: Duration) {
        self.held.observe(duration);
    }

    /// A request was answered with this finding before all others.
    pub fn diagnosed(&self, code: Code) {
        if let Some(at) = Code::ALL.iter().position(|its| *its == code) {
            self.diagnosed[at].fetch_add(1, Relaxed);
        }
    }

    /// A request is sent again because of this.
    pub fn retried(&self, because: &Failure) {
        self.retries[reason::index(because)].fetch_add(1, Relaxed);
    }

    /// No connection came about for a request.
    pub fn did_not_connect(&self, because: &Failure) {
        self.connect_failures[reason::index(because)].fetch_add(1, Relaxed);
    }
}

/// All workers' ledgers.
#[derive(Debug, Default)]
pub(super) struct Ledgers(Mutex<Vec<Arc<Ledger>>>);

impl Ledgers {
    pub(super) fn open(&self) -> Arc<Ledger> {
        let ledger = Arc::<Ledger>::default();
        lock(&self.0).push(Arc::clone(&ledger));
        ledger
    }
}

impl Collector for Ledgers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ledgers = lock(&self.0).clone();
        let sum = |of: &dyn Fn(&Ledger) -> &AtomicU64| ledgers.iter().map(|it| of(it).load(Relaxed)).sum::<u64>();

        let help = "Requests by how they ended, and by the class of the answer's status.";
        let mut requests = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for fate in Fate::ALL {
            for (class, name) in CLASSES.iter().enumerate() {
                let count = sum(&|ledger| &ledger.requests[fate as usize][class]);
                if count > 0 || fate.usually_has(class) {
                    count_of(&mut requests, &[("outcome", fate.as_str()), ("status", name)], count)?;
                }
            }
        }

        let help = "From a request's arrival to the head of its answer.";
        let seconds = Some(&Unit::Seconds);
        let mut durations = encoder.encode_descriptor("request_duration", help, seconds, MetricType::Histogram)?;
        for fate in Fate::TIMED {
            let labels = [("outcome", fate.as_str())];
            let parts = ledgers.iter().map(|ledger| &ledger.durations[fate as usize]);
            histogram::tell(durations.encode_family(&labels)?, parts)?;
        }

        let help = "How long requests were held that had to wait, whatever came of them.";
        let held = encoder.encode_descriptor("request_held", help, seconds, MetricType::Histogram)?;
        histogram::tell(held, ledgers.iter().map(|ledger| &ledger.held))?;

        let help = "Requests that were answered with a diagnosis, by its first finding.";
        let mut diagnosed = encoder.encode_descriptor("requests_diagnosed", help, None, MetricType::Counter)?;
        for (at, code) in Code::ALL.iter().enumerate() {
            count_of(&mut diagnosed, &[("code", code.as_str())], sum(&|ledger| &ledger.diagnosed[at]))?;
        }

        let help = "How often requests were sent again, by what the attempt before had met.";
        let mut retries = encoder.encode_descriptor("retries", help, None, MetricType::Counter)?;
        for at in reason::OF_RETRIES {
            count_of(&mut retries, &[("reason", reason::NAMES[at])], sum(&|ledger| &ledger.retries[at]))?;
        }

        let help = "Connections that did not come about for a request, by what was met.";
        let mut failures = encoder.encode_descriptor("connect_failures", help, None, MetricType::Counter)?;
        for at in reason::OF_CONNECTIONS {
            count_of(&mut failures, &[("reason", reason::NAMES[at])], sum(&|ledger| &ledger.connect_failures[at]))?;
        }
        Ok(())
    }
}

/// Tells one counter of a family.
pub(super) fn count_of<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    count: u64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, f64>(&count, None)
}

pub(super) fn zeros<const N: usize>() -> [AtomicU64; N] {
    from_fn(|_| AtomicU64::new(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_are_the_indices_of_their_list() {
        for (at, fate) in Fate::ALL.into_iter().enumerate() {
            assert_eq!(fate as usize, at);
        }
        assert_eq!(Fate::TIMED, Fate::ALL[..Fate::TIMED.len()]);
    }
}
