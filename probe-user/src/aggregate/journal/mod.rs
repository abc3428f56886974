//! Journals in a [`Window`](super::Window): commits, fsync, and who sleeps behind them.

mod commits;
mod fold;
mod sleeps;
mod work;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use super::{Team, Timed};
pub use crate::collect::{
    journal::WaitsFor,
    mounts::{Device, Mount},
};
pub(super) use fold::JournalFold;

/// Rows of [`Disk::syncs`], [`Disk::changes`], [`Journal::sleeps`] and [`Journal::asleep`] each.
pub const MAX_JOURNAL_ROWS: usize = 128;

/// All about journals, fsync and uninterruptible sleep in one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// File systems with a journal that is watched: most time in commits first.
    pub disks: Vec<Disk>,
    /// Other file systems on disks, whose logs are not watched (xfs, btrfs, ...).
    pub unwatched: Vec<Mount>,
    /// Uninterruptible sleeps of a millisecond and longer, by team and by what was waited for; most time first.
    pub sleeps: Vec<Sleep>,
    /// Tasks asleep so at the end, the longest first.
    pub asleep: Vec<Asleep>,
    /// Why kernel functions have no names, when they have none.
    pub no_symbols: Option<String>,
}

/// A file system with a journal (ext4, ext3).
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Device of the file system.
    pub device: Device,
    /// What is mounted, such as `/dev/sda1`; the device's name or number where the mount is not known. Any bytes.
    pub name: Vec<u8>,
    /// Where it is mounted, and as what; `None` when it is not mounted where we look.
    pub mount: Option<Mount>,
    /// Commits that ended in the window.
    pub commits: Commits,
    /// fsync and its kin, by team; most time first.
    pub syncs: Vec<Syncs>,
    /// Changes by team; most blocks first.
    pub changes: Vec<Changes>,
}

impl Disk {
    /// fsync and its kin of all teams.
    pub fn all_syncs(&self) -> Timed {
        let mut all = Timed::default();
        self.syncs.iter().for_each(|s| all.add(&s.calls));
        all
    }

    /// An option of the file system or of its mount: its value, empty when it has none.
    pub fn option(&self, name: &str) -> Option<String> {
        let mount = self.mount.as_ref()?;
        [&mount.super_options, &mount.options]
            .into_iter()
            .flat_map(|list| list.split(|&b| b == b','))
            .find_map(|option| {
                let rest = option.strip_prefix(name.as_bytes())?;
                match rest.split_first() {
                    None => Some(String::new()),
                    Some((b'=', value)) => Some(String::from_utf8_lossy(value).into_owned()),
                    Some(_) => None,
                }
            })
    }

    /// After so many seconds a transaction is committed though nobody asks (`commit=`; JBD2_DEFAULT_MAX_COMMIT_AGE,
    /// include/linux/jbd2.h).
    pub fn commit_interval_s(&self) -> f64 {
        let set = self.option("commit").and_then(|s| s.parse().ok());
        set.filter(|s| *s > 0.0).unwrap_or(5.0)
    }

    /// How data is ordered against the journal: `ordered`, `writeback` or `journal`.
    pub fn data_mode(&self) -> String {
        self.option("data").unwrap_or_else(|| "ordered".to_owned())
    }
}

/// Commits of a journal.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    /// From start to end.
    pub total: Timed,
    /// Median, p95 and p99 of that, ns.
    pub quantiles_ns: [u64; 3],
    /// True when they are those of the single commits; else they are interpolated in buckets that are an eighth wide.
    pub exact: bool,
    /// Of `total`: waiting for changes that are still being made.
    pub locking: Timed,
    /// Of `total`: writing out data of files that the transaction refers to (data=ordered).
    pub flushing: Timed,
    /// Of `total`: writing the journal.
    pub logging: Timed,
    /// Single commits over time: of those close together the longest. Empty where they are not known one by one.
    pub timeline: Vec<CommitPoint>,
    /// From one start to the next.
    pub interval: Timed,
    /// Commits that hold a change of a synchronous handle (O_SYNC, dirsync); an fsync() does not mark them.
    pub sync: u64,
    /// Blocks written to the journal.
    pub blocks_logged: u64,
    /// One that has not ended: how long it has taken, ns.
    pub under_way_ns: Option<u64>,
}

