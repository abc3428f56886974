//! When what was not taken is tried again: after pauses that double up to a minute, each shortened by chance, so that a fleet does not
//! come back all at once.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

/// The first pause is half to all of this.
const FIRST: Duration = Duration::from_secs(2);
/// No pause is longer, unless the other side asks for it ...
const LONGEST: Duration = Duration::from_secs(60);
/// ... and then no longer than this: a mistake there must not silence a node for good.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// How often in a row it failed.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failed: u32,
    until: Option<Instant>,
}

impl Retry {
    /// It failed; the other side asks for a pause of at least `asked`.
    pub fn failed(&mut self, now: Instant, asked: Option<Duration>) {
        self.until = Some(now + pause(self.failed, asked, chance()));
        self.failed = self.failed.saturating_add(1);
    }

    /// It was settled.
    pub fn settled(&mut self) {
        *self = Self::default();
    }

    /// It failed the last time.
    pub fn is_failing(&self) -> bool {
        self.failed > 0
    }

    /// When it may be tried.
    pub fn ready(&self, now: Instant) -> Instant {
        self.until.unwrap_or(now)
    }
}

/// The pause after `failed` failures and one more; `chance` is 0 to 1.
fn pause(failed: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let most = FIRST.saturating_mul(1 << failed.min(8)).min(LONGEST);
    let ours = most.mul_f64(0.5 + chance / 2.0);
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    ours.max(asked)
}

/// A number from 0 to 1. The keys of a hash map are drawn by the system, which is as much chance as a pause needs.
fn chance() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_never_below_a_second() {
        let longest: Vec<_> = (0..8).map(|n| pause(n, None, 1.0).as_secs()).collect();
        assert_eq!(longest, [2, 4, 8, 16, 32, 60, 60, 60]);
        let shortest: Vec<_> = (0..8).map(|n| pause(n, None, 0.0).as_secs()).collect();
        assert_eq!(shortest, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pause(u32::MAX, None, 1.0), LONGEST);
    }

    #[test]
    fn what_the_other_side_asks_for_is_granted_within_reason() {
        let asked = |secs| pause(0, Some(Duration::from_secs(secs)), 1.0).as_secs();
        assert_eq!(asked(0), 2);
        assert_eq!(asked(90), 90);
        assert_eq!(asked(u64::MAX), 3600);
    }

    #[test]
    fn it_may_be_tried_at_once_when_it_was_settled() {
        let now = Instant::now();
        let mut retry = Retry::default();
        assert_eq!(retry.ready(now), now);
        retry.failed(now, None);
        assert!(retry.is_failing() && retry.ready(now) >= now + Duration::from_secs(1));
        retry.settled();
        assert!(!retry.is_failing());
        assert_eq!(retry.ready(now), now);
    }

    #[test]
    fn chance_is_within_its_bounds_and_not_always_the_same() {
        let drawn: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(drawn.iter().all(|c| (0.0..=1.0).contains(c)));
        assert!(drawn.iter().any(|&c| c < 0.5) && drawn.iter().any(|&c| c > 0.5));
    }
}
