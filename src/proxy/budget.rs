//! Counts requests and retries of the last seconds, for the bound of [`retry::budget`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use crate::retry::{self, BUDGET_WINDOW};

/// One slot a second.
const SLOTS: usize = BUDGET_WINDOW.as_secs() as usize;
/// In milliseconds: the pace at which a prober asks for a ready path.
const SCOUT_EVERY: u64 = 50;

/// Shared by all workers, without a lock: two that enter a new second at once may lose a count, which a bound of
/// this kind can bear.
#[derive(Debug)]
pub struct Budget {
    began: Instant,
    slots: [Slot; SLOTS],
    /// When the last scout went, in milliseconds since `began`.
    scouted: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    second: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { began: Instant::now(), slots: Default::default(), scouted: AtomicU64::new(0) }
    }
}

impl Budget {
    /// A request arrived.
    pub fn count_request(&self, now: Instant) {
        self.slot(now).requests.fetch_add(1, Relaxed);
    }

    /// Takes one retry out of the budget; false if it is spent.
    pub fn spend(&self, now: Instant) -> bool {
        let slot = self.slot(now);
        let second = self.second(now);
        let recent = |slot: &&Slot| second - slot.second.load(Relaxed).min(second) < BUDGET_WINDOW.as_secs();
        let sum = |count: fn(&Slot) -> &AtomicU64| -> u64 {
            self.slots.iter().filter(recent).map(|slot| count(slot).load(Relaxed)).sum()
        };
        let left = sum(|slot| &slot.retries) < retry::budget(sum(|slot| &slot.requests));
        if left {
            slot.retries.fetch_add(1, Relaxed);
        }
        left
    }

    /// Lets one of those go for which the budget has nothing left, so that they learn of it soon when the upstream has
    /// become ready: as many as a prober would send, however many wait.
    pub fn scout(&self, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        let due = |last: u64| (now >= last.saturating_add(SCOUT_EVERY)).then_some(now);
        self.scouted.fetch_update(Relaxed, Relaxed, due).is_ok()
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    fn slot(&self, now: Instant) -> &Slot {
        let second = self.second(now);
        let slot = &self.slots[second as usize % SLOTS];
        if slot.second.load(Relaxed) != second {
            slot.requests.store(0, Relaxed);
            slot.retries.store(0, Relaxed);
            slot.second.store(second, Relaxed);
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_quiet_service_has_a_hundred_retries_in_ten_seconds() {
        let budget = Budget::default();
        let now = budget.began;
        assert_eq!((0..200).filter(|_| budget.spend(now)).count(), 100);
        assert!(!budget.spend(now + Duration::from_secs(9)), "still in the window");
        assert!(budget.spend(now + Duration::from_secs(10)), "a new window");
    }

    #[test]
    fn one_scout_goes_every_fifty_milliseconds() {
        let budget = Budget::default();
        let scouts = |now| (0..9).filter(|_| budget.scout(now)).count();
        let after = |millis| budget.began + Duration::from_millis(millis);
        assert_eq!([50, 99, 100, 500, 1].map(|millis| scouts(after(millis))), [1, 0, 1, 1, 0]);
    }

    #[test]
    fn traffic_adds_a_fifth() {
        let budget = Budget::default();
        let now = budget.began;
        (0..1000).for_each(|_| budget.count_request(now));
        assert_eq!((0..1000).filter(|_| budget.spend(now + Duration::from_secs(1))).count(), 300);
    }
}
