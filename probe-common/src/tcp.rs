//! TCP: what the state tracepoint, the socket iterators and the connect, listen and accept calls tell.
//!
//! A census counts every socket of one network namespace, in the kernel, into a table of [`CensusRow`]
//! that user space has mapped. Sockets in FIN_WAIT_2 and listeners are few and are written out one by one
//! ([`FinWait2`], [`Listener`]). Transitions are added up by [`TransitionKey`]; failed connects and new
//! listeners go through the ring.

use crate::{hist, peer::PeerKey, shared};

/// Bytes of a process name, with its closing NUL (TASK_COMM_LEN, include/linux/sched.h).
pub use crate::count::COMM_LEN;

/// TCP states by the kernel's numbers (include/net/tcp_states.h).
pub mod state {
    /// Open.
    pub const ESTABLISHED: u8 = 1;
    /// connect() was called, no answer yet.
    pub const SYN_SENT: u8 = 2;
    /// Answered a SYN, waits for the last part of the handshake.
    pub const SYN_RECV: u8 = 3;
    /// Closed by us, not acknowledged yet.
    pub const FIN_WAIT1: u8 = 4;
    /// Closed by us and acknowledged; the other side has not closed.
    pub const FIN_WAIT2: u8 = 5;
    /// Both sides closed, we did first: kept for 60 s (TCP_TIMEWAIT_LEN, include/net/tcp.h).
    pub const TIME_WAIT: u8 = 6;
    /// Not in use.
    pub const CLOSE: u8 = 7;
    /// Closed by the other side; the process has not closed.
    pub const CLOSE_WAIT: u8 = 8;
    /// Closed by the other side, then by us; waits for the last acknowledgement.
    pub const LAST_ACK: u8 = 9;
    /// Listens.
    pub const LISTEN: u8 = 10;
    /// Both sides closed at once.
    pub const CLOSING: u8 = 11;
    /// A request for a connection, not yet a socket: shown as SYN_RECV (3) in every count of ours.
    pub const NEW_SYN_RECV: u8 = 12;
    /// The first number that is no state.
    pub const END: u8 = 13;
    /// In place of a new state in [`super::TransitionKey`]: the connection was handed out by accept();
    /// the time is that from established to then.
    pub const ACCEPTED: u8 = 14;
}

/// Columns of a census row: the number of the state, except that FIN_WAIT_2 has three.
pub mod column {
    /// FIN_WAIT_2 that a process still holds (half closed): it has no timer.
    pub const FIN_WAIT2_HELD: usize = super::state::FIN_WAIT2 as usize;
    /// FIN_WAIT_2 without a process, still a full socket (tcp_fin_timeout above 60 s).
    pub const FIN_WAIT2_ORPHAN: usize = 13;
    /// FIN_WAIT_2 without a process, kept as a small timewait object.
    pub const FIN_WAIT2_TIMEWAIT: usize = 14;
    /// Number of columns.
    pub const COUNT: usize = 16;
}

/// Rows of the census table; a power of two. Sockets that find no row are in the totals only.
pub const CENSUS_ROWS: usize = 8192;
/// Rows looked at for a key before it is given up.
pub const CENSUS_PROBES: usize = 16;
/// Words of the bitmap of ports that are (or were) listened on.
pub const PORT_WORDS: usize = 65536 / 64;
/// Slots of [`CensusTotals::time_wait`]; each is the sockets whose timer runs out in the same
/// `1 << Config::cohort_shift` jiffies, modulo this. About 1 s each, so 60 s never wrap.
pub const COHORTS: usize = 128;

