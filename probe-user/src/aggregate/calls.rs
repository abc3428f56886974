//! Sums of calls: the kernel's rows in a form that can be kept, subtracted and added up.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use probe_common::{
    count::COMM_LEN,
    op,
    peer::{PeerKey, special},
    stat::StatKey,
};

use super::{
    Calls, Durations, MAX_CALLS, Peer,
    identity::{Owner, ProcessId, Processes, Thread},
    peer::resolve,
};
use crate::{bounded::has_room, collect::CallSum};

/// A [`CallSum`] that can be subtracted and added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    count: u64,
    total_ns: u64,
    blocked_ns: u64,
    max_ns: u64,
    /// By errno; 0 stands for "other errors".
    errors: Vec<(u32, u64)>,
    durations: Durations,
}

impl From<CallSum> for Totals {
    fn from(sum: CallSum) -> Self {
        let mut errors = Vec::with_capacity(sum.errors.len() + usize::from(sum.other_errors > 0));
        errors.extend(sum.errors.iter().map(|&(errno, n)| (errno, u64::from(n))));
        if sum.other_errors > 0 {
            errors.push((0, sum.other_errors));
        }
        Self {
            count: sum.count,
            total_ns: sum.total_ns,
            blocked_ns: sum.blocked_ns,
            max_ns: sum.max_ns,
            errors,
            durations: Durations::of_kernel(&sum.hist, sum.max_ns),
        }
    }
}

impl Totals {
    fn since(&self, earlier: &Self) -> Self {
        let errors = self.errors.iter().map(|&(errno, n)| {
            let before = earlier
                .errors
                .iter()
                .find(|e| e.0 == errno)
                .map_or(0, |e| e.1);
            (errno, n.saturating_sub(before))
        });
        Self {
            count: self.count.saturating_sub(earlier.count),
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            blocked_ns: self.blocked_ns.saturating_sub(earlier.blocked_ns),
            max_ns: self.max_ns,
            errors: errors.filter(|e| e.1 > 0).collect(),
            durations: self.durations.since(&earlier.durations),
        }
    }
}

/// What a row of sums is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    tgid: u32,
    thread: Thread,
    op: u32,
    peer: u64,
}

impl From<&StatKey> for Key {
    fn from(key: &StatKey) -> Self {
        let thread = Thread {
            tid: key.tid,
            start_ticks: key.start_ticks,
        };
        Self {
            tgid: key.tgid,
            thread,
            op: key.op,
            peer: key.peer,
        }
    }
}

/// The sums of every (thread, operation, peer) up to a moment. Copies share what is equal: several windows know the same
/// thousands of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct CallTable(Arc<HashMap<Key, Arc<Totals>>>);

impl CallTable {
    /// Sums at a later moment.
    pub fn learn(&mut self, stats: &[(StatKey, CallSum)]) {
        // Most rows are as they were.
        let changed = stats.iter().filter_map(|(key, sum)| {
            let key = Key::from(key);
            let same =
                |known: &Arc<Totals>| (known.count, known.total_ns) == (sum.count, sum.total_ns);
            let known = self.0.get(&key).is_some_and(same);
            (!known).then(|| (key, Arc::new(sum.clone().into())))
        });
        let changed: Vec<_> = changed.collect();
        if !changed.is_empty() {
            Arc::make_mut(&mut self.0).extend(changed);
        }
    }

    /// These rows were taken out of the kernel's table: their keys begin at 0.
    pub fn end(&mut self, retired: &[(StatKey, CallSum)]) {
        let keys = retired.iter().map(|(key, _)| Key::from(key));
        let known: Vec<Key> = keys.filter(|key| self.0.contains_key(key)).collect();
        if !known.is_empty() {
            let rows = Arc::make_mut(&mut self.0);
            known.iter().for_each(|key| drop(rows.remove(key)));
            rows.shrink_to(2 * rows.len());
        }
    }
}

/// Ended rows of a window that are kept by process and peer, so that groups and peers keep theirs; further ones are added up by
/// operation.
const MAX_ENDED: usize = 4096;

/// The calls of a window.
#[derive(Clone, Debug, Default)]
pub(super) struct CallSums {
    base: CallTable,
    now: CallTable,
    /// What came of rows that have ended in the window, by process, operation and peer: the threads of a day may be millions.
    ended: HashMap<(ProcessId, u32, u64), Totals>,
    /// Keys of `base` that have ended since: they begin at 0.
    void: HashSet<Key>,
}

impl CallSums {
    /// Those of a window that begins where the sums are `base`.
    pub fn since(base: CallTable) -> Self {
        let now = base.clone();
        Self {
            base,
            now,
            ..Self::default()
        }
    }

    /// Takes in rows that were taken out of the kernel's table, with their last sums; before those of the same reading that
    /// live.
    pub fn end(&mut self, retired: &[(StatKey, CallSum)], processes: &mut Processes) {
        for (key, sum) in retired {
            let mut totals = Totals::from(sum.clone());
            let key = Key::from(key);
            if let Some(base) = self.base.0.get(&key)
                && self.void.insert(key)
            {
                totals = totals.since(base);
            }
            if totals.count == 0 {
                continue;
            }
            let mut row = (process_of(&key, processes), op_of(key.op), key.peer);
            if !has_room(&self.ended, &row, MAX_ENDED) {
                row = (NOBODY, row.1, special::OTHER);
            }
            match self.ended.get_mut(&row) {
                Some(sum) => add(sum, &totals),
                None => drop(self.ended.insert(row, totals)),
            }
        }
    }

