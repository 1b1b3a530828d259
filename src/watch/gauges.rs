//! What is so now, told to whoever asks for metrics: read from the newest snapshot when they ask, so that it costs
//! nothing in between and cannot differ from what requests go by.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Snapshot;
use crate::alarm::Condition;
use crate::evidence::{Container, Engine, HealthStatus, Status};
use crate::page::notice::condition;
use crate::room::Room;

/// The gauges of the upstream and its target.
#[derive(Debug)]
pub struct Gauges {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    room: Arc<Room>,
}

/// In the order of a life. A name that is no longer one of the states would be told by none of them.
const STATES: [&str; 5] = ["unknown", "ready", "suspect", "warming", "down"];
const STATUSES: [Status; 8] = [
    Status::Created,
    Status::Running,
    Status::Paused,
    Status::Restarting,
    Status::Removing,
    Status::Exited,
    Status::Dead,
    Status::Other,
];
const HEALTHS: [(&str, Option<HealthStatus>); 4] = [
    ("none", None),
    ("starting", Some(HealthStatus::Starting)),
    ("healthy", Some(HealthStatus::Healthy)),
    ("unhealthy", Some(HealthStatus::Unhealthy)),
];
/// In characters. Names of containers are shorter; one that is not must not blow the series up.
const NAME_MOST: usize = 128;

impl Gauges {
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, room: Arc<Room>) -> Self {
        Self { snapshots, room }
    }
}

impl Collector for Gauges {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let mut told = Told(encoder);
        told.one("requests_held", "Requests that are held now.", Some(self.room.held()))?;
        told.one("requests_held_max", "As many may be held at once.", Some(self.room.most()))?;
        of_upstream(&mut told, &snapshot)?;
        of_warmup(&mut told, &snapshot)?;
        let up = match snapshot.evidence.engine {
            Engine::Unknown | Engine::Unavailable { .. } | Engine::Forbidden { .. } => false,
            Engine::Available { .. } | Engine::Simulated => true,
        };
        told.one("engine_up", "Whether the container engine tells what it is asked.", Some(usize::from(up)))?;
        of_target(&mut told, snapshot.evidence.target.found())
    }
}

fn of_upstream(told: &mut Told<'_>, snapshot: &Snapshot) -> fmt::Result {
    let name = snapshot.state.name();
    let states = STATES.map(|state| ([("state", state)], usize::from(state == name)));
    told.many("upstream_state", "Whether requests may pass: 1 for the state that it is in.", &states)?;
    let age = snapshot.state.since().map(|since| Instant::now().into_std().saturating_duration_since(since));
    told.seconds("upstream_state_age", "For how long it has been in this state.", age.map(|age| age.as_secs_f64()))?;
    let root: Vec<_> = snapshot.root.iter().map(|code| ([("code", code.as_str())], 1)).collect();
    let out = condition(&snapshot.diagnose(None, None)) == Condition::Out;
    told.one("outage", "Whether somebody has to act: it is down, or found to be broken.", Some(usize::from(out)))?;
    told.many("root_cause", "The finding that says why the upstream is not ready, if it is not.", &root)
}

fn of_warmup(told: &mut Told<'_>, snapshot: &Snapshot) -> fmt::Result {
    let elapsed = snapshot.began.map(|began| began.elapsed().as_secs_f64());
    told.seconds("warmup_elapsed", "How long ago the target was started that is not ready yet.", elapsed)?;
    let median = snapshot.usual.map(|usual| usual.median.as_secs_f64());
    told.seconds("warmup_median", "How long it usually takes to become ready, where that was learned.", median)?;
    let p95 = snapshot.usual.map(|usual| usual.p95.as_secs_f64());
    told.seconds("warmup_p95", "As long or shorter took nineteen of its last twenty starts.", p95)
}

fn of_target(told: &mut Told<'_>, target: Option<&Container>) -> fmt::Result {
    let name = target.map(|target| label(&target.name)).unwrap_or_default();
    let named = |value: fn(&Container) -> u64| -> Vec<_> {
        target.iter().map(|target| ([("container", &*name)], value(target))).collect()
    };
    let statuses: Vec<_> = target
        .iter()
        .flat_map(|target| STATUSES.map(|status| (status.as_str(), usize::from(target.status == status))))
        .map(|(status, is_it)| ([("container", &*name), ("status", status)], is_it))
        .collect();
    told.many("target_status", "The target's container: 1 for the status that the engine tells.", &statuses)?;
    let healths: Vec<_> = target
        .iter()
        .flat_map(|target| {
            let its = target.health.as_ref().map(|health| health.status);
            HEALTHS.map(|(health, status)| (health, usize::from(its == status)))
        })
        .map(|(health, is_it)| ([("container", &*name), ("health", health)], is_it))
        .collect();
    told.many("target_health", "What the target's own health check says: 1 for what it is.", &healths)?;
    let help = "How often the engine has restarted the target by its policy.";
    told.many("target_restarts", help, &named(|target| target.restart_count))?;
    let help = "Whether the target's last run was ended for want of memory.";
    told.many("target_oom_killed", help, &named(|target| target.oom_killed.into()))
}

/// A name as a label: what no engine gives a container is left out, so that nothing has to be escaped.
fn label(name: &str) -> String {
    let is_usual = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-');
    name.chars().filter(is_usual).take(NAME_MOST).collect()
}

/// Where gauges are written to.
struct Told<'a>(DescriptorEncoder<'a>);

impl Told<'_> {
    /// A gauge without labels; described also where it has no value now.
    fn one(&mut self, name: &str, help: &str, value: Option<impl EncodeGaugeValue>) -> fmt::Result {
        let mut gauge = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| gauge.encode_gauge(&value))
    }

    fn seconds(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        let mut gauge = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        value.map_or(Ok(()), |value| gauge.encode_gauge(&value))
    }

    fn many<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: &[([(&str, &str); N], impl EncodeGaugeValue)],
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        values.iter().try_for_each(|(labels, value)| family.encode_family(labels)?.encode_gauge(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_escape_and_is_bounded() {
        assert_eq!(label("cvat_grafana-1.x"), "cvat_grafana-1.x");
        assert_eq!(label("a\"} 1\nb\\\u{20ac}"), "a1b");
        assert_eq!(label(&"x".repeat(1_000)).len(), NAME_MOST);
    }
}
