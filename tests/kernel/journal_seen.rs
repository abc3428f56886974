//! Journals watched through the library, for the cases about them.

use std::{fs::File, io::Write as _, os::fd::AsRawFd as _, path::Path, time::Duration};

use anyhow::ensure;
use probe_common::loss::slot;
use probe_tests::{ext4::Ext4, sys};
use stallscope::{
    attach::{self, Mode, Options, Signals, State},
    collect::{
        CallSum, Collector,
        journal::{Commit, Commits, Device, Handles, JournalReading, Sleeps, Stack, Syncs},
    },
};

/// The probes of journals.
const PROBES: &[&str] = &[
    "journal_commits",
    "journal_handles",
    "file_system_syncs",
    "sleepers",
];

/// To watch journals alone.
pub fn journal() -> Options {
    Options {
        mode: Mode::Signals,
        signals: Signals {
            journal: true,
            ..Signals::default()
        },
        ..Options::default()
    }
}

/// Journals watched.
pub struct JournalWatch {
    collector: Collector,
    /// Sums as last read.
    pub now: JournalReading,
    /// Commits one by one, all so far.
    pub each: Vec<Commit>,
    /// Lost so far, by slot.
    pub losses: Vec<u64>,
}

impl JournalWatch {
    /// Attaches; every probe of journals must be active.
    pub fn start() -> anyhow::Result<Self> {
        let watch = Self {
            collector: Collector::new(attach::attach(&journal())?)?,
            now: JournalReading::default(),
            each: Vec::new(),
            losses: Vec::new(),
        };
        for probe in watch.collector.probes() {
            let ours = PROBES.contains(&probe.id);
            ensure!(!ours || probe.state == State::Active, "{probe:?}");
        }
        Ok(watch)
    }

    /// Empties the ring.
    pub fn drain(&mut self) {
        self.collector.drain();
    }

    /// Reads everything.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let reading = self.collector.read()?;
        let before = std::mem::take(&mut self.now);
        self.now = *reading.journal.unwrap_or_default();
        let now = &mut self.now;
        now.retired_syncs.extend(before.retired_syncs);
        now.syncs.extend(now.retired_syncs.iter().cloned());
        now.retired_handles.extend(before.retired_handles);
        now.handles.extend(now.retired_handles.iter().cloned());
        now.retired_sleeps.extend(before.retired_sleeps);
        now.sleeps.extend(now.retired_sleeps.iter().cloned());
        self.each.append(&mut self.now.each);
        self.losses = reading.losses.to_vec();
        Ok(())
    }

    /// Reads until `done` says so, at most five seconds.
    pub fn read_until(&mut self, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        for _ in 0..100 {
            self.read()?;
            if done(self) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Commits of a file system.
    pub fn commits(&self, of: &Ext4) -> Commits {
        let mut rows = self.now.commits.iter();
        rows.find(|c| c.device == device(of))
            .cloned()
            .unwrap_or_default()
    }

    /// Commits of a file system, one by one.
    pub fn each(&self, of: &Ext4) -> Vec<Commit> {
        let all = self.each.iter().copied();
        all.filter(|c| c.device == device(of)).collect()
    }

    /// fsyncs of a process on a file system.
    pub fn syncs(&self, of: &Ext4, pid: u32) -> Syncs {
        let mut rows = self.now.syncs.iter();
        let found = rows.find(|s| s.device == device(of) && s.pid == pid);
        found.cloned().unwrap_or_default()
    }

    /// Changes of a process to a journal.
    pub fn handles(&self, of: &Ext4, pid: u32) -> Handles {
        let mut rows = self.now.handles.iter();
        let found = rows.find(|h| h.device == device(of) && h.pid == pid);
        found.cloned().unwrap_or_default()
    }

    /// Sleeps of a process, by stack.
    pub fn sleeps(&self, pid: u32) -> Vec<(&Sleeps, Option<&Stack>)> {
        let rows = self.now.sleeps.iter().filter(|s| s.pid == pid);
        rows.map(|s| (s, self.stack(s.stack))).collect()
    }

    /// A stack by its number.
    pub fn stack(&self, id: Option<u32>) -> Option<&Stack> {
        let mut stacks = self.now.stacks.iter();
        stacks.find(|(n, _)| Some(*n) == id).map(|(_, stack)| stack)
    }

    /// Fails when anything was lost. That the kernel does not report every wake-up is none of ours, and the whole node's.
    pub fn nothing_lost(&self) -> anyhow::Result<()> {
        let mut losses = self.losses.clone();
        losses[slot::SLEEP_UNSEEN as usize] = 0;
        ensure!(losses.iter().all(|n| *n == 0), "lost: {losses:?}");
        Ok(())
    }
}

fn device(of: &Ext4) -> Device {
    let (major, minor) = of.number;
    Device { major, minor }
}

/// How many durations the histogram holds.
pub fn in_histogram(sum: &CallSum) -> u64 {
    sum.hist.iter().map(|(_, n)| u64::from(*n)).sum()
}

/// Makes a file of a thousand bytes and syncs it; how long fsync took, ns.
pub fn write_and_sync(path: &Path) -> std::io::Result<u64> {
    let mut file = File::create(path)?;
    file.write_all(&[b'x'; 1000])?;
    let begun = sys::now_ns();
    file.sync_all()?;
    Ok(sys::now_ns() - begun)
}

/// Writes out whatever is left of earlier work, so that it is not counted with the next.
pub fn settle(of: &Ext4) -> anyhow::Result<()> {
    let dir = File::open(&of.dir)?;
    // SAFETY: an open descriptor.
    let done = unsafe { libc::syncfs(dir.as_raw_fd()) };
    ensure!(done == 0, "syncfs: {}", std::io::Error::last_os_error());
    Ok(())
}
