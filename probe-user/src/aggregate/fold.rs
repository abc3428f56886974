//! Folds readings into a window.

mod finish;
mod signals;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use probe_common::{
    loss,
    peer::PeerKey,
    request::{Exit, PeerUse, Request, flag as request_flag},
    task::{Task, flag},
};

use self::signals::SignalFolds;
use super::{
    MAX_GROUPS, Parts,
    calls::{CallSums, CallTable},
    identity::{Owner, ProcessId, Processes, Thread},
    requests::{GroupSum, Incomplete, wall_ns},
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
    groups: HashMap<(Vec<u8>, bool), GroupSum>,
    base: HashMap<Thread, Base>,
    threads: HashMap<Thread, Seen>,
    /// The thread table of the last reading that had one, and when that was taken.
    tasks: (u64, Arc<Vec<Task>>),
    served: HashMap<ProcessId, Served>,
    /// Requests that came after `tasks` was read, which may still show them open.
    finished: HashSet<(Thread, u64)>,
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

/// What a process served.
#[derive(Clone, Default)]
struct Served {
    requests: u64,
    time_ns: u64,
}

/// Name of the group of all processes that found no group of their own.
const OTHER_GROUP: &[u8] = b"other processes";

impl Aggregator {
    /// A window that starts when watching began: all sums were 0.
    pub fn new(about: About) -> Self {
        Self {
            end_ns: about.start_ns,
            about,
            peers: HashMap::new(),
            processes: Processes::default(),
            groups: HashMap::new(),
            base: HashMap::new(),
            threads: HashMap::new(),
            tasks: (0, Arc::default()),
            served: HashMap::new(),
            finished: HashSet::new(),
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
        new.peers.clone_from(&base.peers);
        new.processes.learn(&base.processes);
        new.calls = CallSums::since(calls);
        new.signals.set_base(base);
        new.base_losses = base.losses;
        new.losses = base.losses;
        for task in &base.tasks {
            let now = moment(task, base.at_ns);
            let open = (task.flags & flag::IN_REQUEST != 0).then(|| OpenBase {
                start_ns: task.request.start_ns,
                parts: difference(&now.life, &task.life_at_start),
                peers: uses(&task.request).to_vec(),
            });
            new.base.insert(
                thread_of(task),
                Base {
                    life: now.life,
                    open,
                },
            );
        }
        new
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, mut reading: Reading) {
        let tasks = Arc::new(std::mem::take(&mut reading.tasks));
        self.calls.learn(&std::mem::take(&mut reading.stats));
        self.take(reading, &tasks);
    }

    /// Takes in a reading whose large parts other windows take in as well: it is without them. `calls`, where there was a
    /// look at them, are all sums so far.
    pub(super) fn share(
        &mut self,
        reading: Reading,
        tasks: &Arc<Vec<Task>>,
        calls: Option<&CallTable>,
    ) {
        if let Some(calls) = calls {
            self.calls.set(calls);
        }
        self.take(reading, tasks);
    }

    fn take(&mut self, mut reading: Reading, tasks: &Arc<Vec<Task>>) {
        self.end_ns = self.end_ns.max(reading.at_ns);
        self.losses = reading.losses;
        self.processes.learn(&reading.processes);
        for (id, key) in std::mem::take(&mut reading.peers) {
            self.peers.entry(id).or_insert(key);
        }
        for request in &reading.requests {
            self.request(request);
        }
        for exit in &reading.exits {
            self.exit(exit);
        }
        self.signals.push(&mut reading, &self.peers);
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
            self.finished.clear();
        }
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
        // A connection is kept: the record comes with the next request, but this one was answered, and
        // counted, in the window before.
        if request.end_ns <= self.about.start_ns {
            return;
        }
        let thread = Thread {
            tid: request.tid,
            start_ticks: request.start_ticks,
        };
        let process = self.processes.of(&Owner {
            tgid: request.tgid,
            thread,
            comm: request.comm,
        });
        if !self.tasks.1.is_empty() {
            self.finished.insert((thread, request.start_ns));
        }
        let group = group_of(&mut self.groups, &self.processes, process);
        let has = |bit| request.flags & bit != 0;
        if !has(request_flag::GOT_DATA | request_flag::PARTIAL) {
            return group.empty_connection();
        }
        if has(request_flag::FORKED) {
            return group.forked();
        }
        if !has(request_flag::PARTIAL | request_flag::EXITED) {
            group.done(request);
            let served = self.served.entry(process).or_default();
            served.requests += 1;
            served.time_ns += wall_ns(request);
        } else {
            self.incomplete(process, request, None);
        }
    }

    /// A request of which only a piece lies within the window.
    fn incomplete(&mut self, process: ProcessId, request: &Request, assumed: Option<(u64, u64)>) {
        let thread = Thread {
            tid: request.tid,
            start_ticks: request.start_ticks,
        };
        let before = self
            .base
            .get(&thread)
            .and_then(|base| base.open.as_ref())
            .filter(|open| open.start_ns == request.start_ns);
        let whole = fit(request.parts, wall_ns(request));
        let parts = before.map_or(whole, |open| difference(&whole, &open.parts));
        self.served.entry(process).or_default().time_ns += sum(&parts);
        group_of(&mut self.groups, &self.processes, process).incomplete(&Incomplete {
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

/// The sums of the group a process belongs to.
fn group_of<'a>(
    groups: &'a mut HashMap<(Vec<u8>, bool), GroupSum>,
    processes: &Processes,
    process: ProcessId,
) -> &'a mut GroupSum {
    let mut key = processes.group(process);
    if groups.len() >= MAX_GROUPS && !groups.contains_key(&key) {
        key = (OTHER_GROUP.to_vec(), false);
    }
    let (name, php_fpm) = key.clone();
    groups
        .entry(key)
        .or_insert_with(|| GroupSum::new(name, php_fpm))
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
