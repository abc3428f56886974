//! Reads ring and maps of the attached kernel side.

mod follow;
mod room;

use std::{
    cell::Cell,
    collections::{HashMap as StdHashMap, HashSet},
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapError, PerCpuHashMap, RingBuf},
};
use probe_common::{
    count::{CountKey, WaitSum},
    hist, loss,
    request::{Exit, Request, event},
    stat::{Stat, StatKey},
    table::slot,
    task::Task,
    tcp::TransitionKey,
};
use tokio::io::unix::AsyncFd;

use super::{
    CallSum, Count, KernelCost, Reading,
    cost::CostMeter,
    dns::DnsReader,
    exchanges::LastExchanges,
    files::FilesReader,
    journal::JournalReader,
    names::{self, Names},
    processes::{self, Processes},
    ring::Ring,
    table::{self, Table},
    tcp::{records, watcher::Watcher},
    udp::UdpReader,
};
use crate::{
    attach::{Attached, Links, Logger, Mode, ProbeStatus, State, netns::Netns},
    error::Error,
};

/// The ring is emptied this often while something else is waited for.
const EMPTY_EVERY: Duration = Duration::from_millis(20);
/// For so long the memory of the maps is taken as unchanged: nearly all of it is taken when they are made.
const MAP_BYTES: Duration = Duration::from_secs(60);

/// Requests for which there is room before they come, at most: 2.7 MB.
const AHEAD: usize = 2048;

/// Reads the kernel side. Owns it: dropping the collector detaches and unloads everything.
pub struct Collector {
    census: Option<Watcher>,
    udp: Option<UdpReader>,
    dns: Option<DnsReader>,
    files: Option<FilesReader>,
    journal: Option<JournalReader>,
    // Early, so that it is dropped early: nothing runs any more when the maps go.
    _links: Links,
    ebpf: Ebpf,
    logger: Option<Logger>,
    ring: Option<Ring>,
    probes: Vec<ProbeStatus>,
    followed: HashSet<(u32, u32)>,
    pending: Reading,
    stats: Table<StatKey>,
    transitions: Table<TransitionKey>,
    names: Names,
    processes: Processes,
    last_exchanges: LastExchanges,
    meter: CostMeter,
    /// Runs that the kernel skipped, when last asked.
    skipped: u64,
    /// Memory of the maps, when last asked, and when that was.
    map_bytes: Cell<Option<(Instant, u64)>>,
}

impl Collector {
    /// Takes over what was attached.
    ///
    /// # Errors
    /// A map is missing from the object (a build error).
    pub fn new(attached: Attached) -> Result<Self, Error> {
        let probes = attached.probes();
        let Attached {
            links,
            mut ebpf,
            logger,
            options,
            mut iterators,
            netns,
            ..
        } = attached;
        let follows_all = match &options.mode {
            Mode::Ledger { follow_all } | Mode::Count { follow_all, .. } => *follow_all,
            Mode::Signals => false,
        };
        let ring = match &options.mode {
            Mode::Ledger { .. } | Mode::Signals => {
                let map = ebpf.take_map("EVENTS").ok_or_else(|| missing("EVENTS"))?;
                let ring = RingBuf::try_from(map).map_err(map_error)?;
                Some(Ring::start(ring).map_err(|source| Error::Io {
                    what: "cannot start the thread that empties the ring".into(),
                    source,
                })?)
            }
            Mode::Count { .. } => None,
        };
        let watched = options.watched();
        let udp = match watched.udp {
            true => {
                let netns = netns.as_ref().map(Netns::try_clone).transpose();
                let netns = netns.map_err(|source| Error::Io {
                    what: "cannot keep the network namespace".into(),
                    source,
                })?;
                Some(UdpReader::start(&mut ebpf, &mut iterators, netns)?)
            }
            false => None,
        };
        let census = match watched.tcp {
            true => Some(Watcher::start(
                &mut ebpf,
                &mut iterators,
                netns,
                options.lasting,
            )?),
            false => None,
        };
        let dns = watched.dns.then(|| DnsReader::start(&mut ebpf));
        let files = watched
            .files
            .then(|| FilesReader::start(&mut ebpf, options.lasting));
        let journal = watched.journal.then(|| JournalReader::start(&mut ebpf));
        let mut collector = Self {
            census,
            udp,
            dns: dns.transpose()?,
            files: files.transpose()?,
            journal: journal.transpose()?,
            meter: CostMeter::new(),
            skipped: 0,
            map_bytes: Cell::new(None),
            _links: links,
            ebpf,
            logger,
            ring,
            probes,
            followed: HashSet::new(),
            pending: Reading::default(),
            stats: Table::new("STATS", Some(slot::STATS)),
            transitions: Table::new("TRANSITIONS", Some(slot::TRANSITIONS)),
            names: Names::default(),
            processes: Processes::default(),
            last_exchanges: LastExchanges::default(),
        };
        if collector.census.is_some() {
            records::make_other_rows(&mut map(&mut collector.ebpf, "TRANSITIONS")?);
        }
        if collector.ring.is_some() {
            collector.listen_ports()?;
            if follows_all {
                // A thread is met at its first call; a worker that hangs makes none.
                collector.follow(&processes::fpm_workers())?;
            }
        }
        Ok(collector)
    }

