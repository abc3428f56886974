//! Names as Prometheus has them.

pub use crate::present::metrics::openmetrics::{label, name as family};
use crate::present::metrics::{Kind, Metric};

/// The name of a metric's samples; of a histogram, of its counts by bucket.
pub fn sample(metric: &Metric) -> String {
    let suffix = match metric.kind {
        Kind::Counter => "_total",
        Kind::Histogram => "_bucket",
        Kind::Gauge | Kind::UpDownCounter => "",
    };
    family(metric) + suffix
}
