//! The row of a followed thread in the map `TASKS`.

use crate::{count::COMM_LEN, fastcgi::Reader, part, request::Request, shared};

/// Values of [`Task::state`].
pub mod state {
    /// Not yet seen on or off a CPU.
    pub const UNKNOWN: u32 = 0;
    /// On a CPU.
    pub const RUNNING: u32 = 1;
    /// Runnable.
    pub const RUNNABLE: u32 = 2;
    /// Blocked.
    pub const BLOCKED: u32 = 3;
}

/// Bits of [`Task::flags`].
pub mod flag {
    /// A request is open.
    pub const IN_REQUEST: u32 = 1;
    /// An event loop (it added an accepted connection to epoll, or accepted a second one before closing
    /// the first): its requests overlap and cannot be told apart by accept and close.
    pub const EVENT_DRIVEN: u32 = 2;
    /// User space found it inside a request when watching began.
    pub const STARTED_BUSY: u32 = 4;
    /// The response was ended (FastCGI END_REQUEST): a further read is the next request.
    pub const RESPONSE_ENDED: u32 = 8;
    /// The last transfer on the request's connection was a send.
    pub const SENT_LAST: u32 = 64;
    /// A send was followed by waiting for the client: if the next bytes begin a new request, the open one
    /// ended at [`super::Task::answered_ns`].
    pub const ANSWERED: u32 = 128;
    /// Its descriptor table is shared (threads, CLONE_FILES): another thread may close what it uses, so
    /// peers are looked up anew each time.
    pub const SHARES_FILES: u32 = 512;
    /// No request is open, but the connection of the last one is (`request.fd`): its next bytes begin one.
    pub const KEPT_OPEN: u32 = 256;
    /// Accepted at least once.
    pub const ACCEPTS: u32 = 16;
    /// Identity (`tgid`, `start_ticks`, `comm`) is filled in.
    pub const IDENTIFIED: u32 = 32;
}

/// Descriptors whose peers a thread remembers; a power of two.
pub const CACHED_PEERS: usize = 4;

shared! {
    /// A peer that was looked up, as long as nothing the thread does can change it.
    pub struct CachedPeer {
        /// Peer id; 0 when the slot is free.
        pub id: u64,
        /// Descriptor.
        pub fd: u32,
        /// Bits of [`crate::peer::flag`].
        pub flags: u8,
        /// IP protocol number.
        pub protocol: u8,
        /// 1 for a Unix socket without a name on either end.
        pub unnamed: u8,
        /// Always 0.
        pub reserved: u8,
    }

    /// A followed thread. Written by the thread itself and by the scheduler's tracepoints about it,
    /// which never run at the same time.
    pub struct Task {
        /// Thread id.
        pub tid: u32,
        /// Process id.
        pub tgid: u32,
        /// Start of the thread in ticks of 10 ms since boot.
        pub start_ticks: u32,
        /// Bits of [`flag`].
        pub flags: u32,
        /// One of [`state`].
        pub state: u32,
        /// System call number the thread blocked in, -1 outside of one.
        pub blocked_nr: i32,
        /// 1 when the sleep is uninterruptible.
        pub uninterruptible: u32,
        /// Number of the accounted operation under way, 0 when none is.
        pub op: u32,
        /// When `state` began (CLOCK_MONOTONIC ns).
        pub since_ns: u64,
        /// When the operation was entered (CLOCK_MONOTONIC ns).
        pub op_start_ns: u64,
        /// Blocked during it so far, not yet charged to a part, ns.
        pub op_blocked_ns: u64,
        /// When the longest-lasting block of it began (CLOCK_MONOTONIC ns).
        pub op_block_start_ns: u64,
        /// Its first five arguments.
        pub args: [u64; 5],
        /// Time since the row exists, by [`part`], ns.
        pub life: [u64; part::COUNT],
        /// `life` when the open request began.
        pub life_at_start: [u64; part::COUNT],
        /// `life` at [`Task::answered_ns`].
        pub life_answered: [u64; part::COUNT],
        /// When the thread began to wait for the client after a send (CLOCK_MONOTONIC ns).
        pub answered_ns: u64,
        /// Requests finished.
        pub requests: u64,
        /// Peer of the last wait that blocked.
        pub last_peer: u64,
        /// Process name, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// Peers of descriptors used last, by the descriptor's low bits.
        pub cache: [CachedPeer; CACHED_PEERS],
        /// FastCGI records of the open request, as far as read.
        pub fastcgi: Reader,
        /// The open request.
        pub request: Request,
    }
}