    /// What became of each probe, with how often each ran where that was measured.
    pub fn probes(&self) -> Vec<ProbeStatus> {
        self.probes.clone()
    }

    fn active(&self, id: &str) -> bool {
        let mut probes = self.probes.iter();
        probes.any(|p| p.id == id && p.state == State::Active)
    }

    /// Memory that the maps take, bytes, as the kernel accounts it. It is asked now and then: that takes a file for each
    /// of our descriptors.
    pub fn map_bytes(&self) -> u64 {
        let fresh = |(asked, bytes): (Instant, u64)| (asked.elapsed() < MAP_BYTES).then_some(bytes);
        self.map_bytes.get().and_then(fresh).unwrap_or_else(|| {
            let bytes = super::cost::map_bytes();
            self.map_bytes.set(Some((Instant::now(), bytes)));
            bytes
        })
    }

    /// Time in our kernel programs, sampled: call it when [`Collector::next_cost`] says so, it switches the kernel's measuring
    /// on for a tenth of the time at first, then less (measuring itself costs about as much as the programs do).
    pub fn kernel_cost(&mut self) -> Option<KernelCost> {
        self.meter.sample(&self.ebpf)
    }

    /// When [`Collector::kernel_cost`] has something to do; `None` where the kernel does not measure.
    pub fn next_cost(&self) -> Option<Instant> {
        self.meter.next()
    }

    /// The ring, to wait for: the kernel side says when it fills.
    pub fn ring(&self) -> Option<io::Result<AsyncFd<OwnedFd>>> {
        self.ring.as_ref().map(Ring::filling)
    }

    /// Memory of the records that no reading has taken yet, bytes: of those whose number grows with what happens.
    pub fn waiting_bytes(&self) -> usize {
        let tcp = self.pending.tcp.as_ref();
        size_of_val(self.pending.requests.as_slice())
            + size_of_val(self.pending.exits.as_slice())
            + tcp.map_or(0, |tcp| {
                size_of_val(tcp.connects.as_slice()) + size_of_val(tcp.events.as_slice())
            })
    }

    /// True when there is anything that no reading has taken yet.
    pub fn has_news(&self) -> bool {
        let signals = [
            self.pending.tcp.is_some(),
            self.pending.udp.is_some(),
            self.pending.dns.is_some(),
            self.pending.files.is_some(),
            self.pending.journal.is_some(),
        ];
        self.waiting_bytes() > 0 || signals.contains(&true)
    }

