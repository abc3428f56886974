//! UDP as JSON: types of its own, as the rest of the format.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{
        Grown,
        udp::{Agreement, Counters, Dropping, QueuePoint, QueueUse, Settings, Udp, UdpCounters},
    },
    present::json::{ProcessRef, Text, finite},
};

/// UDP in one network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UdpJson {
    /// UDP sockets at the last census; null when none could be taken.
    pub socket_count: Option<u64>,
    /// Sockets that dropped datagrams, most first.
    pub sockets: Vec<DroppingJson>,
    /// Drops of sockets without a row.
    pub other_drops: u64,
    /// Sockets that had something queued at some census, the fullest first.
    pub queues: Vec<QueueUseJson>,
    /// Three counts of the same drops.
    pub agreement: AgreementJson,
    /// The kernel's counters.
    pub counters: UdpCountersJson,
    /// The kernel's settings.
    pub settings: UdpSettingsJson,
    /// Censuses in the window.
    pub censuses: u64,
    /// How long the longest of them took.
    pub census_longest_ns: u64,
    /// Sockets that a census had no place for, at most at once.
    pub census_left_out: u64,
}

impl UdpJson {
    pub(in crate::present) fn of(u: &Udp) -> Self {
        Self {
            socket_count: u.total,
            sockets: u.sockets.iter().map(DroppingJson::of).collect(),
            other_drops: u.other_drops,
            queues: u.queues.iter().map(QueueUseJson::of).collect(),
            agreement: AgreementJson::of(&u.agreement),
            counters: UdpCountersJson::of(&u.counters),
            settings: UdpSettingsJson::of(&u.settings),
            censuses: u.censuses,
            census_longest_ns: u.census_ns,
            census_left_out: u.census_left_out,
        }
    }
}

/// Both ends of a socket; flattened into what it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// `udp`.
    #[serde(rename = "network.transport")]
    pub transport: Text,
    /// The address that it is bound to.
    #[serde(rename = "network.local.address")]
    pub local_address: IpAddr,
    /// The port that it is bound to.
    #[serde(rename = "network.local.port")]
    pub local_port: u16,
    /// The address that it is connected to; null when it is not.
    #[serde(rename = "network.peer.address")]
    pub peer_address: Option<IpAddr>,
    /// The port that it is connected to; null when it is not.
    #[serde(rename = "network.peer.port")]
    pub peer_port: Option<u16>,
}

impl Ends {
    fn of(local: SocketAddr, remote: Option<SocketAddr>) -> Self {
        Self {
            transport: "udp".into(),
            local_address: local.ip(),
            local_port: local.port(),
            peer_address: remote.map(|r| r.ip()),
            peer_port: remote.map(|r| r.port()),
        }
    }
}

/// A socket that dropped datagrams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DroppingJson {
    /// Where it is bound, and connected to.
    #[serde(flatten)]
    pub ends: Ends,
    /// The processes that hold it; empty when none was found.
    pub owners: Vec<UdpOwnerJson>,
    /// User id of its owner.
    pub uid: u32,
    /// Datagrams that it dropped in the window.
    pub drops: u64,
    /// Why; null where only the socket's own counter tells of them.
    pub reasons: Option<DropReasonsJson>,
    /// Drops per second in the worst tenth of a second, at least.
    pub peak_per_s: f64,
    /// The first drop, after the window's start.
    pub first_offset_ns: u64,
    /// The last drop, after the window's start.
    pub last_offset_ns: u64,
    /// How many it had dropped at moments of the window. Since 1.1.
    #[serde(default)]
    pub timeline: Vec<DropPointJson>,
    /// Who sent one of the last that were dropped; null where the kernel does not tell.
    pub sender: Option<SocketAddr>,
    /// Limit of the receive buffer; null where it is not known.
    pub rcvbuf_bytes: Option<u64>,
    /// Memory that one datagram takes in the queue, with the kernel's overhead; null where it is not known.
    pub datagram_bytes: Option<f64>,
    /// True when `datagram_bytes` is an upper bound.
    pub datagram_at_most: bool,
    /// The queue at each census, oldest first.
    pub queue: Vec<QueuePointJson>,
    /// The most queued at a census.
    pub queue_peak_bytes: u64,
    /// Growth of the socket's own counter from the first to the last census; null where it was not seen.
    pub socket_drops: Option<u64>,
    /// What the socket had dropped before the window; null where it was not seen.
    pub socket_drops_before: Option<u64>,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UdpOwnerJson {
    /// Who.
    #[serde(flatten)]
    pub process: ProcessRef,
    /// Its descriptor.
    pub fd: u32,
}

/// Why datagrams were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropReasonsJson {
    /// The receive buffer was full.
    pub buffer_full: u64,
    /// The memory of all UDP sockets together was used up (net.ipv4.udp_mem).
    pub memory: u64,
    /// Anything else.
    pub other: u64,
}

