//! The catalogue tests itself: its spelling, its bounds, and what it says of a window in which everything happens.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_semantic_conventions::{attribute, metric};

use super::{CATALOGUE, labels};
use crate::{
    aggregate::{
        Window,
        fixture::{INCIDENT_A, probes, window_of},
    },
    present::metrics::{
        Family, Given, Kind, Metric, Own, Rows, Seen, Snapshot, Store, Value, fixture::everything,
        openmetrics,
    },
};

/// What OpenTelemetry's semantic conventions say of the metrics that we have from there.
const PUBLISHED: &[(&str, Kind, &str)] = &[
    (metric::DNS_LOOKUP_DURATION, Kind::Histogram, "s"),
    (metric::PROCESS_CPU_TIME, Kind::Counter, "s"),
    (metric::PROCESS_MEMORY_USAGE, Kind::UpDownCounter, "By"),
    (metric::PROCESS_UPTIME, Kind::Gauge, "s"),
    (metric::SYSTEM_FILESYSTEM_USAGE, Kind::UpDownCounter, "By"),
    (
        metric::SYSTEM_NETWORK_CONNECTION_COUNT,
        Kind::UpDownCounter,
        "{connection}",
    ),
];

/// The attributes from there.
const ATTRIBUTES: &[&str] = &[
    attribute::DNS_QUESTION_NAME,
    attribute::ERROR_TYPE,
    attribute::NETWORK_CONNECTION_STATE,
    attribute::NETWORK_IO_DIRECTION,
    attribute::NETWORK_LOCAL_ADDRESS,
    attribute::NETWORK_LOCAL_PORT,
    attribute::NETWORK_PEER_ADDRESS,
    attribute::NETWORK_PEER_PORT,
    attribute::NETWORK_TRANSPORT,
    attribute::NETWORK_TYPE,
    attribute::PROCESS_EXECUTABLE_NAME,
    attribute::SERVICE_VERSION,
    attribute::SYSTEM_DEVICE,
    attribute::SYSTEM_FILESYSTEM_MOUNTPOINT,
    attribute::SYSTEM_FILESYSTEM_STATE,
    attribute::SYSTEM_FILESYSTEM_TYPE,
];

#[test]
fn what_opentelemetry_has_is_spelled_as_it_is_published() {
    let ours: BTreeSet<_> = CATALOGUE
        .iter()
        .filter(|m| m.otel)
        .map(|m| (m.name, format!("{:?}", m.kind), m.unit))
        .collect();
    let theirs: BTreeSet<_> = PUBLISHED
        .iter()
        .map(|(name, kind, unit)| (*name, format!("{kind:?}"), *unit))
        .collect();
    assert_eq!(ours, theirs);
    for metric in CATALOGUE {
        let own = metric.name.starts_with("stallscope.");
        assert_ne!(own, metric.otel, "{}", metric.name);
        for label in metric.labels {
            let known = label.starts_with("stallscope.") || ATTRIBUTES.contains(label);
            assert!(known, "{label} of {}", metric.name);
        }
    }
}

#[test]
fn names_are_unique_and_every_record_is_whole() {
    let mut names = BTreeSet::new();
    let mut families = BTreeSet::new();
    for m in CATALOGUE {
        let name = m.name;
        assert!(names.insert(name), "{name} twice");
        assert!(
            families.insert(openmetrics::name(m)),
            "{name} twice as text"
        );
        let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_');
        assert!(name.chars().all(plain), "{name}");
        assert!(
            m.help.ends_with('.') && m.help.is_ascii(),
            "{name}: {}",
            m.help
        );
        assert!(!m.help.contains(['\\', '"', '\n']), "{name}: {}", m.help);
        let unit = matches!(m.unit, "s" | "By" | "1") || m.unit.starts_with('{');
        assert!(unit, "{name}: {}", m.unit);
        assert!(m.kind != Kind::Histogram || m.unit == "s", "{name}");
        assert!(m.small.iter().all(|l| m.labels.contains(l)), "{name}");
        let all_small = m.labels.iter().all(|l| m.small.contains(l));
        assert_eq!(m.top == 0, all_small, "{name}: what has no bound needs one");
    }
}

/// What a metric reads of a window.
fn read(metric: &Metric, seen: &Seen<'_>) -> Vec<(Vec<String>, Given)> {
    let mut out = Vec::new();
    let mut into = |labels: Vec<String>, given: Given| out.push((labels, given));
    (metric.read)(seen, &mut Rows { into: &mut into });
    out
}

