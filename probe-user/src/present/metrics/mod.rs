//! Windows as metrics: a catalogue of records ([`CATALOGUE`]), a store that adds them up over weeks in bounded label sets
//! ([`Store`]), and its two forms: OpenMetrics text, and OTLP messages.
//!
//! Names and units are OpenTelemetry's where it has them (`otel` says so, and a test compares them with the published
//! list); the others begin with `stallscope.`. Durations are seconds, sizes bytes.

mod buckets;
mod catalogue;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod generated;
pub mod openmetrics;
pub mod otlp;
mod own;
mod store;
mod table;

pub use buckets::Buckets;
pub use catalogue::CATALOGUE;
pub use own::Own;
pub use store::{Family, Row, Snapshot, Store, Value};

use crate::{
    aggregate::Window,
    diagnose::{
        NotJudged,
        steady::{Change, Open},
    },
};

/// The value of a label that stands for all that is not told apart.
pub const OTHER: &str = "other";

/// What a metric counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows: what a slice adds is added up.
    Counter,
    /// Goes up and down, and sums over labels make sense (sockets by state).
    UpDownCounter,
    /// Goes up and down (a share, a time left).
    Gauge,
    /// Durations by bucket: what a slice adds is added up.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy)]
pub struct Metric {
    /// Name in OpenTelemetry's spelling, with dots: `dns.lookup.duration`.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Unit as UCUM, as OpenTelemetry has it: `s`, `By`, `1`, `{request}`.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Labels in OpenTelemetry's spelling, in the order in which rows have their values. An empty value says that a row has
    /// none.
    pub labels: &'static [&'static str],
    /// Of `labels`: those with a known, small set of values. They stay when rows are added up.
    pub small: &'static [&'static str],
    /// OpenTelemetry's semantic conventions have this name, unit and kind.
    pub otel: bool,
    /// Values of the other labels that are told apart at most; further ones are added up in rows that have [`OTHER`] there
    /// (of a [`Kind::Gauge`], which cannot be added up, they are left out). 0: all labels are small.
    pub top: usize,
    /// What a slice of time says.
    pub read: fn(&Seen<'_>, &mut Rows<'_>),
}

/// What there is to read metrics from.
pub struct Seen<'a> {
    /// Everything since the slice before. Slices overlap nowhere, and lack nothing.
    pub slice: &'a Window,
    /// The last one to two spans: for what is estimated from how things went (a time left).
    pub recent: &'a Window,
    /// Findings that are open.
    pub open: &'a [Open],
    /// What became of findings since the slice before.
    pub changes: &'a [Change],
    /// Rules that could not look.
    pub not_judged: &'a [NotJudged],
    /// What the tool says of itself.
    pub own: &'a Own,
}

/// A value as it is read.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    /// Of a counter: what this slice adds.
    Adds(f64),
    /// Of a counter: what it has come to since the tool started.
    Total(f64),
    /// Of the others: what it is.
    Level(f64),
    /// Durations of this slice.
    Took(Box<Buckets>),
}

/// Where [`Metric::read`] puts what it read. Values of labels are escaped already. What is no number is left out.
pub struct Rows<'a> {
    into: &'a mut dyn FnMut(Vec<String>, Given),
}

impl Rows<'_> {
    /// Of a counter: what this slice adds.
    pub fn adds<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        self.number(labels, Given::Adds(value), value);
    }

    /// Of a counter: what it has come to since the tool started.
    pub fn total<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        self.number(labels, Given::Total(value), value);
    }

    /// Of what goes up and down: what it is.
    pub fn level<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        self.number(labels, Given::Level(value), value);
    }

    /// Durations of this slice.
    pub fn took<const N: usize>(&mut self, labels: [&str; N], durations: Buckets) {
        (self.into)(owned(labels), Given::Took(Box::new(durations)));
    }

    fn number<const N: usize>(&mut self, labels: [&str; N], given: Given, value: f64) {
        if value.is_finite() {
            (self.into)(owned(labels), given);
        }
    }
}

fn owned<const N: usize>(labels: [&str; N]) -> Vec<String> {
    labels.map(str::to_owned).to_vec()
}