    /// Empties the ring into memory, and passes on what the kernel side logged.
    pub fn drain(&mut self) {
        self.pass_on_log();
        if let Some(census) = &mut self.census {
            census.news(&mut self.pending.tcp);
        }
        if let Some(udp) = &mut self.udp {
            udp.news(&mut self.pending.udp);
        }
        if let Some(files) = &mut self.files {
            files.news(&mut self.pending.files);
        }
        let Some(ring) = &mut self.ring else { return };
        let (pending, last_exchanges) = (&mut self.pending, &mut self.last_exchanges);
        let mut made = Vec::new();
        ring.empty(|record| {
            if let Some(told) = table::made(record) {
                made.push(told);
                return;
            }
            let known = pending.requests.len();
            decode(record, pending);
            pending.requests[known..]
                .iter()
                .for_each(|r| last_exchanges.add(r));
        });
        for told in made {
            self.stats.told(&told);
            self.transitions.told(&told);
            self.names.told(&told);
            if let Some(dns) = &mut self.dns {
                dns.told(&told);
            }
            if let Some(files) = &mut self.files {
                files.told(&told);
            }
            if let Some(journal) = &mut self.journal {
                journal.told(&told);
            }
        }
        // A map that cannot be read fails the next reading, too.
        if let Err(e) = self.make_room() {
            log::debug!("room in the tables: {e}");
        }
    }

