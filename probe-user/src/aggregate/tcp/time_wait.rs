//! TIME_WAIT: how long sockets stay, from when their timers run out.
//!
//! A socket in TIME_WAIT has a timer of 60 s, so those whose timers run out in the same second came in the
//! same second: a cohort. The census counts the cohorts. What one loses from census to census has left, at
//! an age of 60 s less what was left on its timer, known to about the length of a cohort and the pace of the
//! census. The kernel's timers may be late (a timer wheel: up to 2 s at 250 jiffies in a second, 4 s at
//! 1,000), so those that nobody ended before their time are 60 to 64 s old.
//!
//! What this cannot see: a socket that comes and goes between two censuses, and one that leaves a cohort
//! while others still join it (within about a second of its begin). A socket whose timer is set anew (a
//! late segment of the other side) moves to the newest cohort and looks like one that left and one that
//! came. How many came at most is known from the transitions, where they are watched; what the cohorts
//! gained beyond that were such moves, and are taken out of those that left before their time, at all ages
//! alike. That is exact in number except for sockets that came and left between two censuses, which hide as
//! many moves.

use probe_common::tcp::COHORTS;

use crate::{aggregate::Durations, collect::tcp::Census};

/// Length of TIME_WAIT, ns (TCP_TIMEWAIT_LEN, include/net/tcp.h).
pub(super) const TIME_WAIT_NS: u64 = 60_000_000_000;
/// Cohorts, counted back from now, whose timers are taken for late: the rest of the ring lies ahead. 16 are
/// 10 s at the shortest cohort, more than any timer is late; 60 s ahead take at most 94.
const LATE: u64 = 16;
/// Ages told apart, s; a socket is gone after 64.
const AGES: usize = 80;

/// Jiffies as ns; both may be negative.
pub(super) fn jiffies_ns(jiffies: i128, hz: u32) -> i128 {
    jiffies * 1_000_000_000 / i128::from(hz.max(1))
}

/// Follows the cohorts.
#[derive(Clone, Debug)]
pub(super) struct TimeWaitFold {
    before: Option<Cohorts>,
    /// Sockets that left, by their age in s.
    left: [u64; AGES],
    gained: u64,
    /// FIN_WAIT_2 sockets at the first census that can become TIME_WAIT without a transition.
    at_start: Option<u64>,
}

impl Default for TimeWaitFold {
    fn default() -> Self {
        Self {
            before: None,
            left: [0; AGES],
            gained: 0,
            at_start: None,
        }
    }
}

/// One census.
#[derive(Clone, Debug)]
struct Cohorts {
    jiffies: u64,
    counts: Box<[u32; COHORTS]>,
}

/// How long a jiffy and a cohort are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub hz: u32,
    pub shift: u32,
}

impl Clock {
    /// The number of the cohort that is at `index` in a census of this moment.
    fn number(self, index: u64, jiffies: u64) -> i128 {
        let now = jiffies >> self.shift;
        let ahead = index.wrapping_sub(now) % COHORTS as u64;
        let ahead = if ahead >= COHORTS as u64 - LATE {
            i128::from(ahead) - COHORTS as i128
        } else {
            i128::from(ahead)
        };
        i128::from(now) + ahead
    }

    /// How old the sockets of a cohort are at a moment, ns: at its middle.
    fn age_ns(self, number: i128, jiffies: u64) -> u64 {
        let ends = (number << self.shift) + (1i128 << self.shift) / 2;
        let left = jiffies_ns(ends - i128::from(jiffies), self.hz);
        u64::try_from(i128::from(TIME_WAIT_NS) - left).unwrap_or(0)
    }
}

impl TimeWaitFold {
    /// Takes in a census. `gap` is true when too much time passed since the one before.
    pub fn push(&mut self, census: &Census, gap: bool, clock: Clock, fin_wait2: u64) {
        if clock.hz == 0 {
            return;
        }
        self.at_start.get_or_insert(fin_wait2);
        let before = self.before.take().filter(|_| !gap);
        if let Some(before) = before {
            let middle = before.jiffies.midpoint(census.jiffies);
            for (index, &now) in census.time_wait.iter().enumerate() {
                // A place in the ring is a new cohort when the old one ran out long ago.
                let old = clock.number(index as u64, before.jiffies);
                let new = clock.number(index as u64, census.jiffies);
                let was = before.counts[index];
                let (lost, gained) = if old == new {
                    (was.saturating_sub(now), now.saturating_sub(was))
                } else {
                    (was, now)
                };
                self.gained += u64::from(gained);
                let age = (clock.age_ns(old, middle) / 1_000_000_000) as usize;
                self.left[age.min(AGES - 1)] += u64::from(lost);
            }
        }
        self.before = Some(Cohorts {
            jiffies: census.jiffies,
            counts: census.time_wait.clone(),
        });
    }

    /// How many left and how old they were. `entered` is how many sockets became a timewait object in the
    /// window, at most; `None` when transitions are not watched.
    pub fn finish(&self, entered: Option<u64>) -> (u64, Durations) {
        let whole = (TIME_WAIT_NS / 1_000_000_000) as usize - 1;
        let early: u64 = self.left[..whole].iter().sum();
        let moved = entered.map_or(0, |entered| {
            let came = entered + self.at_start.unwrap_or(0);
            self.gained.saturating_sub(came).min(early)
        });
        let (mut count, mut durations) = (0, Durations::default());
        let (mut seen, mut taken) = (0, 0);
        for (age, &left) in self.left.iter().enumerate() {
            let mut left = left;
            if age < whole && early > 0 {
                // In whole sockets, so that the sum is exact.
                seen += left;
                let due = (u128::from(moved) * u128::from(seen) / u128::from(early)) as u64;
                left -= (due - taken).min(left);
                taken = due;
            }
            count += left;
            durations.record_n(age as u64 * 1_000_000_000 + 500_000_000, left);
        }
        (count, durations)
    }

    /// Sockets that came: what the cohorts gained.
    pub fn entered(&self) -> u64 {
        self.gained
    }

    /// The age of the oldest socket, ns; 0 when there is none.
    pub fn oldest_ns(&self, clock: Clock) -> u64 {
        let Some(now) = &self.before else { return 0 };
        let cohorts = now.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        cohorts
            .map(|(index, _)| clock.age_ns(clock.number(index as u64, now.jiffies), now.jiffies))
            .max()
            .unwrap_or(0)
    }

    /// The follower of a window that begins now.
    pub fn successor(&self) -> Self {
        Self {
            before: self.before.clone(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_holds_every_timer_at_every_speed_of_the_clock() {
        for (hz, shift) in [(100, 6), (250, 8), (300, 8), (1000, 10)] {
            let clock = Clock { hz, shift };
            let now = 4_000_000_123u64;
            let jiffies = |s: i64| s * i64::from(hz);
            // From timers that are 5 s late to those that were set just now.
            for left_s in -5..=60 {
                let expires = now.saturating_add_signed(jiffies(left_s));
                let number = expires >> shift;
                let found = clock.number(number % COHORTS as u64, now);
                assert_eq!(found, i128::from(number), "{hz} Hz, {left_s} s left");
                let age_s = clock.age_ns(found, now) as f64 / 1e9;
                assert!((age_s - (60 - left_s) as f64).abs() < 0.6, "{age_s}");
            }
        }
    }
}
