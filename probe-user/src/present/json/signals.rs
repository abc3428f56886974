//! What was measured, as JSON.

use probe_common::part;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    aggregate::{
        Calls, Durations, Group, Histogram, Parts, Peer, PeerTime, ProcessTime, RequestSummary,
        Use, Window,
    },
    present::{errno, escape, names},
};

/// Everything measured.
#[derive(Serialize)]
pub(in crate::present) struct Signals {
    requests: Vec<GroupJson>,
    calls: Vec<CallsJson>,
    processes: Vec<ProcessJson>,
    processes_left_out: u64,
}

pub(super) fn of(window: &Window) -> Signals {
    Signals {
        requests: window.groups.iter().map(GroupJson::of).collect(),
        calls: window.calls.iter().map(CallsJson::of).collect(),
        processes: window.processes.iter().map(ProcessJson::of).collect(),
        processes_left_out: window.processes_left_out,
    }
}

/// One bucket of a histogram: durations of at most `le_ns` and more than the bucket before.
#[derive(Serialize)]
pub(in crate::present) struct Bucket {
    /// Null for the last one, which takes everything longer.
    le_ns: Option<u64>,
    count: u64,
}

/// A kernel histogram's buckets in use.
pub(in crate::present) fn buckets(durations: &Durations) -> Vec<Bucket> {
    durations
        .iter()
        .map(|(_, end, count)| Bucket {
            le_ns: (end != u64::MAX).then(|| end - 1),
            count,
        })
        .collect()
}

fn hdr_buckets(histogram: &Histogram) -> Vec<Bucket> {
    histogram
        .iter_recorded()
        .map(|v| Bucket {
            le_ns: Some(v.value_iterated_to()),
            count: v.count_at_value().into(),
        })
        .collect()
}

/// Time by part: `{"on_cpu_ns": 1, ...}`, all parts in order.
struct PartsJson(Parts);

impl Serialize for PartsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(part::COUNT))?;
        for (name, ns) in part::NAMES.iter().zip(self.0) {
            map.serialize_entry(&format!("{name}_ns"), &ns)?;
        }
        map.end()
    }
}

/// A peer: its name as text outputs show it, and its address in OpenTelemetry's terms.
#[derive(Serialize)]
pub(in crate::present) struct PeerJson {
    name: String,
    /// `inet`, `unix`, `inbound`, `listener`, `other_family` or `special`.
    kind: &'static str,
    #[serde(rename = "network.transport", skip_serializing_if = "Option::is_none")]
    transport: Option<String>,
    #[serde(
        rename = "network.peer.address",
        skip_serializing_if = "Option::is_none"
    )]
    address: Option<String>,
    #[serde(rename = "network.peer.port", skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl PeerJson {
    pub fn of(peer: &Peer) -> Self {
        let (kind, transport, address, port) = match peer {
            Peer::Inet {
                transport,
                address,
                port,
            } => (
                "inet",
                Some(transport.clone()),
                Some(address.to_string()),
                Some(*port),
            ),
            Peer::Unix { path } => (
                "unix",
                Some("unix".to_owned()),
                Some(escape::name(path)),
                None,
            ),
            Peer::Inbound { address, .. } => {
                ("inbound", None, address.map(|a| a.to_string()), None)
            }
            Peer::Listener { .. } => ("listener", None, None, None),
            Peer::Family(_) => ("other_family", None, None, None),
            Peer::Special(_) => ("special", None, None, None),
        };
        Self {
            name: names::peer(peer, escape::MAX),
            kind,
            transport,
            address,
            port,
        }
    }
}

#[derive(Serialize)]
struct GroupJson {
    group: String,
    php_fpm: bool,
    workers: u32,
    event_driven_workers: u32,
    worker_time: PartsJson,
    requests: u64,
    fastcgi_requests: u64,
    incomplete_requests: u64,
    empty_connections: u64,
    forked_requests: u64,
    wall_ns: u64,
    /// Of finished requests; the parts sum to `wall_ns`.
    parts: PartsJson,
    /// Of requests that were not seen from begin to end, within the window.
    incomplete_parts: PartsJson,
    duration: Vec<Bucket>,
    connects: u64,
    polls: u64,
    peers: Vec<PeerTimeJson>,
    slowest: Vec<RequestJson>,
}

