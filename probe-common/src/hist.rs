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

/// log2 of a number that is not 0. BPF has no instruction that counts zeros, and a cascade of
/// comparisons would make the verifier explore every path, so: fill with ones below the highest bit and
/// look the result up by multiplication (de Bruijn sequence; "Using de Bruijn Sequences to Index a 1 in a
/// Computer Word", Leiserson, Prokop, Randall 1998).
#[inline(always)]
const fn log2_u32(v: u32) -> u32 {
    let v = v | v >> 1;
    let v = v | v >> 2;
    let v = v | v >> 4;
    let v = v | v >> 8;
    let v = v | v >> 16;
    LOG2[(v.wrapping_mul(0x07c4_acdd) >> 27) as usize] as u32
}

static LOG2: [u8; 32] = [
    0, 9, 1, 10, 13, 21, 2, 29, 11, 14, 16, 18, 22, 25, 3, 30, 8, 12, 20, 28, 15, 17, 24, 7, 19,
    27, 23, 6, 26, 5, 4, 31,
];

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