/// A commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitPoint {
    /// When it began, ns after the window's start; 0 when before.
    pub at_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
}

/// fsync and its kin of a team on a file system.
#[derive(Clone, Debug, Default)]
pub struct Syncs {
    /// Who.
    pub team: Team,
    /// How many, how long.
    pub calls: Timed,
    /// Threads in such a call at the end.
    pub under_way: u64,
    /// How long the longest of them, ns.
    pub under_way_ns: u64,
}

/// Changes of a team to a journal.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Who.
    pub team: Team,
    /// Single changes.
    pub handles: u64,
    /// Of these: synchronous ones (O_SYNC, dirsync).
    pub sync: u64,
    /// Blocks changed.
    pub blocks: u64,
}

/// Uninterruptible sleeps of a team for one reason.
#[derive(Clone, Debug, Default)]
pub struct Sleep {
    /// Who.
    pub team: Team,
    /// For what.
    pub waits_for: WaitsFor,
    /// How many that ended, how long.
    pub sleeps: Timed,
    /// Tasks that have not woken yet.
    pub asleep: u64,
    /// Their time asleep within the window, ns.
    pub asleep_ns: u64,
    /// The kernel functions of the stack with most time, innermost first; empty when none is known.
    pub stack: Vec<String>,
}

impl Sleep {
    /// Time asleep within the window, ns.
    pub fn total_ns(&self) -> u64 {
        self.sleeps.total_ns + self.asleep_ns
    }

    /// Sleeps, those included that have not ended.
    pub fn count(&self) -> u64 {
        self.sleeps.count + self.asleep
    }

    /// The longest, ns.
    pub fn longest_ns(&self) -> u64 {
        self.sleeps.max_ns.max(self.asleep_ns)
    }
}

/// Functions that every system call and every sleep pass through: they tell nothing.
const COMMON: [&str; 15] = [
    "do_syscall_64",
    "entry_SYSCALL_64",
    "x64_sys_call",
    "__x64_sys_",
    "__do_sys_",
    "__se_sys_",
    "ksys_",
    "syscall_",
    "asm_",
    "do_fsync",
    "ret_from_fork",
    "kthread",
    "schedule",
    "__schedule",
    "io_schedule",
];
/// Functions of a stack that are told.
const TOLD: usize = 3;

/// The innermost functions of a stack that tell something, from the outside in:
/// `ext4_sync_file > ext4_fsync_journal > jbd2_log_wait_commit`. Empty when there is none.
pub fn told(stack: &[String]) -> String {
    let bare = |f: &String| f.split([' ', '+']).next().unwrap_or("").to_owned();
    let mut names: Vec<String> = stack
        .iter()
        .map(bare)
        .filter(|name| !COMMON.iter().any(|common| name.starts_with(common)))
        .take(TOLD)
        .collect();
    names.reverse();
    names.join(" > ")
}

/// True for what the journal of a file system is behind.
pub fn is_journal(waits_for: WaitsFor) -> bool {
    matches!(
        waits_for,
        WaitsFor::Commit | WaitsFor::Transaction | WaitsFor::Buffer
    )
}

/// A task that sleeps uninterruptibly at the end of the window.
#[derive(Clone, Debug, Default)]
pub struct Asleep {
    /// Process and thread.
    pub pid: u32,
    /// See `pid`.
    pub tid: u32,
    /// Thread name, any bytes.
    pub comm: Vec<u8>,
    /// For what.
    pub waits_for: WaitsFor,
    /// How long already, ns.
    pub for_ns: u64,
    /// Kernel functions, innermost first; empty when not known.
    pub stack: Vec<String>,
}
