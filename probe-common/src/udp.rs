//! UDP: sockets that drop datagrams because they are full.
//!
//! Drops are added up by socket, in the kernel ([`UdpDrops`]); at most ten times a second for each socket, how far
//! they have come goes through the ring ([`UdpStep`]). Iterators write out the sockets that are not empty or have
//! dropped something ([`UdpSocket`]), and who holds those that drop ([`UdpHolder`]).

use crate::shared;

/// Sockets that one census writes out, at most.
pub const LISTED: u64 = 4096;

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`].
    pub struct UdpConfig {
        /// 1: UDP sockets are watched.
        pub on: u32,
        /// `family` in the record of udp:udp_fail_queue_rcv_skb. Kernels that have it (6.10) hand the datagram to raw
        /// tracepoints as well; [`crate::config::ABSENT`] on others.
        pub record_family: u32,
        /// sock.sk_rcvbuf
        pub sk_rcvbuf: u32,
        /// sock.sk_backlog.rmem_alloc, which the kernel calls sk_rmem_alloc.
        pub sk_rmem_alloc: u32,
        /// sock.sk_uid
        pub sk_uid: u32,
        /// udp_sock.reader_queue: what a reader has taken over of the receive queue.
        pub reader_queue: u32,
        /// udp_sock.forward_deficit: read, but still charged.
        pub forward_deficit: u32,
        /// udp_sock.drop_counters (6.18); else [`crate::config::ABSENT`], and sock.sk_drops counts.
        pub drop_counters: u32,
        /// numa_drop_counters.drops0
        pub drops0: u32,
        /// numa_drop_counters.drops1
        pub drops1: u32,
        /// sk_buff.truesize
        pub skb_truesize: u32,
        /// sk_buff.head
        pub skb_head: u32,
        /// sk_buff.network_header
        pub skb_network_header: u32,
        /// sk_buff.transport_header
        pub skb_transport_header: u32,
    }

    /// Which socket. A later one at the same address has another inode number.
    pub struct UdpKey {
        /// Kernel socket; 0: all that found no row of their own.
        pub sock: u64,
        /// Inode number of its descriptor, 0 when no process holds it any more.
        pub inode: u64,
    }

    /// An address and port. Unused bytes are 0.
    pub struct UdpAddress {
        /// Network byte order, IPv4 in the first 4 bytes.
        pub ip: [u64; 2],
        /// Host byte order.
        pub port: u16,
        /// [`crate::peer::kind::INET`] or [`crate::peer::kind::INET6`]; 0: none.
        pub kind: u16,
        /// Nothing.
        pub pad: u32,
    }

    /// What a socket dropped (map `UDP_DROPS`, keyed by [`UdpKey`]).
    pub struct UdpDrops {
        /// When the row began, CLOCK_MONOTONIC ns.
        pub born_ns: u64,
        /// The last drop.
        pub last_ns: u64,
        /// When a [`UdpStep`] was last sent, and what follows `truesize_bytes` was looked at.
        pub told_ns: u64,
        /// Dropped because the receive buffer was full.
        pub buffer_full: u64,
        /// Because the memory of all UDP sockets was used up.
        pub memory: u64,
        /// For another reason.
        pub other: u64,
        /// Memory that the dropped datagrams had taken, where the kernel hands them out.
        pub truesize_bytes: u64,
        /// Its own address.
        pub local: UdpAddress,
        /// The other side of a connected socket.
        pub remote: UdpAddress,
        /// sk_rcvbuf
        pub rcvbuf_bytes: u32,
        /// sk_rmem_alloc
        pub queued_bytes: u32,
        /// sk_uid
        pub uid: u32,
        /// Nothing.
        pub pad: u32,
    }

    /// How far the drops of a socket have come, on the ring.
    pub struct UdpStep {
        /// [`crate::request::event::UDP_DROPS`].
        pub event: u32,
        /// Nothing.
        pub pad: u32,
        /// Which socket.
        pub key: UdpKey,
        /// As in [`UdpDrops::born_ns`].
        pub born_ns: u64,
        /// When, CLOCK_MONOTONIC ns.
        pub at_ns: u64,
        /// Drops of the row so far.
        pub total: u64,
        /// Who sent the datagram that was just dropped, where the kernel hands it out.
        pub sender: UdpAddress,
    }

    /// What a census counts beside the sockets that it writes out (map `UDP_CENSUS`). User space clears it before.
    pub struct UdpTotals {
        /// All sockets.
        pub total: u64,
        /// Of those written out.
        pub listed: u64,
        /// That should have been written out, but were too many.
        pub left_out: u64,
    }

    /// A socket that is not empty or has dropped something, written out by the census.
    pub struct UdpSocket {
        /// [`record::SOCKET`].
        pub record: u32,
        /// sk_rcvbuf
        pub rcvbuf_bytes: u32,
        /// Which.
        pub key: UdpKey,
        /// Its own address.
        pub local: UdpAddress,
        /// The other side of a connected socket.
        pub remote: UdpAddress,
        /// Datagrams with their overhead, without what has been read.
        pub queued_bytes: u32,
        /// Datagrams.
        pub queued: u32,
        /// Dropped since it exists.
        pub drops: u32,
        /// sk_uid
        pub uid: u32,
    }

    /// A descriptor that leads to a socket in `UDP_DROPS`, written out by the walk over descriptors.
    pub struct UdpHolder {
        /// [`record::HOLDER`].
        pub record: u32,
        /// Process.
        pub tgid: u32,
        /// Its descriptor.
        pub fd: u32,
        /// Nothing.
        pub pad: u32,
        /// Which socket.
        pub key: UdpKey,
    }
}

/// First field of what the iterators write out.
pub mod record {
    /// [`super::UdpSocket`].
    pub const SOCKET: u32 = 1;
    /// [`super::UdpHolder`].
    pub const HOLDER: u32 = 2;
}
