//! More than a day of failures, in seconds: the real watcher, waiting room and journey of requests, on a clock that
//! jumps, against a world that misbehaves at random. See [`world`] for what can go wrong and [`story`] for what must
//! hold all the same.
//!
//! A seed that fails is printed; `ANTEROOM_SEED=123 cargo test --test simulation` plays it again, exactly.

#[path = "../support/seen.rs"]
#[allow(dead_code, reason = "the simulation makes its own sightings")]
mod seen;
mod story;
mod world;

use std::time::Duration;

/// All of them together; each plays about half a minute.
const SEEDS: u64 = 10_000;
/// Tests of a binary run side by side: one for each core of a small machine would leave the other idle at the end.
const PARTS: u64 = 4;

fn play(part: u64) {
    if let Some(seed) = seed_to_play_again() {
        if seed % PARTS == part {
            story::play(seed);
        }
        return;
    }
    let played: Duration = (0..SEEDS).filter(|seed| seed % PARTS == part).map(story::play).sum();
    assert!(
        played > Duration::from_secs(24 * 3600) / u32::try_from(PARTS).expect("few"),
        "only {played:?} were played"
    );
}

fn seed_to_play_again() -> Option<u64> {
    let seed = std::env::var("ANTEROOM_SEED").ok()?;
    Some(seed.parse().expect("ANTEROOM_SEED is a number"))
}

#[test]
fn no_request_is_lost_or_served_twice_in_the_first_quarter_of_all_seeds() {
    play(0);
}

#[test]
fn no_request_is_lost_or_served_twice_in_the_second_quarter_of_all_seeds() {
    play(1);
}

#[test]
fn no_request_is_lost_or_served_twice_in_the_third_quarter_of_all_seeds() {
    play(2);
}

#[test]
fn no_request_is_lost_or_served_twice_in_the_fourth_quarter_of_all_seeds() {
    play(3);
}

#[test]
fn a_seed_plays_the_same_story_each_time() {
    for seed in 0..20 {
        assert_eq!(story::tell(seed), story::tell(seed), "seed {seed}");
    }
}
