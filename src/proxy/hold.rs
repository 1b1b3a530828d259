//! Where a request waits until the upstream is ready, its patience ends, or waiting becomes pointless.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::readiness::State;
use crate::watch::{Demand, Snapshot};

/// The waiting room, seen from one worker.
pub struct Room {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    demand: Arc<Demand>,
    most: usize,
}

/// How a wait ended, on which snapshot, and how long it took.
pub enum Hold {
    Passed(Arc<Snapshot>, Duration),
    /// Nothing will happen by itself.
    Pointless(Arc<Snapshot>, Duration),
    OutOfPatience(Arc<Snapshot>, Duration),
    /// As many are held as may be: so many.
    Full(Arc<Snapshot>, usize),
}

/// What a snapshot means for one request.
enum Sign {
    Pass,
    Pointless,
    Wait,
}

impl Room {
    /// Holds at most `most` requests at once, all workers together.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, demand: Arc<Demand>, most: usize) -> Self {
        Self { snapshots, demand, most }
    }

    /// What is known now.
    pub fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Passes at once when the upstream is ready; else waits until `deadline`. With `news_since`, the snapshot of
    /// that number is no longer believed.
    pub async fn pass(&self, news_since: Option<u64>, deadline: impl FnOnce() -> Instant) -> Hold {
        let snapshot = self.newest();
        match sign(&snapshot, news_since) {
            Sign::Pass => return Hold::Passed(snapshot, Duration::ZERO),
            Sign::Pointless => return Hold::Pointless(snapshot, Duration::ZERO),
            Sign::Wait => {}
        }
        let Some(_place) = self.demand.enter(self.most) else {
            return Hold::Full(snapshot, self.most);
        };
        let began = Instant::now();
        let mut snapshots = self.snapshots.clone();
        let decided = snapshots.wait_for(|snapshot| !matches!(sign(snapshot, news_since), Sign::Wait));
        let decided = match timeout_at(deadline(), decided).await {
            Ok(Ok(snapshot)) => Some(Arc::clone(&snapshot)),
            // An error means that the watcher is gone and nothing will change any more: anteroom is stopping.
            Ok(Err(_)) | Err(_) => None,
        };
        match decided {
            None => Hold::OutOfPatience(self.newest(), began.elapsed()),
            Some(snapshot) => match sign(&snapshot, news_since) {
                Sign::Pass => Hold::Passed(snapshot, began.elapsed()),
                Sign::Pointless | Sign::Wait => Hold::Pointless(snapshot, began.elapsed()),
            },
        }
    }
}

fn sign(snapshot: &Snapshot, news_since: Option<u64>) -> Sign {
    match snapshot.state {
        State::Ready { .. } if news_since.is_none_or(|old| snapshot.sequence > old) => Sign::Pass,
        State::Ready { .. } | State::Unknown | State::Suspect { .. } | State::Warming { .. } => Sign::Wait,
        State::Down { .. } => Sign::Pointless,
    }
}
