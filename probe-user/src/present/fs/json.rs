//! Files and journals as JSON: types of their own, as the rest of the format.

use serde::Serialize;

use super::words::reason_id;
use crate::{
    aggregate::{
        Team, Timed,
        files::{Creator, Device, FileSystem, Files, Mount, Refused, Sizes, Trend, Work},
        journal::{Asleep, Changes, Commits, Disk, Journal, Sleep, Syncs},
    },
    present::{
        errno, escape,
        json::{Bucket, buckets},
    },
};

/// Everything about files.
#[derive(Serialize)]
pub(in crate::present) struct FilesJson {
    created: u64,
    /// In the worst tenth of a second.
    created_peak_per_s: f64,
    directories: Vec<WorkJson>,
    /// What is in no row of `directories`.
    directories_other: WorkJson,
    creators: Vec<CreatorJson>,
    file_systems: Vec<FileSystemJson>,
    /// Not asked how full they are, because asking may hang, or without an answer.
    not_asked: Vec<MountJson>,
    refused: Vec<RefusedJson>,
}

impl FilesJson {
    pub fn of(f: &Files) -> Self {
        Self {
            created: f.created,
            created_peak_per_s: f.peak_per_s,
            directories: f.places.iter().map(WorkJson::of).collect(),
            directories_other: WorkJson::of(&f.other),
            creators: f.creators.iter().map(CreatorJson::of).collect(),
            file_systems: f.file_systems.iter().map(FileSystemJson::of).collect(),
            not_asked: f.not_asked.iter().map(MountJson::of).collect(),
            refused: f.refused.iter().map(RefusedJson::of).collect(),
        }
    }
}

/// Everything about journals and uninterruptible sleep.
#[derive(Serialize)]
pub(in crate::present) struct JournalJson {
    journals: Vec<DiskJson>,
    /// File systems on disks whose logs are not watched.
    unwatched: Vec<MountJson>,
    /// Uninterruptible sleeps of a millisecond and longer.
    sleeps: Vec<SleepJson>,
    /// Tasks asleep so at the end.
    asleep: Vec<AsleepJson>,
    /// Why kernel functions have no names; null when they have.
    no_symbols: Option<String>,
}

impl JournalJson {
    pub fn of(j: &Journal) -> Self {
        Self {
            journals: j.disks.iter().map(DiskJson::of).collect(),
            unwatched: j.unwatched.iter().map(MountJson::of).collect(),
            sleeps: j.sleeps.iter().map(SleepJson::of).collect(),
            asleep: j.asleep.iter().map(AsleepJson::of).collect(),
            no_symbols: j
                .no_symbols
                .as_ref()
                .map(|why| escape::name(why.as_bytes())),
        }
    }
}

/// Who.
#[derive(Serialize)]
struct TeamJson {
    /// The pool's name, or the process name; null for other processes.
    name: Option<String>,
    php_fpm: bool,
    processes: u64,
    /// The busiest, at most 8.
    pids: Vec<u32>,
}

impl TeamJson {
    fn of(t: &Team) -> Self {
        Self {
            name: (!t.name.is_empty()).then(|| escape::name(&t.name)),
            php_fpm: t.php_fpm,
            processes: t.processes,
            pids: t.pids.clone(),
        }
    }
}

/// How often and how long.
#[derive(Serialize)]
struct TimedJson {
    count: u64,
    failed: u64,
    total_ns: u64,
    max_ns: u64,
    duration: Vec<Bucket>,
}

impl TimedJson {
    fn of(t: &Timed) -> Self {
        Self {
            count: t.count,
            failed: t.failed,
            total_ns: t.total_ns,
            max_ns: t.max_ns,
            duration: buckets(&t.durations),
        }
    }
}

/// Sizes of files.
#[derive(Serialize)]
struct SizesJson {
    /// Files whose size is known.
    count: u64,
    total_bytes: u64,
    p50_bytes: u64,
    p95_bytes: u64,
    max_bytes: u64,
}

impl SizesJson {
    fn of(s: &Sizes) -> Self {
        Self {
            count: s.count,
            total_bytes: s.total_bytes,
            p50_bytes: s.quantile(0.5),
            p95_bytes: s.quantile(0.95),
            max_bytes: s.max_bytes,
        }
    }
}

