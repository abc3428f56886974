//! File systems, files, journals, and who sleeps behind them.

use std::collections::BTreeMap;

use super::labels::{error, name, team};
use crate::{
    aggregate::{
        Timed,
        files::{Creator, FileSystem, Work},
        journal::Disk,
    },
    present::{
        fs::words::reason_id,
        metrics::{Buckets, Kind, Metric, OTHER, Rows, Seen},
    },
};

const SPACE: &[&str] = &[
    "system.device",
    "system.filesystem.mountpoint",
    "system.filesystem.type",
    "system.filesystem.state",
];
const STATE: &[&str] = &["system.filesystem.state"];
const DISK: &[&str] = &["system.device", "system.filesystem.mountpoint"];
const DIRECTORY: &[&str] = &["stallscope.group", "stallscope.directory"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "system.filesystem.usage",
        kind: Kind::UpDownCounter,
        unit: "By",
        help: "Space of a file system; free is what users without privileges can have, used the rest.",
        labels: SPACE,
        small: STATE,
        otel: true,
        top: 64,
        read: |seen, rows| {
            for f in file_systems(seen) {
                let free = f.available_bytes;
                space(rows, f, free, f.total_bytes.saturating_sub(free));
            }
        },
    },
    Metric {
        name: "stallscope.filesystem.inodes",
        kind: Kind::UpDownCounter,
        unit: "{inode}",
        help: "Inodes of a file system that has a fixed number of them.",
        labels: SPACE,
        small: STATE,
        otel: false,
        top: 64,
        read: |seen, rows| {
            for f in file_systems(seen).filter(|f| f.inodes > 0) {
                let free = f.free_inodes;
                space(rows, f, free, f.inodes.saturating_sub(free));
            }
        },
    },
    Metric {
        name: "stallscope.filesystem.time_left",
        kind: Kind::Gauge,
        unit: "s",
        help: "Time until no space or no inode is left, as the last one to two spans went; absent while it does not shrink.",
        labels: &[
            "system.device",
            "system.filesystem.mountpoint",
            "stallscope.resource",
        ],
        small: &[],
        otel: false,
        top: 20,
        read: |seen, rows| {
            for f in seen
                .recent
                .files
                .iter()
                .flat_map(|files| &files.file_systems)
            {
                let [device, mountpoint] = place(f);
                let left = [
                    ("inodes", f.inodes_trend.seconds_left),
                    ("space", f.bytes.seconds_left),
                ];
                for (resource, left) in left {
                    if let Some(left) = left {
                        rows.level([&device, &mountpoint, resource], left);
                    }
                }
            }
        },
    },
    Metric {
        name: "stallscope.file.created",
        kind: Kind::Counter,
        unit: "{file}",
        help: "Files created, by the directory in or below which nearly all of them were created.",
        labels: DIRECTORY,
        small: &[],
        otel: false,
        top: 50,
        read: |seen, rows| by_directory(seen, rows, |work| work.created),
    },
    Metric {
        name: "stallscope.file.unlinked",
        kind: Kind::Counter,
        unit: "{file}",
        help: "Files unlinked, by the directory in which the same processes are at work.",
        labels: DIRECTORY,
        small: &[],
        otel: false,
        top: 50,
        read: |seen, rows| by_directory(seen, rows, |work| work.unlinked),
    },
    Metric {
        name: "stallscope.file.refused",
        kind: Kind::Counter,
        unit: "{call}",
        help: "Calls that were refused for want of space or inodes (ENOSPC, EDQUOT).",
        labels: &[
            "stallscope.group",
            "stallscope.call",
            "system.filesystem.mountpoint",
            "error.type",
        ],
        small: &["error.type"],
        otel: false,
        top: 50,
        read: |seen, rows| {
            for r in seen.slice.files.iter().flat_map(|files| &files.refused) {
                let mountpoint = r.mount_point.as_ref().map_or_else(String::new, |m| name(m));
                let (team, error) = (team(&r.team), error(r.errno));
                rows.adds([&team, r.call, &mountpoint, &error], r.count as f64);
            }
        },
    },
    Metric {
        name: "stallscope.fsync.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "Duration of fsync() and fdatasync(), by who called it.",
        labels: &["stallscope.group"],
        small: &[],
        otel: false,
        top: 32,
        read: |seen, rows| {
            let mut sums: BTreeMap<String, Timed> = BTreeMap::new();
            for work in works(seen).filter(|work| work.syncs.count > 0) {
                sums.entry(team(&work.team)).or_default().add(&work.syncs);
            }
            for (team, timed) in &sums {
                rows.took([team], Buckets::of_timed(timed));
            }
        },
    },
    Metric {
        name: "stallscope.journal.commit.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "Duration of journal commits, from start to end.",
        labels: DISK,
        small: &[],
        otel: false,
        top: 32,
        read: |seen, rows| {
            for (disk, [device, mountpoint]) in disks(seen) {
                rows.took(
                    [&device, &mountpoint],
                    Buckets::of_timed(&disk.commits.total),
                );
            }
        },
    },
    Metric {
        name: "stallscope.journal.commit.time",
        kind: Kind::Counter,
        unit: "s",
        help: "Time of journal commits by phase: waiting for changes under way, writing out data, writing the journal.",
        labels: &[
            "system.device",
            "system.filesystem.mountpoint",
            "stallscope.phase",
        ],
        small: &["stallscope.phase"],
        otel: false,
        top: 32,
        read: |seen, rows| {
            for (disk, [device, mountpoint]) in disks(seen) {
                let phases = [
                    ("locking", &disk.commits.locking),
                    ("flushing", &disk.commits.flushing),
                    ("logging", &disk.commits.logging),
                ];
                for (phase, timed) in phases {
                    rows.adds([&device, &mountpoint, phase], timed.total_ns as f64 / 1e9);
                }
            }
        },
    },
    Metric {
        name: "stallscope.journal.blocks",
        kind: Kind::Counter,
        unit: "{block}",
        help: "Blocks written to the journal.",
        labels: DISK,
        small: &[],
        otel: false,
        top: 32,
        read: |seen, rows| {
            for (disk, [device, mountpoint]) in disks(seen) {
                rows.adds([&device, &mountpoint], disk.commits.blocks_logged as f64);
            }
        },
    },
    Metric {
        name: "stallscope.sleep.time",
        kind: Kind::Counter,
        unit: "s",
        help: "Uninterruptible sleeps of a millisecond and longer that ended, by what was waited for.",
        labels: &["stallscope.group", "stallscope.waits_for"],
        small: &["stallscope.waits_for"],
        otel: false,
        top: 32,
        read: |seen, rows| {
            for s in seen
                .slice
                .journal
                .iter()
                .flat_map(|journal| &journal.sleeps)
            {
                let ns = s.sleeps.total_ns;
                rows.adds([&team(&s.team), reason_id(s.waits_for)], ns as f64 / 1e9);
            }
        },
    },
    Metric {
        name: "stallscope.sleep.threads",
        kind: Kind::UpDownCounter,
        unit: "{thread}",
        help: "Threads that have been in uninterruptible sleep for a millisecond and longer, by what they wait for.",
        labels: &["stallscope.waits_for"],
        small: &["stallscope.waits_for"],
        otel: false,
        top: 0,
        read: |seen, rows| {
            for s in seen
                .slice
                .journal
                .iter()
                .flat_map(|journal| &journal.sleeps)
            {
                rows.level([reason_id(s.waits_for)], s.asleep as f64);
            }
        },
    },
];

