//! Whom requests wait for, and the calls that are accounted.

use std::collections::BTreeMap;

use super::labels::{error, group, groups, peer};
use crate::{
    aggregate::{PeerTime, Timed},
    present::metrics::{Buckets, Kind, Metric, Rows, Seen},
};

const PEER: &[&str] = &[
    "stallscope.group",
    "network.transport",
    "network.peer.address",
    "network.peer.port",
];
const CALL: &[&str] = &["stallscope.group", "stallscope.call"];
const TOP: usize = 100;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "stallscope.peer.wait.time",
        kind: Kind::Counter,
        unit: "s",
        help: "Time that finished requests were blocked on a peer.",
        labels: PEER,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| of_peers(seen, rows, |p| p.done.wait_ns as f64 / 1e9),
    },
    Metric {
        name: "stallscope.peer.waits",
        kind: Kind::Counter,
        unit: "{wait}",
        help: "Waits of finished requests for a peer that blocked.",
        labels: PEER,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| of_peers(seen, rows, |p| p.done.waits as f64),
    },
    Metric {
        name: "stallscope.peer.connects",
        kind: Kind::Counter,
        unit: "{call}",
        help: "Calls of connect() to a peer in finished requests.",
        labels: PEER,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| of_peers(seen, rows, |p| p.done.connects as f64),
    },
    Metric {
        name: "stallscope.peer.exchanges",
        kind: Kind::Counter,
        unit: "{exchange}",
        help: "Rounds of send and receive with a peer in finished requests.",
        labels: PEER,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| of_peers(seen, rows, |p| p.done.exchanges as f64),
    },
    Metric {
        name: "stallscope.peer.exchange.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "From the first byte sent to the last byte of the answer, in requests or not. The sum is reckoned from finer buckets, to 7 %.",
        labels: PEER,
        small: &[],
        otel: false,
        top: 50,
        read: |seen, rows| {
            for g in &seen.slice.groups {
                for p in g.peers.iter().filter(|p| !p.exchange.is_empty()) {
                    let [transport, address, port] = peer(&p.peer);
                    let took = Buckets::of(&p.exchange);
                    rows.took([&group(g), &transport, &address, &port], took);
                }
            }
        },
    },
    Metric {
        name: "stallscope.call.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "Duration of the calls that are accounted, by name; `established` and `exchange` are derived from several.",
        labels: CALL,
        small: &[],
        otel: false,
        top: 64,
        read: calls,
    },
    Metric {
        name: "stallscope.call.errors",
        kind: Kind::Counter,
        unit: "{call}",
        help: "Calls that failed, by errno.",
        labels: &["stallscope.group", "stallscope.call", "error.type"],
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            let group = groups(seen.slice);
            for call in &seen.slice.calls {
                for (errno, count) in &call.errors {
                    let group = group(call.pid, &call.comm);
                    rows.adds([&group, call.op, &error(*errno)], *count as f64);
                }
            }
        },
    },
];

fn of_peers(seen: &Seen<'_>, rows: &mut Rows<'_>, value: fn(&PeerTime) -> f64) {
    for g in &seen.slice.groups {
        let group = group(g);
        for p in g.peers.iter().filter(|p| p.done.requests > 0) {
            let [transport, address, port] = peer(&p.peer);
            rows.adds([&group, &transport, &address, &port], value(p));
        }
    }
}

fn calls(seen: &Seen<'_>, rows: &mut Rows<'_>) {
    let group = groups(seen.slice);
    let mut sums: BTreeMap<(String, &str), Timed> = BTreeMap::new();
    for call in &seen.slice.calls {
        let sum = sums
            .entry((group(call.pid, &call.comm), call.op))
            .or_default();
        sum.total_ns += call.total_ns;
        sum.durations.add(&call.durations);
    }
    for ((group, op), timed) in &sums {
        rows.took([group, op], Buckets::of_timed(timed));
    }
}
