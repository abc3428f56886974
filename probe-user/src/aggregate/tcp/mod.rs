//! TCP in a [`Window`](super::Window): the state table over time, who is in it, how long, and what failed.

mod exact;
mod failed;
mod flows;
mod fold;
mod gaps;
mod half_closed;
mod ports;
mod queues;
mod states;
mod time_wait;
mod timeline;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use super::{Durations, Peer};
pub use crate::collect::tcp::{Counters, Settings};
pub(super) use fold::TcpFold;
pub use half_closed::orphan_lifetime_s;

/// Rows of [`Tcp::peers`], [`Tcp::processes`], [`Tcp::dwell`] and [`Tcp::failed`] each; what finds no place
/// is added up in a last row or in the totals.
pub const MAX_TCP_ROWS: usize = 256;

/// All about TCP in one stretch of time and one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    /// The census over time, oldest first. Empty when none could be taken.
    pub timeline: Vec<Point>,
    /// How often a census was taken, ns on average, when more often would have cost too much
    /// ([`crate::collect`] says the bound); `None` at the full pace of one a second.
    pub slowed_to_ns: Option<u64>,
    /// The longest census, ns.
    pub census_ns: u64,
    /// Sockets at the last census by the address of the other side; most sockets first. Listening ones have
    /// none and are in no row.
    pub peers: Vec<PeerSockets>,
    /// Sockets at the last census that are in no row of `peers`.
    pub other: States,
    /// TCP sockets by process at the last walk over descriptors; most first. Empty when none was made.
    pub processes: Vec<ProcessSockets>,
    /// True when `processes` and the owners of listeners and half-closed sockets are known.
    pub owners_known: bool,
    /// How long sockets stay in a state, from transitions: for each peer and process.
    pub dwell: Vec<Dwell>,
    /// The same for all peers together, by state; FIN_WAIT_2 and TIME_WAIT as they really are.
    pub dwell_by_state: Vec<StateDwell>,
    /// Ephemeral ports by (local address, destination); the fullest first.
    pub ports: Vec<Ports>,
    /// FIN_WAIT_2 by the other side's address; most first.
    pub half_closed: Vec<HalfClosed>,
    /// Sockets in FIN_WAIT_2 that were counted but not followed one by one, at most at once: how long they
    /// stay rests on the others.
    pub half_closed_left_out: u64,
    /// Listening sockets, TCP and Unix: those with overflows first, then the fullest.
    pub listeners: Vec<ListenQueue>,
    /// Listening sockets that found no place to be followed.
    pub listeners_left_out: u64,
    /// Connects that failed, by process, errno and address; most first. What found no row is added up by
    /// errno at the end (process 0, other peers).
    pub failed: Vec<FailedConnects>,
    /// Addresses that nobody listened on for a while, in order of time.
    pub gaps: Vec<Gap>,
    /// Failed connects to further such addresses.
    pub gaps_left_out: u64,
    /// Growth of the kernel's counters in the window, as far as the first and the last census show it;
    /// `orphans` is no counter but a level: the most seen.
    pub counters: Counters,
    /// Settings at the end of the window.
    pub settings: Settings,
}

/// Sockets by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// Open.
    pub established: u64,
    /// connect() under way.
    pub syn_sent: u64,
    /// Handshake under way, on the side that listens.
    pub syn_received: u64,
    /// Closed by us, not acknowledged.
    pub fin_wait_1: u64,
    /// Closed by us; the other side has not closed. Orphans included.
    pub fin_wait_2: u64,
    /// Of `fin_wait_2`: no process holds it.
    pub fin_wait_2_orphaned: u64,
    /// Closed by both, by us first.
    pub time_wait: u64,
    /// Closed by the other side only.
    pub close_wait: u64,
    /// Closed by the other side, then by us.
    pub last_ack: u64,
    /// Listening.
    pub listen: u64,
    /// Both closed at once.
    pub closing: u64,
    /// Closed, still held (bound but not connected).
    pub closed: u64,
}