/// Each space once: an overlay's is another file system's.
fn file_systems<'a>(seen: &Seen<'a>) -> impl Iterator<Item = &'a FileSystem> + use<'a> {
    let files = seen.slice.files.iter();
    files
        .flat_map(|files| &files.file_systems)
        .filter(|f| f.space_of.is_none())
}

fn place(f: &FileSystem) -> [String; 2] {
    [name(&f.mount.source), name(&f.mount.mount_point)]
}

fn space(rows: &mut Rows<'_>, f: &FileSystem, free: u64, used: u64) {
    let [device, mountpoint] = place(f);
    let fs_type = name(&f.mount.fs_type);
    for (state, value) in [("used", used), ("free", free)] {
        rows.level([&device, &mountpoint, &fs_type, state], value as f64);
    }
}

/// All work, the row of what had none included.
fn works<'a>(seen: &Seen<'a>) -> impl Iterator<Item = &'a Work> + use<'a> {
    let files = seen.slice.files.iter();
    files.flat_map(|files| files.places.iter().chain([&files.other]))
}

/// By process and file system, in the one directory that tells most: a row for each directory would be one for each hour, where
/// their names are made of dates or hashes.
fn by_directory(seen: &Seen<'_>, rows: &mut Rows<'_>, value: fn(&Work) -> u64) {
    let files = seen.slice.files.iter();
    for Creator { work, .. } in files.flat_map(|files| &files.creators) {
        let directory = match &work.path {
            Some(path) => name(path),
            None => OTHER.to_owned(),
        };
        let value = value(work);
        if value > 0 {
            rows.adds([&team(&work.team), &directory], value as f64);
        }
    }
}

fn disks<'a>(seen: &Seen<'a>) -> impl Iterator<Item = (&'a Disk, [String; 2])> + use<'a> {
    let journal = seen.slice.journal.iter();
    journal.flat_map(|journal| &journal.disks).map(|disk| {
        let mountpoint = disk.mount.as_ref().map_or(&[][..], |m| &m.mount_point);
        (disk, [name(&disk.name), name(mountpoint)])
    })
}
