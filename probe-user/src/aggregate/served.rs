//! Requests that ended, by group and by process: what a window keeps of them, and what several windows are given at once.

use std::collections::HashMap;

use probe_common::request::{Request, flag};

use super::{
    MAX_GROUPS,
    identity::{Owner, ProcessId, Processes, Thread},
    quick::QuickMap,
    requests::{GroupSum, wall_ns},
};

/// Name of the group of all processes that found no group of their own.
const OTHER_GROUP: &[u8] = b"other processes";

/// A group's name, and whether it is a PHP-FPM pool.
pub(super) type GroupKey = (Vec<u8>, bool);

/// Requests that ended.
#[derive(Clone, Default)]
pub(super) struct Served {
    groups: Vec<GroupSum>,
    by_key: HashMap<GroupKey, usize>,
    processes: QuickMap<ProcessId, Time>,
    /// When the last request that ended began, by thread.
    last: QuickMap<Thread, u64>,
    places: Places,
}

/// What a process served.
#[derive(Clone, Copy, Default)]
pub(super) struct Time {
    /// Requests that are complete.
    pub requests: u64,
    /// Wall time of all, ns.
    pub time_ns: u64,
}

/// Where the requests of a thread go, as long as the names of processes are what they were.
#[derive(Clone, Default)]
struct Places {
    names: u64,
    known: QuickMap<(u32, Thread), (ProcessId, usize)>,
}

/// Who served a request.
pub(super) fn owner_of(request: &Request) -> Owner {
    Owner {
        tgid: request.tgid,
        thread: thread_of(request),
        comm: request.comm,
    }
}

/// The thread that served it.
pub(super) fn thread_of(request: &Request) -> Thread {
    Thread {
        tid: request.tid,
        start_ticks: request.start_ticks,
    }
}

/// True for a request that is the same in every window in which it ended: it lies within the window as a whole.
pub(super) fn is_whole(request: &Request) -> bool {
    request.flags & (flag::PARTIAL | flag::EXITED) == 0
}

impl Served {
    /// Adds a request that ended; false where only a piece of it may lie within the window, which is the caller's to find out.
    pub fn add(&mut self, request: &Request, processes: &mut Processes) -> bool {
        let (process, group) = self.place(&owner_of(request), processes);
        let last = self.last.entry(thread_of(request)).or_default();
        *last = request.start_ns.max(*last);
        let group = &mut self.groups[group];
        let has = |bit| request.flags & bit != 0;
        if !has(flag::GOT_DATA | flag::PARTIAL) {
            group.empty_connection();
        } else if has(flag::FORKED) {
            group.forked();
        } else if is_whole(request) {
            group.done(request);
            let time = self.processes.entry(process).or_default();
            time.requests += 1;
            time.time_ns += wall_ns(request);
        } else {
            return false;
        }
        true
    }

    /// Adds all that another one has.
    pub fn merge(&mut self, other: &Self) {
        for sum in &other.groups {
            self.group(sum.key()).add(sum);
        }
        for (process, time) in &other.processes {
            let sum = self.processes.entry(*process).or_default();
            sum.requests += time.requests;
            sum.time_ns += time.time_ns;
        }
        for (thread, start_ns) in &other.last {
            let last = self.last.entry(*thread).or_default();
            *last = (*start_ns).max(*last);
        }
    }

    /// The process and group of a thread.
    fn place(&mut self, owner: &Owner, processes: &mut Processes) -> (ProcessId, usize) {
        let key = (owner.tgid, owner.thread);
        if self.places.names != processes.changes() {
            self.places.known.clear();
        } else if let Some(place) = self.places.known.get(&key) {
            return *place;
        }
        let process = processes.of(owner);
        let place = (process, self.index(processes.group(process)));
        self.places.names = processes.changes();
        self.places.known.insert(key, place);
        place
    }

    fn index(&mut self, mut key: GroupKey) -> usize {
        if self.groups.len() >= MAX_GROUPS && !self.by_key.contains_key(&key) {
            key = (OTHER_GROUP.to_vec(), false);
        }
        if let Some(index) = self.by_key.get(&key) {
            return *index;
        }
        self.groups.push(GroupSum::new(key.0.clone(), key.1));
        self.by_key.insert(key, self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// The sums of a group.
    pub fn group(&mut self, key: GroupKey) -> &mut GroupSum {
        let index = self.index(key);
        &mut self.groups[index]
    }

    /// The sums of a group, if there is one of this name.
    pub fn known_group(&mut self, key: &GroupKey) -> Option<&mut GroupSum> {
        self.by_key.get(key).map(|index| &mut self.groups[*index])
    }

    /// What a process served.
    pub fn process(&mut self, process: ProcessId) -> &mut Time {
        self.processes.entry(process).or_default()
    }

    /// The same.
    pub fn time_of(&self, process: ProcessId) -> Time {
        self.processes.get(&process).copied().unwrap_or_default()
    }

    /// Processes that served something.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        self.processes.keys().copied()
    }

    /// True when the request of a thread that began then has ended; a thread has one after the other.
    pub fn has_ended(&self, thread: Thread, start_ns: u64) -> bool {
        self.last.get(&thread).is_some_and(|last| *last >= start_ns)
    }

    /// From now on nobody asks for requests that ended by now.
    pub fn forget_ended(&mut self) {
        self.last.clear();
    }

    /// The groups.
    pub fn into_groups(self) -> impl Iterator<Item = GroupSum> {
        self.groups.into_iter()
    }
}
