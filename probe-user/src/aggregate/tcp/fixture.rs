//! Hand-made TCP windows for the tests of rules and outputs.

use super::*;
use crate::aggregate::{
    Durations, Peer, Window,
    fixture::{MS, S, probe, window},
};

/// The probes that watch TCP, as they are named in a window's coverage.
pub const PROBES: [&str; 6] = [
    "tcp_states",
    "connects",
    "listens",
    "accepts",
    "tcp_census",
    "socket_owners",
];

/// A window of 10 s with this TCP in it, every probe of TCP active and nothing else.
pub fn window_with(tcp: Tcp) -> Window {
    Window {
        target: "this network namespace".to_owned(),
        duration_ns: 10 * S,
        tcp: Some(Box::new(tcp)),
        probes: PROBES.map(probe).to_vec(),
        ..window([])
    }
}

/// 10.0.0.8:6379 from `"10.0.0.8:6379"`: a destination.
pub fn to(address: &str) -> Peer {
    let address: std::net::SocketAddr = address.parse().unwrap();
    Peer::Inet {
        transport: "tcp".to_owned(),
        address: address.ip(),
        port: address.port(),
    }
}

/// Clients at `address` of the TCP port `port`.
pub fn from(address: &str, port: u16) -> Peer {
    Peer::Inbound {
        on: format!("tcp :{port}").into_bytes(),
        address: Some(address.parse().unwrap()),
    }
}

/// A TCP listener on every address.
pub fn on_port(port: u16) -> Peer {
    Peer::Listener {
        on: format!("tcp :{port}").into_bytes(),
    }
}

/// A Unix listener.
pub fn on_path(path: &str) -> Peer {
    Peer::Listener {
        on: path.as_bytes().to_vec(),
    }
}

/// A Unix socket that is connected to.
pub fn path(path: &str) -> Peer {
    Peer::Unix {
        path: path.as_bytes().to_vec(),
    }
}

/// A process.
pub fn process(pid: u32, comm: &str) -> Process {
    Process {
        pid,
        comm: comm.as_bytes().to_vec(),
    }
}

/// `count` durations of `ns` each.
pub fn durations(list: &[(u64, u64)]) -> Durations {
    let mut durations = Durations::default();
    for &(ns, count) in list {
        durations.record_n(ns, count);
    }
    durations
}

/// Ports to a destination out of the default range of 28,232; nothing opened or closed in the window.
pub fn ports(destination: &str, states: States) -> Ports {
    Ports {
        peer: to(destination),
        local: Some("10.0.0.2".parse().unwrap()),
        usable: 28_232,
        states,
        peak: states.total(),
        levels_off_at: states.total() as f64,
        ..Ports::default()
    }
}

/// Sockets in FIN_WAIT_2; none left, and all have been there for `age_ns`.
pub fn half_closed(peer: Peer, orphaned: u64, held: u64, age_ns: u64) -> HalfClosed {
    HalfClosed {
        peer,
        orphaned,
        held,
        peak: orphaned + held,
        age: durations(&[(age_ns, orphaned + held)]),
        ..HalfClosed::default()
    }
}

/// A listener with an empty queue, looked at 10 times.
pub fn queue(address: Peer, limit: u64) -> ListenQueue {
    ListenQueue {
        tcp: !matches!(&address, Peer::Listener { on } if on.starts_with(b"/") || on.starts_with(b"@")),
        address,
        owners: vec![process(812, "nginx")],
        limit,
        looks: 10,
        ..ListenQueue::default()
    }
}

/// Failed connects, between 2 and 4 s after the window's start.
pub fn failed(process: Process, peer: Peer, errno: i32, count: u64) -> FailedConnects {
    FailedConnects {
        process,
        peer,
        errno: errno as u32,
        count,
        first_ns: 2 * S,
        last_ns: 4 * S,
    }
}

/// A gap from 2 s after the window's start, `length` ns long, in which `count` connects of one process failed.
pub fn gap(peer: Peer, length: u64, errno: i32, count: u64) -> Gap {
    Gap {
        peer,
        start_ns: 2 * S,
        start_seen: false,
        end_ns: Some(2 * S + length),
        failed: vec![(errno as u32, count)],
        refused: vec![(process(901, "nginx"), count)],
        back: Some(process(1234, "php-fpm8.2")),
        served_before: true,
    }
}

/// A census each second for 10 s in which every state stays as it is.
pub fn still(states: States) -> Vec<Point> {
    (0..=10)
        .map(|second| Point {
            at_ns: second * S,
            took_ns: S / 1000,
            states,
        })
        .collect()
}

/// A node that serves and calls much, and has no trouble: 850 connections are open, TIME_WAIT has levelled off.
pub fn healthy() -> Tcp {
    let states = States {
        listen: 12,
        established: 850,
        time_wait: 6000,
        fin_wait_2: 2,
        fin_wait_2_orphaned: 2,
        ..States::default()
    };
    let to_redis = States {
        established: 100,
        time_wait: 3000,
        ..States::default()
    };
    let nginx = process(812, "nginx");
    let php = process(4711, "php-fpm8.2");
    Tcp {
        timeline: still(states),
        census_ns: 2 * MS,
        peers: vec![
            PeerSockets {
                peer: to("10.0.0.8:6379"),
                states: to_redis,
                closed_by_us: 500,
                closed_by_peer: 0,
                closer: Some(php.clone()),
            },
            PeerSockets {
                peer: from("198.51.100.7", 443),
                states: States {
                    established: 750,
                    time_wait: 3000,
                    fin_wait_2: 2,
                    fin_wait_2_orphaned: 2,
                    ..States::default()
                },
                closed_by_us: 500,
                closed_by_peer: 20,
                closer: Some(nginx.clone()),
            },
        ],
        processes: vec![ProcessSockets {
            process: nginx.clone(),
            states: States {
                listen: 2,
                established: 750,
                ..States::default()
            },
        }],
        owners_known: true,
        dwell_by_state: vec![
            StateDwell {
                state: "established",
                entered: 1000,
                count: 1020,
                durations: durations(&[(900 * MS, 1020)]),
                source: "transitions",
                present: 850,
                oldest_ns: 0,
            },
            StateDwell {
                state: "time_wait",
                entered: 1000,
                count: 1000,
                durations: durations(&[(60 * S + 500 * MS, 1000)]),
                source: "census",
                present: 6000,
                oldest_ns: 60 * S,
            },
        ],
        ports: vec![Ports {
            opened_per_s: 50.0,
            closed_by_us_per_s: 50.0,
            levels_off_at: 3100.0,
            closer: Some(php.clone()),
            opener: Some(php),
            ..ports("10.0.0.8:6379", to_redis)
        }],
        listeners: vec![ListenQueue {
            accepted: 520,
            queue_max: 3,
            wait: durations(&[(MS, 520)]),
            ..queue(on_port(443), 511)
        }],
        counters: Counters {
            listen_overflows: Some(0),
            listen_drops: Some(0),
            ..Counters::default()
        },
        settings: Settings {
            port_range: Some((32768, 60999)),
            tw_reuse: Some(2),
            timestamps: Some(1),
            fin_timeout_s: Some(60),
            somaxconn: Some(4096),
            max_syn_backlog: Some(4096),
            syncookies: Some(1),
            max_tw_buckets: Some(262_144),
            max_orphans: Some(262_144),
            abort_on_overflow: Some(0),
            ..Settings::default()
        },
        ..Tcp::default()
    }
}
