//! TCP as JSON: types of its own, as the rest of the format. States go by their names in OpenTelemetry.

mod limits;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use limits::{
    FailedJson, GapJson, HalfClosedJson, HolderJson, ListenerJson, PortsJson, RefusedProcessJson,
    TcpCountersJson, TcpSettingsJson,
};

use crate::{
    aggregate::tcp::{Dwell, PeerSockets, Point, Process, ProcessSockets, StateDwell, States, Tcp},
    present::json::{Bucket, PeerJson, Text, buckets},
};

/// TCP in one network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TcpJson {
    /// Sockets by state at the last census; null when none could be taken.
    pub census: Option<StatesJson>,
    /// Of `fin_wait_2` in the census: without a process.
    pub fin_wait_2_orphaned: u64,
    /// Of `fin_wait_2` in the census: held by a process.
    pub fin_wait_2_held: u64,
    /// Time between two censuses, where it is more than a second because they would cost too much.
    pub census_slowed_to_ns: Option<u64>,
    /// How long the longest census took.
    pub census_longest_ns: u64,
    /// The censuses, oldest first.
    pub timeline: Vec<CensusJson>,
    /// How long sockets stay in each state.
    pub states: Vec<StateJson>,
    /// Sockets at the last census by the address of the other side, most first; listening ones have no peer.
    pub peers: Vec<PeerSocketsJson>,
    /// Sockets that are in no row of `peers`.
    pub peers_other: StatesJson,
    /// False when nobody could look which process holds what.
    pub owners_known: bool,
    /// Sockets by process, most first.
    pub processes: Vec<ProcessSocketsJson>,
    /// How long sockets stay in a state, from the transitions, by peer and process.
    pub dwell: Vec<DwellJson>,
    /// Ephemeral ports by local address and destination, the fullest first.
    pub ports: Vec<PortsJson>,
    /// FIN_WAIT_2 by the address of the other side, most first.
    pub half_closed: Vec<HalfClosedJson>,
    /// Sockets in FIN_WAIT_2 that were counted but not followed one by one, at most at once.
    pub half_closed_left_out: u64,
    /// Listening sockets, TCP and Unix: those with overflows first, then the fullest.
    pub listeners: Vec<ListenerJson>,
    /// Listening sockets that found no place to be followed.
    pub listeners_left_out: u64,
    /// Connects that failed, by process, errno and address, most first.
    pub failed_connects: Vec<FailedJson>,
    /// Addresses that nobody listened on for a while, in order of time.
    pub gaps: Vec<GapJson>,
    /// Failed connects to further such addresses.
    pub gaps_left_out: u64,
    /// The kernel's counters.
    pub counters: TcpCountersJson,
    /// The kernel's settings.
    pub settings: TcpSettingsJson,
}

impl TcpJson {
    pub(in crate::present) fn of(t: &Tcp) -> Self {
        let now = t.timeline.last().map(|p| p.states);
        let orphaned = now.map_or(0, |s| s.fin_wait_2_orphaned);
        Self {
            census: now.as_ref().map(StatesJson::of),
            fin_wait_2_orphaned: orphaned,
            fin_wait_2_held: now.map_or(0, |s| s.fin_wait_2 - orphaned),
            census_slowed_to_ns: t.slowed_to_ns,
            census_longest_ns: t.census_ns,
            timeline: t.timeline.iter().map(CensusJson::of).collect(),
            states: t.dwell_by_state.iter().map(StateJson::of).collect(),
            peers: t.peers.iter().map(PeerSocketsJson::of).collect(),
            peers_other: StatesJson::of(&t.other),
            owners_known: t.owners_known,
            processes: t.processes.iter().map(ProcessSocketsJson::of).collect(),
            dwell: t.dwell.iter().map(DwellJson::of).collect(),
            ports: t.ports.iter().map(PortsJson::of).collect(),
            half_closed: t.half_closed.iter().map(HalfClosedJson::of).collect(),
            half_closed_left_out: t.half_closed_left_out,
            listeners: t.listeners.iter().map(ListenerJson::of).collect(),
            listeners_left_out: t.listeners_left_out,
            failed_connects: t.failed.iter().map(FailedJson::of).collect(),
            gaps: t.gaps.iter().map(GapJson::of).collect(),
            gaps_left_out: t.gaps_left_out,
            counters: TcpCountersJson::of(&t.counters),
            settings: TcpSettingsJson::of(&t.settings),
        }
    }
}

/// Sockets by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatesJson {
    /// Listening.
    pub listen: u64,
    /// connect() under way.
    pub syn_sent: u64,
    /// Handshake under way, on the side that listens.
    pub syn_received: u64,
    /// Open.
    pub established: u64,
    /// Closed by us, not acknowledged.
    pub fin_wait_1: u64,
    /// Closed by us; the other side has not closed. Orphans included.
    pub fin_wait_2: u64,
    /// Both closed at once.
    pub closing: u64,
    /// Closed by both, by us first.
    pub time_wait: u64,
    /// Closed by the other side only.
    pub close_wait: u64,
    /// Closed by the other side, then by us.
    pub last_ack: u64,
    /// Closed, still held (bound but not connected).
    pub closed: u64,
}

