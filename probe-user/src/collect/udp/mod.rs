//! UDP as the kernel side and /proc show it: what a [`Reading`](super::Reading) says about it.

pub(super) mod census;
pub(super) mod counters;
mod looks;
mod owners;
pub(super) mod proc_net;
mod reader;
mod unseen;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub(super) use reader::UdpReader;

/// Everything UDP in a reading.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UdpReading {
    /// Looks at all UDP sockets since the last reading, in order; one stands at each end of a watch.
    pub censuses: Vec<Census>,
    /// Drops by socket since attach.
    pub drops: Vec<SocketDrops>,
    /// Rows of `drops` that were taken out of the kernel's table since the last reading, with their last sums.
    pub retired: Vec<SocketDrops>,
    /// How drops grew, since the last reading, in order: at most ten a second for each socket.
    pub steps: Vec<DropStep>,
    /// Processes that hold sockets in `drops`, as far as they were found.
    pub holders: Vec<Holder>,
    /// Settings, as last read.
    pub settings: Settings,
}

/// One look at all UDP sockets of the network namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Census {
    /// When it began, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// UDP sockets, IPv4 and IPv6 (UDP-Lite is left out).
    pub total: u64,
    /// Those of them that have dropped something since they exist, or have something queued.
    pub sockets: Vec<SocketState>,
    /// Such sockets that found no place in the list.
    pub left_out: u64,
    /// The kernel's own counters, read right after.
    pub counters: Counters,
}

/// A UDP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketState {
    /// Kernel address: its identity while it exists. From /proc/net/udp it is one that the kernel makes up in place of
    /// the real one; `inode` is the same everywhere.
    pub sock: u64,
    /// Inode number in sockfs, 0 when no process holds it.
    pub inode: u64,
    /// Address and port it is bound to.
    pub local: SocketAddr,
    /// The other side, when it is connected.
    pub remote: Option<SocketAddr>,
    /// sk_rcvbuf: the receive buffer's limit, bytes (twice what SO_RCVBUF asked for, socket(7)). `None` where only
    /// /proc/net/udp could be read.
    pub rcvbuf_bytes: Option<u64>,
    /// What is queued: datagrams with their overhead, bytes, as `rx_queue` of /proc/net/udp has it. The kernel compares
    /// the limit with up to a quarter more: it takes note of what was read in lumps.
    pub queued_bytes: u64,
    /// Datagrams queued, where it could be read.
    pub queued: Option<u64>,
    /// sk_drops: datagrams dropped since it exists.
    pub drops: u64,
    /// User id of its owner.
    pub uid: u32,
}

/// Why a datagram was refused (the `rc` of udp:udp_fail_queue_rcv_skb).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons {
    /// The receive buffer was full (-ENOMEM; RcvbufErrors).
    pub buffer_full: u64,
    /// The memory of all UDP sockets together was used up (-ENOBUFS; net.ipv4.udp_mem, MemErrors).
    pub memory: u64,
    /// Anything else.
    pub other: u64,
}

impl Reasons {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.buffer_full + self.memory + self.other
    }
}

/// What one socket dropped while we watched, by the tracepoint; over IPv6 on kernels that do not have it there (5.10 and
/// 6.1), by the socket's own count from one census to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketDrops {
    /// Kernel address. A socket that takes a closed one's place has a row of its own: see `born_ns`. 0: all sockets
    /// together that found no row; nothing but `reasons`, `truesize_bytes` and the times is known of them.
    pub sock: u64,
    /// When the row began, CLOCK_MONOTONIC ns: its first drop.
    pub born_ns: u64,
    /// The last drop.
    pub last_ns: u64,
    /// How many, and why.
    pub reasons: Reasons,
    /// Memory that the dropped datagrams had taken so far (skb truesize), bytes: the most that they would have taken in
    /// the buffer. `None` on kernels whose tracepoint does not hand out the datagram.
    pub truesize_bytes: Option<u64>,
    /// Address and port it is bound to.
    pub local: SocketAddr,
    /// Who sent a datagram that was dropped: of the first one, then of one in each tenth of a second, the last. A
    /// connected socket's other side; else `None` on kernels whose tracepoint does not hand out the datagram.
    pub sender: Option<SocketAddr>,
    /// The receive buffer's limit, bytes, as last looked at: at the first drop, then ten times a second.
    pub rcvbuf_bytes: u64,
    /// What was charged to the socket at that moment (sk_rmem_alloc), bytes.
    pub queued_bytes: u64,
    /// Inode number in sockfs, 0 when no process held it any more.
    pub inode: u64,
    /// User id of its owner.
    pub uid: u32,
}

/// How far a socket's drops had come at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropStep {
    /// Kernel address.
    pub sock: u64,
    /// As in [`SocketDrops::born_ns`].
    pub born_ns: u64,
    /// When, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// Drops of the row so far.
    pub total: u64,
    /// Who sent the datagram that was dropped at that moment, where the kernel hands it out.
    pub sender: Option<SocketAddr>,
}

/// A process that holds a socket: several may, after a fork or when it was passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Kernel address of the socket.
    pub sock: u64,
    /// Its inode number.
    pub inode: u64,
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// Descriptor.
    pub fd: u32,
}

/// Counters of the network namespace since its start (/proc/net/snmp, /proc/net/snmp6); `None` where the kernel does
/// not have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Udp.
    pub v4: UdpCounters,
    /// Udp6.
    pub v6: UdpCounters,
}

/// Counters of one address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpCounters {
    /// InDatagrams: handed to a process.
    pub in_datagrams: Option<u64>,
    /// NoPorts: nobody listened.
    pub no_ports: Option<u64>,
    /// InErrors: all kinds together.
    pub in_errors: Option<u64>,
    /// OutDatagrams.
    pub out_datagrams: Option<u64>,
    /// RcvbufErrors: a receive buffer was full.
    pub rcvbuf_errors: Option<u64>,
    /// SndbufErrors.
    pub sndbuf_errors: Option<u64>,
    /// InCsumErrors: bad checksums.
    pub csum_errors: Option<u64>,
    /// MemErrors (5.11): net.ipv4.udp_mem was used up.
    pub mem_errors: Option<u64>,
}

/// Settings that bear on UDP buffers (/proc/sys/net); `None` where one cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// net.core.rmem_default, bytes.
    pub rmem_default_bytes: Option<u64>,
    /// net.core.rmem_max, bytes: the most that SO_RCVBUF gets without CAP_NET_ADMIN.
    pub rmem_max_bytes: Option<u64>,
    /// net.ipv4.udp_mem: low, pressure, high, in bytes (the file has pages).
    pub udp_mem_bytes: Option<[u64; 3]>,
    /// Pages charged to UDP now (/proc/net/sockstat `UDP: mem`), in bytes.
    pub udp_mem_used_bytes: Option<u64>,
}