/// Drops up to a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropPointJson {
    /// When, after the window's start.
    pub offset_ns: u64,
    /// Datagrams dropped since the window's start.
    pub drops: u64,
}

/// A socket's queue at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuePointJson {
    /// When, after the window's start.
    pub offset_ns: u64,
    /// Memory that the queue takes.
    pub bytes: u64,
    /// Datagrams in it; null where that is not known.
    pub datagrams: Option<u64>,
}

impl DroppingJson {
    fn of(s: &Dropping) -> Self {
        let owners = s.owners.iter().map(|(process, fd)| UdpOwnerJson {
            process: ProcessRef::of(process),
            fd: *fd,
        });
        Self {
            ends: Ends::of(s.local, s.remote),
            owners: owners.collect(),
            uid: s.uid,
            drops: s.drops,
            reasons: s.reasons.map(|r| DropReasonsJson {
                buffer_full: r.buffer_full,
                memory: r.memory,
                other: r.other,
            }),
            peak_per_s: finite(s.peak_per_s),
            first_offset_ns: s.first_ns,
            last_offset_ns: s.last_ns,
            timeline: s.timeline.iter().map(DropPointJson::of).collect(),
            sender: s.sender,
            rcvbuf_bytes: s.rcvbuf_bytes,
            datagram_bytes: s.datagram_bytes.map(finite),
            datagram_at_most: s.datagram_at_most,
            queue: s.queue.iter().map(QueuePointJson::of).collect(),
            queue_peak_bytes: s.queue_max_bytes(),
            socket_drops: s.counted,
            socket_drops_before: s.before,
        }
    }
}

impl DropPointJson {
    fn of(g: &Grown<1>) -> Self {
        let [drops] = g.since_start;
        Self {
            offset_ns: g.at_ns,
            drops,
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

/// How full the queue of a socket was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueUseJson {
    /// Where it is bound, and connected to.
    #[serde(flatten)]
    pub ends: Ends,
    /// Memory that the queue took at the last census.
    pub bytes: u64,
    /// The most at any census.
    pub peak_bytes: u64,
    /// Limit of the receive buffer; null where it is not known.
    pub rcvbuf_bytes: Option<u64>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgreementJson {
    /// By the tool's program.
    pub traced: Option<u64>,
    /// Growth of the kernel's RcvbufErrors, IPv4 and IPv6.
    pub rcvbuf_errors: Option<u64>,
    /// Growth of the counters of the sockets (all reasons).
    pub sockets: Option<u64>,
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

/// The kernel's counters: their growth in the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UdpCountersJson {
    /// IPv4.
    pub ipv4: UdpFamilyJson,
    /// IPv6.
    pub ipv6: UdpFamilyJson,
}

/// Counters of one address family; null where the kernel has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UdpFamilyJson {
    /// Handed to a process (InDatagrams).
    pub in_datagrams: Option<u64>,
    /// Nobody listened (NoPorts).
    pub no_ports: Option<u64>,
    /// Not handed to a process, for any reason (InErrors).
    pub in_errors: Option<u64>,
    /// Sent (OutDatagrams).
    pub out_datagrams: Option<u64>,
    /// A receive buffer was full (RcvbufErrors).
    pub rcvbuf_errors: Option<u64>,
    /// A send buffer was full (SndbufErrors).
    pub sndbuf_errors: Option<u64>,
    /// Bad checksums (InCsumErrors).
    pub csum_errors: Option<u64>,
    /// The memory of all UDP sockets together was used up (MemErrors).
    pub mem_errors: Option<u64>,
}

impl UdpCountersJson {
    fn of(c: &Counters) -> Self {
        let family = |c: &UdpCounters| UdpFamilyJson {
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

/// Settings that bear on UDP buffers, at the window's end; null where one cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UdpSettingsJson {
    /// The receive buffer that a socket gets (net.core.rmem_default).
    pub rmem_default_bytes: Option<u64>,
    /// The most that a socket may ask for (net.core.rmem_max).
    pub rmem_max_bytes: Option<u64>,
    /// Memory of all UDP sockets together: low, pressure, high (net.ipv4.udp_mem, in bytes).
    pub udp_mem_bytes: Option<[u64; 3]>,
    /// What they take now.
    pub udp_mem_used_bytes: Option<u64>,
}

impl UdpSettingsJson {
    fn of(s: &Settings) -> Self {
        Self {
            rmem_default_bytes: s.rmem_default_bytes,
            rmem_max_bytes: s.rmem_max_bytes,
            udp_mem_bytes: s.udp_mem_bytes,
            udp_mem_used_bytes: s.udp_mem_used_bytes,
        }
    }
}
