//! The lean counter behind `stallscope count`: calls by name, result and process name.

use crate::{hist, shared};

/// Length of a process name with its NUL (TASK_COMM_LEN).
pub const COMM_LEN: usize = 16;

shared! {
    /// Key of the per-CPU map `COUNTS`.
    pub struct CountKey {
        /// Process name, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// System call number.
        pub nr: u32,
        /// 0, or the errno that the call returned.
        pub errno: u32,
    }

    /// Value of the per-CPU map `WAITS` (`count --wait`), keyed by [`CountKey`] with `errno` 0.
    pub struct WaitSum {
        /// Calls whose begin and end were seen.
        pub count: u64,
        /// Sum of their durations, ns.
        pub total_ns: u64,
        /// The longest, ns.
        pub max_ns: u64,
        /// Calls by duration, see [`hist`].
        pub hist: [u32; hist::BUCKETS],
    }
}
