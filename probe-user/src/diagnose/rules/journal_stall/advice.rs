//! What S01 proposes, safest first; what a mount option trades stands beside it.

use super::{Case, tcp};
use crate::{
    aggregate::journal::Disk,
    diagnose::{Piece, Quantity, Remedy, Sentence, rules::storage, sentence},
};

/// A phase that takes this share of the commits' time is the one to work on.
const MOST: f64 = 0.5;
/// Commits that come this much more often than the timer alone would start them are asked for.
const OFTENER: f64 = 0.8;
/// Proposed for commit=, s: a crash loses up to so much of what nobody synced.
const LONGER_S: f64 = 30.0;
/// ext4's block, bytes.
const BLOCK: u64 = 4096;

/// True when fsync starts the commits, and not the timer: they come more often than the timer alone would start them; or each
/// begins when the last one ends, and there was at least an fsync for each, which asks for the next one at once. (The timer does
/// so too where a commit takes longer than it, but then hardly anyone calls fsync.)
pub(super) fn asked_for(disk: &Disk) -> bool {
    let timer_ns = disk.commit_interval_s() * 1e9;
    let (syncs, commits) = (disk.all_syncs().count, &disk.commits);
    let every_ns = commits.interval.mean_ns() as f64;
    let pause_ns = every_ns - commits.total.mean_ns() as f64;
    let oftener = every_ns < OFTENER * timer_ns;
    let at_once = pause_ns < (1.0 - OFTENER) * timer_ns && syncs >= commits.total.count;
    syncs > 0 && (oftener || at_once)
}

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let mut list = Vec::new();
    if case.disk.all_syncs().count > 0 {
        list.push(fewer_syncs(case));
    }
    list.push(memory(case));
    list.push(device(case));
    if case.disk.commits.locking.total_ns as f64 >= MOST * case.disk.commits.total.total_ns as f64
        && case.disk.commits.total.count > 0
    {
        list.push(long_changes());
    }
    if !case.own_data {
        list.push(own_journal());
    }
    if !asked_for(case.disk) && case.disk.commit_interval_s() < LONGER_S {
        list.push(longer_interval(case));
    }
    list.push(writeback(case));
    list
}

fn fewer_syncs(case: &Case<'_>) -> Remedy {
    let all = case.disk.all_syncs();
    let mut text: Vec<Piece> = vec!["call fsync less often".into()];
    if let Some(first) = case.disk.syncs.first() {
        text.push(", in ".into());
        text.extend(storage::team(&first.team));
    }
    text.push(
        ": write into one file, or sync once for many files; a database groups its commits".into(),
    );
    Remedy {
        text: Sentence(text),
        arithmetic: Some(sentence![
            Quantity::count(all.count as f64),
            " calls of ",
            Quantity::ns(all.mean_ns()),
            " = ",
            Quantity::ns(all.total_ns),
            " in the window; each call that is left out saves its wait and its part of a commit",
        ]),
        risk: "what was not synced may be lost in a crash: keep it for what cannot be made again"
            .to_owned(),
        ..Remedy::default()
    }
}

fn memory(case: &Case<'_>) -> Remedy {
    let mut text: Vec<Piece> =
        vec!["put what may be lost (caches, sessions, compiled files) on tmpfs".into()];
    if let Some(mount) = &case.disk.mount {
        text.extend([
            ", away from ".into(),
            Piece::Name(mount.mount_point.clone()),
        ]);
    }
    Remedy {
        text: Sentence(text),
        arithmetic: Some("no journal and no disk there: fsync returns at once".into()),
        risk: "it takes RAM and is empty after a reboot".to_owned(),
        ..Remedy::default()
    }
}

/// What makes so small a write slow.
fn device(case: &Case<'_>) -> Remedy {
    let c = &case.disk.commits;
    let blocks = c.blocks_logged.checked_div(c.total.count).unwrap_or(0);
    let flushing =
        c.flushing.total_ns as f64 >= MOST * c.total.total_ns as f64 && c.total.count > 0;
    let (text, arithmetic) = if case.own_data {
        (
            "find what makes the device slow: a limit in the block cgroup (io.max), a cloud disk's IOPS, another \
             process's writes",
            sentence![
                "fsync takes ",
                Quantity::ns(case.disk.all_syncs().mean_ns()),
                ", a commit ",
                Quantity::ns(c.total.mean_ns()),
            ],
        )
    } else if flushing {
        (
            "find who writes much on this file system: a commit waits until data of files is written out",
            sentence![
                Quantity::ratio(tcp::share(c.flushing.total_ns, c.total.total_ns)),
                " of the commits' time is writing out data"
            ],
        )
    } else {
        (
            "find what makes the device slow: a limit in the block cgroup (io.max), a cloud disk's IOPS, another \
             process's writes",
            sentence![
                "a commit writes about ",
                Quantity::bytes(blocks * BLOCK),
                " of journal and takes ",
                Quantity::ns(c.total.mean_ns().max(c.under_way_ns.unwrap_or(0))),
            ],
        )
    };
    Remedy {
        text: text.into(),
        command: Some(
            "iostat -x 1 5; grep -s . /sys/fs/cgroup/*/io.max /sys/fs/cgroup/*/*/io.max".to_owned(),
        ),
        arithmetic: Some(arithmetic),
        risk: "none: it only looks".to_owned(),
        ..Remedy::default()
    }
}

fn long_changes() -> Remedy {
    Remedy {
        text: "find what holds the transaction open: commits wait for changes under way (removals of large files, \
               quota, freezes for a snapshot)"
            .into(),
        risk: "none: it only looks".to_owned(),
        ..Remedy::default()
    }
}

fn own_journal() -> Remedy {
    Remedy {
        text: "keep the journal on a device of its own, a fast one (mke2fs -O journal_dev, then tune2fs -J device=)"
            .into(),
        arithmetic: Some("commits then do not queue behind the file system's own data".into()),
        risk: "the file system must be unmounted for it, and is lost with either device".to_owned(),
        ..Remedy::default()
    }
}

fn longer_interval(case: &Case<'_>) -> Remedy {
    let now = case.disk.commit_interval_s();
    Remedy {
        text: "commit less often".into(),
        change: Some((format!("commit={now}"), format!("commit={LONGER_S}"))),
        arithmetic: Some("the timer starts these commits, not fsync".into()),
        risk: format!(
            "a crash loses up to {LONGER_S} s of what nobody synced; commits are larger. It does nothing for \
             fsync"
        ),
        ..Remedy::default()
    }
}

/// Last, and only with what it trades.
fn writeback(case: &Case<'_>) -> Remedy {
    let c = &case.disk.commits;
    let flushing = tcp::share(c.flushing.total_ns, c.total.total_ns);
    Remedy {
        text: "data=writeback and nobarrier are no free speed-up, and the last resort".into(),
        arithmetic: Some(sentence![
            "data=writeback leaves out the flushing alone, here ",
            Quantity::ratio(flushing),
            " of the commits' time; the caller of fsync writes its data all the same",
        ]),
        risk: "data=writeback: after a crash files may hold stale blocks, also contents of removed files; \
               nobarrier: a power failure can destroy the file system, unless the device's cache is \
               battery-backed"
            .to_owned(),
        ..Remedy::default()
    }
}
