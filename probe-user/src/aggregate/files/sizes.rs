//! Sizes of files: the kernel's buckets again, but of bytes.

use probe_common::hist;

use crate::{aggregate::Durations, collect::CallSum};

/// Sizes of files when their creator closed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Files whose size is known.
    pub count: u64,
    /// All together.
    pub total_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
    /// Buckets of bytes in place of units of 1,024 ns ([`probe_common::files::size_of_bucket`]).
    units: Durations,
}

impl From<&CallSum> for Sizes {
    fn from(sum: &CallSum) -> Self {
        Self {
            count: sum.count,
            total_bytes: sum.total_ns,
            max_bytes: sum.max_ns,
            units: Durations::of_kernel(&sum.hist, to_ns(sum.max_ns)),
        }
    }
}

impl Sizes {
    /// What came since `earlier`. The largest of before is not told from one since: it is bounded by the bucket.
    pub fn since(&self, earlier: &Self) -> Self {
        let units = self.units.since(&earlier.units);
        let last = units.iter().last().map_or(0, |(_, end, _)| end);
        let max_bytes = if self.max_bytes > earlier.max_bytes {
            self.max_bytes
        } else {
            self.max_bytes.min(last >> hist::UNIT_SHIFT)
        };
        Self {
            count: self.count.saturating_sub(earlier.count),
            total_bytes: self.total_bytes.saturating_sub(earlier.total_bytes),
            max_bytes,
            units,
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total_bytes += other.total_bytes;
        self.max_bytes = self.max_bytes.max(other.max_bytes);
        self.units.add(&other.units);
    }

    /// The size, bytes, that a share of `q` (0 to 1) does not exceed: off by at most an eighth.
    pub fn quantile(&self, q: f64) -> u64 {
        (self.units.quantile(q) >> hist::UNIT_SHIFT).min(self.max_bytes)
    }

    /// On average, bytes; 0 when none is known.
    pub fn mean_bytes(&self) -> u64 {
        self.total_bytes.checked_div(self.count).unwrap_or(0)
    }
}

/// Bytes in the unit of the buckets.
fn to_ns(bytes: u64) -> u64 {
    bytes.saturating_mul(1 << hist::UNIT_SHIFT)
}

#[cfg(test)]
impl Sizes {
    /// `count` files of so many bytes, for each of these.
    pub fn of(list: &[(u64, u64)]) -> Self {
        let mut sizes = Self::default();
        for &(bytes, count) in list {
            sizes.count += count;
            sizes.total_bytes += bytes * count;
            sizes.max_bytes = sizes.max_bytes.max(bytes);
            sizes.units.record_n(to_ns(bytes), count);
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_from_one_to_many() {
        for bytes in [0, 1, 7, 100, 600, 1200, 4096, 900_000, 5_000_000] {
            let sizes = Sizes::of(&[(bytes, 10)]);
            let p50 = sizes.quantile(0.5);
            assert!(
                p50 <= bytes && p50 + bytes / 8 + 1 >= bytes,
                "{bytes}: {p50}"
            );
            assert_eq!(sizes.mean_bytes(), bytes);
        }
    }

    #[test]
    fn what_came_since_has_its_own_largest() {
        let earlier = Sizes::of(&[(900_000, 1)]);
        let mut later = earlier.clone();
        later.add(&Sizes::of(&[(1200, 3)]));
        let since = later.since(&earlier);
        assert_eq!((since.count, since.total_bytes), (3, 3600));
        assert!(
            (1200..1400).contains(&since.max_bytes),
            "{}",
            since.max_bytes
        );
    }
}
