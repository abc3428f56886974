//! The end of a window: sums are read off, and what is still under way is added.

use std::collections::{BTreeMap, HashMap};

use probe_common::{
    loss,
    request::{Request, flag as request_flag},
    task::{Task, flag},
};

use super::{Aggregator, SignalFolds, owner_of, thread_of};
use crate::{
    aggregate::{
        Cost, Group, MAX_PROCESSES, Parts, ProcessTime, WaitsFor, Window,
        identity::ProcessId,
        peer::resolve,
        requests::{add_parts, summary, wall_ns},
        threads::{Moment, difference, moment, sum},
    },
    attach::ProbeStatus,
};

impl Aggregator {
    /// The window of the signals alone, from its start to the last reading; it may go on.
    pub fn signals_window(&self, probes: Vec<ProbeStatus>, cost: Cost) -> Window {
        let mut window = Window {
            host: self.about.host.clone(),
            kernel: self.about.kernel.clone(),
            start_unix_ns: self.about.start_unix_ns,
            duration_ns: self.end_ns.saturating_sub(self.about.start_ns),
            target: self.about.target.clone(),
            probes,
            losses: self.lost(),
            cost,
            ..Window::default()
        };
        let span = (self.about.start_ns, self.end_ns);
        self.signals
            .finish(&mut window, span, &self.peers, &self.processes);
        window
    }

    fn lost(&self) -> Vec<u64> {
        std::array::from_fn::<u64, { loss::slot::COUNT as usize }, _>(|i| {
            self.losses[i].saturating_sub(self.base_losses[i])
        })
        .to_vec()
    }

    /// The window from its start to the last reading.
    pub fn finish(self, probes: Vec<ProbeStatus>, cost: Cost) -> Window {
        let signals = self.signals_window(probes, cost);
        self.into_requests(signals)
    }

    /// The same of one that goes on. Signals, which are most of it, are read as they are.
    pub fn so_far(&self, probes: Vec<ProbeStatus>, cost: Cost) -> Window {
        let signals = self.signals_window(probes, cost);
        let copy = Self {
            about: self.about.clone(),
            end_ns: self.end_ns,
            peers: self.peers.clone(),
            processes: self.processes.clone(),
            served: self.served.clone(),
            base: self.base.clone(),
            threads: self.threads.clone(),
            tasks: self.tasks.clone(),
            calls: self.calls.clone(),
            signals: SignalFolds::default(),
            base_losses: self.base_losses,
            losses: self.losses,
        };
        copy.into_requests(signals)
    }

    /// A window of signals with requests, calls and processes beside them.
    fn into_requests(mut self, signals: Window) -> Window {
        let (at_ns, tasks) = std::mem::take(&mut self.tasks);
        let mut rows = self.process_rows();
        for task in tasks.iter() {
            self.row_of_now(task, at_ns, &mut rows);
        }
        for (id, row) in &mut rows {
            row.requests = self.served.time_of(*id).requests;
            let group = self.served.group(self.processes.group(*id));
            group.worker(&row.parts, row.event_driven);
        }
        self.name_examples(&rows);
        let (calls, exchanges) = self.calls.finish(&mut self.processes, &self.peers);
        let start_ns = self.about.start_ns;
        let mut groups: Vec<Group> = self
            .served
            .into_groups()
            .map(|sum| sum.finish(start_ns, &self.peers))
            .collect();
        for group in &mut groups {
            for peer in &mut group.peers {
                let of = ((group.name.clone(), group.php_fpm), peer.peer.clone());
                if let Some(durations) = exchanges.get(&of) {
                    peer.exchange.add(durations);
                }
            }
        }
        groups.sort_by(|a, b| {
            let size = |g: &Group| (g.all_wall_ns(), sum(&g.worker_parts));
            size(b).cmp(&size(a)).then_with(|| a.name.cmp(&b.name))
        });
        let processes_left_out = rows.len().saturating_sub(MAX_PROCESSES) as u64;
        Window {
            groups,
            calls,
            processes: rows.into_values().take(MAX_PROCESSES).collect(),
            processes_left_out,
            ..signals
        }
    }

