//! How durations are distributed, counted without a lock.
//!
//! The library's own histogram takes a mutex for each observation. This one is an array of atomics: an observation is a
//! search among some fifteen constants and two additions that wait for nobody.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Upper ends of buckets in microseconds, ascending.
pub type Bounds = &'static [u64];

/// From an answer out of a cache to one that takes as long as a client may wait.
pub const OF_REQUESTS: Bounds = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];
/// From a container that starts at once to the longest start that is learned of.
pub const OF_WARMUPS: Bounds = &[
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

const BUCKETS_MOST: usize = OF_REQUESTS.len() + 1;

/// Durations that were observed.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    /// One for each bound, and one for what is beyond them all. Not cumulated, unlike what is told. In place, so that it is
    /// on the cache lines of what it is a part of.
    buckets: [AtomicU64; BUCKETS_MOST],
    /// In nanoseconds: a whole number can be added to at once, and lasts for 584 years.
    sum: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: Bounds) -> Self {
        debug_assert!(bounds.len() < BUCKETS_MOST, "there is a bucket beyond the last bound");
        Self { bounds, buckets: Default::default(), sum: AtomicU64::new(0) }
    }

    /// Adds one.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|bound| bound * 1_000 < nanos);
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanos, Relaxed);
    }
}

/// Tells several histograms with the same bounds as the one that they are together.
///
/// # Errors
/// The encoder's.
pub fn tell<'a>(mut encoder: MetricEncoder<'_>, parts: impl Iterator<Item = &'a Histogram> + Clone) -> fmt::Result {
    let Some(bounds) = parts.clone().next().map(|part| part.bounds) else { return Ok(()) };
    let in_seconds = bounds.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = in_seconds
        .enumerate()
        .map(|(at, bound)| (bound, parts.clone().map(|part| part.buckets[at].load(Relaxed)).sum()))
        .collect();
    // Counted from what was just read, so that the buckets add up whatever is observed meanwhile.
    let count = buckets.iter().map(|(_, count)| count).sum();
    let nanos: u64 = parts.map(|part| part.sum.load(Relaxed)).fold(0, u64::wrapping_add);
    encoder.encode_histogram::<NoLabelSet>(nanos as f64 / 1e9, count, &buckets, None)
}
