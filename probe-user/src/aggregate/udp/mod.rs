//! UDP in a [`Window`](super::Window): sockets that drop, since when, how fast, and whose they are.

mod fold;
mod queues;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use super::{Grown, tcp::Process};
pub use crate::collect::udp::{Counters, Reasons, Settings, UdpCounters};
pub(super) use fold::UdpFold;

/// Rows of [`Udp::sockets`] and [`Udp::queues`] each.
pub const MAX_UDP_ROWS: usize = 256;

/// All about UDP in one stretch of time and one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Udp {
    /// Sockets that dropped datagrams in the window; most first.
    pub sockets: Vec<Dropping>,
    /// What sockets dropped that have no row of their own.
    pub other_drops: u64,
    /// UDP sockets at the last census; `None` when none could be taken.
    pub total: Option<u64>,
    /// Sockets that had something queued at some census; the fullest first.
    pub queues: Vec<QueueUse>,
    /// Censuses in the window, and the longest, ns.
    pub censuses: u64,
    /// See `censuses`.
    pub census_ns: u64,
    /// Sockets that a census had no place for, at most at once.
    pub census_left_out: u64,
    /// Growth of the kernel's counters from the first to the last census.
    pub counters: Counters,
    /// What three counts say of the same drops.
    pub agreement: Agreement,
    /// Settings at the end of the window.
    pub settings: Settings,
}

/// A socket that dropped datagrams.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropping {
    /// Address and port it is bound to.
    pub local: SocketAddr,
    /// The other side, when it is connected and a census saw it.
    pub remote: Option<SocketAddr>,
    /// Who sent what was dropped last, where the kernel tells.
    pub sender: Option<SocketAddr>,
    /// The processes that hold it, with their descriptor; empty when none was found.
    pub owners: Vec<(Process, u32)>,
    /// User id of its owner.
    pub uid: u32,
    /// Datagrams dropped in the window: exact.
    pub drops: u64,
    /// Why; `None` where only the socket's own counter tells of them.
    pub reasons: Option<Reasons>,
    /// Drops a second in the worst tenth of a second, at least.
    pub peak_per_s: f64,
    /// The first and the last drop of the window, ns after its start; as near as it is known.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
    /// Drops over time.
    pub timeline: Vec<Grown<1>>,
    /// The receive buffer's limit, bytes, where it is known.
    pub rcvbuf_bytes: Option<u64>,
    /// The queue at each census, oldest first.
    pub queue: Vec<QueuePoint>,
    /// Memory that one datagram takes in the queue (with the kernel's overhead), bytes; `None` when not known.
    pub datagram_bytes: Option<f64>,
    /// It is that of dropped datagrams, which the kernel might have made smaller in the queue: at most so much.
    pub datagram_at_most: bool,
    /// Growth of the socket's own counter (sk_drops) from the first to the last census.
    pub counted: Option<u64>,
    /// What it had dropped before the window, by that counter.
    pub before: Option<u64>,
}

impl Dropping {
    /// The most queued at a census, bytes.
    pub fn queue_max_bytes(&self) -> u64 {
        self.queue.iter().map(|p| p.bytes).max().unwrap_or(0)
    }
}

/// A socket's queue at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePoint {
    /// When, ns after the window's start.
    pub at_ns: u64,
    /// Memory that the queue takes, bytes.
    pub bytes: u64,
    /// Datagrams in it, where that is known.
    pub datagrams: Option<u64>,
}

/// How full the queue of a socket was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUse {
    /// Address and port it is bound to.
    pub local: SocketAddr,
    /// The other side, when it is connected.
    pub remote: Option<SocketAddr>,
    /// At the last census, bytes.
    pub bytes: u64,
    /// At most, bytes.
    pub max_bytes: u64,
    /// The limit, bytes, where it is known.
    pub rcvbuf_bytes: Option<u64>,
}

impl QueueUse {
    /// The most as a share of the limit; 0 where that is not known.
    pub fn fill(&self) -> f64 {
        let limit = self.rcvbuf_bytes.filter(|limit| *limit > 0);
        limit.map_or(0.0, |limit| self.max_bytes as f64 / limit as f64)
    }
}

/// What three counts say of the same drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Drops because a buffer was full, by our program; `None` when it did not run.
    pub traced: Option<u64>,
    /// Growth of RcvbufErrors, IPv4 and IPv6, from the first to the last census.
    pub rcvbuf_errors: Option<u64>,
    /// Growth of the counters of the sockets that censuses listed (all reasons, bad checksums as well).
    pub sockets: Option<u64>,
}
