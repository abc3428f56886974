//! Adds up slices of time over weeks, in bounded label sets.

use std::sync::Arc;

use super::{Buckets, CATALOGUE, Metric, Seen, table::Table};

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// Of a histogram.
    Buckets(Box<Buckets>),
}

/// A row of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Values of the labels, in the order of [`Metric::labels`].
    pub labels: Arc<[String]>,
    /// Its value.
    pub value: Value,
    /// When it was first seen, ns since the Unix epoch: counters and histograms count from there.
    pub since_unix_ns: u64,
}

/// A metric with its rows.
#[derive(Clone)]
pub struct Family {
    /// Which.
    pub metric: &'static Metric,
    /// Its rows, in a stable order.
    pub rows: Vec<Row>,
}

/// All metrics at a moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// When, ns since the Unix epoch; 0 before the first slice.
    pub at_unix_ns: u64,
    /// Metrics that have rows, in the order of the catalogue.
    pub families: Vec<Family>,
}

/// Adds slices up.
#[derive(Default)]
pub struct Store {
    /// In the order of the catalogue.
    tables: Vec<Table>,
    last: Arc<Snapshot>,
}

impl Store {
    /// Takes in a slice that ends at `at_unix_ns`.
    pub fn push(&mut self, seen: &Seen<'_>, at_unix_ns: u64) {
        if self.tables.is_empty() {
            self.tables = CATALOGUE.iter().map(Table::new).collect();
        }
        let mut families = Vec::with_capacity(self.tables.len());
        for table in &mut self.tables {
            table.push(seen);
            let rows = table.rows();
            if !rows.is_empty() {
                let metric = table.metric();
                families.push(Family { metric, rows });
            }
        }
        self.last = Arc::new(Snapshot {
            at_unix_ns,
            families,
        });
    }

    /// All metrics as of the last slice; cheap.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.last)
    }
}
