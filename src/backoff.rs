//! How long to wait before the next attempt: exponential, with full jitter, so that those who failed together do
//! not come back together.

use std::time::Duration;

/// How hurried the attempts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait at all.
    pub cap: Duration,
}

/// For a request that is held. The first wait is well below what a person notices; patience is counted in seconds, so
/// a retry should not sleep through it.
const HELD: Pace = Pace { base: Duration::from_millis(20), cap: Duration::from_millis(500) };

/// The wait of a held request before attempt number `attempt` (the first retry is 1). `jitter` is in `0.0..1.0`.
pub fn delay(attempt: u32, jitter: f64) -> Duration {
    HELD.delay(attempt, jitter)
}

impl Pace {
    /// The wait before attempt number `attempt` (the first retry is 1). `jitter` is in `0.0..1.0`.
    pub fn delay(self, attempt: u32, jitter: f64) -> Duration {
        let most = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.cap);
        most.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let longest: Vec<u128> = (1..=7).map(|attempt| delay(attempt, 1.0).as_millis()).collect();
        assert_eq!(longest, [20, 40, 80, 160, 320, 500, 500]);
        assert_eq!(delay(u32::MAX, 1.0), HELD.cap);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(delay(3, 0.0), Duration::ZERO);
        assert_eq!(delay(3, 0.5), Duration::from_millis(40));
    }
}
