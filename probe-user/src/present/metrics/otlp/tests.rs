//! What messages look like.

use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric as Message, metric::Data, number_data_point::Value::AsDouble,
};
use opentelemetry_semantic_conventions as published;
use opentelemetry_semantic_conventions::attribute;

use super::*;
use crate::{
    aggregate::Peer,
    diagnose::{
        Culprit, Diagnosis, Finding, Piece, Place, RuleRef, Sentence, Severity,
        rules::finding_for_tests,
        steady::{Change, Open, Steadiness, Steady},
    },
    present::metrics::{Buckets, Family, Kind, Metric, Row, Snapshot, Value},
};

const fn metric(name: &'static str, kind: Kind) -> Metric {
    Metric {
        name,
        kind,
        unit: "s",
        help: "What it is.",
        labels: &["network.peer.address", "network.peer.port"],
        small: &[],
        otel: false,
        top: 0,
        read: |_, _| {},
    }
}

static COUNTER: Metric = metric("a", Kind::Counter);
static LEVEL: Metric = metric("b", Kind::UpDownCounter);
static GAUGE: Metric = metric("c", Kind::Gauge);
static HISTOGRAM: Metric = metric("d", Kind::Histogram);

fn row(labels: [&str; 2], value: Value) -> Row {
    Row {
        labels: labels.map(str::to_owned).into(),
        value,
        since_unix_ns: 1000,
    }
}

fn snapshot(families: Vec<Family>) -> Snapshot {
    Snapshot {
        at_unix_ns: 5000,
        families,
    }
}

fn one(metric: &'static Metric, row: Row) -> Message {
    let rows = vec![row];
    let snapshot = snapshot(vec![Family { metric, rows }]);
    let mut requests = points(&snapshot, &About::default());
    assert_eq!(requests.len(), 1);
    let mut scopes = requests.remove(0).resource_metrics.remove(0).scope_metrics;
    scopes.remove(0).metrics.remove(0)
}

fn number(metric: &'static Metric) -> Message {
    one(metric, row(["192.0.2.1", "443"], Value::Number(2.5)))
}

/// Attributes as `key=value`.
fn words(attributes: &[KeyValue]) -> Vec<String> {
    let text = |a: &KeyValue| match a.value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(n)) => format!("{n}i"),
        Some(any_value::Value::DoubleValue(n)) => format!("{n}f"),
        Some(any_value::Value::ArrayValue(array)) => format!("{} values", array.values.len()),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|a| format!("{}={}", a.key, text(a)))
        .collect()
}

#[test]
fn counters_and_levels_are_cumulative_sums() {
    for (metric, monotonic) in [(&COUNTER, true), (&LEVEL, false)] {
        let message = number(metric);
        assert_eq!(
            (message.unit.as_str(), message.name.as_str()),
            ("s", metric.name)
        );
        let Some(Data::Sum(sum)) = message.data else {
            panic!("{message:?}")
        };
        assert_eq!(sum.is_monotonic, monotonic);
        assert_eq!(
            sum.aggregation_temporality(),
            AggregationTemporality::Cumulative
        );
        let point = &sum.data_points[0];
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano),
            (1000, 5000)
        );
        assert_eq!(point.value, Some(AsDouble(2.5)));
        assert_eq!(
            words(&point.attributes),
            ["network.peer.address=192.0.2.1", "network.peer.port=443i"]
        );
    }
}

#[test]
fn a_gauge_has_no_beginning() {
    let message = number(&GAUGE);
    let Some(Data::Gauge(gauge)) = message.data else {
        panic!("{message:?}")
    };
    assert_eq!(gauge.data_points[0].start_time_unix_nano, 0);
    assert_eq!(gauge.data_points[0].value, Some(AsDouble(2.5)));
}

#[test]
fn a_histogram_has_its_bounds_in_seconds_and_every_count() {
    let mut buckets = Buckets {
        sum_ns: 3_000_000_000,
        ..Buckets::default()
    };
    buckets.counts[0] = 4;
    buckets.counts[Buckets::COUNT - 1] = 1;
    let message = one(
        &HISTOGRAM,
        row(["", "other"], Value::Buckets(Box::new(buckets))),
    );
    let Some(Data::Histogram(histogram)) = message.data else {
        panic!("{message:?}")
    };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum), (5, Some(3.0)));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.explicit_bounds[0], 0.000_131_072);
    assert_eq!(point.explicit_bounds.last(), Some(&68.719_476_736));
    assert!(point.explicit_bounds.is_sorted());
    // An empty label is no attribute, and what is added up has the word for it.
    assert_eq!(words(&point.attributes), ["network.peer.port=other"]);
}

