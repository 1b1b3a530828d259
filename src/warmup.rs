//! How long the target usually takes from its start until it is ready: learned from its last runs, per target and image,
//! since another image may take another time.
//!
//! What is learned sets when clients are told to come back, how far a page says that it has got, and whether a page view
//! is worth holding. Pure; `memory` keeps it over a restart of ours.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::evidence::Container;

/// Of each target and image, the newest.
const RUNS_KEPT: usize = 20;
/// Targets and images; the one that was met least lately is forgotten.
const KEYS_KEPT: usize = 64;
/// What takes longer was something else: an operator who mended it, or a host that slept.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// In bytes. Names of containers and images are shorter.
const NAME_MOST: usize = 512;

/// Whose warm-ups these are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Compose's project and service, which outlive a container; else the container's name.
    target: String,
    image: String,
}

impl Key {
    /// Of a container.
    pub fn of(container: &Container) -> Self {
        let target = match &container.compose {
            Some(compose) => format!("{}/{}", compose.project, compose.service),
            None => container.name.to_string(),
        };
        Self { target, image: container.image.to_string() }
    }
}

/// How long it usually takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    pub median: Duration,
    /// Nineteen of twenty take no longer.
    pub p95: Duration,
    /// From how many warm-ups this was learned.
    pub count: usize,
}

/// How far a warm-up has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub usual: Usual,
    pub elapsed: Duration,
}

impl Progress {
    /// How long it may still take: until the usual time, or, past that, until the longest usual one; `None` past both.
    pub fn remaining(&self) -> Option<Duration> {
        let left = |total: Duration| total.checked_sub(self.elapsed).filter(|left| !left.is_zero());
        left(self.usual.median).or_else(|| left(self.usual.p95))
    }
}

/// How long a page view should be held that came at `arrived`, where `configured` is what holds without any knowledge.
/// `began` is when the target was started.
///
/// A page that opens a little late is better than one that flashes first, and a blank tab that cannot be filled in time
/// helps nobody.
pub fn patience_for_page_view(
    configured: Duration,
    arrived: Instant,
    began: Option<Instant>,
    usual: Option<Usual>,
) -> Duration {
    let (Some(began), Some(usual)) = (began, usual) else { return configured };
    let until = |total: Duration| (began + total).saturating_duration_since(arrived);
    let (likely, surely) = (until(usual.median), until(usual.p95));
    if !surely.is_zero() && surely <= configured * 2 {
        surely.max(configured)
    } else if likely > configured {
        Duration::ZERO
    } else {
        configured
    }
}

/// The last warm-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The one that was met last is the last.
    targets: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    /// Oldest first.
    milliseconds: Vec<u64>,
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    version: u32,
    targets: Vec<Entry>,
}

const FORMAT: &str = "anteroom-warmups";
const VERSION: u32 = 1;

/// Why a text is no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// It is not JSON of the expected shape.
    Syntax,
    /// It is somebody else's.
    Foreign,
    /// It was written by another version.
    Version,
    /// It holds more than is ever written.
    TooMuch,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "it is damaged",
            Self::Foreign => "it is not a file of anteroom's",
            Self::Version => "it was written by another version of anteroom",
            Self::TooMuch => "it holds more than anteroom writes",
        })
    }
}

impl History {
    /// Adds a warm-up. One that is longer than [`LONGEST`] was none.
    pub fn record(&mut self, key: &Key, took: Duration) {
        if took > LONGEST || key.target.len() > NAME_MOST || key.image.len() > NAME_MOST {
            return;
        }
        let known = self.targets.iter().position(|entry| entry.key == *key).map(|at| self.targets.remove(at));
        let mut entry = known.unwrap_or_else(|| Entry { key: key.clone(), milliseconds: Vec::new() });
        entry.milliseconds.push(u64::try_from(took.as_millis()).expect("an hour fits"));
        let surplus = entry.milliseconds.len().saturating_sub(RUNS_KEPT);
        entry.milliseconds.drain(..surplus);
        self.targets.push(entry);
        let surplus = self.targets.len().saturating_sub(KEYS_KEPT);
        self.targets.drain(..surplus);
    }

