//! TCP as the kernel side and /proc show it: what a [`Reading`](super::Reading) says about it.

mod census;
pub(super) mod counters;
mod owners;
pub(super) mod proc_net;
pub(super) mod records;
pub(super) mod watcher;

use probe_common::tcp::{
    COHORTS, CensusKey, Connect, FinWait2, Holder, Listener, Listening, Transition, TransitionKey,
    column,
};
use serde::{Deserialize, Serialize};

use super::{CallSum, recording::raw};

/// Sockets by [`column`].
pub type Counts = [u64; column::COUNT];

/// One count of all TCP sockets of the network namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Census {
    /// When it began, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// All sockets.
    #[serde(with = "raw")]
    pub totals: Counts,
    /// Sockets by address; the order means nothing.
    #[serde(with = "raw::pairs")]
    pub rows: Vec<(CensusKey, [u32; column::COUNT])>,
    /// Sockets whose address found no row.
    #[serde(with = "raw")]
    pub other: Counts,
    /// TIME_WAIT by when the timer runs out, see [`COHORTS`].
    #[serde(with = "raw::boxed")]
    pub time_wait: Box<[u32; COHORTS]>,
    /// jiffies_64 when it began.
    pub jiffies: u64,
    /// Sockets in FIN_WAIT_2, one by one.
    #[serde(with = "raw::list")]
    pub fin_wait2: Vec<FinWait2>,
    /// Such sockets that are counted, but are too many to be listed.
    pub fin_wait2_left_out: u64,
    /// Listening TCP sockets.
    #[serde(with = "raw::list")]
    pub listeners: Vec<Listener>,
    /// Sockets that could not be read.
    pub unreadable: u64,
    /// The kernel's own counters, read right after.
    pub counters: Counters,
}

/// Who holds which sockets: one walk over all descriptors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Owners {
    /// When it began, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// TCP sockets by process and state number; none for a process that holds Unix listeners only.
    pub processes: Vec<Owner>,
    /// Listening sockets, TCP and Unix, once for each process that holds one.
    #[serde(with = "raw::list")]
    pub listeners: Vec<Listener>,
    /// Half-closed sockets that a process holds.
    #[serde(with = "raw::list")]
    pub holders: Vec<Holder>,
}

/// A process and the TCP sockets that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// Sockets by state number ([`probe_common::tcp::state`]).
    #[serde(with = "raw")]
    pub counts: [u32; 16],
}

/// Counters of the network namespace since its start (/proc/net/netstat, /proc/net/snmp, /proc/net/sockstat);
/// `None` where the kernel does not have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// TcpExt ListenOverflows: handshakes that found the accept queue full.
    pub listen_overflows: Option<u64>,
    /// TcpExt ListenDrops: the same and other reasons.
    pub listen_drops: Option<u64>,
    /// TcpExt TCPReqQFullDrop: SYNs dropped because the SYN queue was full.
    pub syn_queue_drops: Option<u64>,
    /// TcpExt SyncookiesSent.
    pub syncookies_sent: Option<u64>,
    /// TcpExt TW: sockets that left TIME_WAIT by their timer.
    pub time_wait_expired: Option<u64>,
    /// TcpExt TWRecycled: TIME_WAIT sockets taken over by a new connect.
    pub time_wait_reused: Option<u64>,
    /// TcpExt TCPTimeWaitOverflow: TIME_WAIT skipped because tcp_max_tw_buckets was reached.
    pub time_wait_overflow: Option<u64>,
    /// Tcp ActiveOpens: connects.
    pub active_opens: Option<u64>,
    /// Tcp PassiveOpens: connections accepted by the kernel.
    pub passive_opens: Option<u64>,
    /// Tcp AttemptFails.
    pub attempt_fails: Option<u64>,
    /// sockstat TCP orphan.
    pub orphans: Option<u64>,
}

/// Settings of the network namespace that bear on TCP (/proc/sys/net); `None` where one cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// net.ipv4.ip_local_port_range: first and last.
    pub port_range: Option<(u16, u16)>,
    /// net.ipv4.ip_local_reserved_ports, as ranges.
    pub reserved_ports: Vec<(u16, u16)>,
    /// net.ipv4.tcp_tw_reuse.
    pub tw_reuse: Option<u32>,
    /// net.ipv4.tcp_timestamps.
    pub timestamps: Option<u32>,
    /// net.ipv4.tcp_fin_timeout, seconds.
    pub fin_timeout_s: Option<u32>,
    /// net.core.somaxconn.
    pub somaxconn: Option<u32>,
    /// net.ipv4.tcp_max_syn_backlog.
    pub max_syn_backlog: Option<u32>,
    /// net.ipv4.tcp_syncookies.
    pub syncookies: Option<u32>,
    /// net.ipv4.tcp_max_tw_buckets.
    pub max_tw_buckets: Option<u32>,
    /// net.ipv4.tcp_max_orphans.
    pub max_orphans: Option<u32>,
    /// net.unix.max_dgram_qlen is not about streams; a Unix listener is capped by somaxconn alone.
    pub abort_on_overflow: Option<u32>,
}

/// Everything TCP in a reading.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TcpReading {
    /// Counts since the last reading, in order.
    pub censuses: Vec<Census>,
    /// Walks over descriptors since the last reading, in order.
    pub owners: Vec<Owners>,
    /// Transitions since attach; empty when the reader asked for the ring only.
    #[serde(with = "raw::keys")]
    pub transitions: Vec<(TransitionKey, TransitionSum)>,
    /// Rows of `transitions` that were taken out since the last reading, as in [`super::Reading::retired`].
    #[serde(with = "raw::keys")]
    pub retired: Vec<(TransitionKey, TransitionSum)>,
    /// FIN_WAIT_2 and TIME_WAIT since attach, followed one by one; `None` where that is off, or the reader asked
    /// for the ring only.
    pub timewait: Option<[Timewait; 2]>,
    /// Single transitions since the last reading (`--events`).
    #[serde(with = "raw::list")]
    pub events: Vec<Transition>,
    /// Failed connects, and the first success after, since the last reading.
    #[serde(with = "raw::list")]
    pub connects: Vec<Connect>,
    /// Listeners that began or ended since the last reading.
    #[serde(with = "raw::list")]
    pub listening: Vec<Listening>,
    /// Settings, as last read; read again every few seconds.
    pub settings: Settings,
    /// Jiffies in a second (CONFIG_HZ), found by comparing jiffies with the clock.
    pub hz: u32,
    /// log2 of the jiffies in a cohort of [`Census::time_wait`].
    pub cohort_shift: u32,
}

/// Sums of transitions, a fraction of the size of the kernel's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionSum {
    /// How many, how many timed, sum and longest of their times, and these by duration.
    pub sum: CallSum,
    /// Of `sum.count`: how many whose time in the state left is known.
    pub timed: u64,
    /// When the last one was, CLOCK_MONOTONIC ns.
    pub last_ns: u64,
    /// Name of the process, any bytes; empty when the key has none.
    pub comm: Vec<u8>,
}

/// Stays in one state, whose ends were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timewait {
    /// Timewait objects that began in the state, or came to it.
    pub begun: u64,
    /// Stays that ended.
    pub left: TransitionSum,
}