    /// Sums at a later moment, without the rows that were taken out before.
    pub fn learn(&mut self, stats: &[(StatKey, CallSum)], retired: &[(StatKey, CallSum)]) {
        self.now.end(retired);
        self.now.learn(stats);
    }

    /// The same, from a table that knows all rows.
    pub fn set(&mut self, now: &CallTable) {
        self.now = now.clone();
    }

    /// The rows of the window, and what exchanges took by group and peer.
    pub fn finish(
        self,
        processes: &mut Processes,
        peers: &HashMap<u64, PeerKey>,
    ) -> (Vec<Calls>, Exchanges) {
        let mut rows: HashMap<(ProcessId, u32, Peer), Totals> = HashMap::new();
        let mut exchanges = Exchanges::new();
        let mut take = |process, op, peer, totals: Totals, processes: &Processes| {
            let peer = resolve(peer, peers);
            if op == op::derived::EXCHANGE {
                let of = (processes.group(process), peer.clone());
                exchanges.entry(of).or_default().add(&totals.durations);
            }
            match rows.get_mut(&(process, op, peer.clone())) {
                Some(row) => add(row, &totals),
                None => {
                    rows.insert((process, op, peer), totals);
                }
            }
        };
        for ((process, op, peer), totals) in self.ended {
            take(process, op, peer, totals, processes);
        }
        for (key, totals) in self.now.0.iter() {
            let earlier = self.base.0.get(key);
            let totals = match earlier.filter(|_| !self.void.contains(key)) {
                // Most rows of a short window are as they were.
                Some(earlier) if Arc::ptr_eq(earlier, totals) => continue,
                Some(earlier) => totals.since(earlier),
                None => Totals::clone(totals),
            };
            if totals.count == 0 {
                continue;
            }
            let process = process_of(key, processes);
            take(process, op_of(key.op), key.peer, totals, processes);
        }
        (bounded(rows, processes), exchanges)
    }
}

/// Rows whose process is not told apart.
const NOBODY: ProcessId = (0, 0);

fn process_of(key: &Key, processes: &mut Processes) -> ProcessId {
    processes.of(&Owner {
        tgid: key.tgid,
        thread: key.thread,
        comm: [0; COMM_LEN],
    })
}

/// The last exchange of a request is an exchange like the others.
fn op_of(op: u32) -> u32 {
    match op {
        op::derived::LAST_EXCHANGE => op::derived::EXCHANGE,
        op => op,
    }
}

/// Durations of exchanges by group (name, whether it is a pool) and peer.
pub(super) type Exchanges = HashMap<((Vec<u8>, bool), Peer), Durations>;

/// Rows that name a process, most time first; those beyond [`MAX_CALLS`] are added up by group.
fn bounded(rows: HashMap<(ProcessId, u32, Peer), Totals>, processes: &Processes) -> Vec<Calls> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    // The key makes the order of equals the same in every run.
    rows.sort_by(|a, b| b.1.total_ns.cmp(&a.1.total_ns).then_with(|| a.0.cmp(&b.0)));
    let rest = rows.split_off(rows.len().min(MAX_CALLS));
    let mut out: Vec<Calls> = rows
        .into_iter()
        .map(|((process, op, peer), t)| {
            let pid = (process != NOBODY).then_some(process.0);
            row(pid, processes.get(process).comm, op, peer, t)
        })
        .collect();
    let mut others: HashMap<(Vec<u8>, u32, Peer), Totals> = HashMap::new();
    for ((process, op, peer), totals) in rest {
        let key = (processes.group(process).0, op, peer);
        match others.get_mut(&key) {
            Some(sum) => add(sum, &totals),
            None => {
                others.insert(key, totals);
            }
        }
    }
    let mut others: Vec<_> = others.into_iter().collect();
    others.sort_by(|a, b| b.1.total_ns.cmp(&a.1.total_ns).then_with(|| a.0.cmp(&b.0)));
    out.extend(
        others
            .into_iter()
            .map(|((group, op, peer), t)| row(None, group, op, peer, t)),
    );
    out
}

fn row(pid: Option<u32>, comm: Vec<u8>, op: u32, peer: Peer, t: Totals) -> Calls {
    Calls {
        pid,
        comm,
        op: op::name(op),
        peer,
        count: t.count,
        total_ns: t.total_ns,
        blocked_ns: t.blocked_ns,
        max_ns: t.max_ns,
        errors: t.errors,
        durations: t.durations,
    }
}

fn add(to: &mut Totals, more: &Totals) {
    to.count += more.count;
    to.total_ns += more.total_ns;
    to.blocked_ns += more.blocked_ns;
    to.max_ns = to.max_ns.max(more.max_ns);
    for &(errno, n) in &more.errors {
        match to.errors.iter_mut().find(|e| e.0 == errno) {
            Some(error) => error.1 += n,
            None => to.errors.push((errno, n)),
        }
    }
    to.durations.add(&more.durations);
}