impl States {
    /// Name in OpenTelemetry's spelling and number, in the order of a connection's life; those that `ss`
    /// shows. Orphans are part of `fin_wait_2`.
    pub fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("listen", self.listen),
            ("syn_sent", self.syn_sent),
            ("syn_received", self.syn_received),
            ("established", self.established),
            ("fin_wait_1", self.fin_wait_1),
            ("fin_wait_2", self.fin_wait_2),
            ("closing", self.closing),
            ("time_wait", self.time_wait),
            ("close_wait", self.close_wait),
            ("last_ack", self.last_ack),
            ("closed", self.closed),
        ]
    }

    /// All sockets.
    pub fn total(&self) -> u64 {
        self.named().iter().map(|(_, n)| n).sum()
    }
}

/// One census.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// When, ns after the window's start.
    pub at_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// What it counted.
    pub states: States,
}

/// Sockets by the other side's address.
#[derive(Clone, Debug)]
pub struct PeerSockets {
    /// Who: [`Peer::Inet`] for connections that we opened, [`Peer::Inbound`] for those opened to us.
    pub peer: Peer,
    /// Sockets at the last census.
    pub states: States,
    /// Of the sockets that left ESTABLISHED in the window: how many we closed first, and how many they did.
    pub closed_by_us: u64,
    /// See `closed_by_us`.
    pub closed_by_peer: u64,
    /// The process that closed first most often, where one was seen.
    pub closer: Option<Process>,
}

/// A process, by id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
}

/// TCP sockets that a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSockets {
    /// Who.
    pub process: Process,
    /// What it holds. TIME_WAIT and orphans belong to nobody.
    pub states: States,
}

/// Transitions out of a state, by peer and process.
#[derive(Clone, Debug)]
pub struct Dwell {
    /// State left, as OpenTelemetry names it.
    pub state: &'static str,
    /// State entered; `accepted` for the time between established and accept().
    pub to: &'static str,
    /// Who is at the other end.
    pub peer: Peer,
    /// The process that owns the socket, where it is known.
    pub process: Option<Process>,
    /// Transitions in the window.
    pub count: u64,
    /// Time in the state left, of those that entered it while we watched.
    pub durations: Durations,
}

/// How long sockets stay in a state, all together.
#[derive(Clone, Debug, Default)]
pub struct StateDwell {
    /// The state.
    pub state: &'static str,
    /// Sockets that came into it in the window: from the transitions; for TIME_WAIT, what the censuses show, or the
    /// number of timewait objects where `source` is `exact`.
    pub entered: u64,
    /// Sockets that left it in the window.
    pub count: u64,
    /// How long those had been in it, as far as it is known. From the census, precise to about a second, for
    /// FIN_WAIT_2 and TIME_WAIT where `exact_timewait` is off; from the transitions for the others.
    pub durations: Durations,
    /// Where that comes from: `transitions`, `census`, `exact` (kprobes).
    pub source: &'static str,
    /// Sockets in it at the end, and the age of the oldest, ns.
    pub present: u64,
    /// See `present`; a lower bound for a socket that was there before we watched and has no timer. Known for
    /// FIN_WAIT_2 and TIME_WAIT only, else 0.
    pub oldest_ns: u64,
}

/// Ephemeral ports from one local address to one destination.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    /// The destination.
    pub peer: Peer,
    /// Local address; `None` when no socket is left to the destination.
    pub local: Option<std::net::IpAddr>,
    /// Ports that can be used: the range, less reserved ones and those that someone listens on.
    pub usable: u64,
    /// Ports in use to this destination at the last census, by state.
    pub states: States,
    /// The most ports in use at any census of the window, less the reusable ones ([`Ports::used`]).
    pub peak: u64,
    /// Of `states.time_wait`: those that a new connect may take over (tcp_tw_reuse).
    pub reusable: u64,
    /// Connections opened to it per second (SYN_SENT entered), from the transitions; without connects that found no port.
    pub opened_per_s: f64,
    /// Of those that ended: how many per second we closed first, and so left in TIME_WAIT.
    pub closed_by_us_per_s: f64,
    /// Growth of ports in use per second, between the first and the last census; negative when it shrinks.
    pub growth_per_s: f64,
    /// Ports in use when this goes on as it does: those that we close times the time that each stays in
    /// TIME_WAIT, and those in other states as they are.
    pub levels_off_at: f64,
    /// Seconds until no port is left, when `levels_off_at` is beyond `usable` and it grows.
    pub seconds_left: Option<f64>,
    /// The process that closes first, and the one that connects.
    pub closer: Option<Process>,
    /// See `closer`.
    pub opener: Option<Process>,
    /// Connects that failed with EADDRNOTAVAIL.
    pub failures: u64,
    /// When the first of them was, ns after the window's start.
    pub first_failure_ns: Option<u64>,
}

