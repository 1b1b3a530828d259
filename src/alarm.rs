//! When is somebody to be told that the upstream is down, or is back? An explicit state machine: [`Alarm::step`] is
//! pure, total and knows no clock.
//!
//! ```text
//! Quiet      ──out──▶ Failing
//! Failing    ──well──▶ Quiet
//! Failing    ──still or again out after a while──▶ Sounding     tells: fell
//! Sounding   ──well──▶ Recovering
//! Recovering ──out · waits──▶ Sounding
//! Recovering ──well for that while──▶ Quiet                     tells: recovered
//! ```
//!
//! A message interrupts somebody, so it waits until what it says has lasted (`settles`): a flap makes none, and never
//! a pair. The default of 5 s is long enough for two idle probes (2 s apart) to agree. A target that was ready and ends
//! has its grace first, so that `docker restart` is over before anything counts here. An
//! outage ends when requests pass again and not when the target is started again, since a start can fail: down,
//! warming and down is one outage. While warming, nothing is told that was not told before.

use std::time::{Duration, Instant};

/// What has been told, and what may have to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing is wrong, as far as anybody was told.
    #[default]
    Quiet,
    /// Out since then, and nobody was told yet.
    Failing { since: Instant },
    /// It was told.
    Sounding { since: Instant },
    /// It was told, and requests pass again.
    Recovering { fell: Instant, since: Instant },
}

/// How the upstream is, as far as an alarm is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Somebody must act.
    Out,
    /// Not ready, and may become so by itself.
    Waits,
    /// It is being looked into.
    Unsure,
    /// Requests pass.
    Well,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Out since then.
    Fell { since: Instant },
    /// Out from the one moment to the other.
    Recovered { fell: Instant, since: Instant },
}

impl Alarm {
    /// Moves the machine: the next state, and what must be told, which is what has lasted for as long as `settles`.
    pub fn step(self, condition: Condition, settles: Duration, now: Instant) -> (Self, Option<News>) {
        use Condition::{Out, Unsure, Waits, Well};

        let has_lasted = |since: Instant| now.saturating_duration_since(since) >= settles;
        match (self, condition) {
            (Self::Quiet, Out) if settles.is_zero() => (Self::Sounding { since: now }, Some(News::Fell { since: now })),
            (Self::Quiet, Out) => (Self::Failing { since: now }, None),
            (Self::Quiet, Waits | Unsure | Well) => (self, None),

            (Self::Failing { .. }, Well) => (Self::Quiet, None),
            (Self::Failing { since }, Out) if has_lasted(since) => {
                (Self::Sounding { since }, Some(News::Fell { since }))
            }
            (Self::Failing { .. }, Out | Waits | Unsure) => (self, None),

            (Self::Sounding { since: fell }, Well) if settles.is_zero() => {
                (Self::Quiet, Some(News::Recovered { fell, since: now }))
            }
            (Self::Sounding { since: fell }, Well) => (Self::Recovering { fell, since: now }, None),
            (Self::Sounding { .. }, Out | Waits | Unsure) => (self, None),

            (Self::Recovering { fell, .. }, Out | Waits) => (Self::Sounding { since: fell }, None),
            (Self::Recovering { .. }, Unsure) => (self, None),
            (Self::Recovering { fell, since }, Well) if has_lasted(since) => {
                (Self::Quiet, Some(News::Recovered { fell, since }))
            }
            (Self::Recovering { .. }, Well) => (self, None),
        }
    }

