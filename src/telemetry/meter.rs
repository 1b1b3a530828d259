//! What is counted, and how it is told: OpenMetrics on the admin port.

use std::fmt::Write;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;

/// The media type of [`Meter::tell`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters of the whole process.
#[derive(Debug)]
pub struct Meter {
    registry: Registry,
    limits: Family<LimitLabel, Counter>,
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
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 10] = [
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
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: Limit,
}

impl EncodeLabelValue for Limit {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.name())
    }
}

impl Default for Meter {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("anteroom");
        let limits = Family::<LimitLabel, Counter>::default();
        let (connections, tunnels) = (Gauge::default(), Gauge::default());
        registry.register("limit_reached", "How often clients came to the end of a limit", limits.clone());
        registry.register("connections_open", "Connections of clients", connections.clone());
        registry.register("upgrades_open", "Connections that have switched protocols", tunnels.clone());
        // A series that begins at its first event hides that event from `rate()`.
        for limit in Limit::ALL {
            drop(limits.get_or_create(&LimitLabel { limit }));
        }
        Self { registry, limits, connections, tunnels }
    }
}

impl Meter {
    /// A client came to the end of a limit.
    pub fn reached(&self, limit: Limit) {
        self.limits.get_or_create(&LimitLabel { limit }).inc();
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> Counted {
        Counted::new(&self.connections)
    }

    /// Counts a tunnel until the guard is dropped.
    pub fn tunnel(self: &Arc<Self>) -> Counted {
        Counted::new(&self.tunnels)
    }

    /// Everything, as text.
    pub fn tell(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes whatever is written to it");
        text
    }
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
    fn every_limit_is_told_before_it_was_ever_reached() {
        let meter = Arc::new(Meter::default());
        meter.reached(Limit::Requests);
        let tunnel = meter.tunnel();
        let text = meter.tell();
        for limit in Limit::ALL {
            let count = u32::from(limit == Limit::Requests);
            let line = format!("anteroom_limit_reached_total{{limit=\"{}\"}} {count}\n", limit.name());
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("anteroom_upgrades_open 1\n"), "{text}");
        drop(tunnel);
        assert!(meter.tell().contains("anteroom_upgrades_open 0\n"));
    }
}
