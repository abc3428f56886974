//! The end of a window of TCP: what was folded becomes a [`Tcp`].

use std::{cmp::Reverse, collections::HashMap};

use probe_common::{
    peer::{PeerKey, flag},
    tcp::{CensusKey, state, state_name},
};

use super::TcpFold;
use crate::{
    aggregate::{
        Durations, Peer,
        peer::resolve,
        tcp::{
            Counters, HalfClosed, MAX_TCP_ROWS, PeerSockets, Process, ProcessSockets, StateDwell,
            States, Tcp,
            flows::{Flow, Rows},
            half_closed::Present,
            ports::{self, Facts},
            states::{peer_of, whose},
        },
    },
    collect::tcp::Census,
};

/// Censuses are at the full pace of one a second up to this mean distance, ns; a busy machine is late now
/// and then.
const FULL_PACE_NS: u64 = 1_500_000_000;

impl TcpFold {
    /// The window from `start_ns` to `end_ns`. `watched` says whether transitions were, as then their number
    /// is known.
    pub fn finish(
        &self,
        (start_ns, end_ns): (u64, u64),
        peers: &HashMap<u64, PeerKey>,
        watched: bool,
    ) -> Tcp {
        let rows = self.flows.rows(peers);
        let flows = rows.by_peer();
        let counters = self.counters();
        let last = self.last.as_ref();
        let holders = self.owners.as_ref().map_or(&[][..], |o| &o.holders);
        let present = self.fin_wait2.present(holders);
        let seconds = end_ns.saturating_sub(start_ns) as f64 / 1e9;
        let (sockets, other) = last.map_or_else(Default::default, |census| sockets(census, &flows));
        Tcp {
            timeline: self.timeline.finish(start_ns),
            slowed_to_ns: self.slowed_to_ns(),
            census_ns: self.census_ns,
            peers: sockets,
            other,
            processes: self.processes(),
            owners_known: self.owners.is_some(),
            dwell: rows.dwell(),
            dwell_by_state: self.by_state(&rows, &present, watched),
            ports: last.map_or_else(Vec::new, |last| {
                let facts = Facts {
                    settings: &self.settings,
                    listened: self.queues.ports(),
                    flows: &flows,
                    failures: self.no_port(peers),
                    start_ns,
                    seconds,
                };
                ports::ports(&self.outbound, last, facts)
            }),
            half_closed: self.half_closed(&flows, present, watched, seconds),
            half_closed_left_out: self.fin_wait2.left_out,
            listeners: self
                .queues
                .finish(start_ns, &rows, &self.refused(peers), |pid| {
                    self.process(pid)
                }),
            listeners_left_out: self.queues.left_out,
            failed: self.failed.finish(start_ns, |id| resolve(id, peers)),
            gaps: self.gaps.finish(start_ns, peers),
            gaps_left_out: self.gaps.left_out,
            counters,
            settings: self.settings.clone(),
        }
    }

    fn slowed_to_ns(&self) -> Option<u64> {
        let mean = self
            .last
            .as_ref()?
            .at_ns
            .saturating_sub(self.outbound.first_ns()?)
            .checked_div(self.censuses.saturating_sub(1))?;
        (mean > FULL_PACE_NS).then_some(mean)
    }

    fn counters(&self) -> Counters {
        match (&self.first, &self.last) {
            (Some(first), Some(last)) => Counters {
                // A number of sockets, not a counter.
                orphans: self.orphans,
                ..growth(first, &last.counters)
            },
            _ => Counters::default(),
        }
    }

    fn processes(&self) -> Vec<ProcessSockets> {
        let Some(owners) = &self.owners else {
            return Vec::new();
        };
        let mut list: Vec<ProcessSockets> = owners
            .processes
            .iter()
            .map(|owner| ProcessSockets {
                process: Process {
                    pid: owner.pid,
                    comm: owner.comm.clone(),
                },
                // What a process holds has no columns of its own for orphans.
                states: States::of_row(&owner.counts),
            })
            .filter(|p| p.states.total() > 0)
            .collect();
        list.sort_by_key(|p| (Reverse(p.states.total()), p.process.pid));
        list.truncate(MAX_TCP_ROWS);
        list
    }

