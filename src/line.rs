//! Who of those that wait may go: first in, first out, and never more at once than a service that has just started
//! can bear.
//!
//! ```text
//!              open                     answered
//! waiting ────────────────▶ passing ───────────────────────────────▶ gone; the window may grow
//!    │   while fewer pass      ├─ too long without an answer, left ─▶ gone
//!    │   than the window       └─ failed ─▶ waiting, in its old place
//!    │      ▲                  └─ not ready for it ─▶ aside
//!    │      └─ called back, shut ────────────────────── ┘
//!    └─ dismissed, or left ─▶ gone
//! ```
//!
//! Who stands aside takes nobody's turn: it waits until the service proves to be ready, and comes back to its old place
//! then.
//!
//! The place in the line is the time of arrival and not a number that is drawn at the door: a request that was let go
//! and failed comes back to where it was. Pure: the caller brings what wakes those who wait, and is told whom to wake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// So many go at once when the gate opens: about what a browser's page asks for, which any service must bear.
pub const FIRST_AT_ONCE: usize = 16;
/// After so many answers twice as many may be on their way at once.
pub const ANSWERS_TO_DOUBLE: u32 = 10;

/// A place in the line: when the request arrived, and its number, since two may arrive in one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub arrived: Instant,
    pub id: u64,
}

/// Whether those who wait may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Shut,
    /// Opened, or confirmed, by the news of this number.
    Open {
        news: u64,
        /// As many may be on their way at once.
        window: usize,
        /// Since the window last grew.
        answers: u32,
    },
    /// Nobody waits any more, since it is pointless.
    Closed,
}

/// What the watcher says about those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Wait,
    Go,
    GiveUp,
}

/// How it stands with one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Waiting,
    /// It may go. It counts as being on its way until [`Line::leave`] or [`Line::answered`].
    Passing,
    /// It has no place: waiting is pointless.
    Dismissed,
}

/// The line. `W` wakes whoever waits.
#[derive(Debug)]
pub struct Line<W> {
    gate: Gate,
    waiting: BTreeMap<Place, Option<W>>,
    aside: BTreeMap<Place, Option<W>>,
    passing: BTreeSet<Place>,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self { gate: Gate::Shut, waiting: BTreeMap::new(), aside: BTreeMap::new(), passing: BTreeSet::new() }
    }
}

impl<W> Line<W> {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many stand aside.
    pub fn aside(&self) -> usize {
        self.aside.len()
    }

    /// Leaves the line for as long as it does not concern this place: until [`Self::call_back`], or until the gate is shut
    /// or closed. Returns whom to wake.
    #[must_use]
    pub fn step_aside(&mut self, place: Place) -> Vec<W> {
        self.waiting.remove(&place);
        self.passing.remove(&place);
        if self.gate != Gate::Closed {
            self.aside.insert(place, None);
        }
        self.advance()
    }

    /// Brings all who stand aside back to their places. Returns whom to wake.
    #[must_use]
    pub fn call_back(&mut self) -> Vec<W> {
        self.waiting.append(&mut self.aside);
        self.advance()
    }

    /// Takes a place, or the old one again. Whoever failed on the news of number `refuted` shuts the gate that was
    /// opened by it: what follows would fail, too, and newer news is on the way. Returns whom to wake.
    #[must_use]
    pub fn enter(&mut self, place: Place, refuted: Option<u64>) -> Vec<W> {
        if let (Gate::Open { news, .. }, Some(refuted)) = (self.gate, refuted)
            && news <= refuted
        {
            self.gate = Gate::Shut;
        }
        self.passing.remove(&place);
        self.aside.remove(&place);
        if self.gate != Gate::Closed {
            self.waiting.insert(place, None);
        }
        self.advance()
    }

    /// How it stands with a place; while it waits, `wake` is kept for its turn.
    pub fn look(&mut self, place: Place, wake: W) -> Standing {
        if let Some(kept) = self.waiting.get_mut(&place).or_else(|| self.aside.get_mut(&place)) {
            *kept = Some(wake);
            Standing::Waiting
        } else if self.passing.contains(&place) {
            Standing::Passing
        } else {
            Standing::Dismissed
        }
    }

