//! Reads ring and maps of the attached kernel side.

use std::{
    cell::Cell,
    collections::{HashMap as StdHashMap, HashSet},
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, PerCpuHashMap, RingBuf},
};
use probe_common::{
    count::{CountKey, WaitSum},
    hist, loss,
    peer::{self, EpollKey, PeerKey},
    request::{Exit, Request, event},
    stat::{Stat, StatKey},
    task::Task,
};

use super::{
    Count, KernelCost, Reading,
    cost::CostMeter,
    dns::DnsReader,
    epoll,
    exchanges::LastExchanges,
    files::FilesReader,
    inflight,
    journal::JournalReader,
    processes::{self, Processes},
    sockets::Wanted,
    tcp::{records, watcher::Watcher},
    udp::UdpReader,
};
use crate::{
    attach::{Attached, Links, Logger, Mode, ProbeStatus, State, netns::Netns},
    error::Error,
};

/// Slots of the map `FILTER`, as in the kernel side's maps.rs.
const FILTER_SLOTS: u32 = 1 << 16;

/// The ring is emptied this often while something else is waited for.
const EMPTY_EVERY: Duration = Duration::from_millis(20);
/// For so long the memory of the maps is taken as unchanged.
const MAP_BYTES: Duration = Duration::from_secs(5);

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
    ring: Option<RingBuf<MapData>>,
    probes: Vec<ProbeStatus>,
    followed: HashSet<(u32, u32)>,
    pending: Reading,
    peers: StdHashMap<u64, PeerKey>,
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
                Some(RingBuf::try_from(map).map_err(map_error)?)
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
            true => Some(Watcher::start(&mut ebpf, &mut iterators, netns)?),
            false => None,
        };
        let dns = watched.dns.then(|| DnsReader::start(&mut ebpf));
        let files = watched.files.then(|| FilesReader::start(&mut ebpf));
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
            peers: StdHashMap::new(),
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

    /// Time in our kernel programs, sampled: call it often, it switches the kernel's measuring on for a
    /// tenth of the time (measuring itself costs about as much as the programs do).
    pub fn kernel_cost(&mut self) -> Option<KernelCost> {
        self.meter.sample(&self.ebpf)
    }

    /// Follows all threads of these processes; the kernel side follows what they fork. Idempotent: call it
    /// again when more processes may match. Returns how many of the given processes are there.
    ///
    /// # Errors
    /// The thread table cannot be written. Processes that have ended are skipped.
    pub fn follow(&mut self, pids: &[u32]) -> Result<usize, Error> {
        let mut alive = 0;
        let mut new = Vec::new();
        let mut wanted = Wanted::default();
        for pid in pids {
            let threads = processes::threads(*pid);
            if threads.is_empty() {
                continue;
            }
            alive += 1;
            let known = new.len();
            let mut fpm_worker = None;
            for tid in threads {
                let Some(stat) = processes::thread_stat(*pid, tid) else {
                    continue;
                };
                if !self.followed.insert((tid, stat.start_ticks)) {
                    continue;
                }
                let worker = *fpm_worker.get_or_insert_with(|| processes::fpm_pool(*pid).is_some());
                if let Some(inode) = inflight::awaited_socket(*pid, tid) {
                    wanted.add(*pid, inode);
                }
                new.push((*pid, tid, worker));
            }
            if new.len() > known {
                self.name_epoll(*pid)?;
            }
        }
        let peers = self.peers_of(wanted)?;
        // Where a thread stands is looked up right before its row is made, as it does not wait for us.
        for (pid, tid, worker) in new {
            if let Some(stat) = processes::thread_stat(pid, tid) {
                let row = inflight::row(pid, tid, &stat, worker, &peers);
                self.insert_row(&row)?;
                // Its pool is in its title, which is gone when it has ended.
                self.processes.see(pid, tid, row.start_ticks, &row.comm);
            }
        }
        Ok(alive)
    }

    /// Tells the kernel side of epoll registrations that it did not see being made.
    fn name_epoll(&mut self, pid: u32) -> Result<(), Error> {
        if self.ring.is_none() {
            return Ok(());
        }
        let mut known: HashMap<_, EpollKey, u32> = map(&mut self.ebpf, "EPOLL")?;
        for (key, fd) in epoll::registrations(pid) {
            // An LRU table makes room for itself.
            let _ = known.insert(key, fd, 0);
        }
        Ok(())
    }

    /// The other ends of sockets, by inode number; their addresses are made known to the kernel side.
    fn peers_of(&mut self, wanted: Wanted) -> Result<StdHashMap<u64, PeerKey>, Error> {
        let found = {
            let listened: HashMap<_, u32, u32> = map(&mut self.ebpf, "LISTEN_PORTS")?;
            wanted.find(|port| listened.get(&port.into(), 0).is_ok())
        };
        let mut names: HashMap<_, u64, PeerKey> = map(&mut self.ebpf, "PEERS")?;
        for key in found.values() {
            // A full table is the kernel side's to count.
            let _ = names.insert(peer::id(key), key, 0);
        }
        Ok(found)
    }

    fn insert_row(&mut self, task: &Task) -> Result<(), Error> {
        let tid = task.tid;
        let inserted = {
            let mut tasks: HashMap<_, u32, Task> = map(&mut self.ebpf, "TASKS")?;
            tasks.insert(
                tid, task, 1, /* BPF_NOEXIST: a fork that we followed may be there already */
            )
        };
        match inserted {
            Ok(()) => {}
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::E2BIG) => {
                let mut losses: Array<_, u64> = map(&mut self.ebpf, "LOSSES")?;
                let n = losses.get(&loss::slot::TASKS_FULL, 0).map_err(map_error)?;
                losses
                    .set(loss::slot::TASKS_FULL, n + 1, 0)
                    .map_err(map_error)?;
                return Ok(());
            }
            Err(e) => return Err(map_error(e)),
        }
        let mut filter: Array<_, u32> = map(&mut self.ebpf, "FILTER")?;
        filter
            .set(tid & (FILTER_SLOTS - 1), 1, 0)
            .map_err(map_error)
    }

    /// Tells the kernel side which TCP ports are listened on, in every network namespace in use.
    fn listen_ports(&mut self) -> Result<(), Error> {
        let ports = processes::listening_ports();
        let mut known: HashMap<_, u32, u32> = map(&mut self.ebpf, "LISTEN_PORTS")?;
        for port in ports {
            // A full table makes some inbound connections look outbound; bounded by 4,096 listeners.
            let _ = known.insert(u32::from(port), 1, 0);
        }
        Ok(())
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
        while let Some(item) = ring.next() {
            let known = self.pending.requests.len();
            decode(&item, &mut self.pending);
            self.pending.requests[known..]
                .iter()
                .for_each(|r| self.last_exchanges.add(r));
        }
    }

    fn pass_on_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Everything: ring, thread table, sums, addresses, losses.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn read(&mut self) -> Result<Reading, Error> {
        self.take_census();
        let mut reading = self.threads()?;
        let stats: HashMap<_, StatKey, Stat> = map(&mut self.ebpf, "STATS")?;
        reading.stats = self
            .last_exchanges
            .merge(stats.iter().filter_map(Result::ok));
        if self.census.is_some() {
            let table = map(&mut self.ebpf, "TRANSITIONS")?;
            let tcp = reading.tcp.get_or_insert_default();
            tcp.transitions = records::sums(&table);
            if self.active("exact_timewait") {
                let sums = map(&mut self.ebpf, "TIMEWAIT_SUMS")?;
                tcp.timewait = Some(records::timewait(&sums).map_err(map_error)?);
            }
        }
        if let Some(udp) = &mut self.udp {
            udp.read(&mut self.ebpf, reading.udp.get_or_insert_default())?;
        }
        if let Some(dns) = &mut self.dns {
            dns.read(&mut self.ebpf, reading.dns.get_or_insert_default())?;
        }
        if let Some(files) = &mut self.files {
            files.read(&mut self.ebpf, reading.files.get_or_insert_default())?;
        }
        if let Some(journal) = &mut self.journal {
            journal.read(&mut self.ebpf, reading.journal.get_or_insert_default())?;
        }
        self.name_peers(&mut reading, true)?;
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
        let mut reading = self.look(true)?;
        // Asking for skipped programs reads a file for each; the cheaper readings say what was last known.
        reading.losses = self.losses()?;
        Ok(reading)
    }

    /// As [`Collector::threads`], without asking how often the kernel skipped our programs: for many looks a second.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn glance(&mut self) -> Result<Reading, Error> {
        self.look(true)
    }

    /// The cheapest part: ring and losses, no row of any thread. Taking it now and then keeps what was
    /// drained from piling up.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn events(&mut self) -> Result<Reading, Error> {
        self.look(false)
    }

    fn look(&mut self, tasks: bool) -> Result<Reading, Error> {
        self.drain();
        let mut reading = std::mem::take(&mut self.pending);
        if tasks {
            let tasks: HashMap<_, u32, Task> = map(&mut self.ebpf, "TASKS")?;
            reading.tasks = tasks
                .iter()
                .filter_map(Result::ok)
                .map(|(_, task)| task)
                .collect();
        }
        reading.at_ns = monotonic_ns();
        reading.losses = self.counted_losses()?;
        self.name_peers(&mut reading, tasks)?;
        self.name_processes(&mut reading, tasks);
        Ok(reading)
    }

    /// Adds the addresses behind the peer ids of a reading, or of all readings so far.
    fn name_peers(&mut self, reading: &mut Reading, all: bool) -> Result<(), Error> {
        let unknown: HashSet<u64> = reading
            .stats
            .iter()
            .map(|(key, _)| key.peer)
            .chain(reading.tasks.iter().map(|t| t.last_peer))
            .chain(reading.tasks.iter().flat_map(|t| used_peers(&t.request)))
            .chain(reading.requests.iter().flat_map(used_peers))
            .chain(reading.tcp.iter().flat_map(|tcp| tcp.named_peers()))
            .chain(reading.dns.iter().flat_map(|dns| dns.named_peers()))
            .filter(|id| *id >= peer::special::FIRST_HASH)
            .filter(|id| !self.peers.contains_key(id))
            .collect();
        if !unknown.is_empty() {
            let mut found = Vec::new();
            let names: HashMap<_, u64, PeerKey> = map(&mut self.ebpf, "PEERS")?;
            for id in unknown {
                if let Ok(key) = names.get(&id, 0) {
                    found.push((id, key));
                }
            }
            self.peers.extend(found.iter().copied());
            reading.peers.extend(found);
        }
        if all {
            reading.peers.clone_from(&self.peers);
        }
        Ok(())
    }

    /// Adds what is known of the processes of a reading, or of all readings so far.
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
        let news = self.processes.news();
        reading.processes = if all {
            self.processes.iter().cloned().collect()
        } else {
            news
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

fn used_peers(request: &Request) -> impl Iterator<Item = u64> + '_ {
    let n = (request.npeers as usize).min(request.peers.len());
    request.peers[..n].iter().map(|p| p.peer)
}

/// Decodes one record of the ring. A record that is too short for its kind is a bug of ours; it is left
/// out rather than read beyond its end.
fn decode(bytes: &[u8], into: &mut Reading) {
    let Some(kind) = bytes
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_ne_bytes)
    else {
        return;
    };
    match kind {
        event::REQUEST if bytes.len() >= std::mem::offset_of!(Request, peers) => {
            let mut request = Request::ZERO;
            let n = bytes.len().min(size_of::<Request>());
            // SAFETY: `n` is within both; every bit pattern is a valid `Request`.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut request).cast::<u8>(), n);
            }
            into.requests.push(request);
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
