//! Readings in, journals of a window out.

use super::*;
use crate::{
    aggregate::{
        files::fixture::{ROOT, UPLOADS, mount},
        fixture::{MS, S, START},
        identity::Processes,
    },
    collect::{
        CallSum,
        journal::{self, Commit, Handles, JournalReading, Sleeper, Sleeps, Stack},
    },
};

fn sum(count: u64, ns: u64) -> CallSum {
    CallSum {
        count,
        total_ns: count * ns,
        max_ns: ns,
        hist: [(probe_common::hist::bucket(ns) as u8, count as u32)].into(),
        ..CallSum::default()
    }
}

fn commits(count: u64, ns: u64) -> journal::Commits {
    journal::Commits {
        device: UPLOADS,
        total: sum(count, ns),
        logging: sum(count, ns / 2),
        ..journal::Commits::default()
    }
}

fn commit(at: u64, took_ns: u64) -> Commit {
    Commit {
        device: UPLOADS,
        tid: at as u32,
        end_ns: START + at,
        took_ns,
        locking_ns: 0,
        flushing_ns: 0,
        logging_ns: took_ns,
        sync: true,
    }
}

fn syncs(pid: u32, comm: &str, count: u64) -> journal::Syncs {
    journal::Syncs {
        device: UPLOADS,
        pid,
        comm: comm.into(),
        calls: sum(count, 10 * MS),
        ..journal::Syncs::default()
    }
}

fn finish(fold: &JournalFold, seconds: u64) -> Journal {
    fold.finish((START, START + seconds * S), &Processes::default())
}

#[test]
fn percentiles_are_exact_while_no_commit_was_left_out() {
    let mut fold = JournalFold::default();
    fold.set_base(&JournalReading {
        commits: vec![commits(3, 900 * MS)],
        each: vec![commit(0, 900 * MS)],
        ..JournalReading::default()
    });
    let mut later = commits(103, 900 * MS);
    later.total.total_ns = 3 * 900 * MS + (1..=100).sum::<u64>() * MS;
    let reading = JournalReading {
        commits: vec![later],
        each: (1..=100).map(|n| commit(n, n * MS)).collect(),
        mounts: vec![mount(UPLOADS, "ext4", "/dev/sdb1", "/uploads")],
        ..JournalReading::default()
    };
    fold.push(reading.clone());
    let journal = finish(&fold, 10);
    let c = &journal.disks[0].commits;
    assert_eq!((c.total.count, c.total.mean_ns()), (100, 50_500_000));
    assert_eq!(
        (c.exact, c.quantiles_ns),
        (true, [50 * MS, 95 * MS, 99 * MS])
    );
    assert_eq!(journal.disks[0].name, b"/dev/sdb1");

    let mut fold = fold.successor();
    let mut more = reading;
    more.commits = vec![journal::Commits {
        unlisted: 1,
        ..commits(200, 900 * MS)
    }];
    fold.push(more);
    let journal = finish(&fold, 10);
    assert!(!journal.disks[0].commits.exact);
    assert_eq!(journal.disks[0].commits.total.count, 97);
}

#[test]
fn a_commit_that_does_not_end_is_seen() {
    let mut fold = JournalFold::default();
    fold.push(JournalReading {
        commits: vec![journal::Commits {
            under_way_since_ns: Some(START + S),
            ..commits(0, 0)
        }],
        names: vec![(UPLOADS, b"loop0".to_vec())],
        ..JournalReading::default()
    });
    let disk = &finish(&fold, 10).disks[0];
    assert_eq!(disk.commits.under_way_ns, Some(9 * S));
    assert_eq!(
        (disk.name.as_slice(), &disk.mount),
        (&b"/dev/loop0"[..], &None)
    );
}

#[test]
fn work_is_added_up_by_team_and_only_what_grew_counts() {
    let handles = |pid, comm: &str, blocks| Handles {
        device: UPLOADS,
        pid,
        comm: comm.into(),
        handles: blocks,
        sync: 0,
        dirtied_blocks: 2 * blocks,
    };
    let mut fold = JournalFold::default();
    fold.set_base(&JournalReading {
        syncs: vec![syncs(1, "php", 5)],
        handles: vec![handles(1, "php", 10)],
        ..JournalReading::default()
    });
    fold.push(JournalReading {
        syncs: vec![
            syncs(1, "php", 15),
            syncs(2, "php", 20),
            syncs(3, "mysqld", 4),
        ],
        handles: vec![
            handles(1, "php", 30),
            handles(8, "kworker/0:1", 5),
            handles(9, "kworker/1:2", 6),
        ],
        ..JournalReading::default()
    });
    let disk = &finish(&fold, 10).disks[0];
    let of = |s: &Syncs| (s.team.name.clone(), s.team.processes, s.calls.count);
    let rows: Vec<_> = disk.syncs.iter().map(of).collect();
    assert_eq!(rows, [(b"php".to_vec(), 2, 30), (b"mysqld".to_vec(), 1, 4)]);
    let of = |c: &Changes| (c.team.name.clone(), c.handles, c.blocks);
    let rows: Vec<_> = disk.changes.iter().map(of).collect();
    assert_eq!(
        rows,
        [(b"php".to_vec(), 20, 40), (b"kworker".to_vec(), 11, 22)]
    );
    let next = finish(&fold.successor(), 10);
    assert!(next.disks.is_empty(), "{next:?}");
}