shared! {
    /// What census rows tell apart. Unused bytes are 0.
    pub struct CensusKey {
        /// Address of the other side in network byte order (IPv4 in the first 4 bytes, also for an IPv4
        /// peer of a dual-stack socket).
        pub remote: [u64; 2],
        /// Address on this side.
        pub local: [u64; 2],
        /// Inbound and listening: the local port; outbound: the port of the other side. Host byte order.
        pub port: u16,
        /// [`crate::peer::kind::INET`] or [`crate::peer::kind::INET6`].
        pub kind: u8,
        /// [`crate::peer::flag::INBOUND`] or [`crate::peer::flag::LISTENER`].
        pub flags: u8,
        /// Nothing.
        pub pad: u32,
    }

    /// One row of the census table, which user space has mapped.
    pub struct CensusRow {
        /// Whose. All zero: the row is free.
        pub key: CensusKey,
        /// The census that wrote it last; rows of an older one are stale and may be taken over.
        pub epoch: u64,
        /// Sockets by [`column`].
        pub counts: [u32; column::COUNT],
    }

    /// What the census counts beside the rows.
    pub struct CensusTotals {
        /// The census that wrote it.
        pub epoch: u64,
        /// jiffies_64 when it began.
        pub jiffies: u64,
        /// All sockets by [`column`], also those without a row.
        pub counts: [u64; column::COUNT],
        /// Sockets without a row, by [`column`].
        pub other: [u64; column::COUNT],
        /// TIME_WAIT by when the timer runs out, see [`COHORTS`].
        pub time_wait: [u32; COHORTS],
        /// Sockets in FIN_WAIT_2 that were counted but not written out, because there were too many.
        pub fin_wait2_left_out: u64,
        /// Sockets of other kinds or that could not be read.
        pub unreadable: u64,
    }

    /// A socket in FIN_WAIT_2, written out by the census.
    pub struct FinWait2 {
        /// [`record::FIN_WAIT2`].
        pub record: u32,
        /// Its [`column`].
        pub column: u32,
        /// Kernel socket.
        pub sock: u64,
        /// Inode number of the socket's descriptor; 0 for an orphan.
        pub inode: u64,
        /// When its timer runs out, jiffies_64; 0 for a full socket (an orphan's timer only makes it a timewait
        /// object).
        pub expires: u64,
        /// Local port, host byte order.
        pub local_port: u16,
        /// Port of the other side, host byte order.
        pub remote_port: u16,
        /// Nothing.
        pub pad: u32,
        /// Addresses, and whose row it is counted in.
        pub key: CensusKey,
    }

    /// A listening socket, TCP or Unix, written out by the census (without a process) or by the walk
    /// over descriptors (once for each process that holds it).
    pub struct Listener {
        /// [`record::LISTENER`].
        pub record: u32,
        /// Process that holds it; 0 from the census.
        pub tgid: u32,
        /// Its descriptor there.
        pub fd: i32,
        /// Connections waiting for accept() (`sk_ack_backlog`; Unix: length of the receive queue).
        pub queue: u32,
        /// The most that may wait (`sk_max_ack_backlog`: listen()'s backlog, capped by somaxconn). A TCP
        /// queue is full when `queue` is greater, a Unix one likewise.
        pub limit: u32,
        /// TCP: handshakes not finished (`icsk_accept_queue.qlen`).
        pub syn_queue: u32,
        /// TCP: connections and handshakes dropped here since it listens (`sk_drops`).
        pub drops: u32,
        /// Nothing.
        pub pad: u32,
        /// Inode number of its descriptor: the same in both kinds of record.
        pub inode: u64,
        /// Its address, with [`crate::peer::flag::LISTENER`].
        pub address: PeerKey,
    }

    /// A descriptor that leads to a half-closed socket, written out by the walk over descriptors.
    pub struct Holder {
        /// [`record::HOLDER`].
        pub record: u32,
        /// Process.
        pub tgid: u32,
        /// Its descriptor.
        pub fd: i32,
        /// Nothing.
        pub pad: u32,
        /// Kernel socket, as in [`FinWait2::sock`].
        pub sock: u64,
    }

    /// TCP sockets that a process holds, by state: row of the map `OWNERS`, keyed by process id.
    pub struct Owner {
        /// By state number; index 0 counts sockets of no known state.
        pub counts: [u32; 16],
    }

    /// What is remembered of a socket between two transitions (map `TCP_SOCKETS`, keyed by address).
    pub struct TcpSocket {
        /// When it entered its state, CLOCK_MONOTONIC ns; 0 when that was before we watched.
        pub since_ns: u64,
        /// When it became established, CLOCK_MONOTONIC ns, for one that nobody has accepted yet; else 0.
        pub established_ns: u64,
        /// Peer id of the other side, or of a listener's own address; 0 while it is not known.
        pub peer: u64,
        /// Peer id of the listener that it came in on, until it is accepted; else 0.
        pub listener: u64,
        /// Process that connected, accepted, listens or closed; 0 when not known.
        pub tgid: u32,
        /// The thread of it that connected; 0 for others.
        pub tid: u32,
        /// Its state.
        pub state: u32,
        /// 1: it had an owner before it was established (TCP Fast Open, crossed SYNs), so that the kernel may
        /// carry out a shutdown() of before from an interrupt.
        pub early: u32,
        /// Name of the process, when `tgid` is not 0.
        pub comm: [u8; COMM_LEN],
    }

    /// A call of connect() or listen() under way (map `TCP_CALLS`, keyed by thread id).
    pub struct TcpCall {
        /// Kernel socket.
        pub sock: u64,
        /// connect(): where the address that was asked for lies in the caller's memory.
        pub address: u64,
        /// connect(): length of that address; listen(): the backlog asked for.
        pub argument: u32,
        /// IP protocol number, 0 for a Unix socket.
        pub protocol: u32,
        /// 1: an earlier connect on this socket has failed, and the program has not been told yet: this call
        /// returns that failure.
        pub pending: u32,
        /// 1: the failure of this connect has been reported when the socket was closed.
        pub reported: u32,
    }

    /// What transitions are added up by.
    pub struct TransitionKey {
        /// Peer id, see [`crate::peer`]: who is at the other end, or the listener. Beyond a number of clients, further
        /// ones are together: an inbound peer with no address.
        pub peer: u64,
        /// Process that owns the socket: connected or accepted it, or closes it; 0 when not known. Never
        /// whoever was interrupted.
        pub tgid: u32,
        /// State left.
        pub old: u8,
        /// State entered, or [`state::ACCEPTED`].
        pub new: u8,
        /// Nothing.
        pub pad: u16,
    }

    /// Sums of transitions (map `TRANSITIONS`).
    pub struct TransitionSum {
        /// How many.
        pub count: u64,
        /// Of those: how many whose time in the state left is known (entered since we watch).
        pub timed: u64,
        /// Time in the state left, ns.
        pub total_ns: u64,
        /// The longest, ns.
        pub max_ns: u64,
        /// When the last one was, CLOCK_MONOTONIC ns.
        pub last_ns: u64,
        /// Name of the process, when the key has one.
        pub comm: [u8; COMM_LEN],
        /// Timed ones by duration, see [`hist`].
        pub hist: [u32; hist::BUCKETS],
    }

    /// Stays in one state, followed to the end of the timewait object (map `TIMEWAIT_SUMS`: FIN_WAIT_2, TIME_WAIT).
    pub struct TimewaitSum {
        /// Timewait objects that began in the state, or came to it.
        pub begun: u64,
        /// Stays that ended, and how long they had lasted; without a name.
        pub left: TransitionSum,
    }

    /// A transition, on the ring (`tcp --events` only).
    pub struct Transition {
        /// [`crate::request::event::TRANSITION`].
        pub event: u32,
        /// Owner's process id, 0 when not known.
        pub tgid: u32,
        /// When, CLOCK_MONOTONIC ns.
        pub at_ns: u64,
        /// Kernel socket.
        pub sock: u64,
        /// Time in the state left, ns; `u64::MAX` when not known.
        pub dwell_ns: u64,
        /// Addresses in network byte order (IPv4 in the first 4 bytes).
        pub local: [u64; 2],
        /// The other side's.
        pub remote: [u64; 2],
        /// Host byte order.
        pub local_port: u16,
        /// Host byte order.
        pub remote_port: u16,
        /// State left.
        pub old: u8,
        /// State entered.
        pub new: u8,
        /// [`crate::peer::kind::INET`] or [`crate::peer::kind::INET6`].
        pub kind: u8,
        /// Nothing.
        pub pad: u8,
        /// Owner's name.
        pub comm: [u8; COMM_LEN],
    }

    /// A connect that failed, or the first one that succeeded after a failure, on the ring.
    pub struct Connect {
        /// [`crate::request::event::CONNECT`].
        pub event: u32,
        /// errno (0: the first success after failures to this address).
        pub errno: u32,
        /// When it failed or succeeded, CLOCK_MONOTONIC ns.
        pub at_ns: u64,
        /// Peer id of the address asked for.
        pub peer: u64,
        /// When a connect to this address last succeeded before, CLOCK_MONOTONIC ns; 0 when not known.
        pub last_ok_ns: u64,
        /// Process.
        pub tgid: u32,
        /// Its thread.
        pub tid: u32,
        /// Its name.
        pub comm: [u8; COMM_LEN],
    }

    /// listen() succeeded, or a TCP listener was closed, on the ring. Each socket counts by itself: another one
    /// may go on listening on the same address (SO_REUSEPORT), and a second listen() changes the backlog.
    pub struct Listening {
        /// [`crate::request::event::LISTENING`].
        pub event: u32,
        /// 1: begins to listen; 0: a TCP listener ends.
        pub begins: u32,
        /// When, CLOCK_MONOTONIC ns.
        pub at_ns: u64,
        /// Peer id of its address (with [`crate::peer::flag::LISTENER`]).
        pub peer: u64,
        /// Process that called listen(), or closed; 0 when not known.
        pub tgid: u32,
        /// The backlog asked for; 0 when it ends.
        pub backlog: u32,
        /// Name of the process.
        pub comm: [u8; COMM_LEN],
    }
}

/// First field of what the iterators write out.
pub mod record {
    /// [`super::FinWait2`].
    pub const FIN_WAIT2: u32 = 1;
    /// [`super::Listener`].
    pub const LISTENER: u32 = 2;
    /// [`super::Holder`].
    pub const HOLDER: u32 = 3;
}

/// A state's name as OpenTelemetry spells it (`network.connection.state`); 0 and unknown are `unknown`.
pub fn state_name(state: u8) -> &'static str {
    match state {
        state::ESTABLISHED => "established",
        state::SYN_SENT => "syn_sent",
        state::SYN_RECV | state::NEW_SYN_RECV => "syn_received",
        state::FIN_WAIT1 => "fin_wait_1",
        state::FIN_WAIT2 => "fin_wait_2",
        state::TIME_WAIT => "time_wait",
        state::CLOSE => "closed",
        state::CLOSE_WAIT => "close_wait",
        state::LAST_ACK => "last_ack",
        state::LISTEN => "listen",
        state::CLOSING => "closing",
        _ => "unknown",
    }
}
