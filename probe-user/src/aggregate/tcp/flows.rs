//! Transitions: from sums since attach to who moved which sockets out of which state in the window.

use std::{cmp::Reverse, collections::HashMap};

use probe_common::{
    peer::{PeerKey, special},
    tcp::{TransitionKey, state, state_name},
};

use super::{Dwell, MAX_TCP_ROWS, Process};
use crate::{
    aggregate::{
        Durations, Peer,
        lives::{self, Lives},
        peer::resolve,
    },
    collect::tcp::TransitionSum,
};

/// One row of sums.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub count: u64,
    pub durations: Durations,
    comm: Vec<u8>,
}

impl From<&TransitionSum> for Sum {
    fn from(sum: &TransitionSum) -> Self {
        Self {
            count: sum.sum.count,
            durations: Durations::of_kernel(&sum.sum.hist, sum.sum.max_ns),
            comm: sum.comm.clone(),
        }
    }
}

impl lives::Sum for Sum {
    type Key = TransitionKey;

    fn add(&mut self, more: &Self) {
        self.count += more.count;
        self.durations.add(&more.durations);
        self.comm.clone_from(&more.comm);
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(earlier.count),
            durations: self.durations.since(&earlier.durations),
            comm: self.comm.clone(),
        }
    }

    fn other(key: &TransitionKey) -> TransitionKey {
        TransitionKey {
            peer: special::OTHER,
            tgid: 0,
            ..*key
        }
    }
}

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows(Lives<Sum>);

/// A row of the window.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub peer: Peer,
    pub process: Option<Process>,
    pub old: u8,
    pub new: u8,
    pub count: u64,
    pub durations: Durations,
}

impl Flows {
    /// Sums at the start of the window.
    pub fn set_base(&mut self, sums: &[(TransitionKey, TransitionSum)]) {
        self.0.learn(sums.iter().map(|(k, s)| (*k, s.into())));
        *self = self.successor();
    }

    /// Sums at a later moment, none when the reader asked for the ring only; and those of rows that were taken out before.
    pub fn learn(
        &mut self,
        sums: &[(TransitionKey, TransitionSum)],
        retired: &[(TransitionKey, TransitionSum)],
    ) {
        self.0.end(retired.iter().map(|(k, s)| (*k, s.into())));
        self.0.learn(sums.iter().map(|(k, s)| (*k, s.into())));
    }

    /// Those of the window that begins now.
    pub fn successor(&self) -> Self {
        Self(self.0.successor())
    }

    /// The processes that the rows name.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.0.keys().map(|key| key.tgid)
    }

    /// What moved in the window.
    pub fn rows(&self, peers: &HashMap<u64, PeerKey>) -> Rows {
        let mut rows: Vec<Row> = self
            .0
            .grown()
            .filter(|(_, sum)| sum.count > 0)
            .map(|(key, sum)| Row {
                peer: resolve(key.peer, peers),
                process: (key.tgid != 0).then_some(Process {
                    pid: key.tgid,
                    comm: sum.comm,
                }),
                old: key.old,
                new: key.new,
                count: sum.count,
                durations: sum.durations,
            })
            .collect();
        // The order of equals is the same in every run.
        rows.sort_by(|a, b| {
            let id = |r: &Row| (Reverse(r.count), r.old, r.new, r.peer.clone());
            let pid = |r: &Row| r.process.as_ref().map(|p| p.pid);
            id(a).cmp(&id(b)).then_with(|| pid(a).cmp(&pid(b)))
        });
        Rows(rows)
    }
}

/// The transitions of one window, most of one kind first.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows(pub Vec<Row>);

/// What a peer's connections did.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// connect() began (SYN_SENT entered).
    pub begun: u64,
    /// Of these, it came to nothing: refused, timed out, or no local port was left.
    pub failed: u64,
    /// ESTABLISHED left by a close of ours.
    pub closed_by_us: u64,
    /// ESTABLISHED left by a close of the other side.
    pub closed_by_peer: u64,
    /// FIN_WAIT_2 entered.
    pub half_closed: u64,
    /// Who connected most often.
    pub opener: Option<Process>,
    /// Who closed first most often.
    pub closer: Option<Process>,
}

