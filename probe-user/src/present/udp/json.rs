//! UDP as JSON: types of its own, as the rest of the format.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::{
    aggregate::udp::{
        Agreement, Counters, Dropping, QueuePoint, QueueUse, Settings, Udp, UdpCounters,
    },
    present::tcp::ProcessRef,
};

/// Everything about UDP.
#[derive(Serialize)]
pub(in crate::present) struct UdpJson {
    /// UDP sockets at the last census; null when none could be taken.
    socket_count: Option<u64>,
    /// Sockets that dropped datagrams.
    sockets: Vec<DroppingJson>,
    /// Drops of sockets without a row.
    other_drops: u64,
    queues: Vec<QueueUseJson>,
    agreement: AgreementJson,
    /// Growth in the window; null where the kernel has none.
    counters: CountersJson,
    settings: SettingsJson,
    censuses: u64,
    census_longest_ns: u64,
    census_left_out: u64,
}

impl UdpJson {
    pub fn of(u: &Udp) -> Self {
        Self {
            socket_count: u.total,
            sockets: u.sockets.iter().map(DroppingJson::of).collect(),
            other_drops: u.other_drops,
            queues: u.queues.iter().map(QueueUseJson::of).collect(),
            agreement: AgreementJson::of(&u.agreement),
            counters: CountersJson::of(&u.counters),
            settings: SettingsJson::of(&u.settings),
            censuses: u.censuses,
            census_longest_ns: u.census_ns,
            census_left_out: u.census_left_out,
        }
    }
}

/// Both ends of a socket, flattened into what it is part of.
#[derive(Serialize)]
struct Ends {
    #[serde(rename = "network.transport")]
    transport: &'static str,
    #[serde(rename = "network.local.address")]
    local_address: IpAddr,
    #[serde(rename = "network.local.port")]
    local_port: u16,
    /// Null when it is not connected.
    #[serde(rename = "network.peer.address")]
    peer_address: Option<IpAddr>,
    #[serde(rename = "network.peer.port")]
    peer_port: Option<u16>,
}

impl Ends {
    fn of(local: SocketAddr, remote: Option<SocketAddr>) -> Self {
        Self {
            transport: "udp",
            local_address: local.ip(),
            local_port: local.port(),
            peer_address: remote.map(|r| r.ip()),
            peer_port: remote.map(|r| r.port()),
        }
    }
}

#[derive(Serialize)]
struct DroppingJson {
    #[serde(flatten)]
    ends: Ends,
    owners: Vec<OwnerJson>,
    uid: u32,
    drops: u64,
    /// Null where only the socket's own counter tells of them.
    reasons: Option<ReasonsJson>,
    /// In the worst tenth of a second, at least.
    peak_per_s: f64,
    first_offset_ns: u64,
    last_offset_ns: u64,
    /// Who sent one of the last that were dropped.
    sender: Option<SocketAddr>,
    rcvbuf_bytes: Option<u64>,
    datagram_bytes: Option<f64>,
    /// True when `datagram_bytes` is an upper bound.
    datagram_at_most: bool,
    queue: Vec<QueuePointJson>,
    queue_peak_bytes: u64,
    /// Growth of the socket's own counter between the censuses, and what it was before.
    socket_drops: Option<u64>,
    socket_drops_before: Option<u64>,
}

#[derive(Serialize)]
struct OwnerJson {
    #[serde(flatten)]
    process: ProcessRef,
    fd: u32,
}

#[derive(Serialize)]
struct ReasonsJson {
    buffer_full: u64,
    memory: u64,
    other: u64,
}

#[derive(Serialize)]
struct QueuePointJson {
    /// After the window's start.
    offset_ns: u64,
    bytes: u64,
    datagrams: Option<u64>,
}

impl DroppingJson {
    fn of(s: &Dropping) -> Self {
        let owners = s.owners.iter().map(|(process, fd)| OwnerJson {
            process: ProcessRef::of(process),
            fd: *fd,
        });
        Self {
            ends: Ends::of(s.local, s.remote),
            owners: owners.collect(),
            uid: s.uid,
            drops: s.drops,
            reasons: s.reasons.map(|r| ReasonsJson {
                buffer_full: r.buffer_full,
                memory: r.memory,
                other: r.other,
            }),
            peak_per_s: s.peak_per_s,
            first_offset_ns: s.first_ns,
            last_offset_ns: s.last_ns,
            sender: s.sender,
            rcvbuf_bytes: s.rcvbuf_bytes,
            datagram_bytes: s.datagram_bytes,
            datagram_at_most: s.datagram_at_most,
            queue: s.queue.iter().map(QueuePointJson::of).collect(),
            queue_peak_bytes: s.queue_max_bytes(),
            socket_drops: s.counted,
            socket_drops_before: s.before,
        }
    }
}

impl QueuePointJson {
    fn of(p: &QueuePoint) -> Self {
        Self {
            offset_ns: p.at_ns,
            bytes: p.bytes,
            datagrams: p.datagrams,
        }
    }
}

#[derive(Serialize)]
struct QueueUseJson {
    #[serde(flatten)]
    ends: Ends,
    bytes: u64,
    peak_bytes: u64,
    rcvbuf_bytes: Option<u64>,
}

impl QueueUseJson {
    fn of(q: &QueueUse) -> Self {
        Self {
            ends: Ends::of(q.local, q.remote),
            bytes: q.bytes,
            peak_bytes: q.max_bytes,
            rcvbuf_bytes: q.rcvbuf_bytes,
        }
    }
}

/// Three counts of the drops at full buffers; null where one was not taken.
#[derive(Serialize)]
struct AgreementJson {
    traced: Option<u64>,
    rcvbuf_errors: Option<u64>,
    sockets: Option<u64>,
}

impl AgreementJson {
    fn of(a: &Agreement) -> Self {
        Self {
            traced: a.traced,
            rcvbuf_errors: a.rcvbuf_errors,
            sockets: a.sockets,
        }
    }
}

#[derive(Serialize)]
struct CountersJson {
    ipv4: FamilyJson,
    ipv6: FamilyJson,
}

#[derive(Serialize)]
struct FamilyJson {
    in_datagrams: Option<u64>,
    no_ports: Option<u64>,
    in_errors: Option<u64>,
    out_datagrams: Option<u64>,
    rcvbuf_errors: Option<u64>,
    sndbuf_errors: Option<u64>,
    csum_errors: Option<u64>,
    mem_errors: Option<u64>,
}

impl CountersJson {
    fn of(c: &Counters) -> Self {
        let family = |c: &UdpCounters| FamilyJson {
            in_datagrams: c.in_datagrams,
            no_ports: c.no_ports,
            in_errors: c.in_errors,
            out_datagrams: c.out_datagrams,
            rcvbuf_errors: c.rcvbuf_errors,
            sndbuf_errors: c.sndbuf_errors,
            csum_errors: c.csum_errors,
            mem_errors: c.mem_errors,
        };
        Self {
            ipv4: family(&c.v4),
            ipv6: family(&c.v6),
        }
    }
}

#[derive(Serialize)]
struct SettingsJson {
    rmem_default_bytes: Option<u64>,
    rmem_max_bytes: Option<u64>,
    udp_mem_bytes: Option<[u64; 3]>,
    udp_mem_used_bytes: Option<u64>,
}

impl SettingsJson {
    fn of(s: &Settings) -> Self {
        Self {
            rmem_default_bytes: s.rmem_default_bytes,
            rmem_max_bytes: s.rmem_max_bytes,
            udp_mem_bytes: s.udp_mem_bytes,
            udp_mem_used_bytes: s.udp_mem_used_bytes,
        }
    }
}
