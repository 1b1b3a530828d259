//! Hysteresis, by counts: what the machine is told of a probe, so that a target that flaps does not make it flap.
//!
//! Two counts. One probe that connects and then fails, as a health path does that is late once, is not yet a fall; three
//! in a row are. And a target that falls again and again must pass more often in a row before it is believed: once after
//! its first fall, then twice, then four times. Passing for a while while it is ready clears its record, and so do
//! a few requests that were waiting and got their answers: whoever serves is no flapping target.
//!
//! What cannot be reached at all is no matter of counts: requests would fail.

use std::time::Duration;

use super::{Event, GET_PROBE, State};

/// Probes that connect and fail, in a row, before a target that is ready counts as fallen. As many as Kubernetes takes.
const MISSES_TO_FALL: u32 = 3;
/// Passes in a row, or answers, after which former falls are forgotten: ten seconds, at the pace at which one that is ready
/// is asked.
const PASSES_TO_FORGET: u32 = 5;
/// The most passes in a row that are asked for, doubled with each fall beyond the first.
const PASSES_MOST: u32 = 4;
/// Between the probes that decide, where a connection is all that is asked for.
const CONFIRM: Duration = Duration::from_millis(5);

/// What the last probes said, and how often the target fell lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In a row.
    passed: u32,
    /// In a row.
    missed: u32,
    falls: u32,
    /// Requests that had been answered when it last became ready.
    served: u64,
}

impl Tally {
    /// Counts an event, and says what the machine is to make of it. `connects`: the probe had got as far as a connection.
    pub fn count(&mut self, state: State, event: Event, connects: bool) -> Event {
        let is_ready = matches!(state, State::Ready { .. });
        match event {
            Event::Probe { passed: true } => {
                self.missed = 0;
                self.passed = self.passed.saturating_add(1);
                if is_ready && self.passed >= PASSES_TO_FORGET {
                    self.falls = 0;
                }
                if is_ready || self.passed >= self.passes_to_rise() { event } else { Event::Look }
            }
            Event::Probe { passed: false } => {
                self.passed = 0;
                self.missed = self.missed.saturating_add(1);
                if is_ready && connects && self.missed < MISSES_TO_FALL { Event::Look } else { event }
            }
            Event::ConnectFailed => {
                self.passed = 0;
                event
            }
            Event::Look => event,
        }
    }

    /// Takes note of where the machine went. `served` requests that had been waiting were ever answered.
    pub fn moved(&mut self, before: State, after: State, served: u64) {
        let is_ready = |state| matches!(state, State::Ready { .. });
        if is_ready(before) && !is_ready(after) {
            let falls = if served - self.served >= PASSES_TO_FORGET.into() { 0 } else { self.falls };
            self.falls = falls.saturating_add(1);
            self.passed = 0;
        } else if !is_ready(before) && is_ready(after) {
            self.passed = 0;
            self.missed = 0;
            self.served = served;
        }
    }

    /// When to ask again, counted from the last probe, where one more answer decides. `asks`: each probe is a GET, which
    /// the target must work for.
    pub fn confirm_in(self, state: State, asks: bool) -> Option<Duration> {
        let undecided = match state {
            State::Ready { .. } => self.missed > 0,
            State::Unknown | State::Suspect { .. } | State::Warming { .. } | State::Down { .. } => self.passed > 0,
        };
        undecided.then_some(if asks { GET_PROBE } else { CONFIRM })
    }

    fn passes_to_rise(self) -> u32 {
        1_u32.checked_shl(self.falls.saturating_sub(1)).unwrap_or(PASSES_MOST).clamp(1, PASSES_MOST)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const PASSED: Event = Event::Probe { passed: true };
    const FAILED: Event = Event::Probe { passed: false };

    fn ready() -> State {
        State::Ready { since: Instant::now(), despite: None }
    }

    fn warming() -> State {
        State::Warming { since: Instant::now(), attempts: 1, fell: None }
    }

    fn fallen(times: u32) -> Tally {
        let mut tally = Tally::default();
        (0..times).for_each(|_| tally.moved(ready(), warming(), 0));
        tally
    }

    fn passes(tally: &mut Tally, state: State, times: u32) {
        for _ in 0..times {
            tally.count(state, PASSED, true);
        }
    }

    #[test]
    fn a_health_path_that_fails_once_or_twice_is_no_fall() {
        let mut tally = Tally::default();
        for _ in 0..10 {
            assert_eq!(tally.count(ready(), FAILED, true), Event::Look);
            assert_eq!(tally.count(ready(), FAILED, true), Event::Look);
            assert_eq!(tally.confirm_in(ready(), true), Some(GET_PROBE), "it is asked again soon");
            assert_eq!(tally.count(ready(), PASSED, true), PASSED);
            assert_eq!(tally.confirm_in(ready(), true), None);
        }
        for expected in [Event::Look, Event::Look, FAILED] {
            assert_eq!(tally.count(ready(), FAILED, true), expected);
        }
    }

    #[test]
    fn what_cannot_be_reached_falls_at_once() {
        assert_eq!(Tally::default().count(ready(), FAILED, false), FAILED);
        assert_eq!(Tally::default().count(ready(), Event::ConnectFailed, false), Event::ConnectFailed);
    }

    #[test]
    fn each_fall_makes_it_harder_to_be_believed() {
        for (falls, passes) in [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 4), (100, 4)] {
            let mut tally = fallen(falls);
            for _ in 1..passes {
                assert_eq!(tally.count(warming(), PASSED, true), Event::Look, "{falls} falls");
                assert_eq!(tally.confirm_in(warming(), false), Some(CONFIRM));
            }
            assert_eq!(tally.count(warming(), PASSED, true), PASSED, "{falls} falls");
        }
    }

    #[test]
    fn a_miss_begins_the_count_anew() {
        for miss in [FAILED, Event::ConnectFailed] {
            let mut tally = fallen(3);
            (0..3).for_each(|_| assert_eq!(tally.count(warming(), PASSED, true), Event::Look));
            assert_eq!(tally.count(warming(), miss, true), miss);
            (0..3).for_each(|_| assert_eq!(tally.count(warming(), PASSED, true), Event::Look));
            assert_eq!(tally.count(warming(), PASSED, true), PASSED);
        }
    }

    #[test]
    fn who_stays_ready_has_its_record_cleared() {
        let mut tally = fallen(4);
        passes(&mut tally, warming(), 8);
        tally.moved(warming(), ready(), 0);
        passes(&mut tally, ready(), PASSES_TO_FORGET);
        tally.moved(ready(), warming(), 0);
        assert_eq!(tally.count(warming(), PASSED, true), PASSED);
    }

    #[test]
    fn who_has_served_those_who_waited_has_its_record_cleared() {
        for (served, event) in [(4, Event::Look), (5, PASSED)] {
            let mut tally = fallen(4);
            passes(&mut tally, warming(), 8);
            tally.moved(warming(), ready(), 100);
            tally.moved(ready(), warming(), 100 + served);
            assert_eq!(tally.count(warming(), PASSED, true), event, "{served}");
        }
    }

    #[test]
    fn who_falls_before_that_has_not() {
        let mut tally = fallen(2);
        passes(&mut tally, warming(), 2);
        tally.moved(warming(), ready(), 0);
        passes(&mut tally, ready(), PASSES_TO_FORGET - 1);
        tally.moved(ready(), warming(), 0);
        assert_eq!(tally.count(warming(), PASSED, true), Event::Look);
    }
}