    /// Gives a place up, however it stands with it: its client has left, its patience has ended, it has failed, or it has
    /// been on the way for so long that nobody should wait for it.
    /// Returns whom to wake.
    #[must_use]
    pub fn leave(&mut self, place: Place) -> Vec<W> {
        self.waiting.remove(&place);
        self.passing.remove(&place);
        self.aside.remove(&place);
        self.advance()
    }

    /// Who was on the way has an answer. Returns whom to wake.
    #[must_use]
    pub fn answered(&mut self, place: Place) -> Vec<W> {
        if self.passing.remove(&place)
            && let Gate::Open { window, answers, .. } = &mut self.gate
        {
            *answers += 1;
            if *answers == ANSWERS_TO_DOUBLE {
                *answers = 0;
                *window = window.saturating_mul(2);
            }
        }
        self.advance()
    }

    /// Follows an order that came with the news of number `news`. Returns whom to wake.
    #[must_use]
    pub fn obey(&mut self, order: Order, news: u64) -> Vec<W> {
        if !matches!((order, self.gate), (Order::Go, Gate::Open { .. })) {
            // What they waited for is another matter now.
            self.waiting.append(&mut self.aside);
        }
        self.gate = match (order, self.gate) {
            (Order::Go, Gate::Open { window, answers, .. }) => Gate::Open { news, window, answers },
            (Order::Go, Gate::Shut | Gate::Closed) => Gate::Open { news, window: FIRST_AT_ONCE, answers: 0 },
            (Order::Wait, _) => Gate::Shut,
            (Order::GiveUp, _) => Gate::Closed,
        };
        match self.gate {
            Gate::Closed => std::mem::take(&mut self.waiting).into_values().flatten().collect(),
            Gate::Shut | Gate::Open { .. } => self.advance(),
        }
    }

