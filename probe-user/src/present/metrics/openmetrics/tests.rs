//! The text is read back by a reader of its own, as strict as the format's specification.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::present::metrics::{CATALOGUE, Own, Seen, Store, fixture};

/// A sample: name, labels, value.
type Sample = (String, Vec<(String, String)>, f64);

/// The samples of a text, and the families that it describes with their types.
fn parse(text: &str) -> (Vec<Sample>, BTreeMap<String, String>) {
    let (mut samples, mut types) = (Vec::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            if words[0] == "TYPE" {
                let twice = types.insert(words[1].to_owned(), words[2].to_owned());
                assert_eq!(twice, None, "{line}");
            }
            continue;
        }
        samples.push(sample(line));
    }
    (samples, types)
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, quoted) = rest.split_once("=\"").expect("a label");
            assert!(
                key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{line}"
            );
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().expect("an escape").1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        c => panic!("\\{c} in {line}"),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((key.to_owned(), value));
            rest = &quoted[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("a space").parse();
    (name.to_owned(), labels, value.expect("a number"))
}

fn everything() -> Arc<Snapshot> {
    let window = fixture::everything();
    let diagnosis = crate::diagnose::run(&window);
    let open = fixture::open(&diagnosis);
    let own = Own {
        version: "1.2.3",
        kernel_ns: Some(5),
        ..Own::default()
    };
    let mut store = Store::default();
    let seen = Seen {
        slice: &window,
        recent: &window,
        open: &open,
        changes: &[],
        not_judged: &diagnosis.not_judged,
        own: &own,
    };
    store.push(&seen, 1_700_000_000_000_000_000);
    store.snapshot()
}

#[test]
fn every_row_of_every_metric_reads_back() {
    let snapshot = everything();
    assert_eq!(snapshot.families.len(), CATALOGUE.len());
    let text = text(&snapshot);
    assert!(text.ends_with("\n# EOF\n"));
    let (samples, types) = parse(&text);
    let mut unique = BTreeSet::new();
    for (name, labels, value) in &samples {
        assert!(unique.insert((name, labels)), "{name} {labels:?} twice");
        assert!(value.is_finite());
    }
    for family in &snapshot.families {
        let name = name(family.metric);
        let kind = match family.metric.kind {
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Gauge | Kind::UpDownCounter => "gauge",
        };
        assert_eq!(types[&name], kind);
        let behind = match family.metric.kind {
            Kind::Counter => "_total",
            Kind::Histogram => "_count",
            Kind::Gauge | Kind::UpDownCounter => "",
        };
        let rows: Vec<_> = samples
            .iter()
            .filter(|s| s.0 == format!("{name}{behind}"))
            .collect();
        assert_eq!(rows.len(), family.rows.len(), "{name}");
        for (row, (_, labels, value)) in family.rows.iter().zip(rows) {
            let ours = family.metric.labels.iter().zip(row.labels.iter());
            let ours: Vec<_> = ours
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (label(key), value.clone()))
                .collect();
            assert_eq!(&ours, labels);
            let truth = match &row.value {
                Value::Number(n) => *n,
                Value::Buckets(b) => b.count() as f64,
            };
            assert_eq!(truth, *value);
        }
    }
}

#[test]
fn buckets_are_cumulative_and_end_with_the_count() {
    let (samples, _) = parse(&text(&everything()));
    let of = |name: &'static str| samples.iter().filter(move |s| s.0 == name);
    let le = |s: &Sample| s.1[0].1.clone();
    let buckets: Vec<_> = of("stallscope_request_duration_seconds_bucket").collect();
    assert_eq!(buckets.len(), Buckets::COUNT);
    assert_eq!(le(buckets[0]), "0.000131072");
    assert_eq!(le(buckets[Buckets::COUNT - 1]), "+Inf");
    assert!(buckets.windows(2).all(|w| w[0].2 <= w[1].2));
    let count = of("stallscope_request_duration_seconds_count").next();
    assert_eq!(buckets[Buckets::COUNT - 1].2, count.unwrap().2);
}

#[test]
fn the_older_format_names_counters_as_their_samples() {
    let snapshot = everything();
    let text = text(&snapshot);
    let classic = classic(&snapshot, &text);
    assert!(!classic.contains("# UNIT") && !classic.contains("# EOF"));
    let ((new, _), (old, types)) = (parse(&text), parse(&classic));
    assert_eq!(new, old);
    assert_eq!(types["process_cpu_time_seconds_total"], "counter");
    for (name, ..) in old {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(&name);
        assert!(types.contains_key(base), "{name} has no type");
    }
}

#[test]
fn names_are_as_prometheus_spells_them() {
    let of = |wanted: &str| name(CATALOGUE.iter().find(|m| m.name == wanted).unwrap());
    assert_eq!(of("dns.lookup.duration"), "dns_lookup_duration_seconds");
    assert_eq!(
        of("system.filesystem.usage"),
        "system_filesystem_usage_bytes"
    );
    assert_eq!(
        of("stallscope.worker.utilization"),
        "stallscope_worker_utilization_ratio"
    );
    assert_eq!(
        of("system.network.connection.count"),
        "system_network_connections"
    );
    assert_eq!(of("stallscope.worker.count"), "stallscope_workers");
}

proptest! {
    #[test]
    fn any_label_and_any_number_read_back(values in prop::collection::vec(".{0,40}", 1..20), n in any::<f64>()) {
        let metric = CATALOGUE.iter().find(|m| m.name == "stallscope.connection.empty").unwrap();
        let n = if n.is_finite() { n } else { 0.0 };
        let row = |value: &String| Row {
            labels: [value.clone()].into(),
            value: Value::Number(n),
            since_unix_ns: 0,
        };
        let snapshot = Arc::new(Snapshot {
            at_unix_ns: 1,
            families: vec![Family { metric, rows: values.iter().map(row).collect() }],
        });
        let (samples, _) = parse(&text(&snapshot));
        prop_assert_eq!(samples.len(), values.len());
        for ((_, labels, got), value) in samples.iter().zip(&values) {
            let expected = (!value.is_empty()).then(|| ("stallscope_group".to_owned(), value.clone()));
            prop_assert_eq!(labels.first().cloned(), expected);
            prop_assert_eq!(*got, n);
        }
    }
}
