//! What limits connections, and what failed, as JSON.

use std::net::IpAddr;

use serde::Serialize;

use super::{ProcessRef, StatesJson};
use crate::{
    aggregate::tcp::{
        Counters, FailedConnects, Gap, HalfClosed, ListenQueue, Ports, Process, Settings,
    },
    present::{
        errno,
        json::{Bucket, PeerJson, buckets},
    },
};

#[derive(Serialize)]
pub(super) struct PortsJson {
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
    pub fn of(p: &Ports) -> Self {
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
pub(super) struct HalfClosedJson {
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
    pub fn of(h: &HalfClosed) -> Self {
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
pub(super) struct ListenerJson {
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
    pub fn of(l: &ListenQueue) -> Self {
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
pub(super) struct FailedJson {
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
    pub fn of(f: &FailedConnects) -> Self {
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
pub(super) struct GapJson {
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
    pub fn of(g: &Gap) -> Self {
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
pub(super) struct CountersJson {
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
    pub fn of(c: &Counters) -> Self {
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
pub(super) struct SettingsJson {
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
    pub fn of(s: &Settings) -> Self {
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
