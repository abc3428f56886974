//! The rows of one metric: as many as are told apart, and what is added up of the others.
//!
//! A row that was given out keeps its place while something happens to it, so that a series does not end and begin again
//! without need; a newcomer must be clearly heavier than the lightest of those that are told apart. The series of one that
//! loses its place ends there: what it counted is gone with it and appears nowhere else, and what comes after counts as
//! [`OTHER`]. So every series only grows, and what a slice adds to all rows together is exactly what was in the slice.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use super::{Given, Kind, Metric, OTHER, Row, Rows, Seen, Value};

/// A row goes when nothing was read of it for this long, ns.
const SILENT_NS: u64 = 3600 * 1_000_000_000;
/// What happened counts half as much after this long, s.
const HALF_LIFE_S: f64 = 600.0;
/// A newcomer takes another one's place when it is so many times as heavy.
const HEAVIER: f64 = 2.0;
/// Of the rows told apart, one in so many may change in a slice.
const CHANGES: usize = 8;
/// That something is there at all counts for a little: a counter that shows 0 before it grows shows all of its growth.
const THERE: f64 = 1e-6;
/// For each row told apart, so many others are weighed.
const CANDIDATES: usize = 4;

/// The values of the labels that are not small.
type Subject = Vec<String>;

/// The rows of one metric.
pub(super) struct Table {
    metric: &'static Metric,
    rows: BTreeMap<Arc<[String]>, (Value, u64)>,
    subjects: HashMap<Subject, Weight>,
}

/// What is known of a subject.
#[derive(Debug)]
struct Weight {
    /// It has rows of its own.
    held: bool,
    weight: f64,
    /// Time since something was read of it, ns.
    silent_ns: u64,
}

/// What a slice says of one row.
struct Read {
    labels: Vec<String>,
    given: Given,
}

impl Table {
    pub fn new(metric: &'static Metric) -> Self {
        Self {
            metric,
            rows: BTreeMap::new(),
            subjects: HashMap::new(),
        }
    }

    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// The rows, in the order of their labels.
    pub fn rows(&self) -> Vec<Row> {
        let rows = self.rows.iter();
        rows.map(|(labels, (value, since_unix_ns))| Row {
            labels: Arc::clone(labels),
            value: value.clone(),
            since_unix_ns: *since_unix_ns,
        })
        .collect()
    }

    /// Takes in a slice.
    pub fn push(&mut self, seen: &Seen<'_>) {
        let mut read = Vec::new();
        let mut into = |labels: Vec<String>, given: Given| read.push(Read { labels, given });
        (self.metric.read)(seen, &mut Rows { into: &mut into });
        let read = merged(self.metric.kind, read);
        if self.metric.top > 0 {
            self.weigh(&read, seen.slice.duration_ns);
        }
        if matches!(self.metric.kind, Kind::Gauge | Kind::UpDownCounter) {
            self.rows.clear();
        }
        for row in read {
            self.put(row, seen.slice.start_unix_ns);
        }
    }

    fn put(&mut self, read: Read, since_unix_ns: u64) {
        // A row for nothing of nobody would only be puzzling.
        let nothing = match &read.given {
            Given::Adds(n) | Given::Total(n) | Given::Level(n) => *n == 0.0,
            Given::Took(durations) => durations.count() == 0,
        };
        let own = self.metric.top == 0
            || self
                .subjects
                .get(&self.subject(&read.labels))
                .is_some_and(|s| s.held);
        let labels: Arc<[String]> = if own {
            read.labels.into()
        } else if nothing || self.metric.kind == Kind::Gauge {
            return;
        } else {
            self.other(read.labels).into()
        };
        let row = self.rows.entry(labels);
        let (value, _) = row.or_insert_with(|| (zero(self.metric.kind), since_unix_ns));
        match (value, read.given) {
            (Value::Number(sum), Given::Adds(more) | Given::Level(more)) => *sum += more,
            // An estimate may shrink; a counter must not.
            (Value::Number(sum), Given::Total(total)) => *sum = sum.max(total),
            (Value::Buckets(sum), Given::Took(more)) => sum.add(&more),
            // A metric of one kind with values of another does not pass the catalogue's tests.
            (Value::Number(_), Given::Took(_)) | (Value::Buckets(_), _) => {}
        }
    }

    fn is_small(&self, place: usize) -> bool {
        let label = self.metric.labels.get(place);
        label.is_some_and(|label| self.metric.small.contains(label))
    }

    fn subject(&self, labels: &[String]) -> Subject {
        let labels = labels.iter().enumerate();
        labels
            .filter(|(place, _)| !self.is_small(*place))
            .map(|(_, value)| value.clone())
            .collect()
    }

    fn other(&self, labels: Vec<String>) -> Vec<String> {
        let labels = labels.into_iter().enumerate();
        labels
            .map(|(place, value)| match self.is_small(place) {
                true => value,
                false => OTHER.to_owned(),
            })
            .collect()
    }