impl StatesJson {
    fn of(s: &States) -> Self {
        Self {
            listen: s.listen,
            syn_sent: s.syn_sent,
            syn_received: s.syn_received,
            established: s.established,
            fin_wait_1: s.fin_wait_1,
            fin_wait_2: s.fin_wait_2,
            closing: s.closing,
            time_wait: s.time_wait,
            close_wait: s.close_wait,
            last_ack: s.last_ack,
            closed: s.closed,
        }
    }
}

/// One census.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CensusJson {
    /// When, after the window's start.
    pub offset_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// Sockets by state.
    pub census: StatesJson,
}

impl CensusJson {
    fn of(p: &Point) -> Self {
        Self {
            offset_ns: p.at_ns,
            took_ns: p.took_ns,
            census: StatesJson::of(&p.states),
        }
    }
}

/// A process, by id and name; flattened into what it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessRef {
    /// Its id.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Its name.
    #[serde(rename = "process.executable.name")]
    pub comm: Text,
}

impl ProcessRef {
    pub(in crate::present) fn of(p: &Process) -> Self {
        Self {
            pid: p.pid,
            comm: Text::name(&p.comm),
        }
    }

    fn maybe(p: &Option<Process>) -> Option<Self> {
        p.as_ref().map(Self::of)
    }
}

/// How long sockets stay in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateJson {
    /// The state.
    pub state: Text,
    /// Sockets that came into it in the window.
    pub entered: u64,
    /// Sockets that left it in the window.
    pub left: u64,
    /// How long those that left had been in it.
    pub duration: Vec<Bucket>,
    /// Where that comes from: `transitions`, `census` (to about a second) or `exact` (the timers of timewait objects).
    pub source: Text,
    /// Sockets in it at the end.
    pub present: u64,
    /// Age of the oldest of them, at least; null where it is not known.
    pub oldest_ns: Option<u64>,
}

impl StateJson {
    fn of(d: &StateDwell) -> Self {
        Self {
            state: d.state.into(),
            entered: d.entered,
            left: d.count,
            duration: buckets(&d.durations),
            source: d.source.into(),
            present: d.present,
            oldest_ns: (d.oldest_ns > 0).then_some(d.oldest_ns),
        }
    }
}

/// Sockets by the address of the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerSocketsJson {
    /// Who.
    pub peer: PeerJson,
    /// Sockets by state at the last census.
    pub sockets: StatesJson,
    /// Of `fin_wait_2`: without a process.
    pub fin_wait_2_orphaned: u64,
    /// Of those that left `established` in the window: closed first by this side.
    pub closed_first_by_us: u64,
    /// Of those that left `established` in the window: closed first by the other side.
    pub closed_first_by_peer: u64,
    /// The process of ours that closed first most often; null where none was seen.
    pub closer: Option<ProcessRef>,
}

impl PeerSocketsJson {
    fn of(p: &PeerSockets) -> Self {
        Self {
            peer: PeerJson::of(&p.peer),
            sockets: StatesJson::of(&p.states),
            fin_wait_2_orphaned: p.states.fin_wait_2_orphaned,
            closed_first_by_us: p.closed_by_us,
            closed_first_by_peer: p.closed_by_peer,
            closer: ProcessRef::maybe(&p.closer),
        }
    }
}

/// Sockets that a process holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessSocketsJson {
    /// Who.
    #[serde(flatten)]
    pub process: ProcessRef,
    /// What it holds, by state; `time_wait` and orphans belong to nobody.
    pub sockets: StatesJson,
}

impl ProcessSocketsJson {
    fn of(p: &ProcessSockets) -> Self {
        Self {
            process: ProcessRef::of(&p.process),
            sockets: StatesJson::of(&p.states),
        }
    }
}

/// Transitions from one state to another, by peer and process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DwellJson {
    /// The state left.
    pub from: Text,
    /// The state entered, or `accepted`: the time from established to accept().
    pub to: Text,
    /// Who is at the other end.
    pub peer: PeerJson,
    /// Null where it is not known who owns the sockets.
    pub process: Option<ProcessRef>,
    /// Transitions in the window.
    pub count: u64,
    /// Time in the state left, of those that entered it while we watched.
    pub duration: Vec<Bucket>,
}

impl DwellJson {
    fn of(d: &Dwell) -> Self {
        Self {
            from: d.state.into(),
            to: d.to.into(),
            peer: PeerJson::of(&d.peer),
            process: ProcessRef::maybe(&d.process),
            count: d.count,
            duration: buckets(&d.durations),
        }
    }
}
