//! Where a target listens that refuses connections on the upstream's port: asked only then, now and then, and only of the
//! ports that it declares, so that a wrong number in a setting is told apart from a slow start.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::evidence::{Evidence, Failure, Status};

/// A service that opens one port after another is given time, and a container is not scanned without need.
const AGAIN: Duration = Duration::from_secs(2);
/// Ports that are asked.
const PORTS_MOST: usize = 8;

/// When it was last asked.
#[derive(Default)]
pub(super) struct Survey {
    last: Option<Instant>,
}

impl Survey {
    /// Whom to ask for which ports, if it is time to.
    pub fn due(&mut self, evidence: &Evidence) -> Option<(IpAddr, Vec<u16>)> {
        let Some(Failure::Refused { address }) = evidence.probe else { return None };
        let target = evidence.target.found().filter(|target| target.status == Status::Running)?;
        let ports = [&target.exposed_ports[..], &target.routed_ports].concat();
        let is_due = self.last.is_none_or(|last| last.elapsed() >= AGAIN);
        if !is_due || ports.is_empty() || target.declares(evidence.upstream.port) {
            return None;
        }
        self.last = Some(Instant::now());
        Some((address, ports.into_iter().take(PORTS_MOST).collect()))
    }

    /// Another process is there: what was found says nothing of it.
    pub fn forget(&mut self) {
        self.last = None;
    }
}
