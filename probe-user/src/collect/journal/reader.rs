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
    table::{Made, slot},
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
        monotonic_ns, mounts, processes,
        table::{Fate, Table},
    },
    error::Error,
};

/// Devices whose names are kept.
const NAMES: usize = 1024;

/// A stack that nothing names is kept for so long, ns: longer than a window of what runs for weeks.
const KEEP_STACKS_NS: u64 = 300_000_000_000;

/// How often stacks that nothing has named are looked for, ns. They are those of sleeps too short to be added up, and no two
/// stacks have one place: left alone, they would take more and more of them from the others.
const SWEEP_NS: u64 = 60_000_000_000;

/// Processes in whose mount namespace a device is looked for at a reading.
const ASKED: usize = 16;

/// Follows journals.
pub struct JournalReader {
    symbols: Symbols,
    /// Stacks, and when each was named last, ns.
    stacks: StdHashMap<u32, (Stack, u64)>,
    /// Stacks that nothing had named when they were looked for last, and when that was, ns.
    unnamed: (HashSet<u32>, u64),
    names: StdHashMap<Device, Vec<u8>>,
    syncs: Table<WorkKey>,
    handles: Table<WorkKey>,
    sleeps: Table<SleepKey>,
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
            stacks: StdHashMap::new(),
            unnamed: (HashSet::new(), monotonic_ns()),
            names: StdHashMap::new(),
            syncs: Table::new("SYNCS", Some(slot::SYNCS)),
            handles: Table::new("HANDLES", Some(slot::HANDLES)),
            sleeps: Table::new("SLEEPS", Some(slot::SLEEPS)),
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

    /// The kernel side says that so many rows were made.
    pub fn told(&mut self, made: &Made) {
        self.syncs.told(made);
        self.handles.told(made);
        self.sleeps.told(made);
    }

    /// Is there to be made room in the tables?
    pub fn is_crowded(&self) -> bool {
        self.syncs.is_crowded() || self.handles.is_crowded() || self.sleeps.is_crowded()
    }

    /// Takes rows out of the tables.
    pub fn make_room(
        &mut self,
        ebpf: &mut Ebpf,
        now_ns: u64,
        into: &mut JournalReading,
    ) -> Result<(), Error> {
        self.sums(ebpf, now_ns, false, into)?;
        // Who is asleep is said where everything is; their stacks are told with what names them.
        self.read_stacks(ebpf, now_ns, into)
    }

    /// The sums, when they are `wanted`, and those that were taken out of the tables.
    fn sums(
        &mut self,
        ebpf: &Ebpf,
        now_ns: u64,
        wanted: bool,
        into: &mut JournalReading,
    ) -> Result<(), Error> {
        let work = |key: &WorkKey| fate(key.tgid);
        let mark = |sum: &SyncSum| sum.calls.count;
        let syncs = self
            .syncs
            .look(ebpf, now_ns, wanted, mark, work, |key, sum| Syncs {
                device: Device::from_kernel(key.dev),
                pid: key.tgid,
                comm: text(&sum.comm),
                calls: CallSum::from(&sum.calls),
                ..Syncs::default()
            })?;
        let mark = |sum: &HandleSum| sum.handles;
        let handles = self
            .handles
            .look(ebpf, now_ns, wanted, mark, work, |key, sum| Handles {
                device: Device::from_kernel(key.dev),
                pid: key.tgid,
                comm: text(&sum.comm),
                handles: sum.handles,
                sync: sum.sync,
                dirtied_blocks: sum.dirtied,
            })?;
        let mark = |sum: &SleepSum| sum.sleeps.count;
        let place = |key: &SleepKey| fate(key.tgid);
        let sleeps = self
            .sleeps
            .look(ebpf, now_ns, wanted, mark, place, |key, sum| Sleeps {
                pid: key.tgid,
                comm: text(&sum.comm),
                stack: u32::try_from(key.stack).ok(),
                sleeps: CallSum::from(&sum.sleeps),
            })?;
        let rows = |rows: Vec<(WorkKey, Syncs)>| rows.into_iter().map(|(_, row)| row);
        into.retired_syncs.extend(rows(syncs.retired));
        into.syncs = rows(syncs.rows).filter(|s| s.calls.count > 0).collect();
        let rows = |rows: Vec<(WorkKey, Handles)>| rows.into_iter().map(|(_, row)| row);
        into.retired_handles.extend(rows(handles.retired));
        into.handles = rows(handles.rows).filter(|h| h.handles > 0).collect();
        let rows = |rows: Vec<(SleepKey, Sleeps)>| rows.into_iter().map(|(_, row)| row);
        into.retired_sleeps.extend(rows(sleeps.retired));
        into.sleeps = rows(sleeps.rows).filter(|s| s.sleeps.count > 0).collect();
        Ok(())
    }

