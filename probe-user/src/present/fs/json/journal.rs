//! Journals and uninterruptible sleep as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MountJson, TeamJson, TimedJson, number};
use crate::{
    aggregate::journal::{Asleep, Changes, CommitPoint, Commits, Disk, Journal, Sleep, Syncs},
    present::{fs::words::reason_id, json::Text},
};

/// Journals of file systems, and uninterruptible sleep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalJson {
    /// File systems with a journal that is watched (ext4, ext3): most time in commits first.
    pub journals: Vec<DiskJson>,
    /// File systems on disks whose logs are not watched.
    pub unwatched: Vec<MountJson>,
    /// Uninterruptible sleeps of a millisecond and longer, by team and by what was waited for: most time first.
    pub sleeps: Vec<SleepJson>,
    /// Tasks asleep so at the end, the longest first.
    pub asleep: Vec<AsleepJson>,
    /// Why kernel functions have no names; null when they have.
    pub no_symbols: Option<Text>,
}

impl JournalJson {
    pub(in crate::present) fn of(j: &Journal) -> Self {
        Self {
            journals: j.disks.iter().map(DiskJson::of).collect(),
            unwatched: j.unwatched.iter().map(MountJson::of).collect(),
            sleeps: j.sleeps.iter().map(SleepJson::of).collect(),
            asleep: j.asleep.iter().map(AsleepJson::of).collect(),
            no_symbols: j.no_symbols.as_ref().map(|why| Text::name(why.as_bytes())),
        }
    }
}

/// A file system with a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskJson {
    /// Its device number: `259:3`.
    pub device: Text,
    /// What is mounted, such as `/dev/sda1`.
    pub name: Text,
    /// Where and how; null when it is not mounted where we look.
    pub mount: Option<MountJson>,
    /// How data is ordered against the journal: `ordered`, `writeback` or `journal`.
    pub data_mode: Text,
    /// After this time a transaction is committed though nobody asks.
    pub commit_interval_ns: u64,
    /// Commits that ended in the window.
    pub commits: CommitsJson,
    /// fsync and its kin by team, most time first.
    pub syncs: Vec<SyncsJson>,
    /// Changes by team, most blocks first.
    pub changes: Vec<ChangesJson>,
}

impl DiskJson {
    fn of(d: &Disk) -> Self {
        Self {
            device: number(d.device),
            name: Text::name(&d.name),
            mount: d.mount.as_ref().map(MountJson::of),
            data_mode: Text::name(d.data_mode().as_bytes()),
            commit_interval_ns: (d.commit_interval_s() * 1e9) as u64,
            commits: CommitsJson::of(&d.commits),
            syncs: d.syncs.iter().map(SyncsJson::of).collect(),
            changes: d.changes.iter().map(ChangesJson::of).collect(),
        }
    }
}

/// Commits of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitsJson {
    /// From start to end.
    pub total: TimedJson,
    /// Half of them took at most so long.
    pub p50_ns: u64,
    /// 95 of 100 took at most so long.
    pub p95_ns: u64,
    /// 99 of 100 took at most so long.
    pub p99_ns: u64,
    /// True: from the single commits; else interpolated in buckets that are an eighth wide.
    pub exact: bool,
    /// Of `total`: waiting for changes that are still being made.
    pub locking: TimedJson,
    /// Of `total`: writing out data of files (data=ordered).
    pub flushing: TimedJson,
    /// Of `total`: writing the journal.
    pub logging: TimedJson,
    /// From one start to the next.
    pub interval: TimedJson,
    /// Such that hold a change of a synchronous handle (O_SYNC, dirsync); an fsync does not mark them.
    pub sync: u64,
    /// Blocks written to the journal.
    pub blocks_logged: u64,
    /// Single commits over time; of those close together the longest. Empty where they are not known one by one. Since 1.1.
    #[serde(default)]
    pub timeline: Vec<CommitPointJson>,
    /// How long one has taken that has not ended; null when there is none.
    pub under_way_ns: Option<u64>,
}

