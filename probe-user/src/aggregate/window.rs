//! The observation window: what the rules judge and the outputs show. Plain data; sums are exact, and
//! what a bounded list has no place for is added up in its "other" row, never dropped.

use probe_common::part;

use super::{Durations, Peer, dns::Dns, files::Files, journal::Journal, tcp::Tcp, udp::Udp};
use crate::{
    attach::ProbeStatus,
    collect::{Cost, Process},
};

/// Durations as an HDR histogram, ns: 2 significant digits from 1.024 µs up, 8 KB for a
/// second. Counts saturate at 4 billion.
pub type Histogram = hdrhistogram::Histogram<u32>;

/// Time by part, ns; see [`part`].
pub type Parts = [u64; part::COUNT];

/// Groups told apart; further processes form one group "other processes".
pub const MAX_GROUPS: usize = 32;
/// Peers told apart in a group; those waited for least are added up in "other peers".
pub const MAX_PEERS: usize = 24;
/// Slowest requests kept of a group.
pub const MAX_SLOWEST: usize = 5;
/// Rows of [`Window::calls`] that name a process; further rows are added up by group. Each takes about 2 kB of JSON, and of a report
/// nobody reads more.
pub const MAX_CALLS: usize = 512;
/// Rows of [`Window::processes`].
pub const MAX_PROCESSES: usize = 4096;

/// An empty [`Histogram`].
pub fn new_histogram() -> Histogram {
    // The bounds are constants and valid. It grows with what it holds.
    let mut histogram = Histogram::new_with_bounds(1 << 10, 1 << 12, 2)
        .unwrap_or_else(|_| unreachable!("1024 to 4096 with 2 digits is a valid histogram"));
    histogram.auto(true);
    histogram
}

/// Records `count` durations of `ns`.
pub(super) fn record_n(histogram: &mut Histogram, ns: u64, count: u64) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    // It grows as needed; where even that fails (a 16-bit usize), the longest it can hold is recorded.
    if histogram.record_n(ns, count).is_err() {
        histogram.saturating_record_n(ns, count);
    }
}

/// Adds the counts of `other`.
pub(super) fn add_histogram(histogram: &mut Histogram, other: &Histogram) {
    for value in other.iter_recorded() {
        record_n(
            histogram,
            value.value_iterated_to(),
            value.count_at_value().into(),
        );
    }
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
    /// The names in it are made up (`--redact`).
    pub redacted: bool,
    /// Groups of processes, the one with most request time first.
    pub groups: Vec<Group>,
    /// Calls by process, operation and peer, most time first.
    pub calls: Vec<Calls>,
    /// The processes followed, by pid.
    pub processes: Vec<ProcessTime>,
    /// Processes followed that [`Window::processes`] has no place for.
    pub processes_left_out: u64,
    /// TCP; `None` when it was not watched.
    pub tcp: Option<Box<Tcp>>,
    /// UDP, likewise.
    pub udp: Option<Box<Udp>>,
    /// DNS, likewise.
    pub dns: Option<Box<Dns>>,
    /// Files, likewise.
    pub files: Option<Box<Files>>,
    /// The ext4 journal and tasks that sleep behind it, likewise.
    pub journal: Option<Box<Journal>>,
    /// Per-probe coverage.
    pub probes: Vec<ProbeStatus>,
    /// Lost in the window, by [`probe_common::loss::slot`].
    pub losses: Vec<u64>,
    /// What watching cost.
    pub cost: Cost,
}

/// A process and where its time went in the window.
#[derive(Clone, Debug)]
pub struct ProcessTime {
    /// Who.
    pub process: Process,
    /// Its group's name, any bytes.
    pub group: Vec<u8>,
    /// Wall time of its threads in the window by part, ns.
    pub parts: Parts,
    /// Threads followed.
    pub threads: u32,
    /// It is an event loop: its requests cannot be told apart.
    pub event_driven: bool,
    /// Requests finished in the window.
    pub requests: u64,
    /// What it is doing at the window's end, if it is in a request.
    pub current: Option<Box<RequestSummary>>,
    /// What it waits for at the window's end, if it is blocked.
    pub waits_for: Option<WaitsFor>,
}

/// What a thread is blocked on at the window's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitsFor {
    /// The part that the wait is charged to so far, see [`part`].
    pub part: usize,
    /// The peer, where one is known or assumed.
    pub peer: Option<Peer>,
    /// How long already, ns.
    pub for_ns: u64,
}

/// Processes that serve the same requests.
#[derive(Clone, Debug)]
pub struct Group {
    /// A PHP-FPM pool's name, or the process name; any bytes.
    pub name: Vec<u8>,
    /// True for a PHP-FPM pool.
    pub php_fpm: bool,
    /// Processes followed at the end of the window, or until they ended in it.
    pub workers: u32,
    /// Of those: event loops, whose requests overlap and cannot be told apart. Their time is in
    /// `worker_parts`, but they have no requests.
    pub event_driven: u32,
    /// The pid of one of its workers, the one with most request time: for commands to try by hand.
    pub example_pid: u32,
    /// Wall time of its workers in the window by part, ns.
    pub worker_parts: Parts,
    /// Finished requests whose start was seen.
    pub requests: u64,
    /// Of those: FastCGI ones.
    pub fastcgi_requests: u64,
    /// Requests still open at the end, begun before watching began, or cut off by the worker's end.
    pub incomplete: u64,
    /// Connections that closed without a byte of request (health probes): no requests.
    pub empty_connections: u64,
    /// Requests whose worker forked while they were open: left out, as the child may have served them.
    pub forked_requests: u64,
    /// Wall time of finished requests, ns.
    pub wall: Histogram,
    /// Sum of the wall time of finished requests, ns.
    pub wall_ns: u64,
    /// The same by part; sums to `wall_ns`.
    pub parts: Parts,
    /// Wall time inside incomplete requests within the window by part, ns.
    pub incomplete_parts: Parts,
    /// Calls of connect() in finished requests.
    pub connects: u64,
    /// Calls of poll and its kin in finished requests.
    pub polls: u64,
    /// By peer, most waited-for first.
    pub peers: Vec<PeerTime>,
    /// The slowest requests, slowest first: finished ones and those still open.
    pub slowest: Vec<RequestSummary>,
}

