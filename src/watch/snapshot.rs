//! What the watcher publishes: everything that a request, a page or a metric wants to know of the upstream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::diagnosis::{Code, Diagnosis, diagnose};
use crate::evidence::{Bound, Container, Evidence, Failure};
use crate::readiness::State;
use crate::warmup::{Progress, Usual};

/// What the watcher last published.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows with every publication, so that a request can wait for news.
    pub sequence: u64,
    /// Which run of the upstream this is about: grows each time it becomes ready after it was gone.
    pub run: u64,
    pub state: State,
    pub evidence: Evidence,
    /// How long the target usually takes to become ready, if that was learned.
    pub usual: Option<Usual>,
    /// When the run that is warming up was started, if the engine told.
    pub began: Option<Instant>,
    /// Why it is not ready, if it is not.
    pub root: Option<Code>,
}

impl Snapshot {
    /// The same, as if nobody had read what the target's programs print.
    pub fn unread(&self) -> Self {
        let mut unread = self.clone();
        unread.evidence.log = Arc::default();
        unread
    }

    /// Judges it as of now, together with what a request met, if it is about one.
    pub fn diagnose(&self, exchange: Option<Failure>, bound: Option<Bound>) -> Diagnosis {
        let mut evidence = self.evidence.clone();
        (evidence.seen_at, evidence.exchange, evidence.bound) = (SystemTime::now(), exchange, bound);
        evidence.warmup = self.usual.map(|usual| {
            let elapsed = self.began.map(|began| began.elapsed()).unwrap_or_default();
            Progress { usual, elapsed }
        });
        let lasted = self.state.since().map(|since| Instant::now().into_std().saturating_duration_since(since));
        diagnose(self.state, lasted.unwrap_or_default(), evidence)
    }

    /// Whether the engine knows an address: the target's, or another container's that matters to it.
    pub fn knows(&self, address: IpAddr) -> bool {
        let Evidence { target, others, .. } = &self.evidence;
        let mut containers = target.found().into_iter().chain(others.iter());
        containers.any(|container| container.networks.iter().any(|network| network.address == Some(address)))
    }

    /// Whether the target is somewhere, and nobody that the engine knows has this address.
    pub fn has_lost(&self, address: IpAddr) -> bool {
        let is_somewhere = |target: &Container| target.networks.iter().any(|network| network.address.is_some());
        self.evidence.target.found().is_some_and(is_somewhere) && !self.knows(address)
    }
}
