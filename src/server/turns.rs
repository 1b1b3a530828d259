//! How many connections begin to be served before those that are being served come to their turn.
//!
//! If a thousand clients ask at once, all their requests would be under way at once: when an answer comes, what belongs to
//! it has long been out of the processor's caches, and each request needs a connection to the upstream of its own. So a
//! few begin, in the order in which they asked, and whatever the kernel has for those under way comes first.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

use crate::upstream::places::Waits;

/// So many begin in a turn, and beside them one in so many of those who wait: a turn is long where much else is under way, and
/// nobody is to wait for hundreds. With one in 16, a request of 1,000 that are asked at once takes a seventh more CPU time.
const AT_LEAST: usize = 16;
const ONE_IN: usize = 64;

/// The turns of one worker.
pub struct Turns {
    /// Places that nobody has taken.
    free: Semaphore,
    /// How many have to wait for one, or have not begun with it yet.
    waiting: AtomicUsize,
    wanted: Notify,
}

impl Default for Turns {
    fn default() -> Self {
        Self { free: Semaphore::new(AT_LEAST), waiting: AtomicUsize::new(0), wanted: Notify::new() }
    }
}

impl Turns {
    /// Waits for a place in a turn. Needs somebody who [passes](Self::pass) them.
    pub(super) async fn begin(&self) {
        if let Ok(place) = self.free.try_acquire() {
            place.forget();
            // Before there is none: where only few begin, nobody waits.
            if self.free.available_permits() == AT_LEAST / 2 {
                self.wanted.notify_one();
            }
            return;
        }
        let _waits = Waits::begin(&self.waiting);
        self.wanted.notify_one();
        // Boxed, or every connection would have room for it. It is never closed.
        if let Ok(place) = Box::pin(self.free.acquire()).await {
            place.forget();
        }
    }

    /// Whether anybody waits.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Begins a turn when places become few, and one after the other for as long as anybody waits.
    pub(super) async fn pass(&self) {
        loop {
            self.wanted.notified().await;
            loop {
                let places = AT_LEAST + self.waiting.load(Ordering::Relaxed) / ONE_IN;
                self.free.add_permits(places.saturating_sub(self.free.available_permits()));
                if !self.is_crowded() {
                    break;
                }
                // All tasks that can go on do, and tokio asks the kernel, before this one does.
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn of_a_crowd_few_begin_in_a_turn_in_the_order_in_which_they_asked() {
        const CROWD: usize = 400;
        let (turns, begun) = (Arc::<Turns>::default(), Arc::<Mutex<Vec<usize>>>::default());
        let passing = Arc::clone(&turns);
        tokio::spawn(async move { passing.pass().await });
        let ask = |number| {
            let (turns, begun) = (Arc::clone(&turns), Arc::clone(&begun));
            tokio::spawn(async move {
                turns.begin().await;
                begun.lock().expect("nobody panics").push(number);
            })
        };
        let crowd: Vec<_> = (0..CROWD).map(ask).collect();
        let (watched, seen) = (Arc::clone(&turns), Arc::clone(&begun));
        // A task like that which passes the turns: it comes to its turn as often.
        let turns_taken = tokio::spawn(async move {
            let mut last = 0;
            for turn in 0.. {
                let now = seen.lock().expect("nobody panics").len();
                assert!(now - last <= AT_LEAST + CROWD / ONE_IN, "{last} and then {now}");
                last = now;
                if turn == 2 {
                    assert!(watched.is_crowded());
                    // A client that leaves takes no place of others.
                    crowd[CROWD - 1].abort();
                }
                if now == CROWD - 1 {
                    return turn;
                }
                yield_now().await;
            }
            unreachable!()
        });
        assert!((10..100).contains(&turns_taken.await.expect("few in each turn")));
        assert!(*begun.lock().expect("nobody panics") == (0..CROWD - 1).collect::<Vec<_>>(), "in order");
        while turns.is_crowded() {
            yield_now().await;
        }
        assert!(turns.free.available_permits() <= AT_LEAST + 1, "what nobody took is no place in the next turn");
        // One after the other, nobody waits.
        for number in 0..5 * AT_LEAST {
            let mut begins = pin!(turns.begin());
            assert!(futures_util::poll!(&mut begins).is_ready(), "{number}");
            yield_now().await;
        }
    }
}