impl Group {
    /// Wall time of all requests within the window, finished or not, ns.
    pub fn all_wall_ns(&self) -> u64 {
        self.wall_ns + self.incomplete_parts.iter().sum::<u64>()
    }

    /// The same by part.
    pub fn all_parts(&self) -> Parts {
        std::array::from_fn(|i| self.parts[i] + self.incomplete_parts[i])
    }

    /// Share of its workers' time that they were not idle; 0 when none was seen.
    pub fn busy(&self) -> f64 {
        match self.worker_parts.iter().sum::<u64>() {
            0 => 0.0,
            total => 1.0 - self.worker_parts[part::IDLE] as f64 / total as f64,
        }
    }

    /// Requests, finished or not.
    pub fn all_requests(&self) -> u64 {
        self.requests + self.incomplete
    }
}

/// What the requests of a group did with one peer.
#[derive(Clone, Debug)]
pub struct PeerTime {
    /// Who.
    pub peer: Peer,
    /// In finished requests.
    pub done: Use,
    /// In incomplete requests; time is counted within the window only.
    pub open: Use,
    /// Of `open.wait_ns`: waits that had not ended when the window did. Their length is a fact, that it
    /// is this peer is inferred from the request's exchanges so far.
    pub assumed_ns: u64,
    /// When the first request began that waited for it for the larger part of its time, ns after the window's start (0
    /// when before); `None` when there was none.
    pub mostly_since_ns: Option<u64>,
    /// Time blocked on it by finished request, ns.
    pub wait_per_request: Histogram,
    /// Duration of one exchange (send to the last byte of the answer), ns, in requests or not.
    pub exchange: Durations,
}

impl PeerTime {
    /// Time blocked on it in all requests within the window, ns.
    pub fn wait_ns(&self) -> u64 {
        self.done.wait_ns + self.open.wait_ns
    }

    /// Requests that used it, finished or not.
    pub fn requests(&self) -> u64 {
        self.done.requests + self.open.requests
    }

    /// Longest single wait, ns.
    pub fn longest_ns(&self) -> u64 {
        self.done.longest_ns.max(self.open.longest_ns)
    }
}

/// Sums over some requests' dealings with one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Requests that used it.
    pub requests: u64,
    /// Of those: requests that waited for it for the larger part of their wall time.
    pub mostly: u64,
    /// Time blocked on it, ns.
    pub wait_ns: u64,
    /// Longest single wait, ns.
    pub longest_ns: u64,
    /// Sum over the requests of each one's longest wait, ns.
    pub longest_sum_ns: u64,
    /// Waits that blocked.
    pub waits: u64,
    /// Calls of connect().
    pub connects: u64,
    /// Send -> receive rounds.
    pub exchanges: u64,
    /// Connects made while an earlier one of the request was unanswered.
    pub overlapped: u64,
}

impl Use {
    /// Adds the sums of `other`.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.mostly += other.mostly;
        self.wait_ns += other.wait_ns;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.longest_sum_ns += other.longest_sum_ns;
        self.waits += other.waits;
        self.connects += other.connects;
        self.exchanges += other.exchanges;
        self.overlapped += other.overlapped;
    }
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
    /// Wall time by part, ns: all of it, also before the window.
    pub parts: Parts,
    /// Script file (FastCGI SCRIPT_FILENAME), any bytes.
    pub script: Vec<u8>,
    /// URI (FastCGI REQUEST_URI), any bytes.
    pub uri: Vec<u8>,
    /// Calls of connect().
    pub connects: u32,
    /// Peers, most waited-for first.
    pub peers: Vec<RequestPeer>,
    /// Waits of at least 0.1 ms, in order of time.
    pub spans: Vec<RequestSpan>,
    /// Such waits that found no place in `spans`.
    pub spans_lost: u32,
}

/// What one request did with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPeer {
    /// Who.
    pub peer: Peer,
    /// Time blocked on it, ns.
    pub wait_ns: u64,
    /// Calls of connect().
    pub connects: u32,
    /// Send -> receive rounds.
    pub exchanges: u32,
}

/// One wait of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSpan {
    /// Begin, ns after the request's start (whole µs).
    pub start_ns: u64,
    /// Length, ns (whole µs).
    pub length_ns: u64,
    /// What it is charged to, see [`part`].
    pub part: usize,
    /// Who, when it is a peer's.
    pub peer: Option<Peer>,
}

/// Calls by process, operation and peer.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Process id; `None` for the processes of a group that found no row of their own.
    pub pid: Option<u32>,
    /// Process name, or the group's, any bytes.
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
    /// Errors: errno and calls; errno 0 stands for "other errors".
    pub errors: Vec<(u32, u64)>,
    /// Durations.
    pub durations: Durations,
}
