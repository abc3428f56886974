//! DNS: questions of the processes that are followed, and what became of them.

use std::collections::BTreeMap;

use super::labels::{group_of, name, peer};
use crate::{
    aggregate::dns::{Row, Sums, rcode_name},
    present::metrics::{Buckets, Kind, Metric, OTHER, Rows, Seen},
};

const GROUP: &[&str] = &["stallscope.group"];
const SERVER: &[&str] = &[
    "stallscope.group",
    "network.peer.address",
    "network.peer.port",
];
const TOP: usize = 50;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "dns.lookup.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "From a question to its answer, by name and server.",
        labels: &[
            "dns.question.name",
            "network.peer.address",
            "network.peer.port",
        ],
        small: &[],
        otel: true,
        top: TOP,
        read: |seen, rows| {
            for (row, sums) in all(seen) {
                let [address, port] = server(row);
                let question = row.map_or_else(|| OTHER.to_owned(), question);
                let took = Buckets::of_parts(&sums.latency.durations, sums.latency.total_ns);
                rows.took([&question, &address, &port], took);
            }
        },
    },
    Metric {
        name: "stallscope.dns.questions",
        kind: Kind::Counter,
        unit: "{question}",
        help: "Messages that ask something, retries included.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| by_group(seen, rows, |s| s.asked as f64),
    },
    Metric {
        name: "stallscope.dns.retries",
        kind: Kind::Counter,
        unit: "{question}",
        help: "Questions that were asked before and had no answer.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| by_group(seen, rows, |s| s.retried as f64),
    },
    Metric {
        name: "stallscope.dns.duplicates",
        kind: Kind::Counter,
        unit: "{question}",
        help: "Questions that anyone on the node had asked less than a second before: a cache would have answered.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| by_group(seen, rows, |s| s.duplicates as f64),
    },
    Metric {
        name: "stallscope.dns.answers",
        kind: Kind::Counter,
        unit: "{answer}",
        help: "Answers by server and RCODE; no error is an empty error.type.",
        labels: &["network.peer.address", "network.peer.port", "error.type"],
        small: &["error.type"],
        otel: false,
        top: TOP,
        read: answers,
    },
    Metric {
        name: "stallscope.dns.timeouts",
        kind: Kind::Counter,
        unit: "{wait}",
        help: "Waits for an answer that ended without one.",
        labels: SERVER,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| by_server(seen, rows, |s| s.timed_out.count as f64),
    },
    Metric {
        name: "stallscope.dns.timeout.time",
        kind: Kind::Counter,
        unit: "s",
        help: "Time of threads that waited for an answer and got none.",
        labels: SERVER,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| by_server(seen, rows, |s| s.timed_out.total_ns as f64 / 1e9),
    },
    Metric {
        name: "stallscope.dns.unreachable",
        kind: Kind::Counter,
        unit: "{question}",
        help: "Questions that nobody listened for: the host said so by ICMP.",
        labels: SERVER,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| by_server(seen, rows, |s| s.refused as f64),
    },
];

/// All questions: by row, and without one what no row had place for.
fn all<'a>(seen: &Seen<'a>) -> impl Iterator<Item = (Option<&'a Row>, &'a Sums)> + use<'a> {
    seen.slice.dns.iter().flat_map(|dns| {
        let rows = dns.rows.iter().map(|row| (Some(row), &row.sums));
        rows.chain([(None, &dns.other_rows)])
    })
}

fn group(row: Option<&Row>) -> String {
    row.map_or_else(
        || OTHER.to_owned(),
        |row| group_of(&row.group.name, row.group.php_fpm),
    )
}

fn server(row: Option<&Row>) -> [String; 2] {
    match row {
        Some(row) => {
            let [_, address, port] = peer(&row.server);
            [address, port]
        }
        None => [OTHER, OTHER].map(str::to_owned),
    }
}

fn question(row: &Row) -> String {
    row.name
        .as_ref()
        .map_or_else(|| OTHER.to_owned(), |n| name(n))
}

fn by_group(seen: &Seen<'_>, rows: &mut Rows<'_>, value: fn(&Sums) -> f64) {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (row, of) in all(seen) {
        *sums.entry(group(row)).or_default() += value(of);
    }
    for (group, value) in &sums {
        rows.adds([group], *value);
    }
}

fn by_server(seen: &Seen<'_>, rows: &mut Rows<'_>, value: fn(&Sums) -> f64) {
    for (row, sums) in all(seen) {
        let [address, port] = server(row);
        rows.adds([&group(row), &address, &port], value(sums));
    }
}

fn answers(seen: &Seen<'_>, rows: &mut Rows<'_>) {
    for (row, sums) in all(seen) {
        let [address, port] = server(row);
        for (rcode, count) in sums.rcodes.iter().enumerate() {
            let error = match rcode {
                0 => "",
                _ => rcode_name(rcode).unwrap_or("_OTHER"),
            };
            if *count > 0 {
                rows.adds([&address, &port, error], *count as f64);
            }
        }
    }
}