#[derive(Serialize)]
struct WorkJson {
    who: TeamJson,
    device: String,
    /// Null where it is not known.
    #[serde(rename = "file.directory")]
    path: Option<String>,
    deleted: bool,
    created: u64,
    sizes: SizesJson,
    syncs: TimedJson,
    unlinked: u64,
    examples: Vec<String>,
}

impl WorkJson {
    fn of(w: &Work) -> Self {
        Self {
            who: TeamJson::of(&w.team),
            device: number(w.device),
            path: w.path.as_deref().map(escape::name),
            deleted: w.deleted,
            created: w.created,
            sizes: SizesJson::of(&w.sizes),
            syncs: TimedJson::of(&w.syncs),
            unlinked: w.unlinked,
            examples: w.examples.iter().map(|name| escape::name(name)).collect(),
        }
    }
}

#[derive(Serialize)]
struct CreatorJson {
    /// What it did in the file system; the directory is the deepest that holds nearly all files created.
    #[serde(flatten)]
    work: WorkJson,
    /// Directories in and below it that files were created in.
    directories: u64,
}

impl CreatorJson {
    fn of(c: &Creator) -> Self {
        Self {
            work: WorkJson::of(&c.work),
            directories: c.directories,
        }
    }
}

#[derive(Serialize)]
struct MountJson {
    device: String,
    #[serde(rename = "system.filesystem.mountpoint")]
    mount_point: String,
    #[serde(rename = "system.filesystem.type")]
    fs_type: String,
    #[serde(rename = "system.device")]
    source: String,
    options: String,
    super_options: String,
}

impl MountJson {
    fn of(m: &Mount) -> Self {
        Self {
            device: number(m.device),
            mount_point: escape::name(&m.mount_point),
            fs_type: escape::name(&m.fs_type),
            source: escape::name(&m.source),
            options: escape::name(&m.options),
            super_options: escape::name(&m.super_options),
        }
    }
}

#[derive(Serialize)]
struct FileSystemJson {
    #[serde(flatten)]
    mount: MountJson,
    more_mounts: u64,
    /// Of an overlay: the file system whose space it has.
    space_of: Option<String>,
    total_bytes: u64,
    available_bytes: u64,
    /// Null where there is no fixed number.
    inodes: Option<u64>,
    free_inodes: Option<u64>,
    bytes_trend: TrendJson,
    inodes_trend: Option<TrendJson>,
    looks: u64,
    span_ns: u64,
}

impl FileSystemJson {
    fn of(f: &FileSystem) -> Self {
        let fixed = f.inodes > 0;
        Self {
            mount: MountJson {
                device: number(f.device),
                ..MountJson::of(&f.mount)
            },
            more_mounts: f.more_mounts,
            space_of: f.space_of.map(number),
            total_bytes: f.total_bytes,
            available_bytes: f.available_bytes,
            inodes: fixed.then_some(f.inodes),
            free_inodes: fixed.then_some(f.free_inodes),
            bytes_trend: TrendJson::of(&f.bytes),
            inodes_trend: fixed.then(|| TrendJson::of(&f.inodes_trend)),
            looks: f.looks,
            span_ns: f.span_ns,
        }
    }
}

/// Taken per second, and how long the rest lasts.
#[derive(Serialize)]
struct TrendJson {
    per_s: f64,
    /// The slowest and the fastest quarter of the window; null with fewer than five looks.
    slowest_per_s: Option<f64>,
    fastest_per_s: Option<f64>,
    least_free: u64,
    /// Null when it does not shrink.
    time_left_ns: Option<u64>,
    soonest_ns: Option<u64>,
    latest_ns: Option<u64>,
}

impl TrendJson {
    fn of(t: &Trend) -> Self {
        // A cast from a float saturates.
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let between = t.left_between();
        Self {
            per_s: t.per_s,
            slowest_per_s: t.range_per_s.map(|r| r.0),
            fastest_per_s: t.range_per_s.map(|r| r.1),
            least_free: t.least,
            time_left_ns: t.seconds_left.map(ns),
            soonest_ns: between.map(|(soonest, _)| ns(soonest)),
            latest_ns: between.and_then(|(_, latest)| latest).map(ns),
        }
    }
}

