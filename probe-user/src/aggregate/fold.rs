//! Folds readings into a window.

mod finish;
mod signals;

use std::{collections::HashMap, sync::Arc};

use probe_common::{
    loss,
    peer::PeerKey,
    request::{Exit, PeerUse, Request},
    task::{Task, flag},
};

use self::signals::SignalFolds;
use super::{
    Parts,
    calls::{CallSums, CallTable},
    identity::{Owner, ProcessId, Processes, Thread},
    lives::fitting,
    requests::{Incomplete, wall_ns},
    served::{self, Served},
    threads::{difference, fit, moment, sum, uses},
};
use crate::collect::Reading;

/// What a window is about: what no reading says.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// What is watched, in words: `pool www`, `pid 4711`, `all processes`.
    pub target: String,
    /// Start of the window, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// Start of the window, CLOCK_MONOTONIC ns.
    pub start_ns: u64,
}

/// Takes in the readings of one window: sums are bounded, except that each followed thread has a row.
#[derive(Clone)]
pub struct Aggregator {
    about: About,
    end_ns: u64,
    peers: HashMap<u64, PeerKey>,
    processes: Processes,
    /// Of requests that ended after `tasks` was read, which may still show them open, it knows when they began.
    served: Served,
    /// `None`: it began with watching.
    base: Option<HashMap<Thread, Base>>,
    threads: HashMap<Thread, Seen>,
    /// The thread table of the last reading that had one, and when that was taken.
    tasks: (u64, Arc<Vec<Task>>),
    calls: CallSums,
    signals: SignalFolds,
    base_losses: [u64; loss::slot::COUNT as usize],
    losses: [u64; loss::slot::COUNT as usize],
}

/// A thread when the window began.
#[derive(Clone)]
struct Base {
    life: Parts,
    open: Option<OpenBase>,
}

/// The request that was open when the window began.
#[derive(Clone)]
struct OpenBase {
    start_ns: u64,
    /// Its client had the answer: the window before counts it.
    answered: bool,
    parts: Parts,
    peers: Vec<PeerUse>,
}

/// A thread when it was last seen.
#[derive(Clone)]
struct Seen {
    process: ProcessId,
    life: Parts,
    event_driven: bool,
}

/// A request, as it was when the window began.
fn open_in<'a>(base: &'a HashMap<Thread, Base>, request: &Request) -> Option<&'a OpenBase> {
    let open = base.get(&served::thread_of(request))?.open.as_ref()?;
    (open.start_ns == request.start_ns).then_some(open)
}

impl Aggregator {
    /// A window that starts when watching began: all sums were 0.
    pub fn new(about: About) -> Self {
        Self {
            end_ns: about.start_ns,
            about,
            peers: HashMap::new(),
            processes: Processes::default(),
            served: Served::default(),
            base: None,
            threads: HashMap::new(),
            tasks: (0, Arc::default()),
            calls: CallSums::default(),
            signals: SignalFolds::default(),
            base_losses: Default::default(),
            losses: Default::default(),
        }
    }

    /// A window that starts at `base`, a reading with tasks (and with stats, where calls are wanted);
    /// `about.start_ns` is taken from it. Requests in `base` belong to the window before.
    pub fn since(about: About, base: &Reading) -> Self {
        let mut calls = CallTable::default();
        calls.learn(&base.stats);
        Self::begin(about, base, calls)
    }

    /// The same, with the sums of calls at `base` in a table.
    fn begin(about: About, base: &Reading, calls: CallTable) -> Self {
        let mut new = Self::new(About {
            start_ns: base.at_ns,
            ..about
        });
        new.peers = fitting(&base.peers);
        new.processes.learn(&base.processes);
        new.calls = CallSums::since(calls);
        new.signals.set_base(base);
        new.base_losses = base.losses;
        new.losses = base.losses;
        let rows = base.tasks.iter().map(|task| {
            let now = moment(task, base.at_ns);
            let open = (task.flags & flag::IN_REQUEST != 0).then(|| OpenBase {
                start_ns: task.request.start_ns,
                answered: task.flags & flag::ANSWERED != 0,
                parts: difference(&now.life, &task.life_at_start),
                peers: uses(&task.request).to_vec(),
            });
            let life = now.life;
            (thread_of(task), Base { life, open })
        });
        new.base = Some(rows.collect());
        new
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, mut reading: Reading) {
        let tasks = Arc::new(std::mem::take(&mut reading.tasks));
        let requests = std::mem::take(&mut reading.requests);
        let stats = std::mem::take(&mut reading.stats);
        self.calls.learn(&stats, &reading.retired);
        let mut signals = signals::take(&mut reading);
        self.take(&reading, &requests, &tasks, Some(&mut signals));
    }

    /// Takes in a reading that other windows take in as well, with those of its requests that no sum of all windows has;
    /// its signals where they are asked for. `calls`, where there was a look at them, are all sums so far.
    pub(super) fn share(
        &mut self,
        reading: &Reading,
        requests: &[Request],
        tasks: &Arc<Vec<Task>>,
        calls: Option<&CallTable>,
        signals: bool,
    ) {
        if let Some(calls) = calls {
            self.calls.set(calls);
        }
        let mut signals = signals.then(|| signals::of(reading));
        self.take(reading, requests, tasks, signals.as_mut());
    }

