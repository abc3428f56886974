//! Hand-made DNS windows for the tests of rules and outputs.

use super::*;
use crate::aggregate::{
    Durations, Window,
    fixture::{MS, S, window},
};

/// A window of 10 s with this DNS in it, every probe active.
pub fn window_with(dns: Dns) -> Window {
    let mut window = window([]);
    window.target = "all processes".to_owned();
    window.duration_ns = 10 * S;
    window.dns = Some(Box::new(dns));
    window
}

/// A server at this address.
pub fn server(address: &str) -> Peer {
    Peer::Inet {
        transport: "udp".to_owned(),
        address: address.parse().unwrap(),
        port: 53,
    }
}

/// The PHP-FPM pool `www`.
pub fn www() -> GroupId {
    GroupId {
        name: b"www".to_vec(),
        php_fpm: true,
    }
}

/// `count` waits of `ns` each.
pub fn waits(count: u64, ns: u64) -> Waits {
    let mut durations = Durations::default();
    durations.record_n(ns, count);
    Waits {
        count,
        total_ns: count * ns,
        durations,
    }
}

/// So many questions, each answered after `ns`.
pub fn answered(asked: u64, ns: u64) -> Sums {
    let mut rcodes = [0; 16];
    rcodes[0] = asked;
    Sums {
        asked,
        answered: asked,
        rcodes,
        latency: waits(asked, ns),
        ..Sums::default()
    }
}

/// The questions of one group for one name (A and AAAA together) to one server.
pub fn asked_by(group: GroupId, name: &str, to: &str, sums: Sums, peak_per_s: f64) -> Dns {
    let name = Some(name.as_bytes().to_vec());
    Dns {
        total: sums.clone(),
        peak_per_s,
        clients: vec![Client {
            group: group.clone(),
            processes: 6,
            example_pid: 4711,
            sums: sums.clone(),
            expanded: 0,
        }],
        servers: vec![Server {
            peer: server(to),
            clients: 1,
            sums: sums.clone(),
        }],
        names: vec![NameSums {
            name: name.clone(),
            qtype: 1,
            clients: 1,
            sums: sums.clone(),
        }],
        rows: vec![Row {
            group: group.clone(),
            server: server(to),
            name,
            qtype: 1,
            sums,
        }],
        resolvers: vec![GroupResolver {
            group,
            resolver: Resolver {
                pid: 4711,
                servers: vec![to.parse().unwrap()],
                timeout_s: 5,
                attempts: 2,
                ndots: 1,
                local_stub: to.starts_with("127."),
                ..Resolver::default()
            },
        }],
        ..Dns::default()
    }
}

/// A crawler that asks a local resolver 2,000 questions a second for many names, each answered within a millisecond.
pub fn healthy() -> Dns {
    let crawler = GroupId {
        name: b"crawler".to_vec(),
        php_fpm: false,
    };
    asked_by(
        crawler,
        "example.org",
        "127.0.0.1",
        answered(20_000, MS),
        2600.0,
    )
}

/// 5,000 lookups of the same name at once; 3,600 were lost, and each cost its worker 5 s.
pub fn storm() -> Dns {
    let mut rcodes = [0; 16];
    rcodes[0] = 6400;
    let sums = Sums {
        asked: 10_000,
        retried: 3600,
        duplicates: 6398,
        answered: 6400,
        rcodes,
        latency: waits(6400, 40 * MS),
        timed_out: waits(3600, 5 * S),
        unanswered: 3600,
        ..Sums::default()
    };
    asked_by(www(), "hooks.example.com", "127.0.0.53", sums, 50_000.0)
}