    /// How long it usually takes; `None` if that was never seen. Quantiles are those of the nearest rank.
    pub fn usual(&self, key: &Key) -> Option<Usual> {
        let entry = self.targets.iter().find(|entry| entry.key == *key)?;
        let mut sorted = entry.milliseconds.clone();
        sorted.sort_unstable();
        let count = sorted.len();
        let at = |percent: usize| {
            let rank = (percent * count).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|millis| Duration::from_millis(*millis))
        };
        Some(Usual { median: at(50)?, p95: at(95)?, count })
    }

    /// As a file holds it.
    pub fn to_text(&self) -> String {
        let document = Document { format: FORMAT.to_owned(), version: VERSION, targets: self.targets.clone() };
        serde_json::to_string_pretty(&document).expect("names and numbers are JSON")
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// Anything else. Nothing of a damaged text is believed.
    pub fn parse(text: &str) -> Result<Self, Damaged> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|_| Damaged::Syntax)?;
        if value.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
            return Err(Damaged::Foreign);
        }
        if value.get("version").and_then(serde_json::Value::as_u64) != Some(VERSION.into()) {
            return Err(Damaged::Version);
        }
        let Document { targets, .. } = serde_json::from_value(value).map_err(|_| Damaged::Syntax)?;
        let longest = u64::try_from(LONGEST.as_millis()).expect("an hour fits");
        let is_ours = |entry: &Entry| {
            (1..=RUNS_KEPT).contains(&entry.milliseconds.len())
                && entry.milliseconds.iter().all(|millis| *millis <= longest)
                && entry.key.target.len() <= NAME_MOST
                && entry.key.image.len() <= NAME_MOST
        };
        let fits = targets.len() <= KEYS_KEPT && targets.iter().all(is_ours);
        if fits { Ok(Self { targets }) } else { Err(Damaged::TooMuch) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(target: &str, image: &str) -> Key {
        Key { target: target.into(), image: image.into() }
    }

    fn learned(seconds: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        seconds.into_iter().for_each(|took| history.record(&key("a", "b"), Duration::from_secs(took)));
        history
    }

    fn usual(median: u64, p95: u64) -> Usual {
        Usual { median: Duration::from_secs(median), p95: Duration::from_secs(p95), count: 1 }
    }

    #[test]
    fn the_usual_time_is_that_of_the_last_twenty() {
        let of = |seconds: std::ops::RangeInclusive<u64>| {
            learned(seconds).usual(&key("a", "b")).map(|it| (it.median.as_secs(), it.p95.as_secs(), it.count))
        };
        assert_eq!(of(7..=7), Some((7, 7, 1)));
        assert_eq!(of(1..=4), Some((2, 4, 4)));
        assert_eq!(of(1..=20), Some((10, 19, 20)));
        assert_eq!(of(1..=100), Some((90, 99, 20)), "what is older is forgotten");
        assert_eq!(learned(1..=3).usual(&key("a", "another image")), None);
    }

    #[test]
    fn what_took_too_long_was_no_warm_up() {
        assert_eq!(learned([3601]).usual(&key("a", "b")), None);
        assert!(learned([3600]).usual(&key("a", "b")).is_some());
    }

    #[test]
    fn only_so_many_targets_are_remembered_and_the_one_met_last_stays() {
        let mut history = History::default();
        let second = Duration::from_secs(1);
        for target in 0..KEYS_KEPT {
            history.record(&key(&target.to_string(), ""), second);
        }
        history.record(&key("0", ""), second);
        history.record(&key("new", ""), second);
        assert!(history.usual(&key("0", "")).is_some() && history.usual(&key("new", "")).is_some());
        assert_eq!(history.usual(&key("1", "")), None);
        assert_eq!(history.targets.len(), KEYS_KEPT);
    }

    #[test]
    fn what_remains_is_counted_to_the_usual_time_and_then_to_the_longest() {
        let remaining = |elapsed| {
            let progress = Progress { usual: usual(10, 30), elapsed: Duration::from_secs(elapsed) };
            progress.remaining().map(|left| left.as_secs())
        };
        assert_eq!([0, 4, 10, 29, 30, 99].map(remaining), [Some(10), Some(6), Some(20), Some(1), None, None]);
    }

    #[test]
    fn a_page_view_waits_only_for_what_it_can_wait_for() {
        let began = Instant::now();
        let patience = |usual, after: u64| {
            let arrived = began + Duration::from_secs(after);
            patience_for_page_view(Duration::from_secs(2), arrived, Some(began), usual).as_secs()
        };
        assert_eq!(patience(None, 0), 2, "nothing is known");
        assert_eq!(patience(Some(usual(1, 3)), 0), 3, "it will be there in a moment");
        assert_eq!(patience(Some(usual(1, 1)), 0), 2, "if not it may be there in another one");
        assert_eq!(patience(Some(usual(3, 4)), 0), 4, "as long as twice the usual patience");
        assert_eq!(patience(Some(usual(20, 30)), 0), 0, "nobody waits before a blank tab for that");
        assert_eq!(patience(Some(usual(20, 30)), 19), 2, "it may be there any moment");
        assert_eq!(patience(Some(usual(20, 30)), 27), 3);
        assert_eq!(patience(Some(usual(20, 30)), 40), 2, "it takes longer than ever");
        let blank = patience_for_page_view(Duration::ZERO, began, Some(began), Some(usual(1, 3)));
        assert_eq!(blank, Duration::ZERO, "no patience is no patience");
        let not_started = patience_for_page_view(Duration::from_secs(2), began, None, Some(usual(20, 30)));
        assert_eq!(not_started, Duration::from_secs(2));
    }

    #[test]
    fn what_is_not_ours_is_not_believed() {
        let text = learned([1, 2]).to_text();
        let long = text.replace("1000", "3600001");
        let many = format!("{}{}", "1000,".repeat(30), "1000");
        let foreign = r#"{"format":"grafana","version":1,"targets":[]}"#;
        for (text, damage) in [
            ("", Damaged::Syntax),
            ("{", Damaged::Syntax),
            ("null", Damaged::Foreign),
            ("[]", Damaged::Foreign),
            (foreign, Damaged::Foreign),
            (&text[..text.len() / 2], Damaged::Syntax),
            (&text.replace("\"version\": 1", "\"version\": 2"), Damaged::Version),
            (&text.replace("1000", "-1"), Damaged::Syntax),
            (&text.replace("1000", "1e300"), Damaged::Syntax),
            (&text.replace("\"image\"", "\"picture\""), Damaged::Syntax),
            (&long, Damaged::TooMuch),
            (&text.replace("1000", &many), Damaged::TooMuch),
            (&"[".repeat(100_000), Damaged::Syntax),
        ] {
            assert_eq!(History::parse(text).err(), Some(damage), "{}", &text[..text.len().min(200)]);
        }
    }

    proptest! {
        #[test]
        fn a_history_survives_its_file(runs in proptest::collection::vec((0..5_u8, "\\PC{0,8}", 0..4_000_000_u64), 0..200)) {
            let mut history = History::default();
            for (target, image, millis) in runs {
                history.record(&key(&target.to_string(), &image), Duration::from_millis(millis));
            }
            prop_assert_eq!(History::parse(&history.to_text()), Ok(history));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = History::parse(&text);
        }
    }
}
