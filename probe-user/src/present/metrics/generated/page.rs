//! docs/metrics.md.

use std::fmt::Write as _;

use super::names;
use crate::present::metrics::{CATALOGUE, Kind};

/// The page.
pub fn page() -> String {
    let mut out = format!(
        "<!-- Generated from probe-user/src/present/metrics: {} -->\n\n# Metrics\n\n{}\n",
        super::BLESS,
        "What `stallscope serve` gives out: as OpenMetrics under the second name, over OTLP under the first. Durations are seconds, sizes bytes. \
         Names marked with * are OpenTelemetry's own (semantic conventions). Histograms have a bucket for each power of two \
         nanoseconds from 131 µs to 68.7 s.\n\n\
         \"Rows\" says how many rows are told apart at most; what finds no place is added up in a row whose labels are `other`. A dash: \
         the labels have few values that are known. What is not known has no row; it is never 0."
    );
    for metric in CATALOGUE {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::UpDownCounter => "level that adds up",
            Kind::Gauge => "level",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let labels = if labels.is_empty() {
            "none".to_owned()
        } else {
            labels.join(", ")
        };
        let rows = if metric.top == 0 {
            "-".to_owned()
        } else {
            metric.top.to_string()
        };
        let star = if metric.otel { "*" } else { "" };
        let _ = write!(
            out,
            "\n## {}{star}\n\n{}\n\n| Prometheus | kind | unit | labels | rows |\n|---|---|---|---|---|\n| `{}` | {kind} | `{}` | {labels} | {rows} |\n",
            metric.name,
            metric.help,
            names::sample(metric),
            metric.unit,
        );
    }
    out
}
