//! Compares two reports: what got better or worse, by more than chance gives, and whether they can be compared.
//!
//! [`Facts`] is what a report says, whatever it was read from. [`compare()`] matches groups, peers, sockets and
//! findings by name. How chance is told from change is decision 0012.

mod comparable;
mod estimate;
mod findings;
pub mod measures;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

pub use comparable::{Load, Note, Obstacle, Side};
pub use estimate::{Change, Distribution, Estimate, Sample, Span};
pub use findings::{Doubt, Fate, Found, FoundChange, Limit};

use estimate::change;
use measures::{Absent, CATALOGUE, Role, Section, What};

/// What a report says, as far as it is compared. Names are such as outputs show.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Version of the tool that watched.
    pub tool_version: String,
    /// What was watched.
    pub target: String,
    /// When watching began, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// How long, ns.
    pub duration_ns: u64,
    /// Its names are made up.
    pub redacted: bool,
    /// What was watched at all.
    pub watched: HashSet<Section>,
    /// Each probe, with the reason when it is off.
    pub probes: Vec<(String, Option<String>)>,
    /// What was lost: in words, what it means, and how much.
    pub losses: Vec<(String, String, u64)>,
    /// Findings, symptoms among them.
    pub findings: Vec<Found>,
    /// What could not be judged: the rule, and why.
    pub not_judged: Vec<(String, String)>,
    /// Groups that served requests.
    pub groups: Vec<Served>,
    /// What was measured, in the order in which it is to be shown.
    pub measures: Vec<Measure>,
}

/// A group of processes and how much it served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Its name.
    pub group: String,
    /// Finished requests.
    pub requests: u64,
    /// Others.
    pub incomplete: u64,
}

/// What a measurement is about; empty where it needs no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct About {
    /// A group of processes.
    pub group: String,
    /// A peer, a socket, a state, a disk.
    pub of: String,
}

/// Something measured.
#[derive(Clone, Debug)]
pub struct Measure {
    /// What, of the catalogue.
    pub what: &'static What,
    /// Whose.
    pub about: About,
    /// What came out.
    pub sample: Sample,
}

/// What the comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something is better, nothing worse.
    Better,
    /// Something is worse, nothing better.
    Worse,
    /// Some of both: not to be taken for an improvement.
    Mixed,
    /// Nothing changed beyond chance.
    Same,
    /// Nothing can be said.
    NotComparable,
}

/// What is to be said of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is less, which is better.
    Better,
    /// It is more, which is worse.
    Worse,
    /// It is less, which by itself is neither.
    Lower,
    /// It is more, likewise.
    Higher,
    /// No difference that matters.
    Alike,
    /// A difference that chance may have made.
    Chance,
    /// A difference as the load's.
    Load,
    /// Only one side has it.
    OneSided,
}

/// One thing measured on both sides.
#[derive(Clone, Debug)]
pub struct Row {
    /// What.
    pub what: &'static What,
    /// Whose.
    pub about: About,
    /// Before.
    pub before: Option<Estimate>,
    /// After.
    pub after: Option<Estimate>,
    /// What it says.
    pub judged: Judged,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// In a word.
    pub verdict: Verdict,
    /// Why it cannot be compared; empty when it can.
    pub obstacles: Vec<Obstacle>,
    /// How far the two are alike in what they were measured under.
    pub notes: Vec<Note>,
    /// How much was served.
    pub load: Load,
    /// Findings: gone, new, and those that stayed.
    pub findings: Vec<FoundChange>,
    /// All that was measured.
    pub rows: Vec<Row>,
    /// The row that says it best; an index.
    pub headline: Option<usize>,
}

/// Compares.
pub fn compare(before: &Facts, after: &Facts) -> Comparison {
    let load = Load::of(before, after);
    let rows = rows(before, after, load);
    let findings = findings::changes(before, after);
    let count = |judged| rows.iter().filter(|r| r.judged == judged).count();
    let found = |better| {
        let counted = findings.iter().filter(|f| f.better == Some(better));
        counted.count()
    };
    let better = count(Judged::Better) + found(true);
    let worse = count(Judged::Worse) + found(false);
    let obstacles = comparable::obstacles(before, after, &rows, better + worse == 0);
    let verdict = match (better, worse) {
        _ if !obstacles.is_empty() => Verdict::NotComparable,
        (0, 0) => Verdict::Same,
        (_, 0) => Verdict::Better,
        (0, _) => Verdict::Worse,
        _ => Verdict::Mixed,
    };
    Comparison {
        verdict,
        headline: headline(&rows, verdict),
        notes: comparable::notes(before, after),
        obstacles,
        load,
        findings,
        rows,
    }
}

