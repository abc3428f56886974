//! TCP: sockets by state, ports, listeners, failed connects. Connections of UDP sockets are counted beside them.

use std::collections::BTreeMap;

use super::labels::{error, listener, peer, process};
use crate::{
    aggregate::tcp::{ListenQueue, Ports, StateDwell, Tcp},
    present::metrics::{Buckets, Kind, Metric, Rows, Seen},
};

const STATE: &[&str] = &["network.connection.state"];
const PORTS: &[&str] = &[
    "network.peer.address",
    "network.peer.port",
    "network.local.address",
];
const LISTENER: &[&str] = &["stallscope.listener"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "system.network.connection.count",
        kind: Kind::UpDownCounter,
        unit: "{connection}",
        help: "Sockets of the network namespace by state, at the last census. UDP sockets have no state.",
        labels: &["network.transport", "network.connection.state"],
        small: &["network.transport", "network.connection.state"],
        otel: true,
        top: 0,
        read: |seen, rows| {
            let last = seen.slice.tcp.as_ref().and_then(|tcp| tcp.timeline.last());
            for (state, count) in last.iter().flat_map(|point| point.states.named()) {
                rows.level(["tcp", state], count as f64);
            }
            if let Some(total) = seen.slice.udp.as_ref().and_then(|udp| udp.total) {
                rows.level(["udp", ""], total as f64);
            }
        },
    },
    Metric {
        name: "stallscope.tcp.peer.sockets",
        kind: Kind::UpDownCounter,
        unit: "{socket}",
        help: "TCP sockets by the other side and state, at the last census; clients by the port that they came to.",
        labels: &[
            "network.peer.address",
            "network.peer.port",
            "network.connection.state",
        ],
        small: STATE,
        otel: false,
        top: 40,
        read: sockets,
    },
    Metric {
        name: "stallscope.tcp.state.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "How long sockets had been in the state that they left. The sum is reckoned from finer buckets, to 7 %.",
        labels: STATE,
        small: STATE,
        otel: false,
        top: 0,
        read: |seen, rows| {
            for dwell in states(seen) {
                rows.took([dwell.state], Buckets::of(&dwell.durations));
            }
        },
    },
    Metric {
        name: "stallscope.tcp.state.entered",
        kind: Kind::Counter,
        unit: "{socket}",
        help: "Sockets that came into a state.",
        labels: STATE,
        small: STATE,
        otel: false,
        top: 0,
        read: |seen, rows| {
            for dwell in states(seen) {
                rows.adds([dwell.state], dwell.entered as f64);
            }
        },
    },
    Metric {
        name: "stallscope.tcp.events",
        kind: Kind::Counter,
        unit: "{event}",
        help: "Growth of the kernel's own TCP counters of the network namespace.",
        labels: &["stallscope.event"],
        small: &["stallscope.event"],
        otel: false,
        top: 0,
        read: |seen, rows| {
            for (event, count) in seen.slice.tcp.iter().flat_map(|tcp| events(tcp)) {
                if let Some(count) = count {
                    rows.adds([event], count as f64);
                }
            }
        },
    },
    Metric {
        name: "stallscope.tcp.orphans",
        kind: Kind::UpDownCounter,
        unit: "{socket}",
        help: "TCP sockets that no process holds and that are not closed yet: the most seen since the last look.",
        labels: &[],
        small: &[],
        otel: false,
        top: 0,
        read: |seen, rows| {
            if let Some(orphans) = seen.slice.tcp.as_ref().and_then(|tcp| tcp.counters.orphans) {
                rows.level([], orphans as f64);
            }
        },
    },
    Metric {
        name: "stallscope.tcp.ports.used",
        kind: Kind::Gauge,
        unit: "{port}",
        help: "Ephemeral ports that a new connect to the destination cannot have.",
        labels: PORTS,
        small: &[],
        otel: false,
        top: 20,
        read: |seen, rows| of_ports(seen.slice.tcp.as_deref(), rows, |p| Some(p.used() as f64)),
    },
    Metric {
        name: "stallscope.tcp.ports.usable",
        kind: Kind::Gauge,
        unit: "{port}",
        help: "Ephemeral ports that there are for the destination.",
        labels: PORTS,
        small: &[],
        otel: false,
        top: 20,
        read: |seen, rows| of_ports(seen.slice.tcp.as_deref(), rows, |p| Some(p.usable as f64)),
    },
    Metric {
        name: "stallscope.tcp.ports.time_left",
        kind: Kind::Gauge,
        unit: "s",
        help: "Time until no port to the destination is left, as the last one to two spans went; absent where they do not run out.",
        labels: PORTS,
        small: &[],
        otel: false,
        top: 20,
        read: |seen, rows| of_ports(seen.recent.tcp.as_deref(), rows, |p| p.seconds_left),
    },
    Metric {
        name: "stallscope.listen.queue.length",
        kind: Kind::Gauge,
        unit: "{connection}",
        help: "Connections that wait for accept(), at the last look at the queue.",
        labels: LISTENER,
        small: &[],
        otel: false,
        top: 64,
        read: |seen, rows| of_listeners(seen, rows, |q| Some(q.queue)),
    },
    Metric {
        name: "stallscope.listen.queue.peak",
        kind: Kind::Gauge,
        unit: "{connection}",
        help: "The most connections seen to wait for accept() since the last look.",
        labels: LISTENER,
        small: &[],
        otel: false,
        top: 64,
        read: |seen, rows| of_listeners(seen, rows, |q| Some(q.queue_max)),
    },
    Metric {
        name: "stallscope.listen.queue.limit",
        kind: Kind::Gauge,
        unit: "{connection}",
        help: "The most connections that may wait for accept().",
        labels: LISTENER,
        small: &[],
        otel: false,
        top: 64,
        read: |seen, rows| of_listeners(seen, rows, |q| (q.looks > 0).then_some(q.limit)),
    },
    Metric {
        name: "stallscope.listen.overflows",
        kind: Kind::Counter,
        unit: "{connection}",
        help: "Handshakes and connections that were refused or dropped because the queue was full.",
        labels: LISTENER,
        small: &[],
        otel: false,
        top: 64,
        read: |seen, rows| {
            for (name, queue) in listeners(seen) {
                rows.adds([&name], queue.overflows as f64);
            }
        },
    },
    Metric {
        name: "stallscope.listen.accepted",
        kind: Kind::Counter,
        unit: "{connection}",
        help: "TCP connections that were accepted.",
        labels: LISTENER,
        small: &[],
        otel: false,
        top: 64,
        read: |seen, rows| {
            for (name, queue) in listeners(seen).iter().filter(|(_, q)| q.tcp) {
                rows.adds([name], queue.accepted as f64);
            }
        },
    },
    Metric {
        name: "stallscope.listen.wait.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "Time from established to accept() of TCP connections. The sum is reckoned from finer buckets, to 7 %.",
        labels: LISTENER,
        small: &[],
        otel: false,
        top: 32,
        read: |seen, rows| {
            for (name, queue) in listeners(seen).iter().filter(|(_, q)| !q.wait.is_empty()) {
                rows.took([name], Buckets::of(&queue.wait));
            }
        },
    },
    Metric {
        name: "stallscope.connect.failures",
        kind: Kind::Counter,
        unit: "{call}",
        help: "Connects that failed, by errno; TCP and Unix sockets of all processes.",
        labels: &[
            "process.executable.name",
            "network.transport",
            "network.peer.address",
            "network.peer.port",
            "error.type",
        ],
        small: &["error.type"],
        otel: false,
        top: 50,
        read: |seen, rows| {
            for f in seen.slice.tcp.iter().flat_map(|tcp| &tcp.failed) {
                let [transport, address, port] = peer(&f.peer);
                let (process, error) = (process(&f.process), error(f.errno));
                let labels = [&process, &transport, &address, &port, &error];
                rows.adds(labels.map(String::as_str), f.count as f64);
            }
        },
    },
];

