//! Sums of something that happens often and takes time, in a form that can be subtracted and added up.

use super::Durations;
use crate::collect::CallSum;

/// How often, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timed {
    /// How often.
    pub count: u64,
    /// Of these: failed.
    pub failed: u64,
    /// All together, ns.
    pub total_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// By length.
    pub durations: Durations,
}

impl From<&CallSum> for Timed {
    fn from(sum: &CallSum) -> Self {
        let failed: u64 = sum.errors.iter().map(|e| u64::from(e.1)).sum();
        Self {
            count: sum.count,
            failed: failed + sum.other_errors,
            total_ns: sum.total_ns,
            max_ns: sum.max_ns,
            durations: Durations::of_kernel(&sum.hist, sum.max_ns),
        }
    }
}

impl Timed {
    /// What came since `earlier`, a former state of the same sum. When the longest so far was there before,
    /// the longest since is known to the width of its bucket.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut durations = self.durations.since(&earlier.durations);
        let max_ns = if self.max_ns > earlier.max_ns {
            self.max_ns
        } else {
            let last = durations.iter().last();
            last.map_or(0, |(_, end, _)| end.min(self.max_ns))
        };
        durations.cap(max_ns);
        Self {
            count: self.count.saturating_sub(earlier.count),
            failed: self.failed.saturating_sub(earlier.failed),
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            max_ns,
            durations,
        }
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.total_ns += other.total_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.durations.add(&other.durations);
    }

    /// On average, ns; 0 when there was none.
    pub fn mean_ns(&self) -> u64 {
        self.total_ns.checked_div(self.count).unwrap_or(0)
    }
}

#[cfg(test)]
impl Timed {
    /// `count` times `ns`, for each of these.
    pub fn of(list: &[(u64, u64)]) -> Self {
        let mut timed = Self::default();
        for &(ns, count) in list {
            timed.count += count;
            timed.total_ns += ns * count;
            timed.max_ns = timed.max_ns.max(ns);
            timed.durations.record_n(ns, count);
        }
        timed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_before_does_not_count_as_the_longest_since() {
        let earlier = Timed::of(&[(90_000_000, 1)]);
        let mut later = earlier.clone();
        later.add(&Timed::of(&[(2_000_000, 3)]));
        let since = later.since(&earlier);
        assert_eq!((since.count, since.total_ns), (3, 6_000_000));
        assert!(since.max_ns >= 2_000_000 && since.max_ns < 2_300_000);
        later.add(&Timed::of(&[(95_000_000, 1)]));
        assert_eq!(later.since(&earlier).max_ns, 95_000_000);
    }
}
