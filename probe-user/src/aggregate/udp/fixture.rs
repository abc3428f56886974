//! Hand-made UDP windows for the tests of rules and outputs.

use super::*;
use crate::aggregate::{
    Window,
    fixture::{MS, S, window},
    tcp::fixture::process,
};

/// The probes that watch UDP, as they are named in a window's coverage.
pub const PROBES: [&str; 3] = ["udp_drops", "udp_census", "udp_owners"];

/// A window of 10 s with this UDP in it, every probe active.
pub fn window_with(udp: Udp) -> Window {
    let mut window = window([]);
    window.target = "this network namespace".to_owned();
    window.duration_ns = 10 * S;
    window.udp = Some(Box::new(udp));
    window
}

/// An address and port.
pub fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// A socket of unbound with the default buffer: 44 of so many drops were in the worst tenth of a second.
pub fn dropping(local: &str, drops: u64) -> Dropping {
    Dropping {
        local: at(local),
        remote: None,
        sender: Some(at("127.0.0.1:40000")),
        owners: vec![(process(812, "unbound"), 5)],
        uid: 102,
        drops,
        reasons: Some(Reasons {
            buffer_full: drops,
            ..Reasons::default()
        }),
        peak_per_s: drops.min(44) as f64 * 10.0,
        first_ns: 2 * S,
        last_ns: 4 * S,
        timeline: (0..=4)
            .map(|half| Grown {
                at_ns: 2 * S + half * S / 2,
                since_start: [drops * half / 4],
            })
            .collect(),
        rcvbuf_bytes: Some(212_992),
        queue: (0..=10)
            .map(|second| QueuePoint {
                at_ns: second * S,
                bytes: if (2..=4).contains(&second) {
                    211_968
                } else {
                    0
                },
                datagrams: Some(if (2..=4).contains(&second) { 276 } else { 0 }),
            })
            .collect(),
        datagram_bytes: Some(768.0),
        datagram_at_most: false,
        counted: Some(drops),
        before: Some(0),
    }
}

/// A node on which this socket dropped, and nothing else.
pub fn sick(socket: Dropping) -> Udp {
    let mut udp = healthy();
    let drops = socket.drops;
    udp.counters.v4.rcvbuf_errors = Some(drops);
    udp.counters.v4.in_errors = Some(drops);
    udp.agreement = Agreement {
        traced: Some(drops),
        rcvbuf_errors: Some(drops),
        sockets: Some(drops),
    };
    udp.sockets = vec![socket];
    udp
}

/// A node that receives 10,000 datagrams a second, and reads all of them.
pub fn healthy() -> Udp {
    let counters = UdpCounters {
        in_datagrams: Some(100_000),
        no_ports: Some(0),
        in_errors: Some(0),
        out_datagrams: Some(100_000),
        rcvbuf_errors: Some(0),
        sndbuf_errors: Some(0),
        csum_errors: Some(0),
        mem_errors: Some(0),
    };
    Udp {
        total: Some(14),
        queues: vec![QueueUse {
            local: at("127.0.0.1:53"),
            remote: None,
            bytes: 0,
            max_bytes: 21_504,
            rcvbuf_bytes: Some(212_992),
        }],
        censuses: 11,
        census_ns: MS,
        counters: Counters {
            v4: counters,
            v6: UdpCounters::default(),
        },
        agreement: Agreement {
            traced: Some(0),
            rcvbuf_errors: Some(0),
            sockets: Some(0),
        },
        settings: Settings {
            rmem_default_bytes: Some(212_992),
            rmem_max_bytes: Some(212_992),
            udp_mem_bytes: Some([94_000_000, 126_000_000, 189_000_000]),
            udp_mem_used_bytes: Some(40_960),
        },
        ..Udp::default()
    }
}
