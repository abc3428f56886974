//! Reads the kernel side's tables of journals and sleepers.

use std::{
    collections::{HashMap as StdHashMap, HashSet},
    fs,
    path::Path,
};

use aya::{
    Ebpf,
    maps::{HashMap, StackTraceMap},
};
use probe_common::{
    count::COMM_LEN,
    journal::{
        self as abi, HandleSum, JournalSum, NO_STACK, SleepKey, SleepSum, SyncSum, Syncing,
        TimeSum, WorkKey, phase,
    },
    request::event,
};

use super::{
    Commit, Commits, Device, Handles, JournalReading, Sleeper, Sleeps, Stack, Syncs, stacks,
    symbols::Symbols,
};
use crate::{
    attach::clock,
    collect::{
        CallSum,
        collector::{map, map_error},
        mounts, processes,
    },
    error::Error,
};

/// Devices whose names are kept.
const NAMES: usize = 1024;

/// Processes in whose mount namespace a device is looked for at a reading.
const ASKED: usize = 16;

/// Follows journals.
pub struct JournalReader {
    symbols: Symbols,
    /// Stacks read so far. The kernel side never gives a number away twice.
    stacks: Vec<(u32, Stack)>,
    names: StdHashMap<Device, Vec<u8>>,
}

impl JournalReader {
    /// Begins to follow.
    pub fn start(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let mut sleeps: HashMap<_, SleepKey, SleepSum> = map(ebpf, "SLEEPS")?;
        let others = SleepKey {
            tgid: 0,
            stack: NO_STACK,
        };
        sleeps
            .insert(others, SleepSum::ZERO, 0)
            .map_err(map_error)?;
        Ok(Self {
            symbols: Symbols::default(),
            stacks: Vec::new(),
            names: StdHashMap::new(),
        })
    }

    /// Decodes a record of the ring; false when it is none of ours.
    pub fn decode(kind: u32, bytes: &[u8], into: &mut Option<Box<JournalReading>>) -> bool {
        if kind != event::COMMIT || bytes.len() < size_of::<abi::Commit>() {
            return kind == event::COMMIT;
        }
        // SAFETY: the length was just checked; every bit pattern is a valid record.
        let commit = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<abi::Commit>()) };
        into.get_or_insert_default().each.push(Commit {
            device: Device::from_kernel(commit.dev),
            tid: commit.tid,
            end_ns: commit.end_ns,
            took_ns: commit.end_ns.saturating_sub(commit.start_ns),
            locking_ns: commit.phases_ns[phase::LOCKING],
            flushing_ns: commit.phases_ns[phase::FLUSHING],
            logging_ns: commit.phases_ns[phase::LOGGING],
            sync: commit.sync != 0,
        });
        true
    }

    /// Everything.
    pub fn read(&mut self, ebpf: &mut Ebpf, into: &mut JournalReading) -> Result<(), Error> {
        let journals: HashMap<_, u32, JournalSum> = map(ebpf, "JOURNALS")?;
        let jiffy_ns = 1_000_000_000 / u64::from(clock::hz());
        let rows = journals.iter().filter_map(Result::ok);
        into.commits = rows
            .map(|(dev, sum)| commits(dev, &sum, jiffy_ns))
            .collect();
        into.syncs = syncs(ebpf)?;
        let handles: HashMap<_, WorkKey, HandleSum> = map(ebpf, "HANDLES")?;
        let rows = handles.iter().filter_map(Result::ok);
        into.handles = rows
            .filter(|(_, sum)| sum.handles > 0)
            .map(|(key, sum)| Handles {
                device: Device::from_kernel(key.dev),
                pid: key.tgid,
                comm: text(&sum.comm),
                handles: sum.handles,
                sync: sum.sync,
                dirtied_blocks: sum.dirtied,
            })
            .collect();
        let sleeps: HashMap<_, SleepKey, SleepSum> = map(ebpf, "SLEEPS")?;
        let rows = sleeps.iter().filter_map(Result::ok);
        into.sleeps = rows
            .filter(|(_, sum)| sum.sleeps.count > 0)
            .map(|(key, sum)| Sleeps {
                pid: key.tgid,
                comm: text(&sum.comm),
                stack: u32::try_from(key.stack).ok(),
                sleeps: CallSum::from(&sum.sleeps),
            })
            .collect();
        let sleepers: HashMap<_, u32, abi::Sleeper> = map(ebpf, "SLEEPERS")?;
        let rows = sleepers.iter().filter_map(Result::ok);
        into.asleep = rows
            .filter(|(tid, sleeper)| is_asleep(sleeper.tgid, *tid))
            .map(|(tid, sleeper)| Sleeper {
                pid: sleeper.tgid,
                tid,
                comm: text(&sleeper.comm),
                stack: u32::try_from(sleeper.stack).ok(),
                since_ns: sleeper.since_ns,
            })
            .collect();
        self.read_stacks(ebpf, into)?;
        self.name_devices(into);
        find_mounts(into);
        Ok(())
    }

    /// Reads and names the stacks that are new.
    fn read_stacks(&mut self, ebpf: &mut Ebpf, into: &mut JournalReading) -> Result<(), Error> {
        let mut new: HashSet<u32> = into.sleeps.iter().filter_map(|s| s.stack).collect();
        new.extend(into.asleep.iter().filter_map(|s| s.stack));
        for (known, _) in &self.stacks {
            new.remove(known);
        }
        let table: StackTraceMap<_> = map(ebpf, "STACKS")?;
        let mut raw = Vec::new();
        for id in new {
            // One that cannot be read stays without functions.
            let frames = table.get(&id, 0).map(|trace| {
                let frames = trace.frames().iter();
                frames.map(|frame| frame.ip).collect::<Vec<u64>>()
            });
            raw.push((id, frames.unwrap_or_default()));
        }
        self.symbols
            .learn(raw.iter().flat_map(|(_, frames)| frames).copied());
        for (id, addresses) in raw {
            let names = addresses.iter().map(|a| (*a, self.symbols.name(*a)));
            let frames: Vec<(u64, Option<&str>)> = names.collect();
            self.stacks.push((id, stacks::stack(&frames)));
        }
        into.stacks.clone_from(&self.stacks);
        into.no_symbols = self.symbols.missing().map(str::to_owned);
        Ok(())
    }

    /// Looks up the names of devices that are new. A number may be given to another device later: the kernel's own
    /// numbers of loop, dm and SCSI devices stay theirs.
    fn name_devices(&mut self, into: &mut JournalReading) {
        let met = into.commits.iter().map(|c| c.device);
        let met = met.chain(into.syncs.iter().map(|s| s.device));
        for device in met.chain(into.handles.iter().map(|h| h.device)) {
            if !self.names.contains_key(&device)
                && self.names.len() < NAMES
                && let Some(name) = name_of(device)
            {
                self.names.insert(device, name);
            }
        }
        let names = self.names.iter();
        into.names = names
            .map(|(device, name)| (*device, name.clone()))
            .collect();
    }
}

