//! A histogram of durations in the kernel side's own buckets: it merges and subtracts without loss, and
//! takes 6 bytes for each bucket in use, so that thousands of them fit (an HDR histogram takes 8 KB).

use probe_common::hist;

use super::Histogram;

/// Counts of durations by [`hist::bucket`], sparse, in the order of the buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    buckets: Vec<(u16, u64)>,
    max_ns: u64,
}

impl Durations {
    /// Adds one duration of `ns`.
    pub fn record(&mut self, ns: u64) {
        self.record_n(ns, 1);
    }

    /// Adds `count` durations of `ns`.
    pub fn record_n(&mut self, ns: u64, count: u64) {
        if count > 0 {
            self.add_to(hist::bucket(ns) as u16, count);
            self.max_ns = self.max_ns.max(ns);
        }
    }

    /// Adds the counts of a kernel histogram whose longest duration is `max_ns`.
    pub fn add_kernel(&mut self, counts: &[u32; hist::BUCKETS], max_ns: u64) {
        self.max_ns = self.max_ns.max(max_ns);
        for (bucket, &count) in counts.iter().enumerate() {
            if count > 0 {
                self.add_to(bucket as u16, u64::from(count));
            }
        }
    }

    /// A kernel histogram, its buckets in order, whose longest duration is `max_ns`.
    pub fn of_kernel(counts: &[(u8, u32)], max_ns: u64) -> Self {
        let mut buckets = Vec::with_capacity(counts.len());
        buckets.extend(counts.iter().map(|&(b, n)| (u16::from(b), u64::from(n))));
        Self { buckets, max_ns }
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.add_to(bucket, count);
        }
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What came since `earlier`, a former state of the same histogram. Kernel counts are 32 bits wide and
    /// only grow; should one be smaller than before, it counts as not grown. The longest stays the longest
    /// so far: the kernel side does not say when it was.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets.clone();
        for (bucket, count) in &mut buckets {
            *count = count.saturating_sub(earlier.count_in(*bucket));
        }
        buckets.retain(|&(_, count)| count > 0);
        Self {
            buckets,
            max_ns: self.max_ns,
        }
    }

    /// None was longer than `max_ns`.
    pub(super) fn cap(&mut self, max_ns: u64) {
        self.max_ns = self.max_ns.min(max_ns);
    }

    /// Durations counted.
    pub fn len(&self) -> u64 {
        self.buckets.iter().map(|&(_, count)| count).sum()
    }

    /// True when nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The buckets in use, shortest first: first ns of the bucket, first ns above it, durations in it.
    /// The last bucket takes everything longer, so its end is `u64::MAX`.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.buckets.iter().map(|&(bucket, count)| {
            let b = u32::from(bucket);
            let end = if b as usize == hist::BUCKETS - 1 {
                u64::MAX
            } else {
                hist::upper_ns(b)
            };
            (hist::lower_ns(b), end, count)
        })
    }

    /// The duration, ns, that a share of `q` (0 to 1) of all durations does not exceed: interpolated
    /// inside its bucket, so off by at most an eighth, and never above the longest. 0 when nothing was counted.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = q.clamp(0.0, 1.0) * self.len() as f64;
        let mut below = 0.0;
        for &(bucket, count) in &self.buckets {
            let count = count as f64;
            if below + count >= rank {
                let (low, high) = (hist::lower_ns(bucket.into()), hist::upper_ns(bucket.into()));
                let inside = ((rank - below) / count).clamp(0.0, 1.0);
                return (low + (inside * (high - low) as f64) as u64).min(self.max_ns.max(low));
            }
            below += count;
        }
        0
    }

    /// The same as an HDR histogram, without loss: each bucket's count is recorded at the middle of the
    /// bucket, and no two buckets share a middle's slot (2 digits are finer than an eighth).
    pub fn to_hdr(&self) -> Histogram {
        let mut hdr = super::new_histogram();
        for &(bucket, count) in &self.buckets {
            super::window::record_n(&mut hdr, middle(bucket), count);
        }
        hdr
    }

    fn count_in(&self, bucket: u16) -> u64 {
        match self.buckets.binary_search_by_key(&bucket, |&(b, _)| b) {
            Ok(at) => self.buckets[at].1,
            Err(_) => 0,
        }
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |&(b, _)| b) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }
}

/// The value that a share of `q` (0 to 1) of a sorted list does not exceed; 0 when it is empty.
pub(super) fn nearest_rank(sorted: &[u64], q: f64) -> u64 {
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The representative of a bucket: its middle, ns.
fn middle(bucket: u16) -> u64 {
    let b = u32::from(bucket);
    hist::lower_ns(b).midpoint(hist::upper_ns(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_into_hdr_keeps_every_count_in_its_own_bucket() {
        let counts: Vec<(u8, u32)> = (0..hist::BUCKETS)
            .map(|bucket| (bucket as u8, bucket as u32 * 7 + 1))
            .collect();
        let all = Durations::of_kernel(&counts, u64::MAX);
        let hdr = all.to_hdr();
        assert_eq!(hdr.len(), all.len());
        for (bucket, count) in counts {
            assert_eq!(
                hdr.count_at(middle(bucket.into())),
                count,
                "bucket {bucket}"
            );
            assert_eq!(hist::bucket(middle(bucket.into())), u32::from(bucket));
        }
    }

    #[test]
    fn a_difference_is_what_came_since() {
        let mut earlier = Durations::default();
        earlier.record(5_000_000);
        let mut later = earlier.clone();
        later.record(5_000_000);
        later.record(80_000_000);
        let since = later.since(&earlier);
        assert_eq!(since.len(), 2);
        assert_eq!(since.iter().map(|(_, _, n)| n).collect::<Vec<_>>(), [1, 1]);
        let mut sum = earlier;
        sum.add(&since);
        assert_eq!(sum, later);
    }

    #[test]
    fn quantiles_are_off_by_an_eighth_at_most() {
        let mut durations = Durations::default();
        (1..=1000u64).for_each(|ms| durations.record(ms * 1_000_000));
        for (q, ms) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = durations.quantile(q) as f64 / 1e6;
            assert!((got - ms).abs() / ms < 0.125, "{q}: {got} ms");
        }
        assert_eq!(Durations::default().quantile(0.5), 0);
        let mut same = Durations::default();
        (0..10).for_each(|_| same.record(371_000_000));
        assert!(same.quantile(0.99) <= 371_000_000);
    }
}