    fn by_state(
        &self,
        rows: &Rows,
        present: &HashMap<CensusKey, Present>,
        watched: bool,
    ) -> Vec<StateDwell> {
        /// In the order of a connection's life; a listener's life is no dwell.
        const STATES: [u8; 9] = [
            state::SYN_SENT,
            state::SYN_RECV,
            state::ESTABLISHED,
            state::FIN_WAIT1,
            state::FIN_WAIT2,
            state::CLOSING,
            state::TIME_WAIT,
            state::CLOSE_WAIT,
            state::LAST_ACK,
        ];
        let now = self.last.as_ref().map(|c| States::of(&c.totals));
        let now = now.unwrap_or_default();
        let there = |state: &str| now.named().iter().find(|n| n.0 == state).map_or(0, |n| n.1);
        let mut out = Vec::new();
        for state in STATES {
            let name = state_name(state);
            let entered = rows.entered(state);
            let census = self.censuses > 1;
            let exact = match state {
                // The part of a stay before the timewait object is the transitions' to tell.
                state::FIN_WAIT2 if watched => self.exact.fin_wait2(),
                state::TIME_WAIT => self.exact.time_wait(),
                _ => None,
            };
            let begun = exact.as_ref().map(|left| left.begun);
            let (count, durations, source) = match (state, exact) {
                (_, Some(left)) => (left.count, left.durations, "exact"),
                (state::FIN_WAIT2, _) if census => {
                    let stays = self.fin_wait2.all();
                    let known = watched.then_some(entered);
                    let (count, durations) = stays.finish(known, self.fin_wait2.pace());
                    (count, durations, "census")
                }
                (state::TIME_WAIT, _) if census => {
                    let (count, durations) =
                        self.time_wait.finish(watched.then(|| rows.to_timewait()));
                    (count, durations, "census")
                }
                (state::FIN_WAIT2 | state::TIME_WAIT, _) => (0, Durations::default(), "census"),
                _ => {
                    let (count, durations) = rows.left(state);
                    (count, durations, "transitions")
                }
            };
            let oldest_ns = match state {
                state::FIN_WAIT2 => present.values().map(|p| p.oldest_ns).max().unwrap_or(0),
                state::TIME_WAIT => self.time_wait.oldest_ns(self.clock()),
                _ => 0,
            };
            let entered = if state == state::TIME_WAIT {
                begun.unwrap_or_else(|| self.time_wait.entered())
            } else if state == state::FIN_WAIT2 && !watched {
                self.fin_wait2.all().begun
            } else {
                entered
            };
            let dwell = StateDwell {
                state: name,
                entered,
                count,
                durations,
                source,
                present: there(name),
                oldest_ns,
            };
            if dwell.entered + dwell.count + dwell.present > 0 {
                out.push(dwell);
            }
        }
        out
    }

    fn half_closed(
        &self,
        flows: &HashMap<Peer, Flow>,
        mut present: HashMap<CensusKey, Present>,
        watched: bool,
        seconds: f64,
    ) -> Vec<HalfClosed> {
        let mut counts: HashMap<CensusKey, States> = HashMap::new();
        for (key, row) in self.last.iter().flat_map(|c| &c.rows) {
            let states = States::of_row(row);
            if states.fin_wait_2 > 0 {
                counts.entry(whose(key)).or_default().add(&states);
            }
        }
        let mut out: Vec<HalfClosed> = self
            .fin_wait2
            .by_peer()
            .into_iter()
            .map(|(key, stays)| {
                let states = counts.get(&key).copied().unwrap_or_default();
                let peer = peer_of(&key);
                let entered = match flows.get(&peer) {
                    Some(flow) => Some(flow.half_closed),
                    // It may be among those that are counted together.
                    None => (!flows.contains_key(&any_client(&peer))).then_some(0),
                };
                let known = entered.filter(|_| watched);
                let Present { age, holders, .. } = present.remove(&key).unwrap_or_default();
                let (_, left) = stays.finish(known, self.fin_wait2.pace());
                let mut holders: Vec<(Process, u64, i32)> = holders
                    .into_iter()
                    .map(|(pid, (sockets, fd))| (self.process(pid), sockets, fd))
                    .collect();
                holders.sort_by_key(|h| (Reverse(h.1), h.0.pid));
                holders.truncate(MAX_TCP_ROWS);
                HalfClosed {
                    peer,
                    orphaned: states.fin_wait_2_orphaned,
                    held: states.fin_wait_2 - states.fin_wait_2_orphaned,
                    peak: stays.peak,
                    holders,
                    left,
                    age,
                    entered_per_s: known.unwrap_or(stays.begun) as f64 / seconds.max(1e-9),
                }
            })
            .collect();
        out.sort_by(|a, b| {
            let size = |h: &HalfClosed| Reverse((h.orphaned + h.held, h.peak));
            size(a).cmp(&size(b)).then_with(|| a.peer.cmp(&b.peer))
        });
        out.truncate(MAX_TCP_ROWS);
        out
    }