#[derive(Serialize)]
struct RefusedJson {
    who: TeamJson,
    call: &'static str,
    #[serde(rename = "error.type")]
    error: String,
    /// Null where it is not known.
    device: Option<String>,
    mount_point: Option<String>,
    #[serde(rename = "file.path")]
    path: Option<String>,
    count: u64,
    /// After the window's start.
    first_offset_ns: u64,
    last_offset_ns: u64,
}

impl RefusedJson {
    fn of(r: &Refused) -> Self {
        Self {
            who: TeamJson::of(&r.team),
            call: r.call,
            error: errno::name(r.errno),
            device: r.device.map(number),
            mount_point: r.mount_point.as_deref().map(escape::name),
            path: (!r.path.is_empty()).then(|| escape::name(&r.path)),
            count: r.count,
            first_offset_ns: r.first_ns,
            last_offset_ns: r.last_ns,
        }
    }
}

#[derive(Serialize)]
struct DiskJson {
    device: String,
    name: String,
    /// Null when it is not mounted where we look.
    mount: Option<MountJson>,
    data_mode: String,
    commit_interval_ns: u64,
    commits: CommitsJson,
    syncs: Vec<SyncsJson>,
    changes: Vec<ChangesJson>,
}

impl DiskJson {
    fn of(d: &Disk) -> Self {
        Self {
            device: number(d.device),
            name: escape::name(&d.name),
            mount: d.mount.as_ref().map(MountJson::of),
            data_mode: escape::name(d.data_mode().as_bytes()),
            commit_interval_ns: (d.commit_interval_s() * 1e9) as u64,
            commits: CommitsJson::of(&d.commits),
            syncs: d.syncs.iter().map(SyncsJson::of).collect(),
            changes: d.changes.iter().map(ChangesJson::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct CommitsJson {
    /// From start to end.
    total: TimedJson,
    p50_ns: u64,
    p95_ns: u64,
    p99_ns: u64,
    /// True: from the single commits; else interpolated in buckets that are an eighth wide.
    exact: bool,
    locking: TimedJson,
    flushing: TimedJson,
    logging: TimedJson,
    /// From one start to the next.
    interval: TimedJson,
    /// Such that hold a change of a synchronous handle (O_SYNC, dirsync); an fsync does not mark them.
    sync: u64,
    blocks_logged: u64,
    /// One that has not ended; null when there is none.
    under_way_ns: Option<u64>,
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
            under_way_ns: c.under_way_ns,
        }
    }
}

#[derive(Serialize)]
struct SyncsJson {
    who: TeamJson,
    #[serde(flatten)]
    calls: TimedJson,
    under_way: u64,
    under_way_ns: u64,
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

#[derive(Serialize)]
struct ChangesJson {
    who: TeamJson,
    handles: u64,
    sync: u64,
    blocks: u64,
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

#[derive(Serialize)]
struct SleepJson {
    who: TeamJson,
    waits_for: &'static str,
    #[serde(flatten)]
    sleeps: TimedJson,
    asleep: u64,
    asleep_ns: u64,
    /// Innermost first.
    stack: Vec<String>,
}

impl SleepJson {
    fn of(s: &Sleep) -> Self {
        Self {
            who: TeamJson::of(&s.team),
            waits_for: reason_id(s.waits_for),
            sleeps: TimedJson::of(&s.sleeps),
            asleep: s.asleep,
            asleep_ns: s.asleep_ns,
            stack: functions(&s.stack),
        }
    }
}

#[derive(Serialize)]
struct AsleepJson {
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "thread.id")]
    tid: u32,
    #[serde(rename = "thread.name")]
    comm: String,
    waits_for: &'static str,
    for_ns: u64,
    stack: Vec<String>,
}

impl AsleepJson {
    fn of(a: &Asleep) -> Self {
        Self {
            pid: a.pid,
            tid: a.tid,
            comm: escape::name(&a.comm),
            waits_for: reason_id(a.waits_for),
            for_ns: a.for_ns,
            stack: functions(&a.stack),
        }
    }
}

fn functions(stack: &[String]) -> Vec<String> {
    stack.iter().map(|f| escape::name(f.as_bytes())).collect()
}

/// `259:3`.
fn number(device: Device) -> String {
    format!("{}:{}", device.major, device.minor)
}