    fn take(
        &mut self,
        reading: &Reading,
        requests: &[Request],
        tasks: &Arc<Vec<Task>>,
        signals: Option<&mut Reading>,
    ) {
        self.end_ns = self.end_ns.max(reading.at_ns);
        self.losses = reading.losses;
        self.processes.learn(&reading.processes);
        // What has no signals has no calls either.
        if signals.is_some() {
            self.calls.end(&reading.retired, &mut self.processes);
        }
        for (id, key) in &reading.peers {
            self.peers.entry(*id).or_insert(*key);
        }
        for request in requests {
            self.request(request);
        }
        for exit in &reading.exits {
            self.exit(exit);
        }
        if let Some(signals) = signals {
            self.signals.push(signals, &self.peers);
        }
        if !tasks.is_empty() {
            for task in tasks.iter() {
                let process = self.processes.of(&owner_of(task));
                let life = moment(task, reading.at_ns).life;
                let event_driven = task.flags & flag::EVENT_DRIVEN != 0;
                self.threads.insert(
                    thread_of(task),
                    Seen {
                        process,
                        life,
                        event_driven,
                    },
                );
            }
            self.tasks = (reading.at_ns, Arc::clone(tasks));
            self.served.forget_ended();
        }
    }

    /// True for a request that lies within this window as a whole, and so within each one that began before it.
    pub(super) fn holds(&self, request: &Request) -> bool {
        served::is_whole(request) && request.end_ns > self.about.start_ns
    }

    /// Adds requests that this window holds to a sum that is kept apart.
    pub(super) fn sum<'a>(&mut self, to: &mut Served, requests: impl Iterator<Item = &'a Request>) {
        for request in requests {
            to.add(request, &mut self.processes);
        }
    }

    /// Takes in such a sum, which `by` has made.
    pub(super) fn merge(&mut self, sum: &Served, by: &Processes) {
        for process in sum.processes() {
            self.processes.learn_from(by, process);
        }
        self.served.merge(sum);
    }

    /// Takes in such a sum, which this window has made.
    pub(super) fn merge_own(&mut self, sum: &Served) {
        self.served.merge(sum);
    }

    /// Who is who in this window.
    pub(super) fn processes(&self) -> &Processes {
        &self.processes
    }

    /// A window of signals alone that begins where this one ends: what lasts (sockets in FIN_WAIT_2, listeners,
    /// gaps), and how long it has lasted, is known to it.
    pub fn signals_successor(&self, start_unix_ns: u64) -> Self {
        Self {
            peers: self.peers.clone(),
            base_losses: self.losses,
            losses: self.losses,
            signals: self.signals.successor(),
            ..Self::new(About {
                start_unix_ns,
                start_ns: self.end_ns,
                ..self.about.clone()
            })
        }
    }

    /// A window that begins at `base`, a reading of threads that this one has taken in last; `calls` are all sums then.
    pub(super) fn successor(&self, start_unix_ns: u64, base: &Reading, calls: &CallTable) -> Self {
        let about = About {
            start_unix_ns,
            ..self.about.clone()
        };
        Self {
            signals: self.signals.successor(),
            ..Self::begin(about, base, calls.clone())
        }
    }

    fn request(&mut self, request: &Request) {
        if request.end_ns <= self.about.start_ns && self.is_counted_before(request) {
            return;
        }
        if !self.served.add(request, &mut self.processes) {
            let process = self.processes.of(&served::owner_of(request));
            self.incomplete(process, request, None);
        }
    }

    /// Does a request that ended before this window count there? It does when its connection is kept: its record comes with the
    /// next request, but it was answered. One that ended while the reading in between was made is in neither of its parts: its
    /// record comes too late for the one, and its thread is idle in the other.
    fn is_counted_before(&self, request: &Request) -> bool {
        self.base
            .as_ref()
            .is_none_or(|base| open_in(base, request).is_some_and(|open| open.answered))
    }

    /// A request of which only a piece lies within the window.
    fn incomplete(&mut self, process: ProcessId, request: &Request, assumed: Option<(u64, u64)>) {
        let before = self.base.as_ref().and_then(|base| open_in(base, request));
        let whole = fit(request.parts, wall_ns(request));
        let parts = before.map_or(whole, |open| difference(&whole, &open.parts));
        self.served.process(process).time_ns += sum(&parts);
        let group = self.served.group(self.processes.group(process));
        group.incomplete(&Incomplete {
            request,
            parts,
            before: before.map_or(&[], |open| &open.peers),
            assumed,
        });
    }

    fn exit(&mut self, exit: &Exit) {
        let thread = Thread {
            tid: exit.tid,
            start_ticks: exit.start_ticks,
        };
        let process = self.processes.of(&Owner {
            tgid: exit.tgid,
            thread,
            comm: exit.comm,
        });
        let event_driven = self
            .threads
            .get(&thread)
            .is_some_and(|seen| seen.event_driven);
        self.threads.insert(
            thread,
            Seen {
                process,
                life: exit.life,
                event_driven,
            },
        );
        self.processes.ended(process, thread);
    }
}

fn thread_of(task: &Task) -> Thread {
    Thread {
        tid: task.tid,
        start_ticks: task.start_ticks,
    }
}

fn owner_of(task: &Task) -> Owner {
    Owner {
        tgid: task.tgid,
        thread: thread_of(task),
        comm: task.comm,
    }
}
