//! UDP: what is dropped, and how full the queues are.

use std::collections::BTreeMap;

use super::labels::process;
use crate::{
    aggregate::udp::{Udp, UdpCounters},
    present::metrics::{Kind, Metric, OTHER, Seen},
};

const SOCKET: &[&str] = &["network.local.address", "network.local.port"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "stallscope.udp.drops",
        kind: Kind::Counter,
        unit: "{datagram}",
        help: "Datagrams that a socket dropped, by socket and the process that holds it.",
        labels: &[
            "network.local.address",
            "network.local.port",
            "process.executable.name",
        ],
        small: &[],
        otel: false,
        top: 50,
        read: |seen, rows| {
            let Some(udp) = &seen.slice.udp else { return };
            for socket in &udp.sockets {
                let owner = socket
                    .owners
                    .first()
                    .map_or_else(String::new, |o| process(&o.0));
                let (address, port) = (
                    socket.local.ip().to_string(),
                    socket.local.port().to_string(),
                );
                rows.adds([&address, &port, &owner], socket.drops as f64);
            }
            if udp.other_drops > 0 {
                rows.adds([OTHER, OTHER, OTHER], udp.other_drops as f64);
            }
        },
    },
    Metric {
        name: "stallscope.udp.errors",
        kind: Kind::Counter,
        unit: "{datagram}",
        help: "Growth of the kernel's own counters of UDP errors of the network namespace.",
        labels: &["network.type", "error.type"],
        small: &["network.type", "error.type"],
        otel: false,
        top: 0,
        read: |seen, rows| {
            for (family, c) in families(seen) {
                let errors = [
                    ("rcvbuf", c.rcvbuf_errors),
                    ("sndbuf", c.sndbuf_errors),
                    ("checksum", c.csum_errors),
                    ("memory", c.mem_errors),
                    ("no_port", c.no_ports),
                ];
                for (error, count) in errors {
                    if let Some(count) = count {
                        rows.adds([family, error], count as f64);
                    }
                }
            }
        },
    },
    Metric {
        name: "stallscope.udp.datagrams",
        kind: Kind::Counter,
        unit: "{datagram}",
        help: "Datagrams handed to a process, and sent, of the network namespace.",
        labels: &["network.type", "network.io.direction"],
        small: &["network.type", "network.io.direction"],
        otel: false,
        top: 0,
        read: |seen, rows| {
            for (family, c) in families(seen) {
                let both = [("receive", c.in_datagrams), ("transmit", c.out_datagrams)];
                for (direction, count) in both {
                    if let Some(count) = count {
                        rows.adds([family, direction], count as f64);
                    }
                }
            }
        },
    },
    Metric {
        name: "stallscope.udp.queue.usage",
        kind: Kind::Gauge,
        unit: "By",
        help: "The most that the receive queue held at a census since the last look, of sockets that had something in it.",
        labels: SOCKET,
        small: &[],
        otel: false,
        top: 50,
        read: |seen, rows| {
            for (socket, (usage, _)) in seen.slice.udp.iter().flat_map(|udp| queues(udp)) {
                rows.level([&socket.0, &socket.1], usage as f64);
            }
        },
    },
    Metric {
        name: "stallscope.udp.queue.limit",
        kind: Kind::Gauge,
        unit: "By",
        help: "The receive buffer's limit, of the same sockets.",
        labels: SOCKET,
        small: &[],
        otel: false,
        top: 50,
        read: |seen, rows| {
            for (socket, (_, limit)) in seen.slice.udp.iter().flat_map(|udp| queues(udp)) {
                if let Some(limit) = limit {
                    rows.level([&socket.0, &socket.1], limit as f64);
                }
            }
        },
    },
];

fn families<'a>(
    seen: &Seen<'a>,
) -> impl Iterator<Item = (&'static str, &'a UdpCounters)> + use<'a> {
    seen.slice
        .udp
        .iter()
        .flat_map(|udp| [("ipv4", &udp.counters.v4), ("ipv6", &udp.counters.v6)])
}

/// Address and port.
type Socket = (String, String);
/// Bytes that wait, and the most that may.
type Filled = (u64, Option<u64>);

/// Usage and limit by address and port; of several sockets with one address the fullest.
fn queues(udp: &Udp) -> Vec<(Socket, Filled)> {
    let mut all: BTreeMap<Socket, Filled> = BTreeMap::new();
    let waiting = udp
        .queues
        .iter()
        .map(|q| (q.local, q.max_bytes, q.rcvbuf_bytes));
    let dropping = udp
        .sockets
        .iter()
        .filter(|s| !s.queue.is_empty())
        .map(|s| (s.local, s.queue_max_bytes(), s.rcvbuf_bytes));
    for (local, usage, limit) in waiting.chain(dropping) {
        let socket = (local.ip().to_string(), local.port().to_string());
        let row = all.entry(socket).or_insert((usage, limit));
        if usage > row.0 {
            *row = (usage, limit);
        }
    }
    // The fullest first: of levels, the first have the first claim on a row.
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, (usage, _))| std::cmp::Reverse(*usage));
    all
}
