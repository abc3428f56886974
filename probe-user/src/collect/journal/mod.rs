//! The ext4 journal, fsync, and tasks in uninterruptible sleep: what a [`Reading`](super::Reading) says about them.

mod reader;
mod stacks;
pub(super) mod symbols;

use serde::{Deserialize, Serialize};

pub use super::mounts::Device;
use super::{CallSum, mounts::Mount};
pub(super) use reader::JournalReader;

/// Everything about journals in a reading.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JournalReading {
    /// Commits since attach, by device of the file system.
    pub commits: Vec<Commits>,
    /// Commits one by one, since the last reading, in the order in which they ended: all but [`Commits::unlisted`].
    pub each: Vec<Commit>,
    /// fsync and its kin on ext4 since attach, by device and process (ext4_sync_file: O_SYNC writes and msync too).
    pub syncs: Vec<Syncs>,
    /// Changes of the journal since attach, by device and process.
    pub handles: Vec<Handles>,
    /// Uninterruptible sleeps of a millisecond and longer since attach, by process and stack.
    pub sleeps: Vec<Sleeps>,
    /// Rows of `syncs` that were taken out since the last reading, as in [`super::Reading::retired`].
    pub retired_syncs: Vec<Syncs>,
    /// Of `handles`, likewise.
    pub retired_handles: Vec<Handles>,
    /// Of `sleeps`, likewise.
    pub retired_sleeps: Vec<Sleeps>,
    /// Tasks asleep so at this moment.
    pub asleep: Vec<Sleeper>,
    /// The stacks that `sleeps`, `retired_sleeps` and `asleep` name.
    pub stacks: Vec<(u32, Stack)>,
    /// Why functions have no names, when they have none (kernel.kptr_restrict, ...).
    pub no_symbols: Option<String>,
    /// Mounted file systems, as last read.
    pub mounts: Vec<Mount>,
    /// Names of the block devices met so far (`loop0`, `dm-0`): a name stays when its device is gone.
    pub names: Vec<(Device, Vec<u8>)>,
}

/// Commits of one journal. A commit goes through its phases in this order; the time of a caller in fsync() may lie
/// before all of them, where it writes its own data (data=ordered).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Commits {
    /// Device of the file system.
    pub device: Device,
    /// From jbd2_start_commit to jbd2_end_commit.
    pub total: CallSum,
    /// Of `total`: not in [`JournalReading::each`], because there were too many at once or the ring was full.
    pub unlisted: u64,
    /// From jbd2_commit_locking on: waits for handles that are still open.
    pub locking: CallSum,
    /// From jbd2_commit_flushing on: writes out data of files (data=ordered).
    pub flushing: CallSum,
    /// From jbd2_commit_logging on: writes the journal's blocks, and the commit record.
    pub logging: CallSum,
    /// From one commit's start to the next one's.
    pub interval: CallSum,
    /// Commits with a change that was made synchronously (sync_commit: O_SYNC, dirsync). That of an fsync has none.
    pub sync: u64,
    /// Handles and blocks of all commits (jbd2_run_stats).
    pub handles: u64,
    /// Blocks changed in all commits.
    pub blocks: u64,
    /// Blocks written to the journal in all commits.
    pub blocks_logged: u64,
    /// jbd2_run_stats' own times, summed, ns (the kernel has jiffies): wait, request_delay, running, locked, flushing,
    /// logging.
    pub run_ns: [u64; 6],
    /// Began and has not ended at this moment: since when, CLOCK_MONOTONIC ns.
    pub under_way_since_ns: Option<u64>,
}

/// One commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Device of the file system.
    pub device: Device,
    /// Transaction.
    pub tid: u32,
    /// When it ended, CLOCK_MONOTONIC ns.
    pub end_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// Of that: waited for handles that were still open, ns.
    pub locking_ns: u64,
    /// Of that: wrote out data of files, ns.
    pub flushing_ns: u64,
    /// Of that: wrote the journal's blocks and the commit record, ns.
    pub logging_ns: u64,
    /// See [`Commits::sync`].
    pub sync: bool,
}

/// fsync of one process on one file system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Syncs {
    /// Device of the file system.
    pub device: Device,
    /// Process id; 0 with an empty name: other processes.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// How many, and how long they took; `other_errors` are those that failed.
    pub calls: CallSum,
    /// In such a call at this moment: threads, and since when the first, CLOCK_MONOTONIC ns.
    pub under_way: u32,
    /// See `under_way`; 0 when there is none.
    pub under_way_since_ns: u64,
}

/// Changes of one process to one journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handles {
    /// Device of the file system.
    pub device: Device,
    /// Process id; 0 with an empty name: other processes.
    pub pid: u32,
    /// Process name, any bytes. Written-back data is changed by a kernel thread (`kworker/...`) for whoever wrote it.
    pub comm: Vec<u8>,
    /// Handles: single changes.
    pub handles: u64,
    /// Of these: such that wait for the commit.
    pub sync: u64,
    /// Blocks changed.
    pub dirtied_blocks: u64,
}

/// Uninterruptible sleeps of one process at one place in the kernel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sleeps {
    /// Process id; 0 with an empty name: other processes.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// Which of [`JournalReading::stacks`]; `None` when it was lost.
    pub stack: Option<u32>,
    /// How many, and how long: up to the wake-up. Waiting for a CPU is not in it.
    pub sleeps: CallSum,
}

/// A task that sleeps uninterruptibly now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleeper {
    /// Process and thread.
    pub pid: u32,
    /// See `pid`.
    pub tid: u32,
    /// Thread name, any bytes.
    pub comm: Vec<u8>,
    /// Which of [`JournalReading::stacks`]; `None` when it was lost.
    pub stack: Option<u32>,
    /// Since when, CLOCK_MONOTONIC ns.
    pub since_ns: u64,
}

/// A kernel stack, innermost function first. Those of the scheduler, by which every sleep begins, are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Function names, with the module where there is one (`jbd2_log_wait_commit [jbd2]`); an address in hexadecimal where the
    /// name is not known.
    pub functions: Vec<String>,
    /// What the task waits for, by its functions.
    pub waits_for: WaitsFor,
}

/// What a task in uninterruptible sleep waits for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum WaitsFor {
    /// A journal commit to end (jbd2_log_wait_commit, ...).
    Commit,
    /// Room in the running transaction, or for it to be locked (wait_transaction_locked, add_transaction_credits, ...).
    Transaction,
    /// A metadata buffer that a commit writes (do_get_write_access, ...).
    Buffer,
    /// The journal's own thread at its work.
    JournalThread,
    /// Block I/O: data to be read or written.
    BlockIo,
    /// A lock of the file system or of the kernel (inode, rename, semaphore).
    Lock,
    /// Memory to be reclaimed.
    Memory,
    /// Something else.
    #[default]
    Other,
    /// The stack has no names.
    Unknown,
}
