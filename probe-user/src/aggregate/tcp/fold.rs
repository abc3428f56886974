//! Folds what readings say about TCP.

mod finish;

use std::collections::{HashMap, HashSet};

use probe_common::peer::PeerKey;

use super::{
    Counters, Point, Process, Settings, States,
    exact::Exact,
    failed::Failed,
    flows::Flows,
    gaps::{Event, Gaps},
    half_closed::{FinWait2Fold, Timers},
    ports::Outbound,
    queues::Queues,
    states::Who,
    time_wait::{Clock, TimeWaitFold},
    timeline::Timeline,
};
use crate::{
    aggregate::lives::fitting,
    collect::tcp::{Census, Owners, TcpReading},
};

/// More time between two censuses than this, and nothing is said about what happened in between, ns: an age
/// would be known to a sixth of TIME_WAIT at best.
const MAX_GAP_NS: u64 = 10_000_000_000;
/// Process names kept.
const MAX_NAMES: usize = 16_384;

/// TCP in the window so far.
#[derive(Clone, Debug, Default)]
pub(in crate::aggregate) struct TcpFold {
    flows: Flows,
    exact: Exact,
    timeline: Timeline,
    /// The counters of the first census.
    first: Option<Counters>,
    outbound: Outbound,
    /// The most orphans seen.
    orphans: Option<u64>,
    last: Option<Census>,
    censuses: u64,
    census_ns: u64,
    fin_wait2: FinWait2Fold,
    time_wait: TimeWaitFold,
    queues: Queues,
    owners: Option<Owners>,
    failed: Failed,
    gaps: Gaps,
    names: HashMap<u32, Vec<u8>>,
    settings: Settings,
    hz: u32,
    cohort_shift: u32,
}

impl TcpFold {
    /// Takes in the reading that the window starts at: its sums, and its last census, are the base.
    pub fn set_base(&mut self, reading: &TcpReading) {
        self.flows.set_base(&reading.transitions);
        self.exact.set_base(reading.timewait.as_ref());
        self.learn(&TcpReading {
            censuses: reading.censuses.last().into_iter().cloned().collect(),
            owners: reading.owners.last().into_iter().cloned().collect(),
            settings: reading.settings.clone(),
            hz: reading.hz,
            cohort_shift: reading.cohort_shift,
            ..TcpReading::default()
        });
        self.last = reading.censuses.last().cloned();
        self.owners = reading.owners.last().cloned();
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, mut reading: TcpReading, peers: &HashMap<u64, PeerKey>) {
        self.learn(&reading);
        let mut events: Vec<Event<'_>> = reading.connects.iter().map(Event::Connect).collect();
        events.extend(reading.listening.iter().map(Event::Listening));
        events.sort_by_key(Event::order);
        for event in events {
            self.gaps.push(event, peers);
        }
        let mut last = None;
        for connect in &reading.connects {
            self.failed.push(connect);
            let who = Who::connected(connect);
            if last != Some(who) {
                last = Some(who);
                let process = Process::from(who);
                self.named(process.pid, &process.comm);
            }
        }
        self.flows.learn(&reading.transitions, &reading.retired);
        self.exact.learn(reading.timewait.take());
        if let Some(census) = reading.censuses.pop() {
            self.last = Some(census);
        }
        if let Some(owners) = reading.owners.pop() {
            self.owners = Some(owners);
        }
    }

    /// What censuses, walks and settings say; the last census is not kept yet.
    fn learn(&mut self, reading: &TcpReading) {
        if reading.hz > 0 {
            (self.hz, self.cohort_shift) = (reading.hz, reading.cohort_shift);
        }
        if reading.settings != Settings::default() {
            self.settings.clone_from(&reading.settings);
        }
        let mut before_ns = self.last.as_ref().map(|c| c.at_ns);
        for census in &reading.censuses {
            self.census(census, before_ns);
            before_ns = Some(census.at_ns);
        }
        for owners in &reading.owners {
            self.queues.walk(owners);
            let addresses = owners.listeners.iter().map(|l| &l.address);
            self.gaps.served(addresses, owners.at_ns);
            for owner in &owners.processes {
                self.named(owner.pid, &owner.comm);
            }
        }
    }

    fn census(&mut self, census: &Census, before_ns: Option<u64>) {
        let gap = before_ns.is_some_and(|ns| census.at_ns.saturating_sub(ns) > MAX_GAP_NS);
        let states = States::of(&census.totals);
        self.timeline.push(Point {
            at_ns: census.at_ns,
            took_ns: census.took_ns,
            states,
        });
        self.censuses += 1;
        self.census_ns = self.census_ns.max(census.took_ns);
        self.first.get_or_insert(census.counters);
        self.outbound.push(census);
        self.orphans = self.orphans.max(census.counters.orphans);
        let timers = Timers {
            hz: self.hz,
            fin_timeout_s: self.settings.fin_timeout_s,
        };
        self.fin_wait2.push(census, gap, timers);
        self.time_wait
            .push(census, gap, self.clock(), states.fin_wait_2);
        self.queues.census(census);
        let addresses = census.listeners.iter().map(|l| &l.address);
        self.gaps.served(addresses, census.at_ns);
        self.gaps.local(census.rows.iter().map(|(key, _)| key));
    }

    fn clock(&self) -> Clock {
        Clock {
            hz: self.hz,
            // A cohort of about a second has a shift of 10 at most.
            shift: self.cohort_shift.min(32),
        }
    }

    fn named(&mut self, pid: u32, comm: &[u8]) {
        if pid != 0 && self.names.len() < MAX_NAMES && !comm.is_empty() {
            self.names.insert(pid, comm.to_vec());
        }
    }

    /// Names for the next window: of those that there are, where many have gone.
    fn known_names(&self) -> HashMap<u32, Vec<u8>> {
        let mut names = fitting(&self.names);
        if names.len() > MAX_NAMES / 2 {
            let owners = self.owners.iter().flat_map(|owners| &owners.processes);
            let owners = owners.map(|owner| owner.pid);
            let alive: HashSet<u32> = owners.chain(self.flows.processes()).collect();
            names.retain(|pid, _| alive.contains(pid));
        }
        names
    }

    fn process(&self, pid: u32) -> Process {
        Process {
            pid,
            comm: self.names.get(&pid).cloned().unwrap_or_default(),
        }
    }

    /// The fold of a window that begins now: what lasts, and how long it has lasted, is known to it.
    pub fn successor(&self) -> Self {
        let mut outbound = Outbound::default();
        self.last.iter().for_each(|census| outbound.push(census));
        Self {
            flows: self.flows.successor(),
            exact: self.exact.successor(),
            timeline: self.timeline.successor(),
            first: self.last.as_ref().map(|c| c.counters),
            outbound,
            orphans: self.last.as_ref().and_then(|c| c.counters.orphans),
            last: self.last.clone(),
            censuses: u64::from(self.last.is_some()),
            census_ns: 0,
            fin_wait2: self.fin_wait2.successor(),
            time_wait: self.time_wait.successor(),
            queues: self.queues.successor(),
            owners: self.owners.clone(),
            failed: Failed::default(),
            gaps: self.gaps.successor(),
            names: self.known_names(),
            settings: self.settings.clone(),
            ..*self
        }
    }
}
