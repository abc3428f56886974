//! Metrics as text: OpenMetrics, version 1.0, and the older format of Prometheus that `promtool check metrics` reads.
//!
//! Names are OpenTelemetry's as Prometheus spells them: dots become underscores, the unit stands behind (`_seconds`, `_bytes`,
//! `_ratio`), and counters end in `_total`. A `.count` at the end becomes a plural, as `_count` belongs to histograms.

#[cfg(test)]
mod tests;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabelKey, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder,
        MetricEncoder, NoLabelSet, text as encoder,
    },
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use super::{Buckets, Family, Kind, Metric, Row, Snapshot, Value};

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of [`classic`].
pub const CLASSIC_MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text, `# EOF` included.
pub fn text(snapshot: &std::sync::Arc<Snapshot>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(snapshot.clone())));
    let mut text = String::new();
    // Writing to a string does not fail; were it to, half a text without its end is no metrics.
    if encoder::encode(&mut text, &registry).is_err() {
        return "# EOF\n".to_owned();
    }
    text
}

/// The same in the older format: a counter is named as its samples are, units and the end are not told.
pub fn classic(snapshot: &Snapshot, text: &str) -> String {
    let counters: Vec<String> = snapshot
        .families
        .iter()
        .filter(|f| f.metric.kind == Kind::Counter)
        .map(|f| name(f.metric))
        .collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match line.strip_prefix("# ").map(|l| l.splitn(3, ' ')) {
            None => out.push_str(line),
            Some(mut words) => match [words.next(), words.next(), words.next()] {
                [Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)] => {
                    let counter = counters.iter().any(|c| c == name);
                    let total = if counter { "_total" } else { "" };
                    out.push_str(&format!("# {what} {name}{total} {rest}"));
                }
                _ => continue,
            },
        }
        out.push('\n');
    }
    out
}

/// The name of a metric's family, its unit included: `dns_lookup_duration_seconds`. Samples of a counter have `_total` behind
/// it, those of a histogram `_bucket`, `_sum`, `_count`.
pub fn name(metric: &Metric) -> String {
    let base = base(metric);
    match unit(metric) {
        Some(unit) => format!("{base}_{}", unit.as_str()),
        None => base,
    }
}

/// The name of a label.
pub fn label(key: &str) -> String {
    key.replace('.', "_")
}

fn base(metric: &Metric) -> String {
    match metric.name.strip_suffix(".count") {
        Some(one) => format!("{}s", label(one)),
        None => label(metric.name),
    }
}

fn unit(metric: &Metric) -> Option<Unit> {
    match metric.unit {
        "s" => Some(Unit::Seconds),
        "By" => Some(Unit::Bytes),
        "1" => Some(Unit::Other("ratio".to_owned())),
        _ => None,
    }
}

#[derive(Clone)]
struct Scrape(std::sync::Arc<Snapshot>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0
            .families
            .iter()
            .try_for_each(|family| encode(family, &mut encoder))
    }
}

fn encode(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let metric = family.metric;
    let (base, unit) = (base(metric), unit(metric));
    let kind = match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::UpDownCounter | Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let keys: Vec<String> = metric.labels.iter().map(|key| label(key)).collect();
    let mut encoder = encoder.encode_descriptor(&base, metric.help, unit.as_ref(), kind)?;
    for row in &family.rows {
        if keys.is_empty() {
            value(row, metric.kind, &mut encoder)?;
        } else {
            let labels = Labels { keys: &keys, row };
            value(row, metric.kind, &mut encoder.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn value(row: &Row, kind: Kind, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    match &row.value {
        Value::Number(n) if kind == Kind::Counter => {
            encoder.encode_counter(n, None::<&Exemplar<NoLabelSet, f64>>)
        }
        Value::Number(n) => encoder.encode_gauge(n),
        Value::Buckets(b) => {
            let bounds = (0..).map(|n| match Buckets::bound_ns(n) {
                Some(ns) => ns as f64 / 1e9,
                None => f64::INFINITY,
            });
            let buckets: Vec<(f64, u64)> = bounds.zip(b.counts).collect();
            let sum_s = b.sum_ns as f64 / 1e9;
            encoder.encode_histogram::<NoLabelSet>(sum_s, b.count(), &buckets, None)
        }
    }
}

/// The labels of a row; an empty value is none.
#[derive(Debug)]
struct Labels<'a> {
    keys: &'a [String],
    row: &'a Row,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let labels = self.keys.iter().zip(self.row.labels.iter());
        for (key, value) in labels.filter(|(_, value)| !value.is_empty()) {
            let mut label = encoder.encode_label();
            let mut label_key = label.encode_label_key()?;
            EncodeLabelKey::encode(key, &mut label_key)?;
            let mut label_value = label_key.encode_label_value()?;
            EncodeLabelValue::encode(value, &mut label_value)?;
            label_value.finish()?;
        }
        Ok(())
    }
}
