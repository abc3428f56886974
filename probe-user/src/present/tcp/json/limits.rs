//! What limits connections, and what failed, as JSON.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ProcessRef, StatesJson};
use crate::{
    aggregate::tcp::{
        Counters, FailedConnects, Gap, HalfClosed, ListenQueue, Ports, Process, Settings,
    },
    present::{
        errno,
        json::{Bucket, ErrorJson, PeerJson, Text, buckets, finite},
    },
};

/// Ephemeral ports from one local address to one destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortsJson {
    /// The destination.
    pub peer: PeerJson,
    /// The local address; null when no socket is left to the destination.
    #[serde(rename = "network.local.address")]
    pub local: Option<IpAddr>,
    /// Ports that can be used: the range, less reserved ones and those that someone listens on.
    pub usable: u64,
    /// Ports at the last census that a new connect cannot have.
    pub used: u64,
    /// The most of them at any census of the window.
    pub used_peak: u64,
    /// Ports in use at the last census, by state.
    pub sockets: StatesJson,
    /// Of `time_wait`: what tcp_tw_reuse gives to new connects.
    pub reusable: u64,
    /// Connections opened to it per second.
    pub opened_per_s: f64,
    /// Of those that ended: how many per second this side closed first, and so left in TIME_WAIT.
    pub closed_first_by_us_per_s: f64,
    /// Growth of the ports in use per second; negative when they get fewer.
    pub growth_per_s: f64,
    /// Ports in use when this goes on as it does.
    pub levels_off_at: f64,
    /// Seconds until no port is left; null when that will not happen as things are.
    pub seconds_left: Option<f64>,
    /// The process that closes first; null where none was seen.
    pub closer: Option<ProcessRef>,
    /// The process that connects; null where none was seen.
    pub opener: Option<ProcessRef>,
    /// Connects that failed with EADDRNOTAVAIL.
    pub failures: u64,
    /// When the first of them was, after the window's start; null when there was none.
    pub first_failure_offset_ns: Option<u64>,
}

impl PortsJson {
    pub(super) fn of(p: &Ports) -> Self {
        Self {
            peer: PeerJson::of(&p.peer),
            local: p.local,
            usable: p.usable,
            used: p.used(),
            used_peak: p.peak,
            sockets: StatesJson::of(&p.states),
            reusable: p.reusable,
            opened_per_s: finite(p.opened_per_s),
            closed_first_by_us_per_s: finite(p.closed_by_us_per_s),
            growth_per_s: finite(p.growth_per_s),
            levels_off_at: finite(p.levels_off_at),
            seconds_left: p.seconds_left.map(finite),
            closer: ProcessRef::maybe(&p.closer),
            opener: ProcessRef::maybe(&p.opener),
            failures: p.failures,
            first_failure_offset_ns: p.first_failure_ns,
        }
    }
}

/// FIN_WAIT_2 towards one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HalfClosedJson {
    /// Who has not closed.
    pub peer: PeerJson,
    /// Sockets at the last census that no process holds.
    pub orphaned: u64,
    /// Sockets at the last census that a process holds.
    pub held: u64,
    /// The most of both at once in the window.
    pub peak: u64,
    /// Who holds them, most first.
    pub holders: Vec<HolderJson>,
    /// How long those that left were in it.
    pub left_duration: Vec<Bucket>,
    /// How long those that are there have been in it, at least.
    pub age: Vec<Bucket>,
    /// Sockets that came into the state, per second.
    pub entered_per_s: f64,
}

/// A process that holds half-closed sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HolderJson {
    /// Who.
    #[serde(flatten)]
    pub process: ProcessRef,
    /// How many it holds.
    pub sockets: u64,
    /// The lowest of their descriptors.
    pub fd: i32,
}

impl HalfClosedJson {
    pub(super) fn of(h: &HalfClosed) -> Self {
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
            entered_per_s: finite(h.entered_per_s),
        }
    }
}

/// A listening socket and its queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerJson {
    /// Its address.
    pub address: PeerJson,
    /// `tcp` or `unix`.
    #[serde(rename = "network.transport")]
    pub transport: Text,
    /// Processes that hold it, at most 8.
    pub owners: Vec<ProcessRef>,
    /// Connections waiting for accept() at the last look.
    pub queue: u64,
    /// The most seen waiting.
    pub queue_peak: u64,
    /// The most that may wait.
    pub limit: u64,
    /// TCP: handshakes not finished, the most seen.
    pub syn_queue_peak: u64,
    /// Looks at the queue.
    pub looks: u64,
    /// Of the looks: the queue was full.
    pub looks_full: u64,
    /// Handshakes and connections refused or dropped in the window because the queue was full.
    pub overflows: u64,
    /// When the first of them was seen, after the window's start; null when there was none, or that is not known. Since
    /// 1.1.
    pub first_overflow_offset_ns: Option<u64>,
    /// True when several listeners dropped handshakes at once, not all for want of room: `overflows` is this one's part by its
    /// drops.
    pub overflows_inexact: bool,
    /// TCP: connections accepted in the window.
    pub accepted: u64,
    /// TCP: from established to accept(), each.
    pub accept_wait: Vec<Bucket>,
}

impl ListenerJson {
    pub(super) fn of(l: &ListenQueue) -> Self {
        Self {
            address: PeerJson::of(&l.address),
            transport: if l.tcp { "tcp" } else { "unix" }.into(),
            owners: l.owners.iter().map(ProcessRef::of).collect(),
            queue: l.queue,
            queue_peak: l.queue_max,
            limit: l.limit,
            syn_queue_peak: l.syn_queue_max,
            looks: l.looks,
            looks_full: l.full,
            overflows: l.overflows,
            first_overflow_offset_ns: l.first_overflow_ns,
            overflows_inexact: l.overflows_inexact,
            accepted: l.accepted,
            accept_wait: buckets(&l.wait),
        }
    }
}