    /// Everything.
    pub fn read(&mut self, ebpf: &mut Ebpf, into: &mut JournalReading) -> Result<(), Error> {
        let journals: HashMap<_, u32, JournalSum> = map(ebpf, "JOURNALS")?;
        let jiffy_ns = 1_000_000_000 / u64::from(clock::hz());
        let rows = journals.iter().filter_map(Result::ok);
        into.commits = rows
            .map(|(dev, sum)| commits(dev, &sum, jiffy_ns))
            .collect();
        let now_ns = monotonic_ns();
        self.sums(ebpf, now_ns, true, into)?;
        add_under_way(ebpf, &mut into.syncs)?;
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
        self.read_stacks(ebpf, now_ns, into)?;
        self.sweep(ebpf, now_ns)?;
        self.name_devices(into);
        find_mounts(into);
        Ok(())
    }

    /// Reads and names the stacks that are new.
    fn read_stacks(
        &mut self,
        ebpf: &mut Ebpf,
        now_ns: u64,
        into: &mut JournalReading,
    ) -> Result<(), Error> {
        let sleeps = into.sleeps.iter().chain(&into.retired_sleeps);
        let mut used: HashSet<u32> = sleeps.filter_map(|s| s.stack).collect();
        used.extend(into.asleep.iter().filter_map(|s| s.stack));
        let mut table: StackTraceMap<_> = map(ebpf, "STACKS")?;
        let mut raw = Vec::new();
        for id in used.iter().filter(|id| !self.stacks.contains_key(id)) {
            // One that cannot be read stays without functions.
            let frames = table.get(id, 0).map(|trace| {
                let frames = trace.frames().iter();
                frames.map(|frame| frame.ip).collect::<Vec<u64>>()
            });
            raw.push((*id, frames.unwrap_or_default()));
        }
        self.symbols
            .learn(raw.iter().flat_map(|(_, frames)| frames).copied());
        for (id, addresses) in raw {
            let names = addresses.iter().map(|a| (*a, self.symbols.name(*a)));
            let frames: Vec<(u64, Option<&str>)> = names.collect();
            self.stacks.insert(id, (stacks::stack(&frames), now_ns));
        }
        let unused_ns = |last_ns: u64| now_ns.saturating_sub(last_ns);
        // The kernel gives the number of a stack that was removed to another one.
        self.stacks.retain(|id, (_, last_ns)| {
            if used.contains(id) {
                *last_ns = now_ns;
            }
            unused_ns(*last_ns) < KEEP_STACKS_NS || table.remove(id).is_err()
        });
        let stacks = used.iter().filter_map(|id| {
            let (stack, _) = self.stacks.get(id)?;
            Some((*id, stack.clone()))
        });
        into.stacks = stacks.collect();
        into.no_symbols = self.symbols.missing().map(str::to_owned);
        Ok(())
    }

    /// Takes out stacks that nothing has named from one time to the next; those of who is asleep are named by now.
    fn sweep(&mut self, ebpf: &mut Ebpf, now_ns: u64) -> Result<(), Error> {
        let (before, at_ns) = &self.unnamed;
        if now_ns.saturating_sub(*at_ns) < SWEEP_NS {
            return Ok(());
        }
        let mut table: StackTraceMap<_> = map(ebpf, "STACKS")?;
        let (old, new): (HashSet<u32>, HashSet<u32>) = table
            .stack_ids()
            .filter_map(Result::ok)
            .filter(|id| !self.stacks.contains_key(id))
            .partition(|id| before.contains(id));
        for id in &old {
            // It may be gone already.
            let _ = table.remove(id);
        }
        self.unnamed = (new, now_ns);
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

/// Adds who is in an fsync at this moment.
fn add_under_way(ebpf: &mut Ebpf, syncs: &mut Vec<Syncs>) -> Result<(), Error> {
    let rows = std::mem::take(syncs).into_iter();
    let mut rows: StdHashMap<(Device, u32), Syncs> =
        rows.map(|row| ((row.device, row.pid), row)).collect();
    let under_way: HashMap<_, u32, Syncing> = map(ebpf, "SYNCING")?;
    for (_, syncing) in under_way.iter().filter_map(Result::ok) {
        let device = Device::from_kernel(syncing.dev);
        let row = rows.entry((device, syncing.tgid)).or_insert_with(|| Syncs {
            device,
            pid: syncing.tgid,
            comm: comm_of(syncing.tgid),
            ..Syncs::default()
        });
        row.under_way += 1;
        if row.under_way == 1 || syncing.since_ns < row.under_way_since_ns {
            row.under_way_since_ns = syncing.since_ns;
        }
    }
    *syncs = rows.into_values().collect();
    Ok(())
}

/// The rows of process 0 are those of what found no place.
fn fate(pid: u32) -> Fate {
    match pid {
        0 => Fate::Stays,
        _ => Fate::Alive,
    }
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