    /// Decides who is told apart from now on.
    fn weigh(&mut self, read: &[Read], slice_ns: u64) {
        let decay = 0.5f64.powf(slice_ns as f64 / 1e9 / HALF_LIFE_S);
        for subject in self.subjects.values_mut() {
            subject.weight *= decay;
            subject.silent_ns = subject.silent_ns.saturating_add(slice_ns);
        }
        let mut here = HashSet::new();
        for (place, row) in read.iter().enumerate() {
            let subject = self.subject(&row.labels);
            let weight = self.weight_of(row, place);
            if subject.iter().all(|label| label == OTHER) {
                continue;
            }
            match self.subjects.entry(subject.clone()) {
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.weight += weight;
                    known.silent_ns = 0;
                }
                Entry::Vacant(new) => {
                    new.insert(Weight {
                        held: false,
                        weight,
                        silent_ns: 0,
                    });
                }
            }
            here.insert(subject);
        }
        let before = self.held();
        self.subjects.retain(|_, s| s.silent_ns < SILENT_NS);
        let silent = before - self.held();
        let lost = self.choose(&here) + silent;
        self.forget_the_lightest();
        if lost > 0 {
            let mut rows = std::mem::take(&mut self.rows);
            rows.retain(|labels, _| {
                let subject = self.subject(labels);
                let other = subject.iter().all(|label| label == OTHER);
                other || self.subjects.get(&subject).is_some_and(|s| s.held)
            });
            self.rows = rows;
        }
    }

    /// How much a row matters. Of levels that cannot be added up, the first are those that matter most.
    fn weight_of(&self, row: &Read, place: usize) -> f64 {
        match &row.given {
            Given::Level(_) if self.metric.kind == Kind::Gauge => 1.0 / (1.0 + place as f64),
            Given::Adds(n) | Given::Total(n) | Given::Level(n) => n.abs() + THERE,
            // Time is what is waited for.
            Given::Took(durations) => durations.sum_ns as f64 / 1e9 + THERE,
        }
    }

    fn held(&self) -> usize {
        self.subjects.values().filter(|s| s.held).count()
    }

    /// Gives places to those that something happened to: free ones, and those of much lighter ones. Returns how many lost
    /// theirs.
    fn choose(&mut self, here: &HashSet<Subject>) -> usize {
        let order = |a: &(f64, &Subject), b: &(f64, &Subject)| {
            a.0.total_cmp(&b.0).reverse().then_with(|| a.1.cmp(b.1))
        };
        let weighed = |held: bool| {
            let of = self.subjects.iter().filter(move |(_, s)| s.held == held);
            of.map(|(subject, s)| (s.weight, subject))
        };
        let mut newcomers: Vec<_> = weighed(false).filter(|(_, s)| here.contains(*s)).collect();
        newcomers.sort_by(order);
        let mut held: Vec<_> = weighed(true).collect();
        held.sort_by(order);
        let mut free = self.metric.top.saturating_sub(held.len());
        let mut changes = (self.metric.top / CHANGES).max(1);
        let (mut take, mut lose) = (Vec::new(), Vec::new());
        for (weight, newcomer) in newcomers {
            if free > 0 {
                free -= 1;
            } else if changes > 0 && held.last().is_some_and(|(w, _)| weight > w * HEAVIER) {
                changes -= 1;
                lose.extend(held.pop().map(|(_, subject)| subject.clone()));
            } else {
                break;
            }
            take.push(newcomer.clone());
        }
        for (list, place) in [(&take, true), (&lose, false)] {
            for subject in list {
                if let Some(weight) = self.subjects.get_mut(subject) {
                    weight.held = place;
                }
            }
        }
        lose.len()
    }

    /// Of those without a place, only the heaviest are weighed on.
    fn forget_the_lightest(&mut self) {
        let most = self.metric.top * CANDIDATES;
        let others = self.subjects.iter().filter(|(_, s)| !s.held);
        let mut weights: Vec<f64> = others.map(|(_, s)| s.weight).collect();
        if weights.len() <= most {
            return;
        }
        weights.sort_by_key(|w| Reverse(w.to_bits()));
        let least = weights[most];
        self.subjects.retain(|_, s| s.held || s.weight > least);
    }
}

fn zero(kind: Kind) -> Value {
    match kind {
        Kind::Histogram => Value::Buckets(Box::default()),
        Kind::Counter | Kind::UpDownCounter | Kind::Gauge => Value::Number(0.0),
    }
}

/// Each row once, in the order in which they were read. Of levels that cannot be added up, the first of a row counts.
fn merged(kind: Kind, read: Vec<Read>) -> Vec<Read> {
    let mut places: HashMap<Vec<String>, usize> = HashMap::new();
    let mut out: Vec<Read> = Vec::with_capacity(read.len());
    for row in read {
        match places.entry(row.labels.clone()) {
            Entry::Vacant(new) => {
                new.insert(out.len());
                out.push(row);
            }
            Entry::Occupied(place) => match (&mut out[*place.get()].given, row.given) {
                (Given::Adds(sum), Given::Adds(more)) => *sum += more,
                (Given::Level(sum), Given::Level(more)) if kind == Kind::UpDownCounter => {
                    *sum += more
                }
                (Given::Took(sum), Given::Took(more)) => sum.add(&more),
                _ => {}
            },
        }
    }
    out
}