/// Connects of one process to one address that failed in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedJson {
    /// Who tried; process 0 for all that found no row.
    #[serde(flatten)]
    pub process: ProcessRef,
    /// The address asked for.
    pub peer: PeerJson,
    /// Name of the errno, such as `ECONNREFUSED`.
    #[serde(rename = "error.type")]
    pub error: Text,
    /// How many.
    pub count: u64,
    /// The first, after the window's start.
    pub first_offset_ns: u64,
    /// The last, after the window's start.
    pub last_offset_ns: u64,
}

impl FailedJson {
    pub(super) fn of(f: &FailedConnects) -> Self {
        Self {
            process: ProcessRef::of(&f.process),
            peer: PeerJson::of(&f.peer),
            error: errno::name(f.errno).into(),
            count: f.count,
            first_offset_ns: f.first_ns,
            last_offset_ns: f.last_ns,
        }
    }
}

/// A stretch of time in which connects to an address failed because nobody listened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GapJson {
    /// The address.
    pub peer: PeerJson,
    /// When it began, after the window's start.
    pub start_offset_ns: u64,
    /// False: it began with the first failed connect, at the latest.
    pub start_seen: bool,
    /// When it ended, after the window's start; null when it lasts.
    pub end_offset_ns: Option<u64>,
    /// Its length; null when it lasts.
    pub length_ns: Option<u64>,
    /// Connects that failed in it.
    pub failed_connects: u64,
    /// The same by errno, most first.
    pub errors: Vec<ErrorJson>,
    /// Processes that were refused, most first, at most 8.
    pub refused: Vec<RefusedProcessJson>,
    /// Who listened (again) at its end; null where that was not seen.
    pub back: Option<ProcessRef>,
    /// True when the address was served before the gap; otherwise it may never have been.
    pub served_before: bool,
}

/// A process whose connects failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedProcessJson {
    /// Who.
    #[serde(flatten)]
    pub process: ProcessRef,
    /// How many of its connects.
    pub count: u64,
}

impl GapJson {
    pub(super) fn of(g: &Gap) -> Self {
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
                .map(|&(errno, count)| ErrorJson::of(errno, count))
                .collect(),
            refused: g
                .refused
                .iter()
                .map(|(process, count)| RefusedProcessJson {
                    process: ProcessRef::of(process),
                    count: *count,
                })
                .collect(),
            back: ProcessRef::maybe(&g.back),
            served_before: g.served_before,
        }
    }
}

/// The kernel's counters: their growth in the window; null where the kernel has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpCountersJson {
    /// Connections that a full accept queue had no place for (ListenOverflows).
    pub listen_overflows: Option<u64>,
    /// Connections dropped by listening sockets for any reason (ListenDrops).
    pub listen_drops: Option<u64>,
    /// Handshakes dropped because too many were under way (TCPReqQFullDrop).
    pub syn_queue_drops: Option<u64>,
    /// Handshakes answered with a SYN cookie (SyncookiesSent).
    pub syncookies_sent: Option<u64>,
    /// Sockets whose TIME_WAIT ended (TW).
    pub time_wait_expired: Option<u64>,
    /// Sockets in TIME_WAIT that a new connection took over (TWRecycled).
    pub time_wait_reused: Option<u64>,
    /// Sockets that found no place in TIME_WAIT (TCPTimeWaitOverflow).
    pub time_wait_overflow: Option<u64>,
    /// Connections opened by this side (ActiveOpens).
    pub active_opens: Option<u64>,
    /// Connections opened by the other side (PassiveOpens).
    pub passive_opens: Option<u64>,
    /// Connections that failed before they were there (AttemptFails).
    pub attempt_fails: Option<u64>,
    /// Sockets without a process: no growth, but the most at once.
    pub orphans: Option<u64>,
}

impl TcpCountersJson {
    pub(super) fn of(c: &Counters) -> Self {
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

/// Settings by their names in /proc/sys/net, at the window's end; null where one cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpSettingsJson {
    /// First and last of the ports that connects choose from.
    pub ip_local_port_range: Option<(u16, u16)>,
    /// Ranges of ports that connects do not choose, first and last each.
    pub ip_local_reserved_ports: Vec<(u16, u16)>,
    /// 1: new connections may take over sockets in TIME_WAIT; 2: only over loopback.
    pub tcp_tw_reuse: Option<u32>,
    /// 0: off. Without timestamps, tcp_tw_reuse does nothing.
    pub tcp_timestamps: Option<u32>,
    /// Seconds that a socket without a process stays in FIN_WAIT_2.
    pub tcp_fin_timeout: Option<u32>,
    /// The longest accept queue.
    pub somaxconn: Option<u32>,
    /// Handshakes that may be under way for one listening socket.
    pub tcp_max_syn_backlog: Option<u32>,
    /// 1: SYN cookies when too many handshakes are under way; 2: always.
    pub tcp_syncookies: Option<u32>,
    /// Sockets that may be in TIME_WAIT.
    pub tcp_max_tw_buckets: Option<u32>,
    /// Sockets without a process that there may be.
    pub tcp_max_orphans: Option<u32>,
    /// 1: a connection that finds no place in the accept queue is reset.
    pub tcp_abort_on_overflow: Option<u32>,
}

impl TcpSettingsJson {
    pub(super) fn of(s: &Settings) -> Self {
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
