//! Measures how long each run of the target takes from its start until it is ready.
//!
//! Times are differences of the monotonic clock, so a wall clock that steps meanwhile changes nothing. How long before
//! we saw it a run had started only the wall clocks can tell; what they say is bounded.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::evidence::{Container, Status};
use crate::warmup::{History, Key, LONGEST, Usual};

/// Events come within a fraction of a second; an engine that tells later than this does not know better.
const SEEN_LATE: Duration = Duration::from_secs(5);

/// The runs of the target, and what was learned from them.
pub(super) struct Warming {
    learned: watch::Sender<History>,
    /// Of the target that was seen last.
    key: Option<Key>,
    /// When the container that was seen last had been started, as the engine wrote it.
    started: Option<(Box<str>, SystemTime)>,
    /// Which container the engine told of last, and when.
    told: Option<(Box<str>, Instant)>,
    run: Option<Run>,
}

/// A run that is not ready yet.
struct Run {
    began: Instant,
    /// Whether it was not ready when it was asked, or is known to have been away before. One that was ready when it was
    /// first seen teaches nothing.
    was_away: bool,
}

impl Warming {
    pub(super) fn new(learned: watch::Sender<History>) -> Self {
        Self { learned, key: None, started: None, told: None, run: None }
    }

    /// How long the target usually takes.
    pub(super) fn usual(&self) -> Option<Usual> {
        self.learned.borrow().usual(self.key.as_ref()?)
    }

    /// When the run that warms up had been started.
    pub(super) fn began(&self) -> Option<Instant> {
        self.run.as_ref().map(|run| run.began)
    }

    /// The engine told of the target, at a moment of the wall clock; `None` if it did not.
    pub(super) fn saw(&mut self, target: Option<&Container>, wall: SystemTime) {
        let (now, mut untold) = (Instant::now(), Duration::MAX);
        if let Some(target) = target {
            self.key = Some(Key::of(target));
            let last = self.told.replace((target.id.clone(), now)).filter(|(id, _)| *id == target.id);
            untold = last.map_or(Duration::MAX, |(_, told)| now - told);
        }
        let running = target.filter(|target| target.status == Status::Running);
        let Some((container, at)) = running.and_then(|it| Some((it, it.started.as_ref()?.at))) else {
            self.run = None;
            return;
        };
        let this = Some((container.id.clone(), at));
        if self.started == this {
            return;
        }
        let is_first = self.started.is_none();
        self.started = this;
        let mut late = wall.duration_since(at).unwrap_or_default();
        if late > SEEN_LATE {
            // Whatever the wall clocks say, it had not begun when the engine told of the same container last.
            late = late.min(untold);
        }
        if late > SEEN_LATE {
            // Whatever keeps it from being ready now, it need not be its start.
            self.run = None;
            return;
        }
        self.run = Some(Run { began: now.checked_sub(late).unwrap_or(now), was_away: !is_first });
    }

    /// A probe has failed.
    pub(super) fn is_away(&mut self) {
        if let Some(run) = &mut self.run {
            run.was_away = true;
        }
    }

    /// The target serves, and has not been seen away since this run began: there is nothing to learn.
    pub(super) fn is_over(&mut self) {
        self.run = None;
    }

    /// The target is ready. Says how long that took, if it was learned.
    pub(super) fn is_ready(&mut self) -> Option<Duration> {
        let (Some(Run { began, was_away: true }), Some(key)) = (self.run.take(), &self.key) else { return None };
        let took = began.elapsed();
        if took > LONGEST {
            return None;
        }
        self.learned.send_modify(|history| history.record(key, took));
        tracing::info!(took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "the target has warmed up");
        Some(took)
    }
}
