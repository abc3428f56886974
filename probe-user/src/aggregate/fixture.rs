//! Hand-made readings and windows for the tests.

use probe_common::{
    count::COMM_LEN,
    part,
    peer::{PeerKey, kind},
    request::{PeerUse, Request, Span, flag},
    task::{self, Task, state},
};

use super::{
    About, Aggregator, Cost, Parts, Peer, Window, files, journal,
    tcp::{self, States, Tcp},
    udp,
};
use crate::{
    attach::{ProbeStatus, State},
    collect::{Process, Reading},
};

/// A millisecond in ns.
pub const MS: u64 = 1_000_000;
/// A second in ns.
pub const S: u64 = 1000 * MS;
/// When watching begins (CLOCK_MONOTONIC ns).
pub const START: u64 = 1000 * S;

/// A probe that is active.
pub fn probe(id: &'static str) -> ProbeStatus {
    ProbeStatus {
        id,
        summary: "",
        source: String::new(),
        state: State::Active,
        seen: None,
    }
}

/// The probes that the rules need, active.
pub fn probes() -> Vec<ProbeStatus> {
    let requests = ["calls", "scheduler", "peers", "requests"];
    let all = requests.iter().chain(&tcp::fixture::PROBES);
    let all = all.chain(&udp::fixture::PROBES).chain(&["dns"]);
    let all = all.chain(&files::fixture::PROBES);
    let all = all.chain(&journal::fixture::PROBES);
    all.map(|id| probe(id)).collect()
}

/// A thread of a process of one thread, running since [`START`].
pub fn task(pid: u32, start_ticks: u32) -> Task {
    Task {
        tid: pid,
        tgid: pid,
        start_ticks,
        flags: task::flag::IDENTIFIED | task::flag::ACCEPTS,
        state: state::RUNNING,
        since_ns: START,
        blocked_nr: -1,
        comm: comm(b"php-fpm8.2"),
        ..Task::ZERO
    }
}

/// A PHP-FPM worker of pool `www` as /proc shows it.
pub fn worker(pid: u32) -> Process {
    Process {
        pid,
        start_ticks: pid,
        ppid: 1,
        comm: b"php-fpm8.2".to_vec(),
        pool: Some(b"www".to_vec()),
        ended: false,
    }
}

/// A process name as the kernel keeps it.
pub fn comm(name: &[u8]) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    comm[..name.len()].copy_from_slice(name);
    comm
}

/// 203.0.113.`last`:443.
pub fn api(last: u8) -> PeerKey {
    let mut key = PeerKey {
        kind: kind::INET,
        protocol: 6,
        port: 443,
        ..PeerKey::ZERO
    };
    key.set_address(&[203, 0, 113, last]);
    key
}

/// The id of [`api`].
pub fn api_id(last: u8) -> u64 {
    probe_common::peer::id(&api(last))
}

/// [`api`], resolved.
pub fn api_peer(last: u8) -> Peer {
    Peer::Inet {
        transport: "tcp".to_owned(),
        address: [203, 0, 113, last].into(),
        port: 443,
    }
}

/// One request in words, for [`request`].
#[derive(Clone, Copy)]
pub struct Page {
    /// Calls to [`api`] 5, one wait each.
    pub calls: u32,
    /// Each takes so long, ns.
    pub each_ns: u64,
    /// The first takes so much longer, ns.
    pub first_extra_ns: u64,
    /// All at once rather than one after the other.
    pub parallel: bool,
    /// A connection for each call rather than one that is kept.
    pub connect_each: bool,
    /// On a CPU, ns.
    pub cpu_ns: u64,
    /// Waiting for one, ns.
    pub queue_ns: u64,
}

/// 24 calls in a row of 371 ms each, as in incident A.
pub const INCIDENT_A: Page = Page {
    calls: 24,
    each_ns: 371 * MS,
    first_extra_ns: 0,
    parallel: false,
    connect_each: true,
    cpu_ns: 160 * MS,
    queue_ns: 20 * MS,
};

