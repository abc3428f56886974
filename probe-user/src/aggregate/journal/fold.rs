//! Folds what readings say about journals.

use std::collections::{BTreeMap, HashMap};

use super::{Device, Disk, Journal, Mount, commits::CommitSums, sleeps::SleepSums, work::WorkSums};
use crate::{
    aggregate::{files::mount_of, identity::Processes},
    collect::journal::JournalReading,
};

/// File systems that jbd2 keeps a journal for.
const JOURNALED: [&[u8]; 2] = [b"ext4", b"ext3"];

/// Journals in the window so far.
#[derive(Clone, Debug, Default)]
pub(in crate::aggregate) struct JournalFold {
    commits: CommitSums,
    work: WorkSums,
    sleeps: SleepSums,
    mounts: Vec<Mount>,
    names: HashMap<Device, Vec<u8>>,
}

impl JournalFold {
    /// Takes in the reading that the window starts at: its sums are the base.
    pub fn set_base(&mut self, reading: &JournalReading) {
        self.push(reading.clone());
        *self = self.successor();
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, reading: JournalReading) {
        self.commits.learn(reading.commits, &reading.each);
        self.work
            .end(reading.retired_syncs, reading.retired_handles);
        self.work.learn(reading.syncs, reading.handles);
        self.sleeps.end(reading.retired_sleeps);
        self.sleeps.learn(
            reading.sleeps,
            reading.asleep,
            reading.stacks,
            reading.no_symbols,
        );
        if !reading.mounts.is_empty() {
            self.mounts = reading.mounts;
        }
        self.names.extend(reading.names);
    }

    /// For a window that begins where this one ends: the sums so far are its base.
    pub fn successor(&self) -> Self {
        Self {
            commits: self.commits.successor(),
            work: self.work.successor(),
            sleeps: self.sleeps.successor(),
            mounts: self.mounts.clone(),
            names: self.names.clone(),
        }
    }

    /// The result. `span` is the window's start and end, CLOCK_MONOTONIC ns.
    pub fn finish(&self, span: (u64, u64), processes: &Processes) -> Journal {
        let mut disks: BTreeMap<Device, Disk> = BTreeMap::new();
        let mounts = || self.mounts.iter();
        let journaled = |m: &&Mount| JOURNALED.contains(&m.fs_type.as_slice());
        // A file system that nothing was done on has a row as well.
        for mount in mounts().filter(journaled) {
            disks.entry(mount.device).or_default();
        }
        for (device, commits) in self.commits.finish(span) {
            disks.entry(device).or_default().commits = commits;
        }
        for (device, syncs) in self.work.syncs(span.1, processes) {
            disks.entry(device).or_default().syncs = syncs;
        }
        for (device, changes) in self.work.changes(processes) {
            disks.entry(device).or_default().changes = changes;
        }
        for (device, disk) in &mut disks {
            disk.device = *device;
            disk.mount = mount_of(&self.mounts, *device).cloned();
            disk.name = self.name(*device);
        }
        let mut list: Vec<Disk> = disks.into_values().collect();
        list.sort_by_key(|d| {
            let time = d.commits.total.total_ns + d.commits.under_way_ns.unwrap_or(0);
            std::cmp::Reverse((time, d.all_syncs().count))
        });
        let on_disk = |m: &&Mount| !journaled(m) && m.source.starts_with(b"/dev/");
        let other: BTreeMap<Device, &Mount> = mounts()
            .filter(on_disk)
            .filter_map(|m| Some((m.device, mount_of(&self.mounts, m.device)?)))
            .collect();
        let (sleeps, asleep) = self.sleeps.finish(span, processes);
        Journal {
            disks: list,
            unwatched: other.into_values().cloned().collect(),
            sleeps,
            asleep,
            no_symbols: self.sleeps.no_symbols.clone(),
        }
    }

    /// `/dev/sda1` as it was mounted, or by the device's own name, or by number.
    fn name(&self, device: Device) -> Vec<u8> {
        let source = mount_of(&self.mounts, device).map(|m| m.source.clone());
        // `/dev/root` names no device that there is.
        let source = source.filter(|s| s.starts_with(b"/") && s != b"/dev/root");
        let own = || {
            let name = self.names.get(&device)?;
            Some([b"/dev/", name.as_slice()].concat())
        };
        source
            .or_else(own)
            .unwrap_or_else(|| format!("{}:{}", device.major, device.minor).into_bytes())
    }
}
