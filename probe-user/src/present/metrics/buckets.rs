//! Durations by bucket, as metrics give them out.

use crate::aggregate::{Durations, Histogram, Timed};

/// Durations by bucket. Bounds are powers of two of a nanosecond, where the kernel side's and the HDR histograms' own
/// bounds lie, so that no count is on the wrong side of one. What is exactly as long as a bound counts above it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Counts: the first of durations up to [`Buckets::FIRST_NS`], each further one of those up to twice as much, the last of
    /// all longer ones.
    pub counts: [u64; Self::COUNT],
    /// Sum of the durations, ns.
    pub sum_ns: u128,
}

impl Buckets {
    /// Bound of the first bucket, ns: 131 µs.
    pub const FIRST_NS: u64 = 1 << 17;
    /// Buckets: the last bound is 68.7 s, and one more bucket is above it.
    pub const COUNT: usize = 21;

    /// The bound that a bucket ends at, ns; `None` for the last one.
    pub fn bound_ns(bucket: usize) -> Option<u64> {
        (bucket + 1 < Self::COUNT).then(|| Self::FIRST_NS << bucket)
    }

    /// All durations counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds others.
    pub fn add(&mut self, more: &Self) {
        for (count, n) in self.counts.iter_mut().zip(more.counts) {
            *count += n;
        }
        self.sum_ns += more.sum_ns;
    }

    /// Durations whose sum is known.
    pub(super) fn of_parts(durations: &Durations, total_ns: u64) -> Self {
        let mut buckets = Self::default();
        for (low, _, count) in durations.iter() {
            buckets.counts[bucket(low)] += count;
        }
        buckets.sum_ns = total_ns.into();
        buckets
    }

    /// The same.
    pub(super) fn of_timed(timed: &Timed) -> Self {
        Self::of_parts(&timed.durations, timed.total_ns)
    }

    /// Durations whose sum is not known: each counts as the middle of its own, finer bucket, an eighth of it wide.
    pub(super) fn of(durations: &Durations) -> Self {
        let mut buckets = Self::of_parts(durations, 0);
        for (low, end, count) in durations.iter() {
            // What has no end is at least as long as its begin.
            let end = if end == u64::MAX { low } else { end };
            buckets.sum_ns += u128::from(low.midpoint(end)) * u128::from(count);
        }
        buckets
    }

    /// Those of an HDR histogram, with their sum.
    pub(super) fn of_hdr(histogram: &Histogram, sum_ns: u64) -> Self {
        let mut buckets = Self::default();
        for value in histogram.iter_recorded() {
            let low = histogram.lowest_equivalent(value.value_iterated_to());
            buckets.counts[bucket(low)] += u64::from(value.count_at_value());
        }
        buckets.sum_ns = sum_ns.into();
        buckets
    }
}

/// The bucket of a duration.
fn bucket(ns: u64) -> usize {
    let doublings = (ns / Buckets::FIRST_NS).checked_ilog2();
    let bucket = doublings.map_or(0, |n| n as usize + 1);
    bucket.min(Buckets::COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::new_histogram;

    /// Durations around each bound, and what lies between.
    fn samples() -> Vec<u64> {
        let around = |n: u32| [(1u64 << n) - 1, 1 << n, (1 << n) + (1 << (n - 1))];
        (10..38).flat_map(around).collect()
    }

    #[test]
    fn no_count_is_on_the_wrong_side_of_a_bound() {
        let mut durations = Durations::default();
        let mut hdr = new_histogram();
        for ns in samples() {
            durations.record(ns);
            hdr.record(ns).unwrap();
        }
        for buckets in [Buckets::of(&durations), Buckets::of_hdr(&hdr, 0)] {
            let mut below = 0;
            for (n, count) in buckets.counts.iter().enumerate() {
                below += count;
                let bound = Buckets::bound_ns(n).unwrap_or(u64::MAX);
                let truth = samples().iter().filter(|ns| **ns < bound).count();
                assert_eq!(below, truth as u64, "below {bound} ns");
            }
            assert_eq!(buckets.count(), samples().len() as u64);
        }
    }

    #[test]
    fn a_sum_from_the_finer_buckets_is_off_by_a_fifteenth_at_most() {
        for ns in samples()
            .into_iter()
            .filter(|ns| (1 << 14..1 << 37).contains(ns))
        {
            let mut durations = Durations::default();
            durations.record_n(ns, 3);
            let sum = Buckets::of(&durations).sum_ns as f64;
            let truth = ns as f64 * 3.0;
            assert!(
                (sum - truth).abs() <= truth / 15.0,
                "{ns}: {sum} for {truth}"
            );
        }
    }

    #[test]
    fn the_bounds_are_those_that_are_promised() {
        assert_eq!(Buckets::bound_ns(0), Some(131_072));
        assert_eq!(Buckets::bound_ns(Buckets::COUNT - 2), Some(68_719_476_736));
        assert_eq!(Buckets::bound_ns(Buckets::COUNT - 1), None);
    }
}
