//! The observation window: what the rules judge and the outputs show.

use probe_common::part;

use crate::{attach::ProbeStatus, collect::Process};

/// Durations as a histogram that merges exactly.
pub type Histogram = hdrhistogram::Histogram<u64>;

/// The other end of a wait, resolved and ready to be shown (any bytes; outputs escape).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// An address we connected to: `203.0.113.5:443`, with the transport (`tcp`, `udp`).
    Inet {
        /// Transport: `tcp`, `udp` or the protocol's number.
        transport: String,
        /// Address of the other side.
        address: std::net::IpAddr,
        /// Its port.
        port: u16,
    },
    /// A Unix socket that we connected to; empty for an unnamed one, `@name` for an abstract one.
    Unix {
        /// Path.
        path: Vec<u8>,
    },
    /// Someone who connected to us.
    Inbound {
        /// Our side: `tcp :80` or a Unix path, in words.
        on: Vec<u8>,
        /// Address of the other side, where it has one.
        address: Option<std::net::IpAddr>,
    },
    /// A listening socket.
    Listener {
        /// Our side, in words.
        on: Vec<u8>,
    },
    /// Something that has no address: see [`probe_common::peer::special`].
    Special(u64),
}

/// All about one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Start, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// Length, ns.
    pub duration_ns: u64,
    /// What was watched, in words: `pool www`, `pid 4711`, `all processes`.
    pub target: String,
    /// Groups of processes: a PHP-FPM pool, or all processes of one name.
    pub groups: Vec<Group>,
    /// Calls by process, operation and peer.
    pub calls: Vec<Calls>,
    /// The processes followed.
    pub processes: Vec<ProcessTime>,
    /// Per-probe coverage.
    pub probes: Vec<ProbeStatus>,
    /// Lost, by [`probe_common::loss::slot`].
    pub losses: Vec<u64>,
    /// What watching cost.
    pub cost: Cost,
}

/// What watching cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time in our kernel programs, ns over the window (`None` where the kernel does not tell).
    pub kernel_ns: Option<u64>,
    /// CPU time of this process, ns.
    pub own_cpu_ns: u64,
    /// Resident memory of this process, bytes.
    pub rss_bytes: u64,
    /// Memory of the maps, bytes.
    pub map_bytes: u64,
    /// From start to the first data, ns.
    pub start_ns: u64,
}

/// A process and where its time went in the window.
#[derive(Clone, Debug)]
pub struct ProcessTime {
    /// Who.
    pub process: Process,
    /// Wall time of its threads in the window by part, ns.
    pub parts: [u64; part::COUNT],
    /// Threads followed.
    pub threads: u32,
    /// It is an event loop: its requests cannot be told apart.
    pub event_driven: bool,
    /// Requests finished in the window.
    pub requests: u64,
    /// What it is doing at the window's end, if it is in a request.
    pub current: Option<RequestSummary>,
    /// What it waits for at the window's end.
    pub waits_for: Option<Peer>,
}

/// Processes that serve the same requests.
#[derive(Clone, Debug)]
pub struct Group {
    /// `pool www`, or the process name.
    pub name: String,
    /// True for a PHP-FPM pool.
    pub php_fpm: bool,
    /// Processes seen.
    pub workers: u32,
    /// Finished requests whose start was seen.
    pub requests: u64,
    /// Of those: FastCGI ones.
    pub fastcgi_requests: u64,
    /// Requests still open at the end, or begun before the window.
    pub incomplete: u64,
    /// Wall time of finished requests, ns.
    pub wall: Histogram,
    /// Sum of the wall time of finished requests, ns.
    pub wall_ns: u64,
    /// The same by part; sums to `wall_ns`.
    pub parts: [u64; part::COUNT],
    /// Wall time inside incomplete requests within the window by part, ns.
    pub incomplete_parts: [u64; part::COUNT],
    /// Calls of connect() in finished requests.
    pub connects: u64,
    /// Calls of poll and its kin in finished requests.
    pub polls: u64,
    /// By peer, most waited-for first.
    pub peers: Vec<PeerTime>,
    /// The slowest requests, slowest first.
    pub slowest: Vec<RequestSummary>,
}

/// What the requests of a group did with one peer.
#[derive(Clone, Debug)]
pub struct PeerTime {
    /// Who.
    pub peer: Peer,
    /// Requests that used it.
    pub requests: u64,
    /// Time blocked on it in finished requests, ns.
    pub wait_ns: u64,
    /// Time blocked on it inside incomplete requests within the window, ns.
    pub incomplete_wait_ns: u64,
    /// Time blocked on it by request, ns.
    pub wait_per_request: Histogram,
    /// Duration of one exchange (send to the last byte of the answer), ns.
    pub exchange: Histogram,
    /// Longest single wait, ns.
    pub longest_ns: u64,
    /// Waits that blocked.
    pub waits: u64,
    /// Calls of connect().
    pub connects: u64,
    /// Send -> receive rounds.
    pub exchanges: u64,
    /// Connects made while an earlier one of the request was unanswered.
    pub overlapped: u64,
}

/// One request.
#[derive(Clone, Debug)]
pub struct RequestSummary {
    /// Process id.
    pub pid: u32,
    /// Start, ns after the window's start (negative when before).
    pub start_ns: i64,
    /// Wall time, ns (so far, if unfinished).
    pub wall_ns: u64,
    /// Not finished at the window's end.
    pub unfinished: bool,
    /// Its start was not seen.
    pub partial: bool,
    /// Wall time by part, ns.
    pub parts: [u64; part::COUNT],
    /// Script file (FastCGI SCRIPT_FILENAME), any bytes.
    pub script: Vec<u8>,
    /// URI (FastCGI REQUEST_URI), any bytes.
    pub uri: Vec<u8>,
    /// Calls of connect().
    pub connects: u32,
    /// Peers: who, time blocked on it (ns), connects, exchanges.
    pub peers: Vec<(Peer, u64, u32, u32)>,
    /// Waits of at least 0.1 ms: begin (ns after the request's start), length (ns), part, peer.
    pub spans: Vec<(u64, u64, usize, Option<Peer>)>,
}

/// Calls by process, operation and peer.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// Operation: a system call's name, `established` or `exchange`.
    pub op: &'static str,
    /// Who.
    pub peer: Peer,
    /// Calls that returned in the window.
    pub count: u64,
    /// Their durations, ns.
    pub total_ns: u64,
    /// Of it blocked, ns.
    pub blocked_ns: u64,
    /// Longest, ns (since attach).
    pub max_ns: u64,
    /// Errors: errno and calls.
    pub errors: Vec<(u32, u64)>,
    /// Durations.
    pub durations: Histogram,
}
