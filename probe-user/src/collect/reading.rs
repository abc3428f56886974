//! What one look at the kernel side yields: the seam between the live half and the pure half.

use std::collections::HashMap;

use probe_common::{
    count::CountKey,
    loss,
    peer::PeerKey,
    request::{Exit, Request},
    stat::StatKey,
    task::Task,
};
use serde::{Deserialize, Serialize};

use super::{
    CallSum, dns::DnsReading, files::FilesReading, journal::JournalReading, recording::raw,
    tcp::TcpReading, udp::UdpReading,
};

/// One look at the kernel side. Sums (`stats`, `tasks`, `losses`) are totals since attach; `requests`
/// and `exits` are what came since the last reading.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// When it was taken, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// Requests finished since the last reading.
    #[serde(with = "raw::list")]
    pub requests: Vec<Request>,
    /// Threads that ended since the last reading.
    #[serde(with = "raw::list")]
    pub exits: Vec<Exit>,
    /// Every followed thread, with its open request; empty when the reader asked for the ring only.
    #[serde(with = "raw::list")]
    pub tasks: Vec<Task>,
    /// Calls by thread, operation and peer; empty when the reader asked for the ring only.
    #[serde(with = "raw::keys")]
    pub stats: Vec<(StatKey, CallSum)>,
    /// Rows of `stats` that were taken out of the kernel's table since the last reading, with their last sums: see
    /// [`super::table`]. In this reading's `stats`, or a later one's, the same key begins at 0.
    #[serde(with = "raw::keys")]
    pub retired: Vec<(StatKey, CallSum)>,
    /// Addresses behind the peer ids that this reading names; when the reader asked for the ring only, those that no reading
    /// since the last one of everything has told.
    #[serde(with = "raw::map")]
    pub peers: HashMap<u64, PeerKey>,
    /// What is known from /proc of the processes in `tasks`, `stats` and `requests`, those that have ended once more; only
    /// what is new or changed when the reader asked for the ring only.
    pub processes: Vec<Process>,
    /// TCP; `None` when it was not asked for, or when the ring alone was asked for and nothing came.
    pub tcp: Option<Box<TcpReading>>,
    /// UDP, likewise.
    pub udp: Option<Box<UdpReading>>,
    /// DNS, likewise.
    pub dns: Option<Box<DnsReading>>,
    /// Files, likewise.
    pub files: Option<Box<FilesReading>>,
    /// The ext4 journal and tasks that sleep behind it, likewise.
    pub journal: Option<Box<JournalReading>>,
    /// Lost so far, by [`loss::slot`].
    #[serde(with = "raw")]
    pub losses: [u64; loss::slot::COUNT as usize],
}

/// A process as /proc shows it (or showed it, before it ended).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Start in ticks of 10 ms since boot: with `pid`, its identity.
    pub start_ticks: u32,
    /// Parent.
    pub ppid: u32,
    /// Process name (comm), any bytes.
    pub comm: Vec<u8>,
    /// The PHP-FPM pool in its title (`php-fpm: pool www`), if it is a worker of one.
    pub pool: Option<Vec<u8>>,
    /// It ended while it was watched.
    pub ended: bool,
}

/// One row of the lean counter.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Process name, call, result.
    pub key: CountKey,
    /// Calls.
    pub count: u64,
}
