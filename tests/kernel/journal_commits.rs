//! Commits and fsyncs are counted exactly, and timed as their callers time them.

use anyhow::{Context as _, ensure};
use probe_common::journal::COMMITS_SENT;
use probe_tests::{
    child::{self, Child},
    ensure_time,
    ext4::Ext4,
    sys,
};

use crate::journal_seen::{JournalWatch, in_histogram, settle, write_and_sync};

/// A process that makes so many files and syncs each, when it is told to; it answers how long each fsync took, ns.
fn writer(name: &'static str, of: &Ext4, files: u64) -> anyhow::Result<Child> {
    let dir = of.dir.clone();
    child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        link.wait();
        let times: Vec<u64> = (0..files)
            .map(|n| write_and_sync(&dir.join(format!("{name}-{n}"))).expect("a file"))
            .collect();
        link.send(&times);
        link.wait();
    })
}

/// Watches a writer of so many files, alone on a file system.
fn watched(of: &Ext4, files: u64) -> anyhow::Result<(JournalWatch, u32, Vec<u64>, u64)> {
    let mut child = writer("writes-and-syncs", of, files)?;
    settle(of)?;
    let mut watch = JournalWatch::start()?;
    let before = of.transactions()?;
    child.go()?;
    let times = child.recv_while(|| watch.drain())?;
    // What jbd2 has counted, it has reported.
    let committed = of.transactions()? - before;
    watch.read_until(|watch| watch.commits(of).total.count >= committed)?;
    Ok((watch, child.pid, times, committed))
}

/// The sums of a writer agree with its own clock, and with jbd2's count.
fn agrees(of: &Ext4, files: u64) -> anyhow::Result<()> {
    let (watch, pid, times, committed) = watched(of, files)?;
    watch.nothing_lost()?;

    let syncs = watch.syncs(of, pid);
    ensure!(
        syncs.calls.count == files && in_histogram(&syncs.calls) == files,
        "{files} fsyncs: {syncs:?}"
    );
    ensure!(
        syncs.comm == b"writes-and-syncs"[..15] && syncs.under_way == 0,
        "{syncs:?}"
    );
    let own: u64 = times.iter().sum();
    let (low, high) = (own - own / 20 - files * 20_000, own);
    ensure_time!(
        (low..=high).contains(&syncs.calls.total_ns),
        "fsyncs took {} ns together, the process measured {own}",
        syncs.calls.total_ns
    );

    let commits = watch.commits(of);
    let each = watch.each(of);
    ensure!(
        commits.total.count == committed && committed >= files,
        "jbd2 counts {committed} commits: {commits:?}"
    );
    // On a fast disk they may be more than are sent one by one.
    let few = committed <= u64::from(COMMITS_SENT);
    ensure!(
        each.len() as u64 + commits.unlisted == committed && (commits.unlisted == 0 || !few),
        "{} of {committed} commits one by one, {} not",
        each.len(),
        commits.unlisted
    );
    let took: u64 = each.iter().map(|c| c.took_ns).sum();
    ensure!(
        took == commits.total.total_ns || commits.unlisted > 0 && took < commits.total.total_ns,
        "{took}: {commits:?}"
    );
    ensure!(commits.handles > 0 && commits.blocks > 0, "{commits:?}");
    for phases in [&commits.locking, &commits.flushing, &commits.logging] {
        ensure!(phases.count == committed, "{commits:?}");
    }
    let phases = commits.locking.total_ns + commits.flushing.total_ns + commits.logging.total_ns;
    ensure!(
        phases <= commits.total.total_ns && phases >= commits.total.total_ns / 10 * 9,
        "the phases are {phases} ns of {}",
        commits.total.total_ns
    );
    ensure_time!(
        commits.total.total_ns <= syncs.calls.total_ns,
        "commits took {} ns, who waited for them {}",
        commits.total.total_ns,
        syncs.calls.total_ns
    );
    let handles = watch.handles(of, pid);
    ensure!(
        handles.handles >= files && handles.dirtied_blocks > 0,
        "{handles:?}"
    );
    let named = watch.now.names.iter();
    let name = named.filter(|(d, _)| *d == commits.device).map(|(_, n)| n);
    ensure!(
        name.clone().eq([of.device.as_bytes()]),
        "{:?} is not {}",
        watch.now.names,
        of.device
    );
    let mounts = watch.now.mounts.iter();
    let mut mounts = mounts.filter(|m| m.device == commits.device);
    ensure!(
        mounts.any(|m| m.mount_point == of.dir.as_os_str().as_encoded_bytes()),
        "{:?}",
        watch.now.mounts
    );
    Ok(())
}

pub fn fsyncs_and_commits_are_counted_exactly() -> anyhow::Result<()> {
    agrees(&Ext4::fast()?, 200)
}

pub fn a_slow_disk_is_timed_as_its_callers_time_it() -> anyhow::Result<()> {
    agrees(&Ext4::slow(40)?, 20)
}

pub fn an_fsync_under_way_is_seen() -> anyhow::Result<()> {
    const CALLS: u64 = 8;
    let slow = Ext4::slow(10)?;
    // On a quick disk one call may end before it is looked at.
    let mut child = writer("under-way", &slow, CALLS)?;
    let mut watch = JournalWatch::start()?;
    child.go()?;
    let pid = child.pid;
    watch.read_until(|watch| watch.syncs(&slow, pid).under_way == 1)?;
    let syncs = watch.syncs(&slow, pid);
    ensure!(
        syncs.under_way == 1 && syncs.under_way_since_ns > 0,
        "{syncs:?}"
    );
    child.recv().context("the writer")?;
    watch.read()?;
    let syncs = watch.syncs(&slow, pid);
    ensure!(
        syncs.under_way == 0 && syncs.calls.count == CALLS,
        "{syncs:?}"
    );
    Ok(())
}
