//! Counts of what happens seldom, or on the watcher's thread: one for the whole process.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Limit;
use super::histogram::{self, Histogram, OF_WARMUPS};
use super::ledger::{count_of, zeros};
use super::reason::{self, REASONS};
use crate::diagnosis::Code;

/// How the engine's answers failed; as many as there are kinds of trouble.
pub(super) const TROUBLES: [&str; 3] = ["forbidden", "unavailable", "ended"];

/// The counters.
#[derive(Debug)]
pub(super) struct Rare {
    pub(super) limits: [AtomicU64; Limit::ALL.len()],
    pub(super) probes_passed: AtomicU64,
    pub(super) probes_failed: [AtomicU64; REASONS],
    pub(super) findings: [AtomicU64; Code::ALL.len()],
    pub(super) engine_errors: [AtomicU64; TROUBLES.len()],
    pub(super) warmups: Histogram,
}

impl Default for Rare {
    fn default() -> Self {
        Self {
            limits: zeros(),
            probes_passed: AtomicU64::new(0),
            probes_failed: zeros(),
            findings: zeros(),
            engine_errors: zeros(),
            warmups: Histogram::new(OF_WARMUPS),
        }
    }
}

impl Collector for Rare {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counters = |name, help, label, counts: &mut dyn Iterator<Item = (&'static str, &AtomicU64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (value, count) in counts {
                count_of(&mut family, &[(label, value)], count.load(Relaxed))?;
            }
            fmt::Result::Ok(())
        };
        let help = "How often clients came to the end of a limit.";
        counters("limit_reached", help, "limit", &mut Limit::ALL.map(Limit::name).into_iter().zip(&self.limits))?;

        let help = "Probes of the upstream, by what they met.";
        let failed = reason::OF_PROBES.map(|at| (reason::NAMES[at], &self.probes_failed[at]));
        counters("probes", help, "result", &mut [("passed", &self.probes_passed)].into_iter().chain(failed))?;

        let help = "How often a finding became the root cause of the upstream's not being ready.";
        counters("findings", help, "code", &mut Code::ALL.map(Code::as_str).into_iter().zip(&self.findings))?;

        let help = "How often the container engine did not tell what it was asked.";
        counters("engine_errors", help, "kind", &mut TROUBLES.into_iter().zip(&self.engine_errors))?;

        let help = "How long the target took from its start until it was ready.";
        let seconds = Some(&Unit::Seconds);
        let warmups = encoder.encode_descriptor("warmup_duration", help, seconds, MetricType::Histogram)?;
        histogram::tell(warmups, std::iter::once(&self.warmups))
    }
}