    /// A row for each process, with its threads' time in the window.
    fn process_rows(&self) -> BTreeMap<ProcessId, ProcessTime> {
        let mut rows = BTreeMap::new();
        for (thread, seen) in &self.threads {
            let zero = Parts::default();
            let base = self.base.as_ref().and_then(|base| base.get(thread));
            let base = base.map_or(&zero, |base| &base.life);
            let row = rows.entry(seen.process).or_insert_with(|| ProcessTime {
                process: self.processes.get(seen.process),
                group: self.processes.group(seen.process).0,
                parts: Parts::default(),
                threads: 0,
                event_driven: false,
                requests: 0,
                current: None,
                waits_for: None,
            });
            add_parts(&mut row.parts, &difference(&seen.life, base));
            row.threads += 1;
            row.event_driven |= seen.event_driven;
        }
        rows
    }

    /// Adds what a thread does at the window's end: its open request, and what it is blocked on.
    fn row_of_now(&mut self, task: &Task, at_ns: u64, rows: &mut BTreeMap<ProcessId, ProcessTime>) {
        let process = self.processes.of(&owner_of(task));
        let now = moment(task, at_ns);
        let open = self.open_request(task, &now, at_ns);
        let answered = task.flags & flag::ANSWERED != 0;
        if let Some(request) = &open {
            if answered {
                // The client has its answer, and keeps the connection: it ended, though nothing says so yet.
                self.request(request);
            } else {
                let window_ns = self.end_ns.saturating_sub(self.about.start_ns);
                let assumed = now.assumed.map(|(peer, ns)| (peer, ns.min(window_ns)));
                self.incomplete(process, request, assumed);
            }
        }
        let open = open.filter(|_| !answered);
        let Some(row) = rows.get_mut(&process) else {
            return;
        };
        if let Some(request) = open {
            let older = row
                .current
                .as_ref()
                .is_none_or(|c| c.wall_ns < wall_ns(&request));
            if older {
                row.current = Some(Box::new(summary(
                    &request,
                    self.about.start_ns,
                    &self.peers,
                )));
            }
        }
        if let Some((part, peer, for_ns)) = now.blocked
            && row.waits_for.as_ref().is_none_or(|w| w.for_ns < for_ns)
        {
            let peer = peer.map(|id| resolve(id, &self.peers));
            row.waits_for = Some(WaitsFor { part, peer, for_ns });
        }
    }

    /// The open request of a thread as a record, or `None` when it has none that counts.
    fn open_request(&mut self, task: &Task, now: &Moment, at_ns: u64) -> Option<Request> {
        let open = task.flags & (flag::IN_REQUEST | flag::EVENT_DRIVEN) == flag::IN_REQUEST;
        if !open
            || self
                .served
                .has_ended(thread_of(task), task.request.start_ns)
        {
            return None;
        }
        let owner = owner_of(task);
        let mut request = Request {
            tgid: if owner.tgid == 0 {
                task.tid
            } else {
                owner.tgid
            },
            tid: task.tid,
            start_ticks: task.start_ticks,
            comm: task.comm,
            ..task.request
        };
        if task.flags & flag::STARTED_BUSY != 0 && request.start_ns <= self.about.start_ns {
            request.flags |= request_flag::PARTIAL;
        }
        if request.flags & (request_flag::GOT_DATA | request_flag::PARTIAL) == 0 {
            return None;
        }
        // Once the client has its answer, waiting for the next request is no part of this one.
        let (end_ns, life) = if task.flags & flag::ANSWERED != 0 {
            (task.answered_ns, &task.life_answered)
        } else {
            request.flags |= request_flag::UNFINISHED;
            (at_ns, &now.life)
        };
        request.end_ns = end_ns;
        request.parts = difference(life, &task.life_at_start);
        if request.flags & (request_flag::FORKED | request_flag::UNFINISHED)
            == request_flag::FORKED | request_flag::UNFINISHED
        {
            let process = self.processes.of(&owner);
            self.served.group(self.processes.group(process)).forked();
            return None;
        }
        Some(request)
    }

    /// Of each group, the living process with most request time: for commands to try by hand.
    fn name_examples(&mut self, rows: &BTreeMap<ProcessId, ProcessTime>) {
        let mut best: HashMap<(Vec<u8>, bool), (bool, u64, u32)> = HashMap::new();
        for (id, row) in rows {
            let time_ns = self.served.time_of(*id).time_ns;
            let rank = (!row.process.ended, time_ns, id.0);
            let kept = best.entry(self.processes.group(*id)).or_insert(rank);
            if (rank.0, rank.1) > (kept.0, kept.1) {
                *kept = rank;
            }
        }
        for (key, (_, _, pid)) in best {
            if let Some(group) = self.served.known_group(&key) {
                group.example(pid);
            }
        }
    }
}