    /// Lets go whoever may, from the front.
    fn advance(&mut self) -> Vec<W> {
        let Gate::Open { window, .. } = self.gate else { return Vec::new() };
        let mut woken = Vec::new();
        while self.passing.len() < window
            && let Some((place, wake)) = self.waiting.pop_first()
        {
            self.passing.insert(place);
            woken.extend(wake);
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A line in which each wakes by its number.
    type Numbers = Line<u64>;

    fn place(id: u64) -> Place {
        static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Place { arrived: *BEGAN + Duration::from_millis(id), id }
    }

    fn enter(line: &mut Numbers, id: u64) {
        assert!(line.enter(place(id), None).is_empty());
        line.look(place(id), id);
    }

    fn queue(ids: impl IntoIterator<Item = u64>) -> Numbers {
        let mut line = Line::default();
        ids.into_iter().for_each(|id| enter(&mut line, id));
        line
    }

    #[test]
    fn who_stands_aside_makes_way_and_comes_back_to_its_old_place() {
        let mut line = queue(0..20);
        assert_eq!(line.obey(Order::Go, 1).len(), 16);
        assert_eq!(line.step_aside(place(3)), [16]);
        assert_eq!((line.look(place(3), 3), line.waiting(), line.aside()), (Standing::Waiting, 3, 1));
        assert_eq!(line.call_back(), [0; 0], "sixteen are on their way");
        assert_eq!(line.answered(place(0)), [3], "before those who came after it");
    }

    #[test]
    fn whatever_changes_for_all_brings_back_who_stands_aside() {
        for (order, woken, waiting) in [(Order::Wait, vec![], 1), (Order::GiveUp, vec![3], 0)] {
            let mut line = queue([3]);
            assert_eq!(line.obey(Order::Go, 1), [3]);
            assert!(line.step_aside(place(3)).is_empty());
            line.look(place(3), 3);
            assert_eq!(line.obey(Order::Go, 2), [0; 0], "that is no news to it");
            assert_eq!(line.obey(order, 3), woken);
            assert_eq!((line.waiting(), line.aside()), (waiting, 0));
        }
    }

    #[test]
    fn the_first_sixteen_go_in_order_of_arrival_and_the_others_behind_them() {
        let mut line = queue((0..40).rev());
        assert_eq!(line.obey(Order::Go, 1), (0..16).collect::<Vec<_>>());
        assert_eq!(line.waiting(), 24);
        assert_eq!(line.look(place(3), 3), Standing::Passing);
        assert_eq!(line.look(place(16), 16), Standing::Waiting);
    }

    #[test]
    fn each_answer_lets_one_more_go_and_ten_double_the_window() {
        let mut line = queue(0..100);
        assert_eq!(line.obey(Order::Go, 1).len(), 16);
        for done in 0..9 {
            assert_eq!(line.answered(place(done)), [16 + done]);
        }
        // 15 are on their way, and now 32 may be.
        assert_eq!(line.answered(place(9)), (25..42).collect::<Vec<_>>());
        for done in 10..19 {
            assert_eq!(line.answered(place(done)).len(), 1);
        }
        assert_eq!(line.answered(place(19)).len(), 64 - 31, "at most what waits");
    }

    #[test]
    fn an_answer_counts_once() {
        let mut line = queue(0..100);
        assert_eq!(line.obey(Order::Go, 1).len(), 16);
        assert_eq!(line.answered(place(0)), [16]);
        for _ in 0..20 {
            assert!(line.answered(place(0)).is_empty());
        }
    }

    #[test]
    fn newcomers_stand_behind_those_who_wait() {
        let mut line = queue(0..17);
        assert_eq!(line.obey(Order::Go, 1).len(), 16);
        enter(&mut line, 20);
        assert_eq!(line.leave(place(5)), [16]);
        assert_eq!(line.leave(place(6)), [20]);
    }

    #[test]
    fn who_failed_stands_where_it_stood() {
        let mut line = queue(0..40);
        assert_eq!(line.obey(Order::Go, 1).len(), 16);
        assert!(line.obey(Order::Wait, 2).is_empty());
        [7, 2].into_iter().for_each(|failed| enter(&mut line, failed));
        // 14 are still on their way.
        assert_eq!(line.obey(Order::Go, 3), [2, 7]);
    }

    #[test]
    fn a_failure_does_not_widen_the_window() {
        let mut line = queue(0..100);
        assert_eq!(line.obey(Order::Go, 1).len(), 16);
        for failed in 0..30 {
            assert_eq!(line.leave(place(failed)).len(), 1);
        }
    }

    #[test]
    fn whoever_refutes_the_news_shuts_the_gate_until_newer_news_comes() {
        let mut line = queue(0..1);
        assert_eq!(line.obey(Order::Go, 5).len(), 1);
        assert!(line.enter(place(0), Some(5)).is_empty());
        assert_eq!(line.look(place(0), 0), Standing::Waiting);
        assert!(line.enter(place(9), None).is_empty(), "whoever comes next would fail, too");
        line.look(place(9), 9);
        assert_eq!(line.obey(Order::Go, 6), [0, 9]);
    }

    #[test]
    fn news_that_is_newer_than_the_failure_is_believed() {
        let mut line = Numbers::default();
        assert!(line.obey(Order::Go, 6).is_empty());
        assert!(line.enter(place(0), Some(5)).is_empty());
        assert_eq!(line.look(place(0), 0), Standing::Passing);
    }

    #[test]
    fn good_news_again_does_not_narrow_the_window() {
        let mut line = queue(0..100);
        assert_eq!(line.obey(Order::Go, 1).len(), 16);
        (0..10).for_each(|done| drop(line.answered(place(done))));
        assert!(line.obey(Order::Go, 2).is_empty());
        assert_eq!(line.waiting(), 100 - 42);
        assert!(line.obey(Order::Wait, 3).is_empty());
        (10..42).for_each(|done| drop(line.leave(place(done))));
        assert_eq!(line.obey(Order::Go, 4).len(), 16, "a service that went away starts anew");
    }

    #[test]
    fn when_waiting_is_pointless_everyone_is_told_at_once_and_nobody_may_enter() {
        let mut line = queue(0..3);
        assert_eq!(line.obey(Order::GiveUp, 1), [0, 1, 2]);
        assert_eq!(line.look(place(1), 1), Standing::Dismissed);
        assert!(line.enter(place(4), None).is_empty());
        assert_eq!(line.look(place(4), 4), Standing::Dismissed);
        assert_eq!(line.waiting(), 0);
    }

    #[test]
    fn who_leaves_is_not_woken_and_takes_nobodys_turn() {
        let mut line = queue(0..20);
        assert!(line.leave(place(0)).is_empty());
        assert_eq!(line.obey(Order::Go, 1), (1..17).collect::<Vec<_>>());
    }
}
