//! Requests as JSON: what groups of processes did with their time, and with whom.

use probe_common::part;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Bucket, PartsJson, PeerJson, Text,
    values::{buckets, hdr_buckets},
};
use crate::{
    aggregate::{Group, PeerTime, RequestPeer, RequestSpan, RequestSummary, Use},
    present::{escape, names},
};

/// Processes that serve the same requests: a PHP-FPM pool, or all processes of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupJson {
    /// The pool's name, or the process name.
    pub group: Text,
    /// True for a PHP-FPM pool.
    pub php_fpm: bool,
    /// Processes that were followed at the window's end, or until they ended in it.
    pub workers: u32,
    /// Of those: event loops, whose requests overlap and cannot be told apart. Their time is in `worker_time`, but they
    /// have no requests.
    pub event_driven_workers: u32,
    /// Wall time of the workers in the window.
    pub worker_time: PartsJson,
    /// Requests that ended in the window and whose start was seen.
    pub requests: u64,
    /// Of those: FastCGI ones.
    pub fastcgi_requests: u64,
    /// Requests still open at the end, begun before watching began, or cut off by the worker's end.
    pub incomplete_requests: u64,
    /// Connections that closed without a byte of request (health probes): no requests.
    pub empty_connections: u64,
    /// Requests whose worker forked while they were open: left out, as the child may have served them.
    pub forked_requests: u64,
    /// Wall time of finished requests, all together.
    pub wall_ns: u64,
    /// Of finished requests; the parts sum to `wall_ns`.
    pub parts: PartsJson,
    /// Of requests that were not seen from begin to end, within the window.
    pub incomplete_parts: PartsJson,
    /// Wall time of finished requests, each.
    pub duration: Vec<Bucket>,
    /// Calls of connect() in finished requests.
    pub connects: u64,
    /// Calls of poll and its kin in finished requests.
    pub polls: u64,
    /// By peer, most waited-for first.
    pub peers: Vec<PeerTimeJson>,
    /// The slowest requests, slowest first: finished ones and those still open.
    pub slowest: Vec<RequestJson>,
}

impl GroupJson {
    pub(super) fn of(g: &Group) -> Self {
        Self {
            group: Text::name(&g.name),
            php_fpm: g.php_fpm,
            workers: g.workers,
            event_driven_workers: g.event_driven,
            worker_time: PartsJson::of(&g.worker_parts),
            requests: g.requests,
            fastcgi_requests: g.fastcgi_requests,
            incomplete_requests: g.incomplete,
            empty_connections: g.empty_connections,
            forked_requests: g.forked_requests,
            wall_ns: g.wall_ns,
            parts: PartsJson::of(&g.parts),
            incomplete_parts: PartsJson::of(&g.incomplete_parts),
            duration: hdr_buckets(&g.wall),
            connects: g.connects,
            polls: g.polls,
            peers: g.peers.iter().map(PeerTimeJson::of).collect(),
            slowest: g.slowest.iter().map(RequestJson::of).collect(),
        }
    }
}

/// What the requests of a group did with one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerTimeJson {
    /// Who.
    pub peer: PeerJson,
    /// In finished requests.
    pub finished: UseJson,
    /// In incomplete requests, within the window.
    pub incomplete: UseJson,
    /// Of the incomplete requests' wait: not ended with the window, its peer inferred.
    pub assumed_ns: u64,
    /// When the first request began that waited for it for the larger part of its time, after the window's start (0 when
    /// before); null when there was none. Since 1.1.
    pub mostly_since_offset_ns: Option<u64>,
    /// Time blocked on it in each finished request.
    pub wait_per_request: Vec<Bucket>,
    /// From sending to the last byte of the answer, each; in requests or not.
    pub exchange_duration: Vec<Bucket>,
}