#[test]
fn a_clock_that_was_set_back_makes_no_point_that_ends_before_it_begins() {
    let mut later = row(["", ""], Value::Number(1.0));
    later.since_unix_ns = 9000;
    let message = one(&COUNTER, later);
    let Some(Data::Sum(sum)) = message.data else {
        panic!("{message:?}")
    };
    assert_eq!(sum.data_points[0].start_time_unix_nano, 5000);
}

#[test]
fn labels_are_escaped_again_and_bounded() {
    let long = "x".repeat(10_000);
    for hostile in ["\x1b[2J\u{202e}", long.as_str()] {
        let message = one(&COUNTER, row([hostile, ""], Value::Number(1.0)));
        let Some(Data::Sum(sum)) = message.data else {
            panic!("{message:?}")
        };
        let text = words(&sum.data_points[0].attributes).concat();
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text:?}");
        assert!(text.chars().count() < 300, "{}", text.len());
    }
}

#[test]
fn many_points_go_in_messages_that_a_collector_takes_and_none_is_lost() {
    let rows = |n: usize| {
        (0..n)
            .map(|i| {
                let buckets = Value::Buckets(Box::default());
                let long = format!("{i:0>250}");
                row([long.as_str(), "443"], buckets)
            })
            .collect::<Vec<_>>()
    };
    let families = vec![
        Family {
            metric: &HISTOGRAM,
            rows: rows(points::MOST + 1),
        },
        Family {
            metric: &HISTOGRAM,
            rows: Vec::new(),
        },
        Family {
            metric: &HISTOGRAM,
            rows: rows(points::MOST - 1),
        },
        Family {
            metric: &HISTOGRAM,
            rows: rows(3),
        },
    ];
    let requests = points(&snapshot(families), &About::default());
    let sizes: Vec<usize> = requests
        .iter()
        .map(|request| {
            let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
            let points = |metric: &Message| match &metric.data {
                Some(Data::Histogram(histogram)) => histogram.data_points.len(),
                _ => 0,
            };
            metrics.iter().map(points).sum()
        })
        .collect();
    assert_eq!(sizes, [points::MOST, points::MOST, 3]);
    for request in &requests {
        assert!(prost::Message::encoded_len(request) < 4 << 20);
    }
    assert!(points(&snapshot(Vec::new()), &About::default()).is_empty());
}

fn culprit() -> Culprit {
    Culprit {
        group: Some(b"www".to_vec()),
        php_fpm: true,
        pid: Some(42),
        peer: Some(Peer::Inet {
            transport: "tcp".to_owned(),
            address: "192.0.2.1".parse().unwrap(),
            port: 6379,
        }),
        place: Some(Place {
            source: b"/dev/vda1".to_vec(),
            mount_point: b"/var".to_vec(),
            directory: Some(b"/var/\x1bcache".to_vec()),
            ..Place::default()
        }),
    }
}

fn finding() -> Finding {
    Finding {
        severity: Severity::Critical,
        explains: 0.875,
        culprit: culprit(),
        summary: vec![Sentence(vec![
            Piece::from("slow: "),
            Piece::Name(b"/a\x1b[2J".to_vec()),
        ])],
        caused_by: vec![RuleRef {
            id: "T08",
            name: "listener-gap",
        }],
        ..finding_for_tests()
    }
}

fn open() -> Open {
    let mut steady = Steady::new(Steadiness {
        windows: 1,
        gone_ns: 1,
    });
    let diagnosis = Diagnosis {
        findings: vec![finding()],
        ..Diagnosis::default()
    };
    steady.update(4_000_000_000, &diagnosis);
    steady.open()[0].clone()
}

fn event(change: Change) -> LogRecord {
    // 3 s after it was first seen.
    let event = Event::new(&change, 7_000_000_000, 1_700_000_003_000_000_000);
    record(&event, "instance")
}