    fn pass_on_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Everything: ring, thread table, sums, addresses, losses. Rows of threads that have ended are taken out of the kernel's
    /// tables, and others where these fill.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn read(&mut self) -> Result<Reading, Error> {
        self.take_census();
        let mut reading = self.look(true)?;
        // Asking for skipped programs reads a file for each; the cheaper readings say what was last known.
        reading.losses = self.losses()?;
        let alive: HashSet<(u32, u32)> = reading.tasks.iter().map(thread_of).collect();
        self.followed.retain(|thread| alive.contains(thread));
        self.stats.press(self.names.fill());
        let stats = self.stats.look(
            &self.ebpf,
            reading.at_ns,
            true,
            |stat: &Stat| stat.count,
            |key| room::fate(!alive.contains(&(key.tid, key.start_ticks))),
            |_, stat| CallSum::from(stat),
        )?;
        reading.stats = stats.rows;
        reading.retired.extend(stats.retired);
        reading.retired.extend(self.last_exchanges.take());
        if self.census.is_some() {
            let sums = records::sums(&mut self.transitions, &self.ebpf, reading.at_ns, true)?;
            let timewait = match self.active("exact_timewait") {
                true => {
                    let sums = map(&mut self.ebpf, "TIMEWAIT_SUMS")?;
                    Some(records::timewait(&sums).map_err(map_error)?)
                }
                false => None,
            };
            let tcp = reading.tcp.get_or_insert_default();
            tcp.transitions = sums.rows;
            tcp.retired.extend(sums.retired);
            tcp.timewait = timewait;
        }
        if let Some(udp) = &mut self.udp {
            udp.read(&mut self.ebpf, reading.udp.get_or_insert_default())?;
        }
        if let Some(dns) = &mut self.dns {
            dns.read(&mut self.ebpf, reading.dns.get_or_insert_default())?;
        }
        if let Some(files) = &mut self.files {
            files.read(&self.ebpf, reading.files.get_or_insert_default())?;
        }
        if let Some(journal) = &mut self.journal {
            journal.read(&mut self.ebpf, reading.journal.get_or_insert_default())?;
        }
        self.name_peers(&mut reading, true)?;
        self.name_processes(&mut reading, true);
        self.empty_names(&reading.tasks)?;
        self.count_clients()?;
        Ok(reading)
    }

    /// Has fresh censuses taken, so that one stands at each end of a watch. The ring is emptied meanwhile.
    fn take_census(&mut self) {
        let tcp = self.census.as_ref().map(Watcher::ask);
        let udp = self.udp.as_ref().map(UdpReader::ask);
        for answer in [tcp, udp].into_iter().flatten() {
            while answer.wait(EMPTY_EVERY) {
                self.drain();
            }
        }
    }

    /// The cheap part: ring, thread table, losses.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn threads(&mut self) -> Result<Reading, Error> {
        let mut reading = self.glance()?;
        reading.losses = self.losses()?;
        Ok(reading)
    }

    /// As [`Collector::threads`], without asking how often the kernel skipped our programs: for many looks a second.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn glance(&mut self) -> Result<Reading, Error> {
        let mut reading = self.look(true)?;
        self.name_peers(&mut reading, true)?;
        self.name_processes(&mut reading, true);
        Ok(reading)
    }

    /// The cheapest part: ring and losses, no row of any thread. Taking it now and then keeps what was
    /// drained from piling up.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn events(&mut self) -> Result<Reading, Error> {
        let mut reading = self.look(false)?;
        self.name_peers(&mut reading, false)?;
        self.name_processes(&mut reading, false);
        Ok(reading)
    }

    fn look(&mut self, tasks: bool) -> Result<Reading, Error> {
        self.drain();
        let mut reading = std::mem::take(&mut self.pending);
        // As many will come again.
        let ahead = reading.requests.len().min(AHEAD);
        self.pending.requests.reserve(ahead);
        if tasks {
            reading.tasks = self.tasks()?;
        }
        reading.at_ns = monotonic_ns();
        reading.losses = self.counted_losses()?;
        Ok(reading)
    }

    fn tasks(&mut self) -> Result<Vec<Task>, Error> {
        let tasks: HashMap<_, u32, Task> = map(&mut self.ebpf, "TASKS")?;
        let rows = tasks.iter().filter_map(Result::ok);
        Ok(rows.map(|(_, task)| task).collect())
    }

    /// Adds the addresses behind the peer ids of a reading.
    fn name_peers(&mut self, reading: &mut Reading, all: bool) -> Result<(), Error> {
        let mut found = std::mem::take(&mut reading.peers);
        let mut ids = names::named(reading);
        self.names.tell(&self.ebpf, &mut ids, &mut found, all)?;
        drop(ids);
        reading.peers = found;
        Ok(())
    }

    /// Adds what is known of the processes of a reading, or of all that live.
    fn name_processes(&mut self, reading: &mut Reading, all: bool) {
        for exit in &reading.exits {
            self.processes.ended(exit);
        }
        let seen = reading
            .tasks
            .iter()
            .map(|t| (t.tgid, t.tid, t.start_ticks, t.comm))
            .chain(
                reading
                    .requests
                    .iter()
                    .map(|r| (r.tgid, r.tid, r.start_ticks, r.comm)),
            );
        for (pid, tid, start_ticks, comm) in seen {
            self.processes.see(pid, tid, start_ticks, &comm);
        }
        reading.processes = match all {
            true => self.processes.all(reading.tasks.iter().map(|t| t.tgid)),
            false => self.processes.news(),
        };
    }

    /// The lean counter's rows, summed over CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&mut self) -> Result<Vec<Count>, Error> {
        self.pass_on_log();
        let rows: PerCpuHashMap<_, CountKey, u64> = map(&mut self.ebpf, "COUNTS")?;
        Ok(rows
            .iter()
            .filter_map(Result::ok)
            .map(|(key, values)| Count {
                key,
                count: values.iter().sum(),
            })
            .collect())
    }

    /// Wait times of `count --wait`, summed over CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn waits(&mut self) -> Result<Vec<(CountKey, WaitSum)>, Error> {
        let rows: PerCpuHashMap<_, CountKey, WaitSum> = map(&mut self.ebpf, "WAITS")?;
        Ok(rows
            .iter()
            .filter_map(Result::ok)
            .map(|(key, values)| {
                let mut sum = WaitSum::ZERO;
                for value in values.iter() {
                    sum.count += value.count;
                    sum.total_ns += value.total_ns;
                    sum.max_ns = sum.max_ns.max(value.max_ns);
                    for i in 0..hist::BUCKETS {
                        sum.hist[i] += value.hist[i];
                    }
                }
                (key, sum)
            })
            .collect())
    }

    /// Losses so far, by [`loss::slot`] (also in every [`Reading`]).
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn losses(&mut self) -> Result<[u64; loss::slot::COUNT as usize], Error> {
        self.skipped = super::cost::skipped_runs(&self.ebpf);
        self.counted_losses()
    }

    /// What our own programs counted, and what was last known of the rest.
    fn counted_losses(&mut self) -> Result<[u64; loss::slot::COUNT as usize], Error> {
        let mut out = [0; loss::slot::COUNT as usize];
        let losses: Array<_, u64> = map(&mut self.ebpf, "LOSSES")?;
        for (slot, value) in out.iter_mut().enumerate() {
            *value = losses.get(&(slot as u32), 0).map_err(map_error)?;
        }
        out[loss::slot::PROGRAM_SKIPPED as usize] = self.skipped;
        Ok(out)
    }

    /// Marks probes that ran, from the kernel's own run counts (used by `doctor`).
    pub fn measure_runs(&mut self, runs: &StdHashMap<String, u64>) {
        for probe in &mut self.probes {
            if probe.state == State::Active {
                probe.seen = super::cost::runs_of(probe.id, runs);
            }
        }
    }
}

