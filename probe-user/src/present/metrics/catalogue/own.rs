//! The tool itself: what it costs, what it lost, and what became of what it gave out.

use crate::{
    attach::State,
    diagnose,
    present::metrics::{Kind, Metric},
};

const NONE: &[&str] = &[];
const OUTCOME: &[&str] = &["stallscope.outcome"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "stallscope.build.info",
        kind: Kind::UpDownCounter,
        unit: "{build}",
        help: "1, with the version.",
        labels: &["service.version"],
        small: &["service.version"],
        otel: false,
        top: 0,
        read: |seen, rows| rows.level([seen.own.version], 1.0),
    },
    Metric {
        name: "process.uptime",
        kind: Kind::Gauge,
        unit: "s",
        help: "Time since stallscope began to watch.",
        labels: NONE,
        small: NONE,
        otel: true,
        top: 0,
        read: |seen, rows| rows.level([], seen.own.uptime_ns as f64 / 1e9),
    },
    Metric {
        name: "process.cpu.time",
        kind: Kind::Counter,
        unit: "s",
        help: "CPU time that stallscope itself took, without its kernel programs.",
        labels: NONE,
        small: NONE,
        otel: true,
        top: 0,
        read: |seen, rows| rows.total([], seen.own.cpu_ns as f64 / 1e9),
    },
    Metric {
        name: "stallscope.kernel.time",
        kind: Kind::Counter,
        unit: "s",
        help: "Time in stallscope's kernel programs on all CPUs, scaled up from samples; absent where the kernel does not tell.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |seen, rows| {
            if let Some(ns) = seen.own.kernel_ns {
                rows.total([], ns as f64 / 1e9);
            }
        },
    },
    Metric {
        name: "process.memory.usage",
        kind: Kind::UpDownCounter,
        unit: "By",
        help: "Resident memory of stallscope.",
        labels: NONE,
        small: NONE,
        otel: true,
        top: 0,
        read: |seen, rows| rows.level([], seen.slice.cost.rss_bytes as f64),
    },
    Metric {
        name: "stallscope.map.memory",
        kind: Kind::UpDownCounter,
        unit: "By",
        help: "Memory of stallscope's maps in the kernel.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |seen, rows| rows.level([], seen.slice.cost.map_bytes as f64),
    },
    Metric {
        name: "stallscope.probe.active",
        kind: Kind::UpDownCounter,
        unit: "{probe}",
        help: "1 for a probe that is attached, 0 for one that is off; `stallscope doctor` says why.",
        labels: &["stallscope.probe"],
        small: &["stallscope.probe"],
        otel: false,
        top: 0,
        read: |seen, rows| {
            for probe in &seen.slice.probes {
                let active = probe.state == State::Active;
                rows.level([probe.id], f64::from(u8::from(active)));
            }
        },
    },
    Metric {
        name: "stallscope.losses",
        kind: Kind::Counter,
        unit: "{event}",
        help: "What was lost in the kernel side, by where; a report says what each means.",
        labels: &["stallscope.loss"],
        small: &["stallscope.loss"],
        otel: false,
        top: 0,
        read: |seen, rows| {
            for (id, count) in diagnose::loss_counts(&seen.slice.losses) {
                rows.adds([id], count as f64);
            }
        },
    },
    Metric {
        name: "stallscope.looks",
        kind: Kind::Counter,
        unit: "{look}",
        help: "Looks at everything.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |_, rows| rows.adds([], 1.0),
    },
    Metric {
        name: "stallscope.look.timestamp",
        kind: Kind::Gauge,
        unit: "s",
        help: "When everything was looked at last, since the Unix epoch.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |seen, rows| {
            let slice = seen.slice;
            rows.level([], (slice.start_unix_ns + slice.duration_ns) as f64 / 1e9);
        },
    },
    Metric {
        name: "stallscope.scrapes",
        kind: Kind::Counter,
        unit: "{scrape}",
        help: "Requests for the metrics that were answered.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |seen, rows| rows.total([], seen.own.scrapes as f64),
    },
    Metric {
        name: "stallscope.scrapes.refused",
        kind: Kind::Counter,
        unit: "{scrape}",
        help: "Requests and connections that were refused: no or a wrong password, too many at once, too slow, malformed.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |seen, rows| rows.total([], seen.own.scrapes_refused as f64),
    },
    Metric {
        name: "stallscope.otlp.messages",
        kind: Kind::Counter,
        unit: "{message}",
        help: "OTLP messages that were accepted (sent), tried again (retried), or given up (dropped); points and findings that were left out of accepted ones (rejected).",
        labels: OUTCOME,
        small: OUTCOME,
        otel: false,
        top: 0,
        read: |seen, rows| {
            let own = seen.own;
            rows.total(["sent"], own.otlp_sent as f64);
            rows.total(["retried"], own.otlp_retried as f64);
            rows.total(["dropped"], own.otlp_dropped as f64);
            rows.total(["rejected"], own.otlp_rejected as f64);
        },
    },
    Metric {
        name: "stallscope.otlp.queued",
        kind: Kind::UpDownCounter,
        unit: "{message}",
        help: "OTLP messages that wait.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |seen, rows| rows.level([], seen.own.otlp_queued as f64),
    },
    Metric {
        name: "stallscope.saves",
        kind: Kind::Counter,
        unit: "{finding}",
        help: "Findings that were saved, and that could not be.",
        labels: OUTCOME,
        small: OUTCOME,
        otel: false,
        top: 0,
        read: |seen, rows| {
            rows.total(["success"], seen.own.saved as f64);
            rows.total(["failure"], seen.own.save_failures as f64);
        },
    },
    Metric {
        name: "stallscope.ring.size",
        kind: Kind::UpDownCounter,
        unit: "By",
        help: "Size of the flight recorder's ring on disk.",
        labels: NONE,
        small: NONE,
        otel: false,
        top: 0,
        read: |seen, rows| rows.level([], seen.own.ring_bytes as f64),
    },
    Metric {
        name: "stallscope.hooks",
        kind: Kind::Counter,
        unit: "{run}",
        help: "Runs of the program for findings that went well, and that failed or took too long.",
        labels: OUTCOME,
        small: OUTCOME,
        otel: false,
        top: 0,
        read: |seen, rows| {
            let own = seen.own;
            let well = own.hooks.saturating_sub(own.hook_failures);
            rows.total(["success"], well as f64);
            rows.total(["failure"], own.hook_failures as f64);
        },
    },
    Metric {
        name: "stallscope.reloads",
        kind: Kind::Counter,
        unit: "{reload}",
        help: "Configurations that were read again, and that had something wrong.",
        labels: OUTCOME,
        small: OUTCOME,
        otel: false,
        top: 0,
        read: |seen, rows| {
            rows.total(["success"], seen.own.reloads as f64);
            rows.total(["failure"], seen.own.reload_failures as f64);
        },
    },
];
