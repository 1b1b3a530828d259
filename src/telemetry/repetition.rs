//! Bounds how often the same is said: a disk that is full, an engine that comes and goes, a service that flaps would
//! fill the log with one line over and over, and push out the lines that say why.
//!
//! It is one filter before the log, and no affair of those who speak: what is written once at a place in the source may
//! come ten times a minute from there. What is beyond is counted, and told as `… 412 more` when the minute is over.
//! The levels for those who look for something are the exception. Requests do not come by here: each has its one line.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::Hash;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::lock::lock;

/// Within [`WINDOW`], of one place in the source.
const MOST: u64 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// In bytes: what is repeated of a message. Ours are shorter.
const WORDS_MOST: usize = 128;
/// The lines that tell of it.
const TOLD: &str = "anteroom::repetition";

/// What was said in the whole process.
pub(super) static REPETITION: LazyLock<Repetition> = LazyLock::new(Repetition::default);

/// How often each thing was said lately.
#[derive(Debug, Default)]
pub(super) struct Repetition(Mutex<Counts<Identifier>>);

impl Repetition {
    fn with<T>(&self, act: impl FnOnce(&mut Counts<Identifier>) -> T) -> T {
        act(&mut lock(&self.0))
    }

    /// Tells how much was left out in the windows that are over, or in all.
    pub(super) fn tell(&self, all: bool) {
        let left_out = self.with(|counts| counts.over(Instant::now(), all));
        for (more, words) in left_out {
            // A field is escaped, and the message is ours.
            tracing::warn!(target: TOLD, like = &*words, "… {more} more");
        }
    }
}

/// For the whole log, and not for one layer of it: a filter of a layer may not change its mind between a place and what
/// comes from there.
impl<S: Subscriber> Layer<S> for &'static Repetition {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO || about.target() == TOLD {
            return true;
        }
        self.with(|counts| counts.admits(about.callsite(), Instant::now(), || words(event)))
    }
}

/// Of each place: since when it is counted, how often it spoke, and what it said when it was silenced. There are only
/// so many places, so this cannot grow.
#[derive(Debug)]
struct Counts<K>(HashMap<K, (Instant, u64, Box<str>)>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// Whether one more may be said.
    fn admits(&mut self, key: K, now: Instant, words: impl FnOnce() -> Box<str>) -> bool {
        let (since, times, what) = self.0.entry(key).or_insert_with(|| (now, 0, "".into()));
        if now.duration_since(*since) >= WINDOW && *times <= MOST {
            (*since, *times) = (now, 0);
        }
        *times += 1;
        if *times == MOST + 1 {
            *what = words();
        }
        *times <= MOST
    }

    /// Forgets the windows that are over; says how much was left out in them, and of what.
    fn over(&mut self, now: Instant, all: bool) -> Vec<(u64, Box<str>)> {
        let mut left_out = Vec::new();
        self.0.retain(|_, (since, times, what)| {
            let is_over = all || now.duration_since(*since) >= WINDOW;
            if is_over && *times > MOST {
                left_out.push((*times - MOST, std::mem::take(what)));
            }
            !is_over
        });
        left_out
    }
}

/// An event's message.
fn words(event: &Event<'_>) -> Box<str> {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                let _infallible = write!(self.0, "{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0.truncate(message.0.floor_char_boundary(WORDS_MOST));
    message.0.into()
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::Written;
    use super::*;

    #[test]
    fn what_is_beyond_ten_a_minute_is_counted_and_told_once() {
        let (mut counts, start) = (Counts::default(), Instant::now());
        let admitted = |counts: &mut Counts<&str>, key, times, after| {
            let now = start + Duration::from_secs(after);
            (0..times).filter(|_| counts.admits(key, now, || key.into())).count()
        };
        assert_eq!(admitted(&mut counts, "storm", 400, 0), 10);
        assert_eq!(admitted(&mut counts, "storm", 22, 59), 0);
        assert_eq!(admitted(&mut counts, "drizzle", 10, 59), 10);
        assert_eq!(counts.over(start + Duration::from_secs(59), false), []);
        assert_eq!(counts.over(start + Duration::from_secs(60), false), [(412, "storm".into())]);
        assert_eq!(admitted(&mut counts, "storm", 11, 61), 10, "a new minute");
        assert_eq!(admitted(&mut counts, "drizzle", 10, 119), 10, "the same for whoever was never silenced");
        assert_eq!(counts.over(start + Duration::from_secs(119), true), [(1, "storm".into())], "at the end");
    }

    #[test]
    fn a_storm_leaves_ten_lines_and_one_more() {
        static OWN: LazyLock<Repetition> = LazyLock::new(Repetition::default);
        let log = Written::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines).with(&*OWN);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..422 {
                tracing::warn!(number, "the disk is full");
                tracing::debug!(number, "looked at");
            }
            OWN.tell(false);
            OWN.tell(true);
        });
        let log = log.text();
        let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("WARN anteroom::telemetry"), count("looked at")), (10, 422), "{log}");
        let told: Vec<_> = log.lines().filter(|line| line.contains(TOLD)).collect();
        assert!(matches!(&*told, [line] if line.ends_with("… 412 more like=\"the disk is full\"")), "{told:?}");
    }
}