impl Rows {
    /// By peer.
    pub fn by_peer(&self) -> HashMap<Peer, Flow> {
        let mut flows: HashMap<Peer, Flow> = HashMap::new();
        // The rows come most first, so the first process seen is the most frequent.
        for row in &self.0 {
            let flow = flows.entry(row.peer.clone()).or_default();
            match (row.old, row.new) {
                (_, state::SYN_SENT) => {
                    flow.begun += row.count;
                    flow.opener = flow.opener.take().or_else(|| row.process.clone());
                }
                (state::SYN_SENT, state::CLOSE) => flow.failed += row.count,
                (state::ESTABLISHED, state::FIN_WAIT1) => {
                    flow.closed_by_us += row.count;
                    flow.closer = flow.closer.take().or_else(|| row.process.clone());
                }
                (state::ESTABLISHED, state::CLOSE_WAIT) => flow.closed_by_peer += row.count,
                (state::FIN_WAIT1, state::FIN_WAIT2) => flow.half_closed += row.count,
                _ => {}
            }
        }
        flows
    }

    /// Transitions into a state.
    pub fn entered(&self, state: u8) -> u64 {
        self.count(|row| row.new == state)
    }

    /// Transitions that took a socket over to a timewait object, and real ends of the same look.
    pub fn to_timewait(&self) -> u64 {
        self.count(|row| {
            row.new == state::CLOSE && matches!(row.old, state::FIN_WAIT2 | state::CLOSING)
        })
    }

    fn count(&self, wanted: impl Fn(&Row) -> bool) -> u64 {
        self.0.iter().filter(|r| wanted(r)).map(|r| r.count).sum()
    }

    /// Transitions out of a state, and how long the sockets had been in it.
    pub fn left(&self, state: u8) -> (u64, Durations) {
        let mut all = (0, Durations::default());
        let rows = self.0.iter();
        for row in rows.filter(|r| r.old == state && r.new != state::ACCEPTED) {
            all.0 += row.count;
            all.1.add(&row.durations);
        }
        all
    }

    /// Connections that accept() handed out by listener, and the time since they were established.
    pub fn accepted(&self) -> HashMap<&Peer, (u64, Durations)> {
        let mut all: HashMap<&Peer, (u64, Durations)> = HashMap::new();
        for row in self.0.iter().filter(|r| r.new == state::ACCEPTED) {
            let sum = all.entry(&row.peer).or_default();
            sum.0 += row.count;
            sum.1.add(&row.durations);
        }
        all
    }

    /// By state, peer and process; what is beyond [`MAX_TCP_ROWS`] is added up by states.
    pub fn dwell(&self) -> Vec<Dwell> {
        let (kept, rest) = self.0.split_at(self.0.len().min(MAX_TCP_ROWS));
        let mut dwell: Vec<Dwell> = kept.iter().map(dwell_of).collect();
        let mut others: Vec<Dwell> = Vec::new();
        for row in rest {
            let other = Dwell {
                peer: Peer::Special(special::OTHER),
                process: None,
                ..dwell_of(row)
            };
            match others
                .iter_mut()
                .find(|o| (o.state, o.to) == (other.state, other.to))
            {
                Some(sum) => {
                    sum.count += other.count;
                    sum.durations.add(&other.durations);
                }
                None => others.push(other),
            }
        }
        dwell.extend(others);
        dwell
    }
}

fn dwell_of(row: &Row) -> Dwell {
    Dwell {
        state: state_name(row.old),
        to: if row.new == state::ACCEPTED {
            "accepted"
        } else {
            state_name(row.new)
        },
        peer: row.peer.clone(),
        process: row.process.clone(),
        count: row.count,
        // The kernel goes on with a timewait object, which the transition cannot know: see `dwell_by_state`.
        durations: if row.old == state::FIN_WAIT2 {
            Durations::default()
        } else {
            row.durations.clone()
        },
    }
}
