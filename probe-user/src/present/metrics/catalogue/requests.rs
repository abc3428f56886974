//! Requests and the workers that serve them.

use std::collections::BTreeMap;

use probe_common::part;

use super::labels::{self, group};
use crate::{
    aggregate::{Group, Parts},
    present::metrics::{Buckets, Kind, Metric, OTHER, Rows, Seen},
};

const GROUP: &[&str] = &["stallscope.group"];
const PARTS: &[&str] = &["stallscope.group", "stallscope.part"];
const TOP: usize = 32;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "stallscope.request.duration",
        kind: Kind::Histogram,
        unit: "s",
        help: "Wall time of finished requests.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for g in serving(seen) {
                rows.took([&group(g)], Buckets::of_hdr(&g.wall, g.wall_ns));
            }
        },
    },
    Metric {
        name: "stallscope.request.time",
        kind: Kind::Counter,
        unit: "s",
        help: "Wall time of finished requests by what it went to; the parts sum to all of it.",
        labels: PARTS,
        small: &["stallscope.part"],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for g in serving(seen) {
                by_part(rows, &group(g), &g.parts);
            }
        },
    },
    Metric {
        name: "stallscope.request.active",
        kind: Kind::UpDownCounter,
        unit: "{request}",
        help: "Requests that are open: begun, and not answered.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: active,
    },
    Metric {
        name: "stallscope.request.connects",
        kind: Kind::Counter,
        unit: "{call}",
        help: "Calls of connect() in finished requests.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for g in serving(seen) {
                rows.adds([&group(g)], g.connects as f64);
            }
        },
    },
    Metric {
        name: "stallscope.request.polls",
        kind: Kind::Counter,
        unit: "{call}",
        help: "Calls of poll() and its kin in finished requests.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for g in serving(seen) {
                rows.adds([&group(g)], g.polls as f64);
            }
        },
    },
    Metric {
        name: "stallscope.request.forked",
        kind: Kind::Counter,
        unit: "{request}",
        help: "Requests whose worker forked while they were open: in no other metric, as the child may have served them.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for g in serving(seen) {
                rows.adds([&group(g)], g.forked_requests as f64);
            }
        },
    },
    Metric {
        name: "stallscope.connection.empty",
        kind: Kind::Counter,
        unit: "{connection}",
        help: "Connections that closed without a byte of request, such as health probes.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for g in serving(seen) {
                rows.adds([&group(g)], g.empty_connections as f64);
            }
        },
    },
    Metric {
        name: "stallscope.worker.count",
        kind: Kind::UpDownCounter,
        unit: "{process}",
        help: "Processes followed, those included that ended since the last look.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for (group, workers) in workers(seen) {
                rows.level([&group], f64::from(workers.processes));
            }
        },
    },
    Metric {
        name: "stallscope.worker.time",
        kind: Kind::Counter,
        unit: "s",
        help: "Wall time of the threads followed by what it went to, in requests or not.",
        labels: PARTS,
        small: &["stallscope.part"],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for (group, workers) in workers(seen) {
                by_part(rows, &group, &workers.parts);
            }
        },
    },
    Metric {
        name: "stallscope.worker.utilization",
        kind: Kind::Gauge,
        unit: "1",
        help: "Share of the threads' time that they were not idle, since the last look.",
        labels: GROUP,
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            // The busiest first: of levels, the first have the first claim on a row.
            let mut all: Vec<_> = workers(seen).into_iter().collect();
            all.sort_by_key(|(_, workers)| std::cmp::Reverse(workers.busy_ns()));
            for (group, workers) in all.iter().filter(|(group, _)| group != OTHER) {
                let total = workers.parts.iter().sum::<u64>() as f64;
                if total > 0.0 {
                    rows.level([group], workers.busy_ns() as f64 / total);
                }
            }
        },
    },
];

/// Groups that did something for a client.
fn serving<'a>(seen: &Seen<'a>) -> impl Iterator<Item = &'a Group> + use<'a> {
    let did = |g: &&Group| g.all_requests() + g.empty_connections + g.forked_requests > 0;
    seen.slice.groups.iter().filter(did)
}

fn by_part(rows: &mut Rows<'_>, group: &str, parts: &Parts) {
    for (name, ns) in part::NAMES.iter().zip(parts) {
        rows.adds([group, name], *ns as f64 / 1e9);
    }
}

/// The processes of a group.
#[derive(Default)]
struct Workers {
    processes: u32,
    parts: Parts,
}

impl Workers {
    fn busy_ns(&self) -> u64 {
        self.parts.iter().sum::<u64>() - self.parts[part::IDLE]
    }
}

/// All processes by group: the window's own groups are few, and it decides anew each time which.
fn workers(seen: &Seen<'_>) -> BTreeMap<String, Workers> {
    let mut all: BTreeMap<String, Workers> = BTreeMap::new();
    let mut listed = Parts::default();
    for process in &seen.slice.processes {
        let workers = all.entry(labels::group_of_process(process)).or_default();
        workers.processes += 1;
        for (part, ns) in process.parts.iter().enumerate() {
            workers.parts[part] += ns;
            listed[part] += ns;
        }
    }
    if seen.slice.processes_left_out > 0 {
        let others = all.entry(OTHER.to_owned()).or_default();
        others.processes += u32::try_from(seen.slice.processes_left_out).unwrap_or(u32::MAX);
        for (part, listed) in listed.iter().enumerate() {
            let groups = seen.slice.groups.iter();
            let total: u64 = groups.map(|g| g.worker_parts[part]).sum();
            others.parts[part] += total.saturating_sub(*listed);
        }
    }
    all
}

fn active(seen: &Seen<'_>, rows: &mut Rows<'_>) {
    let mut open: BTreeMap<String, u32> = BTreeMap::new();
    for g in serving(seen) {
        open.insert(group(g), 0);
    }
    for process in seen.slice.processes.iter().filter(|p| p.current.is_some()) {
        let group = labels::group_of_process(process);
        *open.entry(group).or_default() += 1;
    }
    for (group, count) in &open {
        rows.level([group], f64::from(*count));
    }
}
