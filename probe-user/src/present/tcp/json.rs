//! TCP as JSON: types of its own, as the rest of the format. States go by their names in OpenTelemetry.

use std::net::IpAddr;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    aggregate::tcp::{
        Counters, Dwell, FailedConnects, Gap, HalfClosed, ListenQueue, PeerSockets, Point, Ports,
        Process, ProcessSockets, Settings, StateDwell, States, Tcp,
    },
    present::{
        errno, escape,
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
    census: StatesJson,
}

impl PointJson {
    fn of(p: &Point) -> Self {
        Self {
            offset_ns: p.at_ns,
            census: StatesJson(p.states),
        }
    }
}

/// A process, flattened into what it is part of.
#[derive(Serialize)]
pub(super) struct ProcessRef {
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

#[derive(Serialize)]
struct PortsJson {
    peer: PeerJson,
    #[serde(rename = "network.local.address")]
    local: Option<IpAddr>,
    usable: u64,
    used: u64,
    used_peak: u64,
    sockets: StatesJson,
    /// Of `time_wait`: what tcp_tw_reuse gives to new connects.
    reusable: u64,
    opened_per_s: f64,
    closed_first_by_us_per_s: f64,
    growth_per_s: f64,
    levels_off_at: f64,
    seconds_left: Option<f64>,
    closer: Option<ProcessRef>,
    opener: Option<ProcessRef>,
    /// Connects that failed with EADDRNOTAVAIL.
    failures: u64,
    first_failure_offset_ns: Option<u64>,
}

impl PortsJson {
    fn of(p: &Ports) -> Self {
        Self {
            peer: PeerJson::of(&p.peer),
            local: p.local,
            usable: p.usable,
            used: p.used(),
            used_peak: p.peak,
            sockets: StatesJson(p.states),
            reusable: p.reusable,
            opened_per_s: p.opened_per_s,
            closed_first_by_us_per_s: p.closed_by_us_per_s,
            growth_per_s: p.growth_per_s,
            levels_off_at: p.levels_off_at,
            seconds_left: p.seconds_left,
            closer: ProcessRef::maybe(&p.closer),
            opener: ProcessRef::maybe(&p.opener),
            failures: p.failures,
            first_failure_offset_ns: p.first_failure_ns,
        }
    }
}

#[derive(Serialize)]
struct HalfClosedJson {
    peer: PeerJson,
    orphaned: u64,
    held: u64,
    peak: u64,
    holders: Vec<HolderJson>,
    /// How long those that left were in it.
    left_duration: Vec<Bucket>,
    /// How long those that are there have been in it, at least.
    age: Vec<Bucket>,
    entered_per_s: f64,
}

#[derive(Serialize)]
struct HolderJson {
    #[serde(flatten)]
    process: ProcessRef,
    sockets: u64,
    /// The lowest of their descriptors.
    fd: i32,
}

impl HalfClosedJson {
    fn of(h: &HalfClosed) -> Self {
        let holder = |(process, sockets, fd): &(Process, u64, i32)| HolderJson {
            process: ProcessRef::of(process),
            sockets: *sockets,
            fd: *fd,
        };
        Self {
            peer: PeerJson::of(&h.peer),
            orphaned: h.orphaned,
            held: h.held,
            peak: h.peak,
            holders: h.holders.iter().map(holder).collect(),
            left_duration: buckets(&h.left),
            age: buckets(&h.age),
            entered_per_s: h.entered_per_s,
        }
    }
}

#[derive(Serialize)]
struct ListenerJson {
    address: PeerJson,
    #[serde(rename = "network.transport")]
    transport: &'static str,
    owners: Vec<ProcessRef>,
    queue: u64,
    queue_peak: u64,
    limit: u64,
    syn_queue_peak: u64,
    looks: u64,
    looks_full: u64,
    overflows: u64,
    /// True when `overflows` may hold drops for other reasons.
    overflows_inexact: bool,
    accepted: u64,
    /// From established to accept().
    accept_wait: Vec<Bucket>,
}

impl ListenerJson {
    fn of(l: &ListenQueue) -> Self {
        Self {
            address: PeerJson::of(&l.address),
            transport: if l.tcp { "tcp" } else { "unix" },
            owners: l.owners.iter().map(ProcessRef::of).collect(),
            queue: l.queue,
            queue_peak: l.queue_max,
            limit: l.limit,
            syn_queue_peak: l.syn_queue_max,
            looks: l.looks,
            looks_full: l.full,
            overflows: l.overflows,
            overflows_inexact: l.overflows_inexact,
            accepted: l.accepted,
            accept_wait: buckets(&l.wait),
        }
    }
}

#[derive(Serialize)]
struct FailedJson {
    #[serde(flatten)]
    process: ProcessRef,
    peer: PeerJson,
    #[serde(rename = "error.type")]
    error: String,
    count: u64,
    first_offset_ns: u64,
    last_offset_ns: u64,
}

impl FailedJson {
    fn of(f: &FailedConnects) -> Self {
        Self {
            process: ProcessRef::of(&f.process),
            peer: PeerJson::of(&f.peer),
            error: errno::name(f.errno),
            count: f.count,
            first_offset_ns: f.first_ns,
            last_offset_ns: f.last_ns,
        }
    }
}

#[derive(Serialize)]
struct GapJson {
    peer: PeerJson,
    start_offset_ns: u64,
    /// False: it began with the first failed connect, at the latest.
    start_seen: bool,
    /// Null when it lasts.
    end_offset_ns: Option<u64>,
    length_ns: Option<u64>,
    failed_connects: u64,
    errors: Vec<ErrorJson>,
    refused: Vec<RefusedJson>,
    back: Option<ProcessRef>,
    served_before: bool,
}

#[derive(Serialize)]
struct ErrorJson {
    #[serde(rename = "error.type")]
    name: String,
    count: u64,
}

#[derive(Serialize)]
struct RefusedJson {
    #[serde(flatten)]
    process: ProcessRef,
    count: u64,
}

impl GapJson {
    fn of(g: &Gap) -> Self {
        Self {
            peer: PeerJson::of(&g.peer),
            start_offset_ns: g.start_ns,
            start_seen: g.start_seen,
            end_offset_ns: g.end_ns,
            length_ns: g.end_ns.map(|end| end.saturating_sub(g.start_ns)),
            failed_connects: g.failed.iter().map(|f| f.1).sum(),
            errors: g
                .failed
                .iter()
                .map(|&(e, count)| ErrorJson {
                    name: errno::name(e),
                    count,
                })
                .collect(),
            refused: g
                .refused
                .iter()
                .map(|(process, count)| RefusedJson {
                    process: ProcessRef::of(process),
                    count: *count,
                })
                .collect(),
            back: ProcessRef::maybe(&g.back),
            served_before: g.served_before,
        }
    }
}

#[derive(Serialize)]
struct CountersJson {
    listen_overflows: Option<u64>,
    listen_drops: Option<u64>,
    syn_queue_drops: Option<u64>,
    syncookies_sent: Option<u64>,
    time_wait_expired: Option<u64>,
    time_wait_reused: Option<u64>,
    time_wait_overflow: Option<u64>,
    active_opens: Option<u64>,
    passive_opens: Option<u64>,
    attempt_fails: Option<u64>,
    orphans: Option<u64>,
}

impl CountersJson {
    fn of(c: &Counters) -> Self {
        Self {
            listen_overflows: c.listen_overflows,
            listen_drops: c.listen_drops,
            syn_queue_drops: c.syn_queue_drops,
            syncookies_sent: c.syncookies_sent,
            time_wait_expired: c.time_wait_expired,
            time_wait_reused: c.time_wait_reused,
            time_wait_overflow: c.time_wait_overflow,
            active_opens: c.active_opens,
            passive_opens: c.passive_opens,
            attempt_fails: c.attempt_fails,
            orphans: c.orphans,
        }
    }
}

/// Settings by their names in /proc/sys/net; null where one cannot be read.
#[derive(Serialize)]
struct SettingsJson {
    ip_local_port_range: Option<(u16, u16)>,
    ip_local_reserved_ports: Vec<(u16, u16)>,
    tcp_tw_reuse: Option<u32>,
    tcp_timestamps: Option<u32>,
    tcp_fin_timeout: Option<u32>,
    somaxconn: Option<u32>,
    tcp_max_syn_backlog: Option<u32>,
    tcp_syncookies: Option<u32>,
    tcp_max_tw_buckets: Option<u32>,
    tcp_max_orphans: Option<u32>,
    tcp_abort_on_overflow: Option<u32>,
}

impl SettingsJson {
    fn of(s: &Settings) -> Self {
        Self {
            ip_local_port_range: s.port_range,
            ip_local_reserved_ports: s.reserved_ports.clone(),
            tcp_tw_reuse: s.tw_reuse,
            tcp_timestamps: s.timestamps,
            tcp_fin_timeout: s.fin_timeout_s,
            somaxconn: s.somaxconn,
            tcp_max_syn_backlog: s.max_syn_backlog,
            tcp_syncookies: s.syncookies,
            tcp_max_tw_buckets: s.max_tw_buckets,
            tcp_max_orphans: s.max_orphans,
            tcp_abort_on_overflow: s.abort_on_overflow,
        }
    }
}