#[test]
fn a_finding_is_an_event_with_its_culprit() {
    let record = event(Change::Opened(open()));
    assert_eq!(record.event_name, "stallscope.finding.opened");
    assert_eq!(
        (record.severity_number, record.severity_text.as_str()),
        (17, "critical")
    );
    assert_eq!(record.time_unix_nano, 1_700_000_003_000_000_000);
    let body = record.body.and_then(|body| body.value);
    assert_eq!(
        body,
        Some(any_value::Value::StringValue(r"slow: /a\x1b[2J".to_owned()))
    );
    insta::assert_snapshot!(words(&record.attributes).join("\n"), @r"
    log.record.uid=instance-1-opened-critical
    stallscope.rule.id=T99
    stallscope.rule.name=made-up
    stallscope.finding.title=Made up
    stallscope.finding.severity=critical
    stallscope.finding.role=cause
    stallscope.finding.confidence=high
    stallscope.finding.explained_what=the time lost in requests
    stallscope.finding.first_seen=2023-11-14T22:13:20.000Z
    stallscope.finding.id=1i
    stallscope.finding.explained=0.875f
    stallscope.finding.caused_by=1 values
    stallscope.group=pool www
    process.pid=42i
    stallscope.peer=192.0.2.1:6379
    network.transport=tcp
    network.peer.address=192.0.2.1
    network.peer.port=6379i
    system.device=/dev/vda1
    system.filesystem.mountpoint=/var
    file.directory=/var/\x1bcache
    ");
}

#[test]
fn that_it_is_over_is_no_alarm_but_says_how_bad_it_was() {
    let record = event(Change::Closed(open()));
    assert_eq!(record.event_name, "stallscope.finding.closed");
    assert_eq!(
        (record.severity_number, record.severity_text.as_str()),
        (9, "info")
    );
    let words = words(&record.attributes);
    assert!(words.contains(&"stallscope.finding.severity=critical".to_owned()));
    let worse = event(Change::Worse(open()));
    assert_eq!(worse.event_name, "stallscope.finding.worse");
    let uid = |r: &LogRecord| r.attributes[0].clone();
    assert_ne!(uid(&record), uid(&worse));
    assert_eq!(uid(&worse), uid(&event(Change::Worse(open()))));
}

/// What the conventions publish, of what is sent.
const PUBLISHED: &[&str] = &[
    attribute::FILE_DIRECTORY,
    attribute::HOST_NAME,
    attribute::LOG_RECORD_UID,
    attribute::NETWORK_PEER_ADDRESS,
    attribute::NETWORK_PEER_PORT,
    attribute::NETWORK_TRANSPORT,
    attribute::OS_TYPE,
    attribute::OS_VERSION,
    attribute::PROCESS_PID,
    attribute::SERVICE_INSTANCE_ID,
    attribute::SERVICE_NAME,
    attribute::SERVICE_VERSION,
    attribute::SYSTEM_DEVICE,
    attribute::SYSTEM_FILESYSTEM_MOUNTPOINT,
];

#[test]
fn every_name_is_the_conventions_or_begins_with_our_own() {
    let resource = Resource {
        host: "web1".to_owned(),
        kernel: "6.1.0".to_owned(),
        target: "everything".to_owned(),
    };
    let about = resource.about("instance").attributes;
    let sent = event(Change::Opened(open())).attributes;
    let keys = || about.iter().chain(&sent).map(|a| a.key.as_str());
    for key in keys().filter(|key| !key.starts_with("stallscope.")) {
        assert!(PUBLISHED.contains(&key), "{key}");
    }
    for key in PUBLISHED {
        assert!(keys().any(|sent| sent == *key), "{key} is not sent");
    }
    assert_eq!(SCHEMA_URL, published::SCHEMA_URL);
}

#[test]
fn a_resource_leaves_out_what_is_not_known() {
    let about = Resource::default().about("a-b");
    let words = words(&about.attributes);
    assert!(words.contains(&"service.name=stallscope".to_owned()));
    assert!(words.contains(&"service.instance.id=a-b".to_owned()));
    assert!(
        !words.iter().any(|w| w.starts_with("host.name")),
        "{words:?}"
    );
}