#[test]
fn sleeps_stand_by_reason_with_the_stack_that_took_most() {
    let stack = |waits_for, names: &[&str]| Stack {
        functions: names.iter().map(|n| (*n).to_owned()).collect(),
        waits_for,
    };
    let sleeps = |pid, stack, count, ms| Sleeps {
        pid,
        comm: b"php".to_vec(),
        stack,
        sleeps: sum(count, ms * MS),
    };
    let mut fold = JournalFold::default();
    fold.push(JournalReading {
        stacks: vec![
            (
                1,
                stack(
                    WaitsFor::Commit,
                    &["jbd2_log_wait_commit", "ext4_sync_file"],
                ),
            ),
            (
                2,
                stack(WaitsFor::Commit, &["jbd2_log_wait_commit", "msync"]),
            ),
            (3, stack(WaitsFor::BlockIo, &["io_schedule"])),
        ],
        sleeps: vec![
            sleeps(1, Some(1), 10, 300),
            sleeps(1, Some(2), 40, 2),
            sleeps(2, Some(3), 5, 20),
            sleeps(2, None, 1, 1),
        ],
        asleep: vec![Sleeper {
            pid: 1,
            tid: 11,
            comm: b"thread".to_vec(),
            stack: Some(1),
            since_ns: START - S,
        }],
        ..JournalReading::default()
    });
    let journal = finish(&fold, 10);
    let [commit, io, lost] = journal.sleeps.as_slice() else {
        panic!("{:#?}", journal.sleeps)
    };
    assert_eq!((commit.waits_for, commit.count()), (WaitsFor::Commit, 51));
    assert_eq!(commit.total_ns(), 3080 * MS + 10 * S);
    assert_eq!(commit.stack, ["jbd2_log_wait_commit", "ext4_sync_file"]);
    assert_eq!((io.waits_for, io.count()), (WaitsFor::BlockIo, 5));
    assert_eq!((lost.waits_for, lost.stack.len()), (WaitsFor::Unknown, 0));
    assert_eq!(
        (journal.asleep[0].tid, journal.asleep[0].for_ns),
        (11, 11 * S)
    );
}

#[test]
fn file_systems_without_a_watched_journal_are_named() {
    let mut fold = JournalFold::default();
    fold.push(JournalReading {
        mounts: vec![
            mount(ROOT, "ext4", "/dev/root", "/"),
            mount(UPLOADS, "xfs", "/dev/sdb1", "/uploads"),
            mount(Device { major: 0, minor: 5 }, "tmpfs", "tmpfs", "/run"),
        ],
        names: vec![(ROOT, b"vda1".to_vec())],
        ..JournalReading::default()
    });
    let journal = finish(&fold, 10);
    assert_eq!(journal.disks.len(), 1);
    assert_eq!(journal.disks[0].name, b"/dev/vda1");
    let names: Vec<_> = journal.unwatched.iter().map(|m| &m.fs_type[..]).collect();
    assert_eq!(names, [b"xfs"]);
}

#[test]
fn options_are_read_from_both_lists() {
    let mut disk = fixture::disk(mount(ROOT, "ext4", "/dev/sda1", "/"), 1, MS, MS);
    assert_eq!(
        (disk.commit_interval_s(), disk.data_mode()),
        (5.0, "ordered".to_owned())
    );
    let mount = disk.mount.as_mut().unwrap();
    mount.super_options = b"rw,commit=30,nobarrier,data=writeback".to_vec();
    assert_eq!(
        (disk.commit_interval_s(), disk.data_mode()),
        (30.0, "writeback".to_owned())
    );
    assert_eq!(disk.option("nobarrier"), Some(String::new()));
    assert_eq!((disk.option("barrier"), disk.option("comm")), (None, None));
}
