//! Hand-made journals of a window, for the tests of rules and outputs.

use super::*;
use crate::aggregate::{
    Window,
    files::fixture::{ROOT, UPLOADS, mount, team},
    fixture::{MS, S, probe, window},
};

/// The probes that watch journals, as they are named in a window's coverage.
pub const PROBES: [&str; 4] = [
    "journal_commits",
    "journal_handles",
    "file_system_syncs",
    "sleepers",
];

/// A window of 10 s with these journals in it, every probe of journals active and nothing else.
pub fn window_with(journal: Journal) -> Window {
    Window {
        target: "this machine".to_owned(),
        duration_ns: 10 * S,
        journal: Some(Box::new(journal)),
        probes: PROBES.map(probe).to_vec(),
        ..window([])
    }
}

/// A file system on which `count` commits took `ns` each, one after the other with `pause_ns` in between; nearly
/// all of the time went into writing the journal.
pub fn disk(mount: Mount, count: u64, ns: u64, pause_ns: u64) -> Disk {
    Disk {
        device: mount.device,
        name: mount.source.clone(),
        mount: Some(mount),
        commits: Commits {
            total: Timed::of(&[(ns, count)]),
            quantiles_ns: [ns; 3],
            exact: true,
            timeline: (0..count.min(600))
                .map(|n| CommitPoint {
                    at_ns: n * (ns + pause_ns),
                    took_ns: ns,
                })
                .collect(),
            locking: Timed::of(&[(ns / 100, count)]),
            flushing: Timed::of(&[(ns / 50, count)]),
            logging: Timed::of(&[(ns - ns / 100 - ns / 50, count)]),
            interval: Timed::of(&[(ns + pause_ns, count)]),
            sync: 0,
            blocks_logged: 20 * count,
            under_way_ns: None,
        },
        ..Disk::default()
    }
}

/// A team called fsync `count` times, for `ns` each.
pub fn syncs(team: Team, count: u64, ns: u64) -> Syncs {
    Syncs {
        team,
        calls: Timed::of(&[(ns, count)]),
        ..Syncs::default()
    }
}

/// A team slept `count` times for `ns` each.
pub fn sleep(team: Team, waits_for: WaitsFor, count: u64, ns: u64, stack: &[&str]) -> Sleep {
    Sleep {
        team,
        waits_for,
        sleeps: Timed::of(&[(ns, count)]),
        stack: stack.iter().map(|f| (*f).to_owned()).collect(),
        ..Sleep::default()
    }
}

/// An fsync that waits for the commit, innermost first.
pub const FSYNC_STACK: [&str; 7] = [
    "jbd2_log_wait_commit [jbd2]",
    "ext4_fsync_journal [ext4]",
    "ext4_sync_file [ext4]",
    "vfs_fsync_range",
    "__x64_sys_fsync",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
];

/// Incident E: 20 workers write and sync small files; a commit takes 200 ms.
pub fn sick() -> Journal {
    let php = || team("php-fpm8.2", 4711, 20);
    Journal {
        disks: vec![
            Disk {
                syncs: vec![
                    syncs(php(), 311, 420 * MS),
                    syncs(team("mysqld", 900, 1), 4, 300 * MS),
                ],
                changes: vec![
                    Changes {
                        team: php(),
                        handles: 2000,
                        sync: 0,
                        blocks: 9000,
                    },
                    Changes {
                        team: team("kworker", 33, 2),
                        handles: 300,
                        sync: 0,
                        blocks: 1000,
                    },
                ],
                ..disk(
                    mount(UPLOADS, "ext4", "/dev/nvme0n1p3", "/var/www/uploads"),
                    40,
                    200 * MS,
                    50 * MS,
                )
            },
            disk(mount(ROOT, "ext4", "/dev/sda1", "/"), 2, 4 * MS, 4 * S),
        ],
        unwatched: Vec::new(),
        sleeps: vec![
            sleep(php(), WaitsFor::Commit, 311, 400 * MS, &FSYNC_STACK),
            sleep(
                php(),
                WaitsFor::BlockIo,
                30,
                20 * MS,
                &["folio_wait_bit_common"],
            ),
            sleep(
                team("jbd2/nvme0n1p3-8", 77, 1),
                WaitsFor::JournalThread,
                160,
                50 * MS,
                &[
                    "jbd2_journal_commit_transaction [jbd2]",
                    "kjournald2 [jbd2]",
                ],
            ),
        ],
        asleep: vec![Asleep {
            pid: 4711,
            tid: 4711,
            comm: b"php-fpm8.2".to_vec(),
            waits_for: WaitsFor::Commit,
            for_ns: 180 * MS,
            stack: FSYNC_STACK.map(str::to_owned).to_vec(),
        }],
        no_symbols: None,
    }
}

/// A database that syncs two thousand times a second on a good disk.
pub fn busy() -> Journal {
    let mysql = || team("mysqld", 900, 1);
    Journal {
        disks: vec![Disk {
            syncs: vec![syncs(mysql(), 20_000, MS / 2)],
            ..disk(mount(ROOT, "ext4", "/dev/sda1", "/"), 9000, MS, MS / 10)
        }],
        sleeps: vec![sleep(mysql(), WaitsFor::Commit, 2000, 2 * MS, &FSYNC_STACK)],
        ..Journal::default()
    }
}