impl GroupJson {
    fn of(g: &Group) -> Self {
        Self {
            group: escape::name(&g.name),
            php_fpm: g.php_fpm,
            workers: g.workers,
            event_driven_workers: g.event_driven,
            worker_time: PartsJson(g.worker_parts),
            requests: g.requests,
            fastcgi_requests: g.fastcgi_requests,
            incomplete_requests: g.incomplete,
            empty_connections: g.empty_connections,
            forked_requests: g.forked_requests,
            wall_ns: g.wall_ns,
            parts: PartsJson(g.parts),
            incomplete_parts: PartsJson(g.incomplete_parts),
            duration: hdr_buckets(&g.wall),
            connects: g.connects,
            polls: g.polls,
            peers: g.peers.iter().map(PeerTimeJson::of).collect(),
            slowest: g.slowest.iter().map(RequestJson::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct PeerTimeJson {
    peer: PeerJson,
    /// In finished requests.
    finished: UseJson,
    /// In incomplete requests, within the window.
    incomplete: UseJson,
    /// Of the incomplete requests' wait: not ended with the window, its peer inferred.
    assumed_ns: u64,
    wait_per_request: Vec<Bucket>,
    exchange_duration: Vec<Bucket>,
}

impl PeerTimeJson {
    fn of(p: &PeerTime) -> Self {
        Self {
            peer: PeerJson::of(&p.peer),
            finished: UseJson::of(&p.done),
            incomplete: UseJson::of(&p.open),
            assumed_ns: p.assumed_ns,
            wait_per_request: hdr_buckets(&p.wait_per_request),
            exchange_duration: buckets(&p.exchange),
        }
    }
}

#[derive(Serialize)]
struct UseJson {
    requests: u64,
    requests_mostly_waiting: u64,
    wait_ns: u64,
    longest_wait_ns: u64,
    longest_wait_sum_ns: u64,
    waits: u64,
    connects: u64,
    exchanges: u64,
    overlapped_connects: u64,
}

impl UseJson {
    fn of(u: &Use) -> Self {
        Self {
            requests: u.requests,
            requests_mostly_waiting: u.mostly,
            wait_ns: u.wait_ns,
            longest_wait_ns: u.longest_ns,
            longest_wait_sum_ns: u.longest_sum_ns,
            waits: u.waits,
            connects: u.connects,
            exchanges: u.exchanges,
            overlapped_connects: u.overlapped,
        }
    }
}

#[derive(Serialize)]
struct RequestJson {
    #[serde(rename = "process.pid")]
    pid: u32,
    /// After the window's start; negative when before.
    start_offset_ns: i64,
    wall_ns: u64,
    unfinished: bool,
    start_unseen: bool,
    parts: PartsJson,
    script: String,
    #[serde(rename = "url.path")]
    uri: String,
    connects: u32,
    peers: Vec<RequestPeerJson>,
    waits: Vec<SpanJson>,
    waits_left_out: u32,
}

#[derive(Serialize)]
struct RequestPeerJson {
    peer: PeerJson,
    wait_ns: u64,
    connects: u32,
    exchanges: u32,
}

#[derive(Serialize)]
struct SpanJson {
    start_ns: u64,
    length_ns: u64,
    part: &'static str,
    peer: Option<String>,
}

impl RequestJson {
    fn of(r: &RequestSummary) -> Self {
        Self {
            pid: r.pid,
            start_offset_ns: r.start_ns,
            wall_ns: r.wall_ns,
            unfinished: r.unfinished,
            start_unseen: r.partial,
            parts: PartsJson(r.parts),
            script: escape::name(&r.script),
            uri: escape::name(&r.uri),
            connects: r.connects,
            peers: r
                .peers
                .iter()
                .map(|p| RequestPeerJson {
                    peer: PeerJson::of(&p.peer),
                    wait_ns: p.wait_ns,
                    connects: p.connects,
                    exchanges: p.exchanges,
                })
                .collect(),
            waits: r
                .spans
                .iter()
                .map(|s| SpanJson {
                    start_ns: s.start_ns,
                    length_ns: s.length_ns,
                    part: part::NAMES[s.part],
                    peer: s.peer.as_ref().map(|p| names::peer(p, escape::MAX)),
                })
                .collect(),
            waits_left_out: r.spans_lost,
        }
    }
}

#[derive(Serialize)]
struct CallsJson {
    /// Null for the processes of a group that have no row of their own.
    #[serde(rename = "process.pid")]
    pid: Option<u32>,
    #[serde(rename = "process.executable.name")]
    comm: String,
    op: &'static str,
    peer: PeerJson,
    count: u64,
    total_ns: u64,
    blocked_ns: u64,
    /// Since watching began.
    max_ns: u64,
    errors: Vec<ErrorJson>,
    duration: Vec<Bucket>,
}

/// Calls that failed with one errno.
#[derive(Serialize)]
struct ErrorJson {
    #[serde(rename = "error.type")]
    name: String,
    count: u64,
}

impl CallsJson {
    fn of(c: &Calls) -> Self {
        Self {
            pid: c.pid,
            comm: escape::name(&c.comm),
            op: c.op,
            peer: PeerJson::of(&c.peer),
            count: c.count,
            total_ns: c.total_ns,
            blocked_ns: c.blocked_ns,
            max_ns: c.max_ns,
            errors: c
                .errors
                .iter()
                .map(|&(errno, count)| ErrorJson {
                    name: if errno == 0 {
                        "_OTHER".to_owned()
                    } else {
                        errno::name(errno)
                    },
                    count,
                })
                .collect(),
            duration: buckets(&c.durations),
        }
    }
}

/// A process, and what it does at the window's end.
#[derive(Serialize)]
pub(in crate::present) struct ProcessJson {
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "process.parent_pid")]
    ppid: u32,
    #[serde(rename = "process.executable.name")]
    comm: String,
    group: String,
    ended: bool,
    threads: u32,
    event_driven: bool,
    requests: u64,
    parts: PartsJson,
    current: Option<RequestJson>,
    waits_for: Option<WaitsForJson>,
}

#[derive(Serialize)]
struct WaitsForJson {
    part: &'static str,
    peer: Option<String>,
    for_ns: u64,
}

impl ProcessJson {
    pub fn of(p: &ProcessTime) -> Self {
        Self {
            pid: p.process.pid,
            ppid: p.process.ppid,
            comm: escape::name(&p.process.comm),
            group: escape::name(&p.group),
            ended: p.process.ended,
            threads: p.threads,
            event_driven: p.event_driven,
            requests: p.requests,
            parts: PartsJson(p.parts),
            current: p.current.as_deref().map(RequestJson::of),
            waits_for: p.waits_for.as_ref().map(|w| WaitsForJson {
                part: part::NAMES[w.part],
                peer: w.peer.as_ref().map(|peer| names::peer(peer, escape::MAX)),
                for_ns: w.for_ns,
            }),
        }
    }
}