    /// When to step again though nothing changes, if there is something to wait for.
    pub fn due(self, settles: Duration, now: Instant) -> Option<Instant> {
        match self {
            Self::Quiet | Self::Sounding { .. } => None,
            // What is overdue waits for another condition, not for time.
            Self::Failing { since } | Self::Recovering { since, .. } => Some(since + settles).filter(|due| *due > now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Condition::{Out, Unsure, Waits, Well};
    use super::*;

    const SETTLES: Duration = Duration::from_secs(5);

    /// Plays conditions at so many milliseconds each, and returns what was told, and when.
    fn played(story: &[(u64, Condition)]) -> Vec<(u64, &'static str, u64)> {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let since = |moment: Instant| u64::try_from((moment - start).as_millis()).expect("a short story");
        let (mut alarm, mut told) = (Alarm::default(), Vec::new());
        for (millis, condition) in story {
            let (next, news) = alarm.step(*condition, SETTLES, at(*millis));
            alarm = next;
            told.extend(news.map(|news| match news {
                News::Fell { since: fell } => (*millis, "fell", since(fell)),
                News::Recovered { fell, since: back } => (*millis, "recovered", since(back) - since(fell)),
            }));
        }
        told
    }

    #[test]
    fn only_what_lasts_is_told_and_only_once() {
        type Case = (&'static str, &'static [(u64, Condition)], &'static [(u64, &'static str, u64)]);
        let cases: &[Case] = &[
            ("an outage", &[(0, Out), (4_999, Out), (5_000, Out), (9_000, Out)], &[(5_000, "fell", 0)]),
            ("a fresh start that finds it down", &[(0, Unsure), (10, Out), (5_010, Out)], &[(5_010, "fell", 10)]),
            ("a fresh start that finds it well", &[(0, Unsure), (10, Well), (99_000, Well)], &[]),
            ("a slow start", &[(0, Unsure), (10, Waits), (600_000, Waits), (700_000, Well)], &[]),
            ("a flap", &[(0, Well), (10, Out), (4_000, Well), (5_010, Well), (9_000, Out), (13_000, Well)], &[]),
            (
                "a start that fails is the same outage",
                &[(0, Out), (3_000, Waits), (6_000, Waits), (8_000, Out), (9_000, Waits), (20_000, Out)],
                &[(8_000, "fell", 0)],
            ),
            (
                "its end",
                &[(0, Out), (5_000, Out), (60_000, Waits), (90_000, Well), (94_999, Well), (95_000, Well)],
                &[(5_000, "fell", 0), (95_000, "recovered", 90_000)],
            ),
            (
                "an end that does not last",
                &[(0, Out), (5_000, Out), (60_000, Well), (62_000, Out), (70_000, Well), (72_000, Waits)],
                &[(5_000, "fell", 0)],
            ),
            (
                "a doubt is no fall",
                &[(0, Out), (5_000, Out), (60_000, Well), (64_000, Unsure), (66_000, Unsure), (66_010, Well)],
                &[(5_000, "fell", 0), (66_010, "recovered", 60_000)],
            ),
            (
                "the next outage is told again",
                &[(0, Out), (5_000, Out), (10_000, Well), (15_000, Well), (20_000, Out), (25_000, Out)],
                &[(5_000, "fell", 0), (15_000, "recovered", 10_000), (25_000, "fell", 20_000)],
            ),
        ];
        for (name, story, told) in cases {
            assert_eq!(played(story), *told, "{name}");
        }
    }

    #[test]
    fn it_asks_to_be_woken_when_something_settles_and_never_in_the_past() {
        let now = Instant::now();
        let (failing, _) = Alarm::Quiet.step(Out, SETTLES, now);
        assert_eq!(failing.due(SETTLES, now), Some(now + SETTLES));
        let later = now + SETTLES;
        let (waiting, _) = failing.step(Waits, SETTLES, later);
        assert_eq!(waiting.due(SETTLES, later), None, "only another condition tells more");
        let (sounding, _) = waiting.step(Out, SETTLES, later);
        assert_eq!((Alarm::Quiet.due(SETTLES, now), sounding.due(SETTLES, now)), (None, None));
        let (recovering, _) = sounding.step(Well, SETTLES, later);
        assert_eq!(recovering.due(SETTLES, later), Some(later + SETTLES));
    }
}