impl Ports {
    /// Ports that a new connect cannot have.
    pub fn used(&self) -> u64 {
        self.states.total().saturating_sub(self.reusable)
    }
}

/// FIN_WAIT_2 towards one address.
#[derive(Clone, Debug, Default)]
pub struct HalfClosed {
    /// Who has not closed.
    pub peer: Peer,
    /// Sockets at the last census that no process holds.
    pub orphaned: u64,
    /// Sockets at the last census that a process holds.
    pub held: u64,
    /// The most of both at once in the window.
    pub peak: u64,
    /// Who holds them: process, sockets held, a descriptor of them for a look by hand; most first.
    pub holders: Vec<(Process, u64, i32)>,
    /// How long those that left were in the state.
    pub left: Durations,
    /// How long those still there are in it so far; a lower bound for held ones that were there before us.
    pub age: Durations,
    /// Sockets that came into the state in the window, per second; where transitions do not tell this peer
    /// from others, those that a census met.
    pub entered_per_s: f64,
}

/// A listening socket's queues.
#[derive(Clone, Debug, Default)]
pub struct ListenQueue {
    /// Its address.
    pub address: Peer,
    /// True for TCP.
    pub tcp: bool,
    /// Processes that hold it, by id; at most 8 are listed.
    pub owners: Vec<Process>,
    /// Connections waiting for accept() at the last look.
    pub queue: u64,
    /// The most seen waiting.
    pub queue_max: u64,
    /// The most that may wait.
    pub limit: u64,
    /// TCP: handshakes not finished, the most seen.
    pub syn_queue_max: u64,
    /// Sum of what was waiting at all looks: divided by `looks`, the mean.
    pub queue_sum: u64,
    /// Looks at the queue, and at how many of them it was full.
    pub looks: u64,
    /// See `looks`.
    pub full: u64,
    /// Handshakes and connections refused or dropped in the window because the queue was full. TCP: the
    /// kernel's ListenOverflows, given to the sockets by their own counters of drops. Unix: connects that failed with EAGAIN.
    pub overflows: u64,
    /// When the first of them was seen, ns after the window's start.
    pub first_overflow_ns: Option<u64>,
    /// True when several sockets dropped at once, and not all of it for want of room: `overflows` is this one's part by
    /// its drops.
    pub overflows_inexact: bool,
    /// TCP: connections accepted in the window, where the kernel side saw them; of all sockets that listen
    /// on the same address (SO_REUSEPORT).
    pub accepted: u64,
    /// TCP: time from established to accept().
    pub wait: Durations,
}

/// Connects of one process that failed in one way.
#[derive(Clone, Debug)]
pub struct FailedConnects {
    /// Who tried.
    pub process: Process,
    /// The address asked for.
    pub peer: Peer,
    /// errno.
    pub errno: u32,
    /// How many.
    pub count: u64,
    /// First and last, ns after the window's start.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
}

/// A stretch of time in which connects to an address failed because nobody listened.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The address.
    pub peer: Peer,
    /// When it began, ns after the window's start: the listener's end where that was seen, else the first
    /// failed connect.
    pub start_ns: u64,
    /// True when the listener's end itself was seen.
    pub start_seen: bool,
    /// When it ended: the call of listen() where that was seen, else the first connect that succeeded;
    /// `None` when it lasts beyond the window.
    pub end_ns: Option<u64>,
    /// Connects that failed in it, by errno; most first.
    pub failed: Vec<(u32, u64)>,
    /// Processes that were refused; most first, at most 8.
    pub refused: Vec<(Process, u64)>,
    /// Who listened (again) at its end.
    pub back: Option<Process>,
    /// True when connects to the address had succeeded, or someone was seen listening on it, before the
    /// gap: without it, the address may never have been served.
    pub served_before: bool,
}
