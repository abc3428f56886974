//! The log-linear histogram of durations: one bucket function for the kernel and the user side.
//!
//! A duration is counted in units of 1.024 µs (`ns >> 10`). The first [`SUB`] units have a bucket each;
//! above, every power of two is cut into [`SUB`] equal buckets, so a bucket is at most 1/8 of its
//! value wide (12.5 %) up to 2^37 ns (137 s). The last bucket takes everything longer.

/// log2 of the buckets in one power of two.
pub const SUB_BITS: u32 = 3;
/// Buckets in one power of two.
pub const SUB: u32 = 1 << SUB_BITS;
/// log2 of the unit in ns.
pub const UNIT_SHIFT: u32 = 10;
/// Number of buckets.
pub const BUCKETS: usize = 200;

/// Which bucket a duration of `ns` falls in: always below [`BUCKETS`].
#[inline(always)]
pub const fn bucket(ns: u64) -> u32 {
    let units = ns >> UNIT_SHIFT;
    if units < SUB as u64 {
        return units as u32;
    }
    if units >= 1 << 27 {
        return BUCKETS as u32 - 1;
    }
    let log2 = log2_u32(units as u32);
    let shift = log2 - SUB_BITS;
    (shift + 1) * SUB + ((units as u32 >> shift) - SUB)
}

/// log2 of a number that is not 0, without the count-leading-zeros instruction that BPF lacks.
#[inline(always)]
const fn log2_u32(mut v: u32) -> u32 {
    let mut r = ((v > 0xffff) as u32) << 4;
    v >>= r;
    let s = ((v > 0xff) as u32) << 3;
    v >>= s;
    r |= s;
    let s = ((v > 0xf) as u32) << 2;
    v >>= s;
    r |= s;
    let s = ((v > 0x3) as u32) << 1;
    v >>= s;
    r | s | (v >> 1)
}

/// The smallest duration in ns that falls in `bucket`.
pub const fn lower_ns(bucket: u32) -> u64 {
    let units = if bucket < SUB {
        bucket as u64
    } else {
        let shift = bucket / SUB - 1;
        ((SUB + bucket % SUB) as u64) << shift
    };
    units << UNIT_SHIFT
}

/// The first duration in ns above `bucket`; the last bucket is given the width of its octave's others.
pub const fn upper_ns(bucket: u32) -> u64 {
    lower_ns(bucket + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_tile_the_line_without_gap_or_overlap() {
        for b in 0..BUCKETS as u32 - 1 {
            assert_eq!(bucket(lower_ns(b)), b);
            assert_eq!(bucket(upper_ns(b) - 1), b);
            assert_eq!(bucket(upper_ns(b)), b + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS as u32 - 1);
    }

    #[test]
    fn a_bucket_is_at_most_an_eighth_of_its_value_wide() {
        for b in SUB..BUCKETS as u32 - 1 {
            let width = upper_ns(b) - lower_ns(b);
            assert!(width * 8 <= lower_ns(b), "bucket {b}");
        }
    }
}