impl PeerTimeJson {
    fn of(p: &PeerTime) -> Self {
        Self {
            peer: PeerJson::of(&p.peer),
            finished: UseJson::of(&p.done),
            incomplete: UseJson::of(&p.open),
            assumed_ns: p.assumed_ns,
            mostly_since_offset_ns: p.mostly_since_ns,
            wait_per_request: hdr_buckets(&p.wait_per_request),
            exchange_duration: buckets(&p.exchange),
        }
    }
}

/// Sums over some requests' dealings with one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UseJson {
    /// Requests that used it.
    pub requests: u64,
    /// Of those: requests that waited for it for the larger part of their wall time.
    pub requests_mostly_waiting: u64,
    /// Time blocked on it.
    pub wait_ns: u64,
    /// The longest single wait.
    pub longest_wait_ns: u64,
    /// Sum over the requests of each one's longest wait.
    pub longest_wait_sum_ns: u64,
    /// Waits that blocked.
    pub waits: u64,
    /// Calls of connect().
    pub connects: u64,
    /// Rounds of sending and receiving.
    pub exchanges: u64,
    /// Connects made while an earlier one of the request was unanswered.
    pub overlapped_connects: u64,
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

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestJson {
    /// The process that served it.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Its start after the window's start; negative when before.
    pub start_offset_ns: i64,
    /// How long it took, or has taken so far.
    pub wall_ns: u64,
    /// True when it had not ended with the window.
    pub unfinished: bool,
    /// True when its start was not seen.
    pub start_unseen: bool,
    /// All of its time, also before the window.
    pub parts: PartsJson,
    /// Script file (FastCGI SCRIPT_FILENAME); empty where it is not known.
    pub script: Text,
    /// URI (FastCGI REQUEST_URI); empty where it is not known.
    #[serde(rename = "url.path")]
    pub uri: Text,
    /// Calls of connect().
    pub connects: u32,
    /// Its peers, most waited-for first.
    pub peers: Vec<RequestPeerJson>,
    /// Its waits of at least 0.1 ms, in order of time.
    pub waits: Vec<SpanJson>,
    /// Such waits that `waits` has no place for.
    pub waits_left_out: u32,
}

/// What one request did with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPeerJson {
    /// Who.
    pub peer: PeerJson,
    /// Time blocked on it.
    pub wait_ns: u64,
    /// Calls of connect().
    pub connects: u32,
    /// Rounds of sending and receiving.
    pub exchanges: u32,
}

/// One wait of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpanJson {
    /// Its begin after the request's start, in whole microseconds.
    pub start_ns: u64,
    /// How long it was, in whole microseconds.
    pub length_ns: u64,
    /// The part that it is charged to: `network`, `disk`, ...
    pub part: Text,
    /// The name of the peer, where it was one.
    pub peer: Option<Text>,
}

impl RequestJson {
    pub(super) fn of(r: &RequestSummary) -> Self {
        Self {
            pid: r.pid,
            start_offset_ns: r.start_ns,
            wall_ns: r.wall_ns,
            unfinished: r.unfinished,
            start_unseen: r.partial,
            parts: PartsJson::of(&r.parts),
            script: Text::name(&r.script),
            uri: Text::name(&r.uri),
            connects: r.connects,
            peers: r.peers.iter().map(RequestPeerJson::of).collect(),
            waits: r.spans.iter().map(SpanJson::of).collect(),
            waits_left_out: r.spans_lost,
        }
    }
}

impl RequestPeerJson {
    fn of(p: &RequestPeer) -> Self {
        Self {
            peer: PeerJson::of(&p.peer),
            wait_ns: p.wait_ns,
            connects: p.connects,
            exchanges: p.exchanges,
        }
    }
}

impl SpanJson {
    fn of(s: &RequestSpan) -> Self {
        Self {
            start_ns: s.start_ns,
            length_ns: s.length_ns,
            part: part::NAMES[s.part].into(),
            peer: s.peer.as_ref().map(|p| names::peer(p, escape::MAX).into()),
        }
    }
}
