//! The way to the upstream as one worker sees it: open, or through the waiting room until the upstream is ready, the
//! request's patience ends, or waiting becomes pointless.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::evidence::Bound;
use crate::line::Place;
use crate::readiness::State;
use crate::room::{Held, Room, Turn};
use crate::watch::Snapshot;

/// The way to the upstream.
pub struct Door {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    room: Arc<Room>,
}

/// What a request brings that may have to wait.
pub struct Stay {
    pub place: Place,
    /// Of its head.
    pub bytes: usize,
    /// When its patience ends.
    pub deadline: Instant,
}

/// How a wait ended, on which snapshot, and how long it took.
pub struct Hold {
    pub snapshot: Arc<Snapshot>,
    pub waited: Duration,
    pub end: End,
}

/// How a wait ended.
pub enum End {
    Passed,
    /// Nothing will happen by itself, or we are about to stop.
    Pointless,
    Bounded(Bound),
}

impl Door {
    /// `room` is the one that whoever publishes the snapshots gives its orders to.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, room: Arc<Room>) -> Self {
        Self { snapshots, room }
    }

    /// What is known now.
    pub fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// What is published from now on.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// What is known now, if a request may pass at once by it: the upstream is ready, and nobody waits.
    pub fn open(&self) -> Option<Arc<Snapshot>> {
        let snapshot = self.newest();
        (matches!(snapshot.state, State::Ready { .. }) && self.room.waiting() == 0).then_some(snapshot)
    }

    /// Whether nobody waits here, since nothing will happen by itself.
    pub fn is_closed(&self) -> bool {
        matches!(self.snapshots.borrow().state, State::Down { .. })
    }

    /// Whether the watcher has gone, as when we are about to stop: nothing will change any more.
    pub fn is_abandoned(&self) -> bool {
        self.snapshots.has_changed().is_err()
    }

    /// Passes at once when the upstream is ready and nobody waits; else takes a place in the line, or the old one if it
    /// is `held` already. The snapshot whose number it has `refuted` is no longer believed.
    pub async fn pass(&self, held: &mut Option<Held>, refuted: Option<u64>, stay: impl FnOnce() -> Stay) -> Hold {
        let snapshot = self.newest();
        let at_once = |snapshot, end| Hold { snapshot, waited: Duration::ZERO, end };
        let is_ready = match snapshot.state {
            State::Ready { .. } => refuted.is_none_or(|old| snapshot.sequence > old),
            State::Unknown | State::Suspect { .. } | State::Warming { .. } => false,
            State::Down { .. } => return at_once(snapshot, End::Pointless),
        };
        if is_ready && held.is_none() && self.room.waiting() == 0 {
            return at_once(snapshot, End::Passed);
        }
        let Stay { place, bytes, deadline } = stay();
        let began = Instant::now();
        if deadline <= began {
            // Who may not wait does not stand in line either.
            let end = if is_ready { End::Passed } else { End::Bounded(Bound::Patience { held: Duration::ZERO }) };
            return at_once(snapshot, end);
        }
        let held = match held {
            Some(held) => {
                held.wait_again(refuted);
                held
            }
            None => match self.room.enter(place, bytes, refuted) {
                Ok(entered) => held.insert(entered),
                Err(bound) => return at_once(snapshot, End::Bounded(bound)),
            },
        };
        loop {
            let turn = timeout_at(deadline, held.turn()).await;
            let (snapshot, waited) = (self.newest(), began.elapsed());
            let end = match turn {
                Ok(Turn::Go) => End::Passed,
                Ok(Turn::GiveUp) if self.is_pointless(&snapshot) => End::Pointless,
                Ok(Turn::GiveUp) => {
                    // Better news came before this was heard.
                    held.wait_again(refuted);
                    continue;
                }
                Err(_) => End::Bounded(Bound::Patience { held: waited }),
            };
            return Hold { snapshot, waited, end };
        }
    }

    /// Has a request stand aside, in the room but in nobody's way.
    ///
    /// # Errors
    /// Which bound of the room would be exceeded.
    pub fn step_aside<'a>(&self, held: &'a mut Option<Held>, stay: &Stay) -> Result<&'a Held, Bound> {
        Ok(match held {
            Some(held) => {
                held.step_aside();
                held
            }
            None => held.insert(self.room.enter_aside(stay.place, stay.bytes)?),
        })
    }

    /// Ends when the address of a request's peer is nobody's any more, though it was somebody's by what was `known` when
    /// the request was sent. Nothing closes such a connection: a container that is taken off its network says nothing.
    pub async fn loses(&self, known: &Snapshot, peer: Option<IpAddr>) {
        if let Some(peer) = peer.filter(|peer| known.knows(*peer))
            && self.snapshots.clone().wait_for(|snapshot| snapshot.has_lost(peer)).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    fn is_pointless(&self, snapshot: &Snapshot) -> bool {
        matches!(snapshot.state, State::Down { .. }) || self.is_abandoned()
    }
}