/// A thread, by its id and its start.
fn thread_of(task: &Task) -> (u32, u32) {
    (task.tid, task.start_ticks)
}

/// The peers that a thread may come back to without their address being met again.
pub(super) fn leads_to(task: &Task) -> impl Iterator<Item = u64> + '_ {
    let remembered = task.cache.iter().map(|peer| peer.id);
    used_peers(&task.request)
        .chain(remembered)
        .chain([task.last_peer])
}

pub(super) fn used_peers(request: &Request) -> impl Iterator<Item = u64> + '_ {
    let n = (request.npeers as usize).min(request.peers.len());
    request.peers[..n].iter().map(|p| p.peer)
}

/// Decodes one record of the ring. A record that is too short for its kind is a bug of ours; it is left
/// out rather than read beyond its end.
pub fn decode(bytes: &[u8], into: &mut Reading) {
    let Some(kind) = bytes
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_ne_bytes)
    else {
        return;
    };
    match kind {
        event::REQUEST if bytes.len() >= std::mem::offset_of!(Request, peers) => {
            // In its place at once: there are tens of thousands a second.
            let request = into.requests.push_mut(Request::ZERO);
            let n = bytes.len().min(size_of::<Request>());
            // SAFETY: `n` is within both; every bit pattern is a valid `Request`.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    bytes.as_ptr(),
                    std::ptr::from_mut(request).cast::<u8>(),
                    n,
                );
            }
        }
        event::EXIT if bytes.len() >= size_of::<Exit>() => {
            // SAFETY: the length was just checked; every bit pattern is a valid `Exit`.
            into.exits
                .push(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<Exit>()) });
        }
        _ => {
            let _ = UdpReader::decode(kind, bytes, &mut into.udp)
                || DnsReader::decode(kind, bytes, &mut into.dns)
                || FilesReader::decode(kind, bytes, &mut into.files)
                || JournalReader::decode(kind, bytes, &mut into.journal);
            records::decode(kind, bytes, &mut into.tcp);
        }
    }
}

/// Nanoseconds of CLOCK_MONOTONIC, the kernel side's clock.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the argument is a valid timespec; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A map of the object, as the type that the caller asks for.
pub(super) fn map<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<T, Error>
where
    T: TryFrom<&'a mut aya::maps::Map, Error = MapError>,
{
    T::try_from(ebpf.map_mut(name).ok_or_else(|| missing(name))?).map_err(map_error)
}

fn missing(name: &str) -> Error {
    Error::Kernel(format!("the object has no map {name}"))
}

pub(super) fn map_error(e: MapError) -> Error {
    Error::Kernel(format!("a map cannot be read or written: {e}"))
}