fn states<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = &'a StateDwell> {
    seen.slice.tcp.iter().flat_map(|tcp| &tcp.dwell_by_state)
}

fn sockets(seen: &Seen<'_>, rows: &mut Rows<'_>) {
    let Some(tcp) = &seen.slice.tcp else {
        return;
    };
    for row in &tcp.peers {
        let [_, address, port] = peer(&row.peer);
        for (state, count) in row.states.named().iter().filter(|(_, n)| *n > 0) {
            rows.level([&address, &port, state], *count as f64);
        }
    }
    for (state, count) in tcp.other.named().iter().filter(|(_, n)| *n > 0) {
        rows.level(["other", "other", state], *count as f64);
    }
}

fn events(tcp: &Tcp) -> [(&'static str, Option<u64>); 10] {
    let c = &tcp.counters;
    [
        ("active_open", c.active_opens),
        ("passive_open", c.passive_opens),
        ("attempt_fail", c.attempt_fails),
        ("listen_overflow", c.listen_overflows),
        ("listen_drop", c.listen_drops),
        ("syn_queue_drop", c.syn_queue_drops),
        ("syncookie_sent", c.syncookies_sent),
        ("time_wait_expired", c.time_wait_expired),
        ("time_wait_reused", c.time_wait_reused),
        ("time_wait_overflow", c.time_wait_overflow),
    ]
}

fn of_ports(tcp: Option<&Tcp>, rows: &mut Rows<'_>, value: fn(&Ports) -> Option<f64>) {
    for ports in tcp.into_iter().flat_map(|tcp| &tcp.ports) {
        let Some(value) = value(ports) else { continue };
        let [_, address, port] = peer(&ports.peer);
        let local = ports.local.map_or_else(String::new, |l| l.to_string());
        rows.level([&address, &port, &local], value);
    }
}

/// Several sockets may listen on one address (SO_REUSEPORT): they are one row, with the sums of their queues.
fn listeners(seen: &Seen<'_>) -> BTreeMap<String, ListenQueue> {
    let mut all: BTreeMap<String, ListenQueue> = BTreeMap::new();
    for queue in seen.slice.tcp.iter().flat_map(|tcp| &tcp.listeners) {
        all.entry(listener(&queue.address))
            .and_modify(|sum| {
                sum.queue += queue.queue;
                sum.queue_max += queue.queue_max;
                sum.limit += queue.limit;
                sum.looks += queue.looks;
                sum.overflows += queue.overflows;
                // `accepted` and `wait` are of the address already.
            })
            .or_insert_with(|| queue.clone());
    }
    all
}

fn of_listeners(seen: &Seen<'_>, rows: &mut Rows<'_>, value: fn(&ListenQueue) -> Option<u64>) {
    // The fullest first: of levels, the first have the first claim on a row.
    let mut all: Vec<_> = listeners(seen).into_iter().collect();
    all.sort_by_key(|(_, q)| std::cmp::Reverse(q.queue_max));
    for (name, queue) in &all {
        if let Some(value) = value(queue) {
            rows.level([name], value as f64);
        }
    }
}
