//! Sums of calls by (thread, operation, peer).

use crate::{hist, shared};

/// Errno values told apart in one [`Stat`]; further ones are added up in `other_errors`.
pub const ERR_SLOTS: usize = 6;

shared! {
    /// Whose calls: key of the map `STATS`. One thread writes a row, so nothing races.
    pub struct StatKey {
        /// Thread id (the kernel's pid), in the initial pid namespace.
        pub tid: u32,
        /// Start of the thread in clock ticks of 10 ms since boot (/proc/PID/stat field 22), so that a
        /// reused tid is another key.
        pub start_ticks: u32,
        /// Process id (the kernel's tgid).
        pub tgid: u32,
        /// Number of the operation, see [`crate::op`].
        pub op: u32,
        /// Peer id, see [`crate::peer`].
        pub peer: u64,
    }

    /// How often one errno was returned.
    pub struct ErrCount {
        /// The errno; 0 when the slot is free.
        pub errno: u32,
        /// Calls that returned it.
        pub count: u32,
    }

    /// Value of the map `STATS`.
    pub struct Stat {
        /// Calls that returned.
        pub count: u64,
        /// Sum of their durations, ns.
        pub total_ns: u64,
        /// Of `total_ns`: blocked (neither on a CPU nor waiting for one), ns.
        pub blocked_ns: u64,
        /// The longest, ns.
        pub max_ns: u64,
        /// Errors by errno.
        pub errors: [ErrCount; ERR_SLOTS],
        /// Errors whose errno found no slot.
        pub other_errors: u64,
        /// Calls by duration, see [`hist`].
        pub hist: [u32; hist::BUCKETS],
    }
}