/// Where file systems are mounted: here, and those that are not, where a process that works on them sees them.
fn find_mounts(into: &mut JournalReading) {
    let here = mounts::read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    into.mounts = here.into_iter().map(|entry| entry.mount).collect();
    let workers = into.syncs.iter().map(|s| (s.device, s.pid));
    let workers = workers.chain(into.handles.iter().map(|h| (h.device, h.pid)));
    let mut asked = 0;
    for (device, pid) in workers {
        if asked == ASKED || into.mounts.iter().any(|m| m.device == device) {
            continue;
        }
        asked += 1;
        let there = mounts::read(&Path::new("/proc").join(pid.to_string()).join("mountinfo"));
        let there = there
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.mount);
        into.mounts.extend(there.filter(|m| m.device == device));
    }
}

fn commits(dev: u32, sum: &JournalSum, jiffy_ns: u64) -> Commits {
    Commits {
        device: Device::from_kernel(dev),
        total: CallSum::from(&sum.total),
        unlisted: sum.unlisted,
        locking: CallSum::from(&sum.phases[phase::LOCKING]),
        flushing: CallSum::from(&sum.phases[phase::FLUSHING]),
        logging: CallSum::from(&sum.phases[phase::LOGGING]),
        interval: CallSum::from(&sum.interval),
        sync: sum.synced,
        handles: sum.handles,
        blocks: sum.blocks,
        blocks_logged: sum.blocks_logged,
        run_ns: sum.run_jiffies.map(|jiffies| jiffies * jiffy_ns),
        under_way_since_ns: (sum.start_ns != 0).then_some(sum.start_ns),
    }
}

/// fsync by device and process, with those under way.
fn syncs(ebpf: &mut Ebpf) -> Result<Vec<Syncs>, Error> {
    let mut rows: StdHashMap<(u32, u32), Syncs> = StdHashMap::new();
    let sums: HashMap<_, WorkKey, SyncSum> = map(ebpf, "SYNCS")?;
    for (key, sum) in sums.iter().filter_map(Result::ok) {
        if sum.calls.count > 0 {
            rows.insert(
                (key.dev, key.tgid),
                Syncs {
                    device: Device::from_kernel(key.dev),
                    pid: key.tgid,
                    comm: text(&sum.comm),
                    calls: CallSum::from(&sum.calls),
                    ..Syncs::default()
                },
            );
        }
    }
    let under_way: HashMap<_, u32, Syncing> = map(ebpf, "SYNCING")?;
    for (_, syncing) in under_way.iter().filter_map(Result::ok) {
        let row = rows
            .entry((syncing.dev, syncing.tgid))
            .or_insert_with(|| Syncs {
                device: Device::from_kernel(syncing.dev),
                pid: syncing.tgid,
                comm: comm_of(syncing.tgid),
                ..Syncs::default()
            });
        row.under_way += 1;
        if row.under_way == 1 || syncing.since_ns < row.under_way_since_ns {
            row.under_way_since_ns = syncing.since_ns;
        }
    }
    Ok(rows.into_values().collect())
}

/// A row whose wake-up was not reported is no sleeper. A thread that cannot be looked at is taken for one.
fn is_asleep(pid: u32, tid: u32) -> bool {
    processes::thread_stat(pid, tid).is_none_or(|stat| stat.state == b'D')
}

fn comm_of(pid: u32) -> Vec<u8> {
    let mut comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    if comm.last() == Some(&b'\n') {
        comm.pop();
    }
    comm
}

fn name_of(device: Device) -> Option<Vec<u8>> {
    let Device { major, minor } = device;
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    Some(link.file_name()?.as_encoded_bytes().to_vec())
}

fn text(comm: &[u8; COMM_LEN]) -> Vec<u8> {
    comm.split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

impl From<&TimeSum> for CallSum {
    fn from(sum: &TimeSum) -> Self {
        let buckets = sum.hist.iter().enumerate().filter(|(_, n)| **n > 0);
        Self {
            count: sum.count,
            total_ns: sum.total_ns,
            max_ns: sum.max_ns,
            other_errors: sum.failed,
            hist: buckets.map(|(bucket, n)| (bucket as u8, *n)).collect(),
            ..Self::default()
        }
    }
}
