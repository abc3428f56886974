//! The ext4 journal (jbd2), fsync, and tasks in uninterruptible sleep behind them.

use crate::{count::COMM_LEN, hist, shared};

/// Frames kept of a kernel stack, the innermost ones.
pub const STACK_DEPTH: usize = 48;
/// Buckets of the kernel's table of stacks; each holds one.
pub const STACKS: u32 = 8192;
/// Uninterruptible sleeps shorter than this are not added up, ns: a healthy disk makes them by the thousand.
pub const SLEEP_MIN_NS: u64 = 1_000_000;
/// Commits of one device that are sent one by one ...
pub const COMMITS_SENT: u32 = 100;
/// ... in so much time, ns.
pub const COMMITS_SENT_IN_NS: u64 = 100_000_000;
/// Slots of the kernel's array of who sleeps, by the low bits of the thread id; a power of two.
pub const ASLEEP_SLOTS: u32 = 1 << 16;
/// In place of a stack's number: it was lost.
pub const NO_STACK: i32 = -1;

/// Phases of a commit, in order: places in [`JournalSum::phases`] and [`Commit::phases_ns`].
pub mod phase {
    /// Waits for handles that are still open.
    pub const LOCKING: usize = 0;
    /// Writes out data of files.
    pub const FLUSHING: usize = 1;
    /// Writes the journal's blocks and the commit record.
    pub const LOGGING: usize = 2;
    /// Number of phases.
    pub const COUNT: usize = 3;
}

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`]: where the fields of the
    /// tracepoints' records and of `task_struct` are.
    pub struct JournalConfig {
        /// jbd2_start_commit: dev
        pub start_dev: u32,
        /// jbd2_start_commit: transaction
        pub start_tid: u32,
        /// jbd2_start_commit: sync_commit
        pub start_sync: u32,
        /// jbd2_commit_locking: dev
        pub locking_dev: u32,
        /// jbd2_commit_flushing: dev
        pub flushing_dev: u32,
        /// jbd2_commit_logging: dev
        pub logging_dev: u32,
        /// jbd2_end_commit: dev
        pub end_dev: u32,
        /// jbd2_end_commit: transaction
        pub end_tid: u32,
        /// jbd2_run_stats: dev
        pub run_dev: u32,
        /// jbd2_run_stats: wait
        pub run_wait: u32,
        /// jbd2_run_stats: request_delay
        pub run_request_delay: u32,
        /// jbd2_run_stats: running
        pub run_running: u32,
        /// jbd2_run_stats: locked
        pub run_locked: u32,
        /// jbd2_run_stats: flushing
        pub run_flushing: u32,
        /// jbd2_run_stats: logging
        pub run_logging: u32,
        /// jbd2_run_stats: handle_count
        pub run_handles: u32,
        /// jbd2_run_stats: blocks
        pub run_blocks: u32,
        /// jbd2_run_stats: blocks_logged
        pub run_logged: u32,
        /// jbd2_handle_stats: dev
        pub handle_dev: u32,
        /// jbd2_handle_stats: sync
        pub handle_sync: u32,
        /// jbd2_handle_stats: dirtied_blocks
        pub handle_dirtied: u32,
        /// ext4_sync_file_enter: dev
        pub sync_dev: u32,
        /// ext4_sync_file_exit: ret
        pub sync_ret: u32,
        /// task_struct.group_leader
        pub task_leader: u32,
        /// task_struct.comm
        pub task_comm: u32,
        /// task_struct.nvcsw
        pub task_nvcsw: u32,
    }

    /// Durations added up.
    pub struct TimeSum {
        /// How many.
        pub count: u64,
        /// Sum, ns.
        pub total_ns: u64,
        /// The longest, ns.
        pub max_ns: u64,
        /// Of `count`: failed.
        pub failed: u64,
        /// By duration, see [`hist`].
        pub hist: [u32; hist::BUCKETS],
    }

    /// Commits of one journal: value of the map `JOURNALS`, by device. One thread at a time commits a journal.
    pub struct JournalSum {
        /// The commit under way began, ns; 0 when there is none.
        pub start_ns: u64,
        /// Its phases began, ns; 0 when not yet.
        pub phase_ns: [u64; phase::COUNT],
        /// Its transaction.
        pub tid: u32,
        /// 1: it holds a change that was made synchronously (O_SYNC, dirsync; not that of an fsync).
        pub sync: u32,
        /// The last commit began, ns.
        pub last_start_ns: u64,
        /// Records are counted since this moment, ns ...
        pub sent_since_ns: u64,
        /// ... and this many were sent.
        pub sent: u64,
        /// Commits in `total` that were not sent.
        pub unlisted: u64,
        /// Commits in `total` that hold a change made synchronously.
        pub synced: u64,
        /// Of jbd2_run_stats: handles.
        pub handles: u64,
        /// Of jbd2_run_stats: blocks changed.
        pub blocks: u64,
        /// Of jbd2_run_stats: blocks written to the journal.
        pub blocks_logged: u64,
        /// Of jbd2_run_stats, in jiffies: wait, request_delay, running, locked, flushing, logging.
        pub run_jiffies: [u64; 6],
        /// From jbd2_start_commit to jbd2_end_commit.
        pub total: TimeSum,
        /// By phase.
        pub phases: [TimeSum; phase::COUNT],
        /// From start to start.
        pub interval: TimeSum,
    }

    /// One commit, on the ring.
    pub struct Commit {
        /// [`crate::request::event::COMMIT`]
        pub event: u32,
        /// Device of the file system, the kernel's dev_t.
        pub dev: u32,
        /// Transaction.
        pub tid: u32,
        /// As in [`JournalSum`].
        pub sync: u32,
        /// When it began, CLOCK_MONOTONIC ns.
        pub start_ns: u64,
        /// When it ended.
        pub end_ns: u64,
        /// How long each phase took, ns.
        pub phases_ns: [u64; phase::COUNT],
    }

    /// Who works on a file system: key of the maps `SYNCS` and `HANDLES`. Process 0: those that found no place.
    pub struct WorkKey {
        /// Device, the kernel's dev_t.
        pub dev: u32,
        /// Process id (the kernel's tgid).
        pub tgid: u32,
    }

    /// Value of the map `SYNCS`.
    pub struct SyncSum {
        /// fsyncs.
        pub calls: TimeSum,
        /// Process name.
        pub comm: [u8; COMM_LEN],
    }

    /// An fsync under way: value of the map `SYNCING`, by thread id.
    pub struct Syncing {
        /// Since when, ns.
        pub since_ns: u64,
        /// Device, the kernel's dev_t.
        pub dev: u32,
        /// Process id.
        pub tgid: u32,
    }

    /// Value of the map `HANDLES`.
    pub struct HandleSum {
        /// Handles.
        pub handles: u64,
        /// Of these: such that wait for the commit.
        pub sync: u64,
        /// Blocks changed.
        pub dirtied: u64,
        /// Process name.
        pub comm: [u8; COMM_LEN],
    }

    /// A task in uninterruptible sleep: value of the map `SLEEPERS`, by thread id.
    pub struct Sleeper {
        /// Since when, ns.
        pub since_ns: u64,
        /// How often it had left its CPU of its own accord by then.
        pub switches: u64,
        /// Process id.
        pub tgid: u32,
        /// Number of its stack, or [`NO_STACK`].
        pub stack: i32,
        /// Thread name.
        pub comm: [u8; COMM_LEN],
    }

    /// Key of the map `SLEEPS`. Process 0 with [`NO_STACK`]: those that found no place.
    pub struct SleepKey {
        /// Process id.
        pub tgid: u32,
        /// Number of the stack, or [`NO_STACK`].
        pub stack: i32,
    }

    /// Value of the map `SLEEPS`.
    pub struct SleepSum {
        /// Sleeps of at least [`SLEEP_MIN_NS`].
        pub sleeps: TimeSum,
        /// Process name.
        pub comm: [u8; COMM_LEN],
    }
}
