//! What waits to be delivered: of each event the newest message and no other, so that it never grows however long a
//! receiver is away. The older event goes first.

use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::Instant;

use super::post::Undelivered;
use crate::backoff::Pace;

/// The first repetition comes within a second: most failures are a receiver that restarts. Then ever more slowly, since
/// one that is away for an hour does not want sixty attempts.
const PACE: Pace = Pace { base: Duration::from_secs(1), cap: Duration::from_secs(300) };
/// Who reads it then has long known.
const OUTDATED: Duration = Duration::from_secs(24 * 60 * 60);

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Down,
    Up,
}

/// A message, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// Tells it from every other one.
    pub number: u64,
    pub event: Event,
    pub content_type: &'static str,
    pub body: Bytes,
    written: Instant,
    due: Instant,
    failed: u32,
}

impl Letter {
    pub fn new(number: u64, event: Event, content_type: &'static str, body: String, now: Instant) -> Self {
        Self { number, event, content_type, body: body.into(), written: now, due: now, failed: 0 }
    }
}

/// At most one message of each event, the older one first.
#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<Letter>);

impl Outbox {
    /// Adds a message; an older one of the same event is not worth sending any more.
    pub fn put(&mut self, letter: Letter) {
        self.0.retain(|older| older.event != letter.event);
        self.0.push(letter);
    }

    /// When the next attempt is due, if there is anything to send.
    pub fn next(&self) -> Option<Instant> {
        self.0.first().map(|letter| letter.due)
    }

    /// The message to send now. It stays until it is recorded as delivered.
    pub fn due(&self, now: Instant) -> Option<Letter> {
        self.0.first().filter(|letter| letter.due <= now).cloned()
    }

    /// Notes how an attempt has ended. One of a message that was replaced meanwhile counts for nothing.
    pub fn record(&mut self, number: u64, outcome: Result<(), Undelivered>, now: Instant) {
        let Some(at) = self.0.iter().position(|letter| letter.number == number) else { return };
        let letter = &mut self.0[at];
        let Err(undelivered) = outcome else {
            tracing::info!(event = ?letter.event, failed = letter.failed, "a message was delivered");
            self.0.remove(at);
            return;
        };
        letter.failed = letter.failed.saturating_add(1);
        if now.saturating_duration_since(letter.written) >= OUTDATED {
            tracing::warn!(event = ?letter.event, failed = letter.failed, "a message is given up");
            self.0.remove(at);
            return;
        }
        if letter.failed == 1 {
            // Once a message: the repetitions would say the same.
            tracing::warn!(event = ?letter.event, reason = %undelivered, "a message was not delivered, and is sent again");
        } else {
            tracing::debug!(failed = letter.failed, reason = %undelivered, "a message was not delivered again");
        }
        let asked = undelivered.retry_after().unwrap_or_default().min(PACE.cap);
        letter.due = now + PACE.delay(letter.failed, fastrand::f64()).max(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(number: u64, event: Event, now: Instant) -> Letter {
        Letter::new(number, event, "text/plain", String::new(), now)
    }

    fn numbers(outbox: &Outbox) -> Vec<u64> {
        outbox.0.iter().map(|letter| letter.number).collect()
    }

    #[test]
    fn of_each_event_only_the_newest_waits_and_the_older_event_goes_first() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for (number, waiting) in [(1, vec![1]), (2, vec![1, 2]), (3, vec![2, 3]), (4, vec![3, 4]), (5, vec![4, 5])] {
            let event = if number % 2 == 1 { Event::Down } else { Event::Up };
            outbox.put(letter(number, event, now));
            assert_eq!(numbers(&outbox), waiting);
            assert_eq!(outbox.due(now).map(|due| due.number), Some(waiting[0]));
        }
        outbox.record(1, Ok(()), now);
        assert_eq!(numbers(&outbox), [4, 5], "it was replaced while it was under way");
        outbox.record(4, Ok(()), now);
        outbox.record(5, Ok(()), now);
        assert_eq!((numbers(&outbox), outbox.next()), (vec![], None));
    }

    #[test]
    fn what_was_not_delivered_waits_ever_longer_but_no_longer_than_the_cap() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.put(letter(1, Event::Down, now));
        for failed in 1..100 {
            outbox.record(1, Err(Undelivered::TimedOut), now);
            let wait = outbox.next().expect("it still waits") - now;
            assert!(wait <= PACE.delay(failed, 1.0) && wait <= PACE.cap, "{wait:?} after {failed}");
        }
        assert!(outbox.due(now + PACE.cap).is_some());
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it_within_reason() {
        let now = Instant::now();
        for (asked, least) in [(60, 60), (1_000_000, 300)] {
            let mut outbox = Outbox::default();
            outbox.put(letter(1, Event::Down, now));
            let asked = Some(Duration::from_secs(asked));
            outbox.record(1, Err(Undelivered::Answered(http::StatusCode::TOO_MANY_REQUESTS, asked)), now);
            assert_eq!(outbox.next(), Some(now + Duration::from_secs(least)));
        }
    }

    #[test]
    fn a_message_of_yesterday_is_given_up() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.put(letter(1, Event::Down, now));
        outbox.record(1, Err(Undelivered::TimedOut), now + OUTDATED - Duration::from_secs(1));
        assert_eq!(numbers(&outbox), [1]);
        outbox.record(1, Err(Undelivered::TimedOut), now + OUTDATED);
        assert_eq!(numbers(&outbox), [0; 0]);
    }
}
