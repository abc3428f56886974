//! Observes workloads through the library: attach, collect, and sums that a case can look into.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::Write as _,
    ops::{Deref, DerefMut},
    panic::Location,
    time::Duration,
};

use probe_common::{
    op, part,
    peer::{PeerKey, special},
    request::{Exit, Request},
    stat::StatKey,
    task::Task,
};
use stallscope::{
    attach::{self, Mode, Options},
    collect::{CallSum, Collector, Process},
};

use crate::{child::Child, harness::Missed, peer_text::peer_text, programs};

/// Options that follow only the processes named by [`Watch::follow`], and what they fork.
pub fn only_followed() -> Options {
    Options {
        mode: Mode::Ledger { follow_all: false },
        ..Options::default()
    }
}

/// Options that count these system calls of every process.
pub fn counting(syscalls: &[&str]) -> Options {
    Options {
        mode: Mode::Count {
            syscalls: syscalls.iter().map(|s| (*s).to_owned()).collect(),
            wait: false,
            follow_all: true,
        },
        ..Options::default()
    }
}

/// An attached tool.
pub struct Watch {
    /// The library's reader.
    pub collector: Collector,
    seen: Seen,
}

impl Watch {
    /// Attaches.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        let collector = Collector::new(attach::attach(options)?)?;
        Ok(Self {
            collector,
            seen: Seen::default(),
        })
    }

    /// Attaches anew, and follows these workloads only: for cases in which the moment of attaching matters.
    pub fn fresh(children: &[&Child]) -> anyhow::Result<Self> {
        let mut watch = Self::start(&only_followed())?;
        let pids: Vec<u32> = children.iter().map(|c| c.pid).collect();
        watch.follow(&pids)?;
        Ok(watch)
    }

    /// Follows these workloads only, with what [`attach_once`] attached: attaching takes its time, above all
    /// in an emulated machine.
    pub fn of(children: &[&Child]) -> anyhow::Result<Lent> {
        let kept = KEPT.with_borrow_mut(Option::take);
        let mut watch = match kept {
            Some(watch) => watch,
            None => Self::start(&only_followed())?,
        };
        watch.read()?;
        watch.seen = Seen::default();
        let pids: Vec<u32> = children.iter().map(|c| c.pid).collect();
        watch.follow(&pids)?;
        Ok(Lent(Some(watch)))
    }

    /// Follows more processes.
    pub fn follow(&mut self, pids: &[u32]) -> anyhow::Result<usize> {
        Ok(self.collector.follow(pids)?)
    }

    /// Lets a workload go on and waits for its answer, emptying the ring meanwhile.
    pub fn step(&mut self, child: &mut Child) -> anyhow::Result<Vec<u64>> {
        child.go()?;
        self.recv(child)
    }

    /// Waits for a workload's answer, emptying the ring meanwhile.
    pub fn recv(&mut self, child: &mut Child) -> anyhow::Result<Vec<u64>> {
        child.recv_while(|| self.collector.drain())
    }

    /// Everything seen since the start.
    pub fn read(&mut self) -> anyhow::Result<&Seen> {
        let reading = self.collector.read()?;
        let seen = &mut self.seen;
        seen.requests.extend(reading.requests);
        seen.exits.extend(reading.exits);
        seen.tasks = reading.tasks;
        seen.retired.extend(reading.retired);
        seen.rows = reading.stats.len();
        seen.stats = reading.stats;
        seen.stats.extend(seen.retired.iter().cloned());
        seen.peers.extend(reading.peers);
        seen.processes = reading.processes;
        seen.losses = reading.losses.to_vec();
        seen.skipped = programs::skipped(std::process::id());
        Ok(seen)
    }

    /// Reads until `done` says so, at most five seconds; for what happens a moment after the workload
    /// said that it is finished (its last close, its end).
    pub fn read_until(&mut self, done: impl Fn(&Seen) -> bool) -> anyhow::Result<&Seen> {
        for _ in 0..100 {
            if done(self.read()?) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(&self.seen)
    }
}