fn check(window: &Window, each: impl Fn(&Metric, &[String], &Given)) -> BTreeSet<&'static str> {
    let own = Own {
        version: "1.2.3",
        kernel_ns: Some(5),
        ..Own::default()
    };
    let diagnosis = crate::diagnose::run(window);
    let open = crate::present::metrics::fixture::open(&diagnosis);
    let seen = Seen {
        slice: window,
        recent: window,
        open: &open,
        changes: &[],
        not_judged: &diagnosis.not_judged,
        own: &own,
    };
    let mut silent = BTreeSet::new();
    for metric in CATALOGUE {
        let rows = read(metric, &seen);
        if rows.is_empty() {
            silent.insert(metric.name);
        }
        for (labels, given) in rows {
            assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
            each(metric, &labels, &given);
        }
    }
    silent
}

#[test]
fn values_are_of_the_metrics_kind_and_everything_has_some() {
    let silent = check(&everything(), |metric, _, given| {
        let fits = match given {
            Given::Adds(n) | Given::Total(n) => metric.kind == Kind::Counter && *n >= 0.0,
            Given::Level(_) => matches!(metric.kind, Kind::Gauge | Kind::UpDownCounter),
            Given::Took(_) => metric.kind == Kind::Histogram,
        };
        assert!(fits, "{}: {given:?}", metric.name);
    });
    assert_eq!(silent, BTreeSet::new());
}

#[test]
fn what_was_not_watched_is_absent_and_not_0() {
    let window = Window {
        probes: probes(),
        tcp: None,
        udp: None,
        dns: None,
        files: None,
        journal: None,
        ..window_of(20, INCIDENT_A)
    };
    let silent = check(&window, |_, _, _| {});
    for area in [
        "stallscope.tcp.",
        "stallscope.listen.",
        "stallscope.udp.",
        "stallscope.dns.",
    ] {
        let of = |m: &&Metric| m.name.starts_with(area);
        for metric in CATALOGUE.iter().filter(of) {
            assert!(silent.contains(metric.name), "{}", metric.name);
        }
    }
    assert!(silent.contains("system.filesystem.usage"));
    assert!(!silent.contains("stallscope.request.duration"));
}

#[test]
fn hostile_names_are_escaped_and_bounded() {
    for bytes in [
        &b"\x1b[2J\x07\n\"}\\"[..],
        "gpj.\u{202e}exe".as_bytes(),
        &[b'x'; 5000],
        "ß".repeat(300).as_bytes(),
        "\u{10000}".repeat(300).as_bytes(),
        &[0xff; 300],
    ] {
        for label in [labels::name(bytes), labels::group_of(bytes, true)] {
            assert!(label.len() <= labels::MAX_BYTES + "pool ".len(), "{label}");
            assert!(!label.chars().any(char::is_control), "{label}");
            assert!(!label.is_empty());
        }
    }
    assert_eq!(labels::name("größe".as_bytes()), "größe");
}

#[test]
fn parts_of_requests_sum_to_their_wall_time() {
    let window = window_of(412, INCIDENT_A);
    let mut store = Store::default();
    let own = Own::default();
    let seen = Seen {
        slice: &window,
        recent: &window,
        open: &[],
        changes: &[],
        not_judged: &[],
        own: &own,
    };
    store.push(&seen, 1);
    store.push(&seen, 2);
    let snapshot = store.snapshot();
    let parts: f64 = numbers(&snapshot, "stallscope.request.time").values().sum();
    let family = family(&snapshot, "stallscope.request.duration");
    let Value::Buckets(wall) = &family.rows[0].value else {
        panic!("a histogram has buckets");
    };
    assert!((parts - wall.sum_ns as f64 / 1e9).abs() < 1e-6, "{parts}");
    assert_eq!(wall.count(), 2 * 412);
    let waited: f64 = numbers(&snapshot, "stallscope.peer.wait.time")
        .values()
        .sum();
    let network = numbers(&snapshot, "stallscope.request.time");
    let network = network.iter().find(|(labels, _)| labels[1] == "network");
    assert!(
        (waited - network.unwrap().1).abs() < 1e-6,
        "{waited} {network:?}"
    );
}

fn family<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Family {
    let mut families = snapshot.families.iter();
    families.find(|f| f.metric.name == name).unwrap()
}

fn numbers(snapshot: &Snapshot, name: &str) -> BTreeMap<Vec<String>, f64> {
    let rows = family(snapshot, name).rows.iter();
    rows.map(|row| match row.value {
        Value::Number(n) => (row.labels.to_vec(), n),
        Value::Buckets(_) => panic!("{name} has no numbers"),
    })
    .collect()
}