/// A finished request of `pid` that began `at` ns after [`START`].
pub fn request(pid: u32, at: u64, shape: Page) -> Request {
    let calls_ns = if shape.parallel {
        shape.each_ns
    } else {
        shape.each_ns * u64::from(shape.calls)
    };
    let wait = calls_ns + shape.first_extra_ns;
    let mut parts = [0; part::COUNT];
    parts[part::NETWORK] = wait;
    parts[part::ON_CPU] = shape.cpu_ns;
    parts[part::RUN_QUEUE] = shape.queue_ns;
    let mut r = Request {
        flags: flag::GOT_DATA | flag::FASTCGI,
        tgid: pid,
        tid: pid,
        start_ticks: pid,
        start_ns: START + at,
        end_ns: START + at + wait + shape.cpu_ns + shape.queue_ns,
        parts,
        comm: comm(b"php-fpm8.2"),
        connects: if shape.connect_each { shape.calls } else { 1 },
        polls: shape.calls * 2,
        ..Request::ZERO
    };
    let uri = b"/catalog.php?cat=excavators";
    r.uri[..uri.len()].copy_from_slice(uri);
    r.uri_len = uri.len() as u16;
    if wait > 0 {
        let longest_ns = if shape.parallel {
            wait
        } else {
            shape.each_ns + shape.first_extra_ns
        };
        r.npeers = 1;
        r.peers[0] = PeerUse {
            peer: api_id(5),
            wait_ns: wait,
            longest_ns,
            waits: shape.calls,
            connects: r.connects,
            exchanges: shape.calls,
            overlapped: if shape.parallel { shape.calls - 1 } else { 0 },
            ..PeerUse::ZERO
        };
        (r.longest_ns, r.longest_peer) = (longest_ns, api_id(5));
        r.nspans = 1;
        r.spans[0] = Span {
            start_us: 0,
            length_us: (longest_ns / 1000) as u32,
            peer: 0,
            part: part::NETWORK as u8,
            op: 0,
        };
    }
    r
}

/// What the windows of the tests are about.
pub fn about() -> About {
    About {
        host: "web-07".to_owned(),
        kernel: "6.1.0-50".to_owned(),
        target: "pool www".to_owned(),
        start_unix_ns: 1_700_000_000 * S,
        start_ns: START,
    }
}

/// A reading taken `at` ns after [`START`] that knows [`worker`]s 1 to 9 and [`api`]s 1 to 9.
pub fn reading(at: u64) -> Reading {
    Reading {
        at_ns: START + at,
        processes: (1..10).map(worker).collect(),
        peers: (1..10).map(|n| (api_id(n), api(n))).collect(),
        ..Reading::default()
    }
}

/// A window of 10 s made of these readings, watched from the start; with quiet signals, unless they have some.
pub fn window(readings: impl IntoIterator<Item = Reading>) -> Window {
    let mut aggregator = Aggregator::new(about());
    readings.into_iter().for_each(|r| aggregator.push(r));
    let mut window = aggregator.finish(
        probes(),
        Cost {
            kernel_ns: Some(30 * MS),
            own_cpu_ns: 10 * MS,
            rss_bytes: 11_000_000,
            map_bytes: 6_000_000,
            start_ns: 40 * MS,
        },
    );
    window.tcp.get_or_insert_with(|| {
        Box::new(Tcp {
            timeline: tcp::fixture::still(States::default()),
            ..Tcp::default()
        })
    });
    window.udp.get_or_insert_default();
    window.dns.get_or_insert_default();
    window.files = Some(Box::new(files::fixture::healthy()));
    window.journal = Some(Box::new(journal::fixture::busy()));
    window
}

/// A window of `n` requests of one shape, spread over 9 workers.
pub fn window_of(n: u32, shape: Page) -> Window {
    let requests = (0..n)
        .map(|i| request(i % 9 + 1, u64::from(i) * MS, shape))
        .collect();
    let tasks = (1..10)
        .map(|pid| {
            let mut t = task(pid, pid);
            t.life[part::IDLE] = 5 * S;
            t.since_ns = START + 5 * S;
            t
        })
        .collect();
    window([Reading {
        requests,
        tasks,
        ..reading(10 * S)
    }])
}

/// Sum of parts, ns.
pub fn sum(parts: &Parts) -> u64 {
    parts.iter().sum()
}
