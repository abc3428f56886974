//! Who sleeps behind a commit is named with the stack that proves it; on a fast disk nobody is.

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child},
    ensure_time,
    ext4::Ext4,
    sys,
};
use stallscope::collect::journal::{Stack, WaitsFor};

use crate::journal_seen::{JournalWatch, settle, write_and_sync};

/// A process that makes so many files and syncs each, when it is told to; before each it makes `beside` others, which it does
/// not sync. It answers how long each fsync took, ns.
fn writer(of: &Ext4, files: u64, beside: u64) -> anyhow::Result<Child> {
    let dir = of.dir.clone();
    child::fork(move |link| {
        sys::set_comm(b"sleeps-in-D");
        link.wait();
        let times: Vec<u64> = (0..files)
            .map(|n| {
                for other in 0..beside {
                    std::fs::write(dir.join(format!("file-{n}-{other}")), [b'x'; 1000])
                        .expect("a file");
                }
                write_and_sync(&dir.join(format!("file-{n}"))).expect("a file")
            })
            .collect();
        link.send(&times);
        link.wait();
    })
}

pub fn behind_a_commit_the_stack_says_so() -> anyhow::Result<()> {
    // Without delayed allocation a commit has the data of the other files to write, which is slow everywhere. The journal's
    // own blocks may pass the limit of the block cgroup, as on 6.18: then a commit alone is over before anybody sleeps.
    let slow = Ext4::with(Some(40), "nodelalloc")?;
    let mut child = writer(&slow, 8, 3)?;
    settle(&slow)?;
    let mut watch = JournalWatch::start()?;
    child.go()?;
    let pid = child.pid;
    watch.read_until(|watch| watch.now.asleep.iter().any(|s| s.pid == pid))?;
    let asleep = watch.now.asleep.iter().find(|s| s.pid == pid);
    let asleep = asleep.context("it was never seen asleep")?;
    ensure!(
        asleep.comm == b"sleeps-in-D" && watch.stack(asleep.stack).is_some(),
        "{asleep:?}"
    );
    let times = child.recv_while(|| watch.drain())?;
    let own: u64 = times.iter().sum();
    watch.read()?;
    watch.nothing_lost()?;
    ensure!(watch.now.no_symbols.is_none(), "{:?}", watch.now.no_symbols);

    let sleeps = watch.sleeps(pid);
    let show = || {
        let line = |(s, stack): &(&_, Option<&_>)| format!("{s:?}\n    {stack:?}");
        let lines: Vec<String> = sleeps.iter().map(line).collect();
        lines.join("\n    ")
    };
    // In fsync: making a file may wait for a block as well.
    let of = |wanted: WaitsFor| {
        let in_fsync = |s: &Stack| {
            let mut functions = s.functions.iter();
            s.waits_for == wanted && functions.any(|f| f.starts_with("ext4_sync_file"))
        };
        let rows = sleeps.iter();
        let rows = rows.filter(|(_, stack)| stack.is_some_and(in_fsync));
        rows.map(|(s, _)| s.sleeps.total_ns).sum::<u64>()
    };
    ensure!(
        sleeps
            .iter()
            .all(|(s, _)| s.comm == b"sleeps-in-D" && s.stack.is_some()),
        "{}",
        show()
    );
    let behind = |(_, stack): &(&_, Option<&Stack>)| {
        stack.is_some_and(|s| {
            let has = |name: &str| s.functions.iter().any(|f| f.starts_with(name));
            s.waits_for == WaitsFor::Commit && has("jbd2_log_wait_commit") && has("ext4_sync_file")
        })
    };
    ensure!(sleeps.iter().any(behind), "{}", show());
    // The rest of an fsync is its own data, written before the commit.
    let (commit, block) = (of(WaitsFor::Commit), of(WaitsFor::BlockIo));
    ensure_time!(
        commit + block <= own && commit + block >= own - own / 20,
        "{commit} + {block} of {own} ns:\n    {}",
        show()
    );
    // The journal's thread sleeps at its work. A limit of the block cgroup may not hold for it, as on 6.18: then it has
    // nothing to wait for.
    let logging = watch.commits(&slow).logging.total_ns;
    let thread = format!("jbd2/{}-8", slow.device);
    let thread = thread.as_bytes()[..thread.len().min(15)].to_vec();
    let at_work = watch.now.sleeps.iter().any(|s| {
        let stack = watch.stack(s.stack);
        s.comm == thread && stack.is_some_and(|s| s.waits_for == WaitsFor::JournalThread)
    });
    ensure!(
        at_work || logging < own / 2,
        "{logging} of {own} ns: {:?}",
        watch.now.sleeps
    );
    Ok(())
}

pub fn on_a_fast_disk_nobody_sleeps_behind_a_commit() -> anyhow::Result<()> {
    let fast = Ext4::fast()?;
    let mut child = writer(&fast, 20, 0)?;
    settle(&fast)?;
    let mut watch = JournalWatch::start()?;
    child.go()?;
    let times = child.recv_while(|| watch.drain())?;
    watch.read()?;
    watch.nothing_lost()?;
    // A sleep of the default's millisecond needs an fsync that took it.
    let long: u64 = times.iter().filter(|ns| **ns >= 1_000_000).sum();
    let slept: u64 = watch
        .sleeps(child.pid)
        .iter()
        .map(|(s, _)| s.sleeps.total_ns)
        .sum();
    ensure_time!(
        slept <= long,
        "it slept {slept} ns in fsyncs that took {long} ns"
    );
    Ok(())
}

pub fn a_tasks_other_sleeps_are_none() -> anyhow::Result<()> {
    let mut child = child::fork(|link| {
        link.wait();
        for _ in 0..5 {
            sys::nanosleep(std::time::Duration::from_millis(5)).expect("nanosleep");
        }
        link.send(&[]);
        link.wait();
    })?;
    let mut watch = JournalWatch::start()?;
    child.go()?;
    child.recv()?;
    watch.read()?;
    let sleeps = watch.sleeps(child.pid);
    ensure!(sleeps.is_empty(), "{sleeps:?}");
    Ok(())
}