thread_local! {
    /// What [`attach_once`] attached, between two cases.
    static KEPT: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Attaches what the cases share. To be called before the first case, so that its descriptors are no leak.
pub fn attach_once() -> anyhow::Result<()> {
    let watch = Watch::start(&only_followed())?;
    KEPT.set(Some(watch));
    Ok(())
}

/// The shared [`Watch`], lent to one case.
pub struct Lent(Option<Watch>);

impl Deref for Lent {
    type Target = Watch;

    fn deref(&self) -> &Watch {
        self.0.as_ref().expect("only the drop takes it")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Watch {
        self.0.as_mut().expect("only the drop takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        KEPT.set(self.0.take());
    }
}

/// All that a [`Watch`] saw: events of all readings, and the sums of the last one.
#[derive(Default)]
pub struct Seen {
    /// Finished requests.
    pub requests: Vec<Request>,
    /// Ended threads.
    pub exits: Vec<Exit>,
    /// Followed threads.
    pub tasks: Vec<Task>,
    /// Sums of calls.
    pub stats: Vec<(StatKey, CallSum)>,
    /// Rows of sums that are in the kernel's table.
    pub rows: usize,
    /// Those of them whose rows were taken out of the kernel's table.
    pub retired: Vec<(StatKey, CallSum)>,
    /// Addresses.
    pub peers: HashMap<u64, PeerKey>,
    /// What /proc says.
    pub processes: Vec<Process>,
    /// Lost so far.
    pub losses: Vec<u64>,
    /// Programs that the kernel skipped at times: id and how often.
    pub skipped: Vec<(u32, u64)>,
}

/// Calls of one process by operation and peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Calls that returned.
    pub count: u64,
    /// Their durations, ns.
    pub total_ns: u64,
    /// Of it blocked, ns.
    pub blocked_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// Errors by errno.
    pub errors: Vec<(i32, u64)>,
    /// Entries of the histogram.
    pub in_histogram: u64,
}

impl Call {
    fn add(&mut self, stat: &CallSum) {
        self.count += stat.count;
        self.total_ns += stat.total_ns;
        self.blocked_ns += stat.blocked_ns;
        self.max_ns = self.max_ns.max(stat.max_ns);
        self.in_histogram += stat.hist.iter().map(|(_, n)| u64::from(*n)).sum::<u64>();
        for (errno, count) in &stat.errors {
            let (errno, count) = (*errno as i32, u64::from(*count));
            match self.errors.iter_mut().find(|(e, _)| *e == errno) {
                Some((_, n)) => *n += count,
                None => self.errors.push((errno, count)),
            }
        }
        self.errors.sort_unstable();
    }

    /// How often this errno was returned.
    pub fn errors_of(&self, errno: i32) -> u64 {
        self.errors
            .iter()
            .find(|(e, _)| *e == errno)
            .map_or(0, |(_, n)| *n)
    }
}

impl Seen {
    /// The peer of an id, in the words of the tests: `tcp 127.0.0.1:80`, `unix @name`, `in tcp :80`,
    /// `listen tcp 127.0.0.1:80`, `file`, `unknown`, ...
    pub fn peer(&self, id: u64) -> String {
        match id {
            special::NONE => "none".into(),
            special::SEVERAL => "several".into(),
            special::UNKNOWN => "unknown".into(),
            special::FILE => "file".into(),
            special::PIPE => "pipe".into(),
            special::LOCAL => "local".into(),
            special::OTHER => "other".into(),
            special::CLIENT => "client".into(),
            _ => self
                .peers
                .get(&id)
                .map_or_else(|| format!("id {id:x} without an address"), peer_text),
        }
    }

    /// Calls of one operation by one process, by peer.
    pub fn by_peer(&self, pid: u32, op: &str) -> HashMap<String, Call> {
        let mut all: HashMap<String, Call> = HashMap::new();
        for (key, stat) in &self.stats {
            if key.tgid == pid && op::name(key.op) == op {
                all.entry(self.peer(key.peer)).or_default().add(stat);
            }
        }
        all
    }

    /// Calls of one operation by one process to one peer; none is a zero.
    pub fn call(&self, pid: u32, op: &str, peer: &str) -> Call {
        self.by_peer(pid, op).remove(peer).unwrap_or_default()
    }

    /// Calls of one operation by one process, all peers together.
    pub fn all(&self, pid: u32, op: &str) -> Call {
        let mut all = Call::default();
        for (key, stat) in &self.stats {
            if key.tgid == pid && op::name(key.op) == op {
                all.add(stat);
            }
        }
        all
    }

    /// Finished requests of one process, in order.
    pub fn requests_of(&self, pid: u32) -> Vec<&Request> {
        self.requests.iter().filter(|r| r.tgid == pid).collect()
    }

    /// Everything about one process, for the message of a failure.
    pub fn dump(&self, pid: u32) -> String {
        let mut out = String::new();
        for (key, stat) in self.stats.iter().filter(|(k, _)| k.tgid == pid) {
            let mut call = Call::default();
            call.add(stat);
            let _ = write!(
                out,
                "\n    tid {} {} -> {}: {} calls, {:.3} ms, blocked {:.3} ms, errors {:?}",
                key.tid,
                op::name(key.op),
                self.peer(key.peer),
                call.count,
                ms(call.total_ns),
                ms(call.blocked_ns),
                call.errors
            );
        }
        for request in self.requests_of(pid) {
            let _ = write!(out, "\n    {}", self.request_text(request));
        }
        for task in self.tasks.iter().filter(|t| t.tgid == pid) {
            let _ = write!(
                out,
                "\n    task {} flags {:#x} requests {}",
                task.tid, task.flags, task.requests
            );
        }
        let lost: Vec<_> = self
            .losses
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .collect();
        if !lost.is_empty() {
            let _ = write!(out, "\n    losses by slot: {lost:?}");
        }
        if out.is_empty() {
            out = format!("\n    nothing at all about process {pid}");
        }
        out
    }

    /// One request in one line.
    pub fn request_text(&self, r: &Request) -> String {
        let mut out = format!(
            "request of {} from {} ns, flags {:#x} {:.3} ms connects {} polls {}:",
            r.tid,
            r.start_ns,
            r.flags,
            ms(r.end_ns - r.start_ns),
            r.connects,
            r.polls
        );
        if !self.skipped.is_empty() {
            let _ = write!(out, " (programs skipped: {:?})", self.skipped);
        }
        for (name, ns) in part::NAMES.iter().zip(r.parts).filter(|(_, ns)| *ns > 0) {
            let _ = write!(out, " {name} {:.3}", ms(ns));
        }
        for p in &r.peers[..(r.npeers as usize).min(r.peers.len())] {
            let _ = write!(
                out,
                " [{} waits {} {:.3} ms connects {} exchanges {} overlapped {}]",
                self.peer(p.peer),
                p.waits,
                ms(p.wait_ns),
                p.connects,
                p.exchanges,
                p.overlapped
            );
        }
        out
    }
}

/// ns as ms.
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// What the tool's number may differ by from one that the workload measured around the same call: the
/// clock readings and the way into and out of the kernel, which a busy machine can interrupt.
pub fn slack_ns(measured_ns: u64) -> u64 {
    4_000_000 + measured_ns / 50
}

/// Asserts `low <= got <= high`, with [`slack_ns`] on both sides; panics with [`Missed`].
#[track_caller]
pub fn assert_between(what: &str, got: u64, low: u64, high: u64) {
    let slack = slack_ns(high);
    if got + slack < low || got > high + slack {
        std::panic::panic_any(Missed(format!(
            "{}: {what}: {:.3} ms, but the workload measured {:.3} to {:.3} ms",
            Location::caller(),
            ms(got),
            ms(low),
            ms(high)
        )));
    }
}
