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

/// How a wait ended.
pub enum Hold {
    Passed(Arc<Snapshot>),
    /// Nothing will happen by itself.
    Pointless(Arc<Snapshot>),
    OutOfPatience(Arc<Snapshot>),
    /// As many are held as may be.
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
    /// that number is no longer believed. Adds the time that was waited to `held`.
    pub async fn pass(&self, news_since: Option<u64>, deadline: Instant, held: &mut Duration) -> Hold {
        let snapshot = self.newest();
        match sign(&snapshot, news_since) {
            Sign::Pass => return Hold::Passed(snapshot),
            Sign::Pointless => return Hold::Pointless(snapshot),
            Sign::Wait => {}
        }
        let Some(_place) = self.demand.enter(self.most) else {
            return Hold::Full(snapshot, self.most);
        };
        let began = Instant::now();
        let ended = self.wait(news_since, deadline).await;
        *held += began.elapsed();
        ended
    }

    async fn wait(&self, news_since: Option<u64>, deadline: Instant) -> Hold {
        let mut snapshots = self.snapshots.clone();
        let decided = snapshots.wait_for(|snapshot| !matches!(sign(snapshot, news_since), Sign::Wait));
        let decided = match timeout_at(deadline, decided).await {
            Ok(Ok(snapshot)) => Some(Arc::clone(&snapshot)),
            // Without a watcher nothing will change any more: anteroom is stopping.
            Ok(Err(_)) | Err(_) => None,
        };
        match decided {
            None => Hold::OutOfPatience(self.newest()),
            Some(snapshot) => match sign(&snapshot, news_since) {
                Sign::Pass => Hold::Passed(snapshot),
                Sign::Pointless | Sign::Wait => Hold::Pointless(snapshot),
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
