//! What is counted, and how it is told: OpenMetrics on the admin port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

mod exposition;
mod histogram;
mod ledger;
mod rare;
mod reason;

pub use self::exposition::Exposition;
use self::ledger::Ledgers;
pub use self::ledger::{Fate, Ledger};
use self::rare::Rare;
use crate::diagnosis::Code;
use crate::evidence::Failure;

/// The counters of the whole process.
#[derive(Debug)]
pub struct Meter {
    registry: Registry,
    ledgers: Arc<Ledgers>,
    /// Of requests that no worker gets to see.
    unread: Arc<Ledger>,
    rare: Arc<Rare>,
    connections: Gauge,
    tunnels: Gauge,
}

/// What a client can be at the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `ANTEROOM_MAX_CONNECTIONS`: a connection had to wait for another one's end.
    Connections,
    /// `ANTEROOM_MAX_HEADER_BYTES` or `ANTEROOM_MAX_HEADERS`.
    HeaderSize,
    /// `ANTEROOM_HEADER_TIMEOUT`.
    HeaderTimeout,
    /// `ANTEROOM_IDLE_TIMEOUT`.
    IdleTimeout,
    /// `ANTEROOM_MAX_REQUESTS`.
    Requests,
    /// `ANTEROOM_MAX_BODY_BYTES`.
    BodySize,
    /// HTTP/2: a client resets streams, or sends frames that want an answer, faster than is plausible.
    Flood,
    /// `ANTEROOM_MAX_HELD`.
    Held,
    /// What the heads of held requests may take.
    HeldBytes,
    /// `ANTEROOM_PATIENCE_*`: a request was held, or would have been, for longer than its kind may be.
    Patience,
    /// As much was sent again in the last seconds as may be.
    RetryBudget,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Connections,
        Self::HeaderSize,
        Self::HeaderTimeout,
        Self::IdleTimeout,
        Self::Requests,
        Self::BodySize,
        Self::Flood,
        Self::Held,
        Self::HeldBytes,
        Self::Patience,
        Self::RetryBudget,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::HeaderSize => "header_size",
            Self::HeaderTimeout => "header_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Requests => "requests",
            Self::BodySize => "body_size",
            Self::Flood => "flood",
            Self::Held => "held",
            Self::HeldBytes => "held_bytes",
            Self::Patience => "patience",
            Self::RetryBudget => "retry_budget",
        }
    }
}

/// How the engine failed to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Forbidden,
    Unavailable,
    /// Its stream of events ended.
    Ended,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new([])
    }
}

impl Meter {
    /// `others` tell what is known elsewhere, when they are asked.
    pub fn new(others: impl IntoIterator<Item = Box<dyn Collector>>) -> Self {
        let mut registry = Registry::default();
        let (ledgers, rare) = (Arc::<Ledgers>::default(), Arc::<Rare>::default());
        let (connections, tunnels) = (Gauge::default(), Gauge::default());
        let help = "When the process started, since the beginning of 1970";
        // Its name is Prometheus' own, and so has no prefix.
        registry.register_with_unit("process_start_time", help, Unit::Seconds, ConstGauge::new(since_1970()));
        let ours = registry.sub_registry_with_prefix("anteroom");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        ours.register("build", "Which anteroom this is", version);
        ours.register("connections_open", "Connections of clients", connections.clone());
        ours.register("upgrades_open", "Connections that have switched protocols", tunnels.clone());
        ours.register_collector(Box::new(Arc::clone(&ledgers)));
        ours.register_collector(Box::new(Arc::clone(&rare)));
        others.into_iter().for_each(|other| ours.register_collector(other));
        Self { registry, unread: ledgers.open(), ledgers, rare, connections, tunnels }
    }