    /// Connects to Unix sockets whose queue was full, by path: when the first was, and how many.
    fn refused(&self, peers: &HashMap<u64, PeerKey>) -> HashMap<Vec<u8>, (u64, u64)> {
        let mut out: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
        for (id, (first_ns, count)) in self.failed.with(libc::EAGAIN) {
            if let Peer::Unix { path } = resolve(id, peers) {
                let sum = out.entry(path).or_insert((first_ns, 0));
                *sum = (sum.0.min(first_ns), sum.1 + count);
            }
        }
        out
    }

    /// Connects that found no free port, by destination.
    fn no_port(&self, peers: &HashMap<u64, PeerKey>) -> HashMap<Peer, (u64, u64)> {
        let mut out: HashMap<Peer, (u64, u64)> = HashMap::new();
        for (id, &(first_ns, count)) in &self.failed.no_port {
            let sum = out.entry(resolve(*id, peers)).or_insert((first_ns, 0));
            *sum = (sum.0.min(first_ns), sum.1 + count);
        }
        out.retain(|peer, _| matches!(peer, Peer::Inet { .. }));
        out
    }
}

/// Sockets at a census by peer, most first, and those without a row.
fn sockets(census: &Census, flows: &HashMap<Peer, Flow>) -> (Vec<PeerSockets>, States) {
    let mut by_key: HashMap<CensusKey, States> = HashMap::new();
    let connected = census
        .rows
        .iter()
        .filter(|(key, _)| key.flags & flag::LISTENER == 0);
    for (key, counts) in connected {
        let states = States::of_row(counts);
        by_key.entry(whose(key)).or_default().add(&states);
    }
    let mut list: Vec<PeerSockets> = by_key
        .iter()
        .filter(|(_, states)| states.total() > 0)
        .map(|(key, states)| {
            let peer = peer_of(key);
            let flow = flows.get(&peer).cloned().unwrap_or_default();
            PeerSockets {
                peer,
                states: *states,
                closed_by_us: flow.closed_by_us,
                closed_by_peer: flow.closed_by_peer,
                closer: flow.closer,
            }
        })
        .collect();
    list.sort_by(|a, b| {
        let size = |p: &PeerSockets| Reverse(p.states.total());
        size(a).cmp(&size(b)).then_with(|| a.peer.cmp(&b.peer))
    });
    let mut other = States::of(&census.other);
    let rest = list.split_off(list.len().min(MAX_TCP_ROWS));
    rest.iter().for_each(|p| other.add(&p.states));
    (list, other)
}

/// All clients of a port together: what the kernel side makes of those beyond a number.
fn any_client(peer: &Peer) -> Peer {
    match peer {
        Peer::Inbound { on, .. } => Peer::Inbound {
            on: on.clone(),
            address: None,
        },
        other => other.clone(),
    }
}

/// How much each counter grew.
fn growth(from: &Counters, to: &Counters) -> Counters {
    let grown = |of: fn(&Counters) -> Option<u64>| Some(of(to)?.saturating_sub(of(from)?));
    Counters {
        listen_overflows: grown(|c| c.listen_overflows),
        listen_drops: grown(|c| c.listen_drops),
        syn_queue_drops: grown(|c| c.syn_queue_drops),
        syncookies_sent: grown(|c| c.syncookies_sent),
        time_wait_expired: grown(|c| c.time_wait_expired),
        time_wait_reused: grown(|c| c.time_wait_reused),
        time_wait_overflow: grown(|c| c.time_wait_overflow),
        active_opens: grown(|c| c.active_opens),
        passive_opens: grown(|c| c.passive_opens),
        attempt_fails: grown(|c| c.attempt_fails),
        orphans: to.orphans,
    }
}