/// The row to name first: of those that made the verdict the 95th percentile of requests, else the largest change; when
/// nothing changed, the one that is known best of what counts.
fn headline(rows: &[Row], verdict: Verdict) -> Option<usize> {
    let wanted = match verdict {
        Verdict::Better => Judged::Better,
        Verdict::Worse | Verdict::Mixed => Judged::Worse,
        Verdict::Same => Judged::Alike,
        Verdict::NotComparable => return None,
    };
    let factor = |row: &Row| match (row.before, row.after) {
        (Some(b), Some(a)) => b.value.max(a.value) / b.value.min(a.value).max(f64::MIN_POSITIVE),
        _ => 0.0,
    };
    let candidates = rows.iter().enumerate().filter(|(_, row)| {
        let empty = row.after.is_none_or(|e| e.value == 0.0) && verdict == Verdict::Same;
        row.judged == wanted && row.what.role == Role::Counts && !empty
    });
    // Of equals the first: the group with most request time.
    let best = candidates.rev().max_by(|(_, a), (_, b)| {
        let is_p95 = |row: &Row| row.what.id == measures::WALL_P95.id;
        let sign = if verdict == Verdict::Same { 0.0 } else { 1.0 };
        (is_p95(a).cmp(&is_p95(b))).then((sign * factor(a)).total_cmp(&(sign * factor(b))))
    });
    best.map(|(at, _)| at)
}

type Key<'a> = (&'static str, &'a About);

/// Everything measured on either side, in the order of the catalogue's sections and then of the reports.
fn rows(before: &Facts, after: &Facts, load: Load) -> Vec<Row> {
    let (ours, theirs) = (gather(before), gather(after));
    let mut order: HashMap<&About, usize> = HashMap::new();
    let mut seen: HashSet<Key<'_>> = HashSet::new();
    let mut all: Vec<(&'static What, &About)> = Vec::new();
    for m in before.measures.iter().chain(&after.measures) {
        let next = order.len();
        order.entry(&m.about).or_insert(next);
        if seen.insert((m.what.id, &m.about)) {
            all.push((m.what, &m.about));
        }
    }
    // A group's peers stand behind it, wherever the other report has them.
    let mut groups: HashMap<&str, usize> = HashMap::new();
    for (_, about) in &all {
        let next = groups.len();
        groups.entry(&about.group).or_insert(next);
    }
    let place = |what: &What| CATALOGUE.iter().position(|w| w.id == what.id);
    all.sort_by_key(|(what, about)| {
        let group = groups.get(about.group.as_str());
        (what.section, group, order.get(about), place(what))
    });
    let known = |what: &What| {
        let sides = [before, after];
        sides.iter().all(|side| comparable::knows(side, what))
    };
    all.into_iter()
        .filter(|(what, _)| known(what))
        .map(|(what, about)| {
            let key = (what.id, about);
            let (b, a) = (ours.get(&key), theirs.get(&key));
            let b_estimate = estimate(before, what, about, b, a);
            let a_estimate = estimate(after, what, about, a, b);
            Row {
                what,
                about: about.clone(),
                before: b_estimate,
                after: a_estimate,
                judged: judge(what, b_estimate, a_estimate, load),
            }
        })
        .collect()
}

/// What a side measured; what has the same name is one.
fn gather(facts: &Facts) -> HashMap<Key<'_>, Sample> {
    let mut all: HashMap<Key<'_>, Sample> = HashMap::new();
    for m in &facts.measures {
        all.entry((m.what.id, &m.about))
            .and_modify(|known| known.add(&m.sample))
            .or_insert_with(|| m.sample.clone());
    }
    all
}

/// A side's estimate; where it has none, that there was nothing of what the other side has, if that can be said.
fn estimate(
    side: &Facts,
    what: &What,
    about: &About,
    own: Option<&Sample>,
    other: Option<&Sample>,
) -> Option<Estimate> {
    if let Some(own) = own {
        return own.estimate();
    }
    if what.absent == Absent::Unknown {
        return None;
    }
    let requests = match what.section {
        Section::Requests => side.served(&about.group),
        _ => 0,
    };
    other?.none(side.duration_ns, requests)?.estimate()
}

fn judge(what: &What, before: Option<Estimate>, after: Option<Estimate>, load: Load) -> Judged {
    let (Some(before), Some(after)) = (before, after) else {
        return Judged::OneSided;
    };
    let change = change(&before, &after, what.least, what.floor);
    match (change, what.role) {
        (Change::Alike, _) => Judged::Alike,
        (Change::Chance, _) => Judged::Chance,
        (change, _) if what.by_load && load.explains(change) => Judged::Load,
        (Change::Lower, Role::Counts) => Judged::Better,
        (Change::Higher, Role::Counts) => Judged::Worse,
        (Change::Lower, Role::Explains) => Judged::Lower,
        (Change::Higher, Role::Explains) => Judged::Higher,
    }
}

impl Facts {
    /// Finished requests of a group.
    fn served(&self, group: &str) -> u64 {
        let served = self.groups.iter().find(|g| g.group == group);
        served.map_or(0, |g| g.requests)
    }
}