impl CommitsJson {
    fn of(c: &Commits) -> Self {
        let [p50_ns, p95_ns, p99_ns] = c.quantiles_ns;
        Self {
            total: TimedJson::of(&c.total),
            p50_ns,
            p95_ns,
            p99_ns,
            exact: c.exact,
            locking: TimedJson::of(&c.locking),
            flushing: TimedJson::of(&c.flushing),
            logging: TimedJson::of(&c.logging),
            interval: TimedJson::of(&c.interval),
            sync: c.sync,
            blocks_logged: c.blocks_logged,
            timeline: c.timeline.iter().map(CommitPointJson::of).collect(),
            under_way_ns: c.under_way_ns,
        }
    }
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitPointJson {
    /// When it began, after the window's start; 0 when before.
    pub offset_ns: u64,
    /// How long it took.
    pub took_ns: u64,
}

impl CommitPointJson {
    fn of(p: &CommitPoint) -> Self {
        Self {
            offset_ns: p.at_ns,
            took_ns: p.took_ns,
        }
    }
}

/// fsync and its kin of a team on a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncsJson {
    /// Who.
    pub who: TeamJson,
    /// Those that ended in the window.
    #[serde(flatten)]
    pub calls: TimedJson,
    /// Threads in such a call at the end.
    pub under_way: u64,
    /// How long the longest of them.
    pub under_way_ns: u64,
}

impl SyncsJson {
    fn of(s: &Syncs) -> Self {
        Self {
            who: TeamJson::of(&s.team),
            calls: TimedJson::of(&s.calls),
            under_way: s.under_way,
            under_way_ns: s.under_way_ns,
        }
    }
}

/// Changes of a team to a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangesJson {
    /// Who.
    pub who: TeamJson,
    /// Single changes.
    pub handles: u64,
    /// Of these: synchronous ones (O_SYNC, dirsync).
    pub sync: u64,
    /// Blocks changed.
    pub blocks: u64,
}

impl ChangesJson {
    fn of(c: &Changes) -> Self {
        Self {
            who: TeamJson::of(&c.team),
            handles: c.handles,
            sync: c.sync,
            blocks: c.blocks,
        }
    }
}

/// Uninterruptible sleeps of a team for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SleepJson {
    /// Who.
    pub who: TeamJson,
    /// For what: `journal_commit`, `journal_transaction`, `journal_buffer`, `journal_thread`, `block_io`, `lock`,
    /// `memory`, `other` or `unknown`.
    pub waits_for: Text,
    /// Those that ended in the window.
    #[serde(flatten)]
    pub sleeps: TimedJson,
    /// Tasks that have not woken yet.
    pub asleep: u64,
    /// Their time asleep within the window.
    pub asleep_ns: u64,
    /// The kernel functions with most time, innermost first; empty where they are not known.
    pub stack: Vec<Text>,
}

impl SleepJson {
    fn of(s: &Sleep) -> Self {
        Self {
            who: TeamJson::of(&s.team),
            waits_for: reason_id(s.waits_for).into(),
            sleeps: TimedJson::of(&s.sleeps),
            asleep: s.asleep,
            asleep_ns: s.asleep_ns,
            stack: functions(&s.stack),
        }
    }
}

/// A task that sleeps uninterruptibly at the window's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AsleepJson {
    /// Its process.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Its id.
    #[serde(rename = "thread.id")]
    pub tid: u32,
    /// Its name.
    #[serde(rename = "thread.name")]
    pub comm: Text,
    /// For what, as in the sleeps.
    pub waits_for: Text,
    /// How long already.
    pub for_ns: u64,
    /// The kernel functions it is in, innermost first; empty where they are not known.
    pub stack: Vec<Text>,
}

impl AsleepJson {
    fn of(a: &Asleep) -> Self {
        Self {
            pid: a.pid,
            tid: a.tid,
            comm: Text::name(&a.comm),
            waits_for: reason_id(a.waits_for).into(),
            for_ns: a.for_ns,
            stack: functions(&a.stack),
        }
    }
}

fn functions(stack: &[String]) -> Vec<Text> {
    stack.iter().map(|f| Text::name(f.as_bytes())).collect()
}
