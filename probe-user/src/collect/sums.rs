//! Sums of calls in a form that can be kept: a kernel row holds 200 buckets, most of them empty.

use probe_common::stat::Stat;
use serde::{Deserialize, Serialize};

/// Calls of one thread, operation and peer; a fraction of the size of a [`Stat`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSum {
    /// Calls that returned.
    pub count: u64,
    /// Sum of their durations, ns.
    pub total_ns: u64,
    /// Of `total_ns`: blocked, ns.
    pub blocked_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// Errno and how often it was returned.
    pub errors: Box<[(u32, u32)]>,
    /// Errors whose errno is not among them.
    pub other_errors: u64,
    /// Calls by duration: the buckets of [`probe_common::hist`] that are not empty, shortest first.
    pub hist: Box<[(u8, u32)]>,
}

// A bucket's number fits in a byte.
const _: () = assert!(probe_common::hist::BUCKETS <= 256);

impl From<&Stat> for CallSum {
    fn from(stat: &Stat) -> Self {
        let errors = stat.errors.iter().filter(|e| e.errno != 0 && e.count > 0);
        let buckets = stat.hist.iter().enumerate().filter(|(_, n)| **n > 0);
        Self {
            count: stat.count,
            total_ns: stat.total_ns,
            blocked_ns: stat.blocked_ns,
            max_ns: stat.max_ns,
            errors: errors.map(|e| (e.errno, e.count)).collect(),
            other_errors: stat.other_errors,
            hist: buckets.map(|(bucket, n)| (bucket as u8, *n)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_not_zero() {
        let mut stat = Stat::ZERO;
        (stat.count, stat.other_errors) = (3, 1);
        (stat.hist[0], stat.hist[199]) = (2, 1);
        (stat.errors[0].errno, stat.errors[0].count) = (110, 2);
        let sum = CallSum::from(&stat);
        assert_eq!((&*sum.hist, sum.count), (&[(0, 2), (199, 1)][..], 3));
        assert_eq!((&*sum.errors, sum.other_errors), (&[(110, 2)][..], 1));
    }
}