    /// A worker's own ledger, which is added to those of the others.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.ledgers.open()
    }

    /// A request was answered with this status, since its head could not be read.
    pub fn refused(&self, status: StatusCode) {
        self.unread.ended(Fate::Refused, Some(status), Duration::ZERO);
    }

    /// A client came to the end of a limit.
    pub fn reached(&self, limit: Limit) {
        count(&self.rare.limits[limit as usize]);
    }

    /// A probe has ended.
    pub fn probed(&self, failure: Option<&Failure>) {
        count(failure.map_or(&self.rare.probes_passed, |failure| &self.rare.probes_failed[reason::index(failure)]));
    }

    /// A finding became the root cause.
    pub fn found(&self, code: Code) {
        if let Some(at) = Code::ALL.iter().position(|its| *its == code) {
            count(&self.rare.findings[at]);
        }
    }

    /// The engine did not answer as it should, so often.
    pub fn engine_failed(&self, trouble: Trouble, times: u64) {
        self.rare.engine_errors[trouble as usize].fetch_add(times, Relaxed);
    }

    /// The target has become ready so long after its start.
    pub fn warmed_up(&self, took: Duration) {
        self.rare.warmups.observe(took);
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> Counted {
        Counted::new(&self.connections)
    }

    /// Counts a tunnel until the guard is dropped.
    pub fn tunnel(self: &Arc<Self>) -> Counted {
        Counted::new(&self.tunnels)
    }

    /// Everything.
    pub fn tell(&self, exposition: Exposition) -> String {
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry).expect("a string takes whatever is written to it");
        exposition.write(encoded)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Something that is counted while it lasts.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_count_is_told_as_one() {
        let meter = Meter::default();
        let ledgers = [meter.ledger(), meter.ledger()];
        for ledger in &ledgers {
            ledger.ended(Fate::Passed, Some(StatusCode::OK), Duration::from_micros(2_500));
            ledger.retried(&Failure::ClosedEarly);
        }
        ledgers[0].ended(Fate::Left, None, Duration::ZERO);
        ledgers[1].ended(
            Fate::Passed,
            Some(StatusCode::from_u16(999).expect("three digits")),
            Duration::from_secs(999),
        );
        let text = meter.tell(Exposition::Text);
        for line in [
            "anteroom_requests_total{outcome=\"passed\",status=\"2xx\"} 2",
            "anteroom_requests_total{outcome=\"passed\",status=\"5xx\"} 1",
            "anteroom_requests_total{outcome=\"left\",status=\"none\"} 1",
            "anteroom_request_duration_seconds_bucket{le=\"0.001\",outcome=\"passed\"} 0",
            "anteroom_request_duration_seconds_bucket{le=\"0.0025\",outcome=\"passed\"} 2",
            "anteroom_request_duration_seconds_bucket{le=\"120.0\",outcome=\"passed\"} 2",
            "anteroom_request_duration_seconds_bucket{le=\"+Inf\",outcome=\"passed\"} 3",
            "anteroom_request_duration_seconds_count{outcome=\"passed\"} 3",
            "anteroom_request_duration_seconds_sum{outcome=\"passed\"} 999.005",
            "anteroom_retries_total{reason=\"closed_early\"} 2",
        ] {
            assert!(text.lines().any(|its| its == line), "{line} in {text}");
        }
    }

    #[test]
    fn indices_are_those_of_the_lists() {
        assert!(Limit::ALL.iter().enumerate().all(|(at, limit)| *limit as usize == at));
        let troubles = [Trouble::Forbidden, Trouble::Unavailable, Trouble::Ended];
        let named = troubles.map(|trouble| format!("{trouble:?}").to_lowercase());
        assert_eq!((troubles.map(|it| it as usize), named.each_ref().map(String::as_str)), ([0, 1, 2], rare::TROUBLES));
    }

    #[test]
    fn every_limit_is_told_before_it_was_ever_reached() {
        let meter = Arc::new(Meter::default());
        meter.reached(Limit::Requests);
        let tunnel = meter.tunnel();
        let text = meter.tell(Exposition::OpenMetrics);
        for limit in Limit::ALL {
            let count = u32::from(limit == Limit::Requests);
            let line = format!("anteroom_limit_reached_total{{limit=\"{}\"}} {count}\n", limit.name());
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("anteroom_upgrades_open 1\n"), "{text}");
        drop(tunnel);
        assert!(meter.tell(Exposition::OpenMetrics).contains("anteroom_upgrades_open 0\n"));
    }
}
