//! TCP as JSON: types of its own, as the rest of the format. States go by their names in OpenTelemetry.

mod limits;

use serde::{Serialize, Serializer, ser::SerializeMap};

use limits::{
    CountersJson, FailedJson, GapJson, HalfClosedJson, ListenerJson, PortsJson, SettingsJson,
};

use crate::{
    aggregate::tcp::{Dwell, PeerSockets, Point, Process, ProcessSockets, StateDwell, States, Tcp},
    present::{
        escape,
        json::{Bucket, PeerJson, buckets},
    },
};

/// Everything about TCP.
#[derive(Serialize)]
pub(in crate::present) struct TcpJson {
    /// Sockets by state at the last census; null when none could be taken.
    census: Option<StatesJson>,
    /// `fin_wait_2` of the census in two: without a process, and held by one.
    fin_wait_2_orphaned: u64,
    fin_wait_2_held: u64,
    /// Time between two censuses, where it is more than a second because they would cost too much.
    census_slowed_to_ns: Option<u64>,
    census_longest_ns: u64,
    timeline: Vec<PointJson>,
    states: Vec<StateJson>,
    peers: Vec<PeerSocketsJson>,
    /// Sockets that are in no row of `peers`; listening ones have no peer.
    peers_other: StatesJson,
    /// False when nobody could look which process holds what.
    owners_known: bool,
    processes: Vec<ProcessSocketsJson>,
    dwell: Vec<DwellJson>,
    ports: Vec<PortsJson>,
    half_closed: Vec<HalfClosedJson>,
    half_closed_left_out: u64,
    listeners: Vec<ListenerJson>,
    listeners_left_out: u64,
    failed_connects: Vec<FailedJson>,
    gaps: Vec<GapJson>,
    gaps_left_out: u64,
    /// Growth in the window; `orphans` is the most at once. Null where the kernel has none.
    counters: CountersJson,
    settings: SettingsJson,
}

impl TcpJson {
    pub fn of(t: &Tcp) -> Self {
        let now = t.timeline.last().map(|p| p.states);
        let orphaned = now.map_or(0, |s| s.fin_wait_2_orphaned);
        Self {
            census: now.map(StatesJson),
            fin_wait_2_orphaned: orphaned,
            fin_wait_2_held: now.map_or(0, |s| s.fin_wait_2 - orphaned),
            census_slowed_to_ns: t.slowed_to_ns,
            census_longest_ns: t.census_ns,
            timeline: t.timeline.iter().map(PointJson::of).collect(),
            states: t.dwell_by_state.iter().map(StateJson::of).collect(),
            peers: t.peers.iter().map(PeerSocketsJson::of).collect(),
            peers_other: StatesJson(t.other),
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
            counters: CountersJson::of(&t.counters),
            settings: SettingsJson::of(&t.settings),
        }
    }
}

/// `{"listen": 12, "syn_sent": 0, ...}`: every state.
struct StatesJson(States);

impl Serialize for StatesJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = self.0.named();
        let mut map = serializer.serialize_map(Some(named.len()))?;
        for (name, count) in named {
            map.serialize_entry(name, &count)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct PointJson {
    /// After the window's start.
    offset_ns: u64,
    took_ns: u64,
    census: StatesJson,
}

impl PointJson {
    fn of(p: &Point) -> Self {
        Self {
            offset_ns: p.at_ns,
            took_ns: p.took_ns,
            census: StatesJson(p.states),
        }
    }
}

/// A process, flattened into what it is part of.
#[derive(Serialize)]
pub(in crate::present) struct ProcessRef {
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "process.executable.name")]
    comm: String,
}

impl ProcessRef {
    pub fn of(p: &Process) -> Self {
        Self {
            pid: p.pid,
            comm: escape::name(&p.comm),
        }
    }

    fn maybe(p: &Option<Process>) -> Option<Self> {
        p.as_ref().map(Self::of)
    }
}

#[derive(Serialize)]
struct StateJson {
    state: &'static str,
    /// Sockets that came into it, and that left it, in the window.
    entered: u64,
    left: u64,
    /// How long those that left had been in it.
    duration: Vec<Bucket>,
    /// `transitions` or `census` (to about a second).
    source: &'static str,
    present: u64,
    /// Null where it is not known.
    oldest_ns: Option<u64>,
}

impl StateJson {
    fn of(d: &StateDwell) -> Self {
        Self {
            state: d.state,
            entered: d.entered,
            left: d.count,
            duration: buckets(&d.durations),
            source: d.source,
            present: d.present,
            oldest_ns: (d.oldest_ns > 0).then_some(d.oldest_ns),
        }
    }
}

#[derive(Serialize)]
struct PeerSocketsJson {
    peer: PeerJson,
    sockets: StatesJson,
    fin_wait_2_orphaned: u64,
    /// Of those that left `established` in the window.
    closed_first_by_us: u64,
    closed_first_by_peer: u64,
    closer: Option<ProcessRef>,
}

impl PeerSocketsJson {
    fn of(p: &PeerSockets) -> Self {
        Self {
            peer: PeerJson::of(&p.peer),
            sockets: StatesJson(p.states),
            fin_wait_2_orphaned: p.states.fin_wait_2_orphaned,
            closed_first_by_us: p.closed_by_us,
            closed_first_by_peer: p.closed_by_peer,
            closer: ProcessRef::maybe(&p.closer),
        }
    }
}

#[derive(Serialize)]
struct ProcessSocketsJson {
    #[serde(flatten)]
    process: ProcessRef,
    sockets: StatesJson,
}

impl ProcessSocketsJson {
    fn of(p: &ProcessSockets) -> Self {
        Self {
            process: ProcessRef::of(&p.process),
            sockets: StatesJson(p.states),
        }
    }
}

#[derive(Serialize)]
struct DwellJson {
    from: &'static str,
    /// A state, or `accepted`: the time from established to accept().
    to: &'static str,
    peer: PeerJson,
    /// Null where it is not known who owns the sockets.
    process: Option<ProcessRef>,
    count: u64,
    duration: Vec<Bucket>,
}

impl DwellJson {
    fn of(d: &Dwell) -> Self {
        Self {
            from: d.state,
            to: d.to,
            peer: PeerJson::of(&d.peer),
            process: ProcessRef::maybe(&d.process),
            count: d.count,
            duration: buckets(&d.durations),
        }
    }
}
