//! A snapshot of metrics as messages. Sums and histograms are cumulative: each message says all that the ones before it
//! said, so one that is left out is no loss.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest as Request,
    common::v1::{KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric as Message,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
};

use super::{About, SCHEMA_URL, attribute, scope, text};
use crate::present::metrics::{Buckets, Family, Kind, Metric, Row, Snapshot, Value};

/// Points in a message at most. A collector takes 4 MiB unless it is told otherwise, and a point, a histogram's with
/// three long labels, may come to 1 KiB and more.
pub(super) const MOST: usize = 2000;

/// The snapshot as messages, each of at most 2,000 points. None where there are no metrics.
pub fn points(snapshot: &Snapshot, about: &About) -> Vec<Request> {
    let mut requests = Vec::new();
    let (mut metrics, mut count) = (Vec::new(), 0);
    for family in &snapshot.families {
        let mut rows = family.rows.as_slice();
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(MOST - count));
            metrics.push(message(family, now, snapshot.at_unix_ns));
            count += now.len();
            rows = later;
            if count == MOST {
                requests.push(request(std::mem::take(&mut metrics), about));
                count = 0;
            }
        }
    }
    if !metrics.is_empty() {
        requests.push(request(metrics, about));
    }
    requests
}

fn request(metrics: Vec<Message>, about: &About) -> Request {
    Request {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(about.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics,
                schema_url: SCHEMA_URL.to_owned(),
            }],
            schema_url: SCHEMA_URL.to_owned(),
        }],
    }
}

fn message(family: &Family, rows: &[Row], at_unix_ns: u64) -> Message {
    let metric = family.metric;
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || {
        rows.iter()
            .filter_map(|row| number(metric, row, at_unix_ns))
            .collect()
    };
    let data = match metric.kind {
        Kind::Counter | Kind::UpDownCounter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: metric.kind == Kind::Counter,
        }),
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: rows
                .iter()
                .filter_map(|row| histogram(metric, row, at_unix_ns))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Message {
        name: metric.name.to_owned(),
        description: metric.help.to_owned(),
        unit: metric.unit.to_owned(),
        data: Some(data),
        ..Message::default()
    }
}

/// A row that is no number of a number's metric is a fault of ours, and left out rather than sent as something else.
fn number(metric: &Metric, row: &Row, at_unix_ns: u64) -> Option<NumberDataPoint> {
    let Value::Number(value) = row.value else {
        return None;
    };
    Some(NumberDataPoint {
        attributes: attributes(metric, row),
        // A gauge has no beginning.
        start_time_unix_nano: match metric.kind {
            Kind::Gauge => 0,
            _ => start(row, at_unix_ns),
        },
        time_unix_nano: at_unix_ns,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

fn histogram(metric: &Metric, row: &Row, at_unix_ns: u64) -> Option<HistogramDataPoint> {
    let Value::Buckets(buckets) = &row.value else {
        return None;
    };
    Some(HistogramDataPoint {
        attributes: attributes(metric, row),
        start_time_unix_nano: start(row, at_unix_ns),
        time_unix_nano: at_unix_ns,
        count: buckets.counts.iter().sum(),
        sum: Some(buckets.sum_ns as f64 / 1e9),
        bucket_counts: buckets.counts.to_vec(),
        explicit_bounds: (0..Buckets::COUNT - 1)
            .map(|n| (Buckets::FIRST_NS << n) as f64 / 1e9)
            .collect(),
        ..HistogramDataPoint::default()
    })
}

/// A clock that was set back must not make a point that ends before it begins.
fn start(row: &Row, at_unix_ns: u64) -> u64 {
    row.since_unix_ns.min(at_unix_ns)
}

fn attributes(metric: &Metric, row: &Row) -> Vec<KeyValue> {
    let labels = metric.labels.iter().zip(row.labels.iter());
    labels
        .filter_map(|(key, value)| match value.parse::<i64>() {
            Ok(number) if is_number(key) => {
                Some(attribute(key, any_value::Value::IntValue(number)))
            }
            _ => text(key, value),
        })
        .collect()
}

/// Attributes that the conventions have as integers. A row of all others has the word `other` in them.
fn is_number(key: &str) -> bool {
    key.ends_with(".port") || key == "process.pid"
}
