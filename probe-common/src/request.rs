//! The ledger of one request, as the ring carries it.

use crate::{count::COMM_LEN, part, shared};

/// Peers told apart in one request; waits on further ones are charged to "other peers".
pub const PEERS: usize = 8;
/// Waits kept for the time line of one request: the first ones of at least [`SPAN_MIN_NS`].
pub const SPANS: usize = 32;
/// Waits shorter than this are not kept as a span, ns (they are in every sum).
pub const SPAN_MIN_NS: u64 = 100_000;
/// Bytes kept of the script name and of the URI.
pub const NAME_LEN: usize = 128;

/// What a record on the ring is: the first field of each.
pub mod event {
    /// A finished [`super::Request`].
    pub const REQUEST: u32 = 1;
    /// A thread's last totals, see [`super::Exit`].
    pub const EXIT: u32 = 2;
    /// A [`crate::tcp::Transition`].
    pub const TRANSITION: u32 = 3;
    /// A [`crate::tcp::Connect`].
    pub const CONNECT: u32 = 4;
    /// A [`crate::tcp::Listening`].
    pub const LISTENING: u32 = 5;
    /// How far the drops of a UDP socket have come ([`crate::udp`]).
    pub const UDP_DROPS: u32 = 6;
    /// How far DNS questions have come ([`crate::dns`]).
    pub const DNS: u32 = 7;
    /// How far creations of files have come ([`crate::files`]).
    pub const FILES: u32 = 8;
    /// A slow commit of a journal ([`crate::journal`]).
    pub const COMMIT: u32 = 9;
    /// So many rows were made in a table ([`crate::table`]).
    pub const MADE: u32 = 10;
}

/// Bits of [`Request::flags`].
pub mod flag {
    /// The request was under way when watching began: its start was not seen.
    pub const PARTIAL: u32 = 1;
    /// At least one byte of request was read from the client.
    pub const GOT_DATA: u32 = 2;
    /// FastCGI parameters were recognised.
    pub const FASTCGI: u32 = 4;
    /// The thread forked while the request was open: the child may be the one that serves it.
    pub const FORKED: u32 = 8;
    /// The thread ended before the request did.
    pub const EXITED: u32 = 32;
    /// Not finished yet: read from the thread table, not from the ring.
    pub const UNFINISHED: u32 = 16;
}

shared! {
    /// What one request did with one peer.
    pub struct PeerUse {
        /// Peer id.
        pub peer: u64,
        /// Time blocked on it, ns.
        pub wait_ns: u64,
        /// The longest single wait, ns.
        pub longest_ns: u64,
        /// When the exchange under way began (CLOCK_MONOTONIC ns), 0 when none is. In a finished request
        /// this is its last exchange with the peer, which is not in the sums of
        /// [`crate::op::derived::EXCHANGE`]: whoever reads the record adds it.
        pub exchange_start: u64,
        /// When its last byte was received (CLOCK_MONOTONIC ns), 0 before.
        pub exchange_last: u64,
        /// Waits that blocked.
        pub waits: u32,
        /// Calls of connect().
        pub connects: u32,
        /// Send -> receive rounds.
        pub exchanges: u32,
        /// Connects made while an earlier connection of this request had not yet been answered.
        pub overlapped: u32,
        /// Connections opened and not yet answered.
        pub unanswered: u32,
        /// 1 when the last transfer was a send, 2 when it was a receive, 0 before.
        pub direction: u32,
    }

    /// One wait on the time line.
    pub struct Span {
        /// Begin, µs after the request's start.
        pub start_us: u32,
        /// Length, µs.
        pub length_us: u32,
        /// Index in [`Request::peers`], or 255 when it is not a peer's.
        pub peer: u8,
        /// Part, see [`crate::part`].
        pub part: u8,
        /// Operation that waited (see [`crate::op`]), 0 for another system call.
        pub op: u16,
    }

    /// A request: from accept to close. `parts` sum to `end_ns - start_ns` exactly.
    pub struct Request {
        /// [`event::REQUEST`].
        pub event: u32,
        /// Bits of [`flag`].
        pub flags: u32,
        /// Process id.
        pub tgid: u32,
        /// Thread id.
        pub tid: u32,
        /// Start of the thread in ticks of 10 ms since boot.
        pub start_ticks: u32,
        /// Descriptor of the accepted connection, -1 when unknown.
        pub fd: i32,
        /// Accepted (CLOCK_MONOTONIC ns).
        pub start_ns: u64,
        /// Closed (CLOCK_MONOTONIC ns).
        pub end_ns: u64,
        /// Wall time by [`part`], ns.
        pub parts: [u64; part::COUNT],
        /// Process name, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// Longest single wait on a peer, ns.
        pub longest_ns: u64,
        /// Its peer.
        pub longest_peer: u64,
        /// Time charged to peers that found no slot in `peers`, ns.
        pub other_peers_ns: u64,
        /// Calls of connect().
        pub connects: u32,
        /// Calls of poll, select, epoll_wait and their kin.
        pub polls: u32,
        /// Slots of `peers` in use.
        pub npeers: u32,
        /// Slots of `spans` in use.
        pub nspans: u32,
        /// Waits of at least [`SPAN_MIN_NS`] that found no slot in `spans`.
        pub spans_lost: u32,
        /// Length of `script`.
        pub script_len: u16,
        /// Length of `uri`.
        pub uri_len: u16,
        /// SCRIPT_FILENAME of the FastCGI parameters, cut to [`NAME_LEN`].
        pub script: [u8; NAME_LEN],
        /// REQUEST_URI of the FastCGI parameters, cut to [`NAME_LEN`].
        pub uri: [u8; NAME_LEN],
        /// By peer.
        pub peers: [PeerUse; PEERS],
        /// Time line; the ring carries `nspans` of them, so this field is last.
        pub spans: [Span; SPANS],
    }

    /// A thread ended: its identity and totals, after which its row is removed.
    pub struct Exit {
        /// [`event::EXIT`].
        pub event: u32,
        /// Process id.
        pub tgid: u32,
        /// Thread id.
        pub tid: u32,
        /// Start of the thread in ticks of 10 ms since boot.
        pub start_ticks: u32,
        /// When it ended (CLOCK_MONOTONIC ns).
        pub end_ns: u64,
        /// Process name, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// Lifetime since it was first seen, by [`part`], ns.
        pub life: [u64; part::COUNT],
    }
}
