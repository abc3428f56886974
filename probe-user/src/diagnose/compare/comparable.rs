//! Whether two reports can be compared, and what they were measured under.

use std::collections::HashMap;

use super::{
    Facts, Row, Served,
    estimate::{Change, Estimate, Sample},
    measures::{CATALOGUE, Section, What},
};

/// Loads that differ by less are taken as the same.
const SAME_LOAD: f64 = 1.2;
/// Windows whose lengths differ by more are said to.
const SAME_LENGTH: f64 = 2.0;
/// A median with a range takes so many requests.
const FEW: u64 = 8;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Before,
    /// The second.
    After,
}

/// Requests per second, all groups together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Before.
    pub before_per_s: f64,
    /// After.
    pub after_per_s: f64,
    /// Near enough, or within chance.
    pub same: bool,
}

impl Load {
    pub(super) fn of(before: &Facts, after: &Facts) -> Self {
        let events = |facts: &Facts| Sample::Events {
            count: facts
                .groups
                .iter()
                .fold(0, |sum, g| sum.saturating_add(g.requests)),
            ns: facts.duration_ns,
        };
        let rate = |facts: &Facts| {
            let none = Estimate {
                value: 0.0,
                low: 0.0,
                high: 0.0,
            };
            events(facts).estimate().unwrap_or(none)
        };
        let (b, a) = (rate(before), rate(after));
        let change = super::change(&b, &a, SAME_LOAD, 0.0);
        Self {
            before_per_s: b.value,
            after_per_s: a.value,
            same: matches!(change, Change::Alike | Change::Chance),
        }
    }

    /// True when the load changed the same way: then a rate that grows with it says nothing.
    pub(super) fn explains(self, change: Change) -> bool {
        !self.same
            && match change {
                Change::Higher => self.after_per_s > self.before_per_s,
                Change::Lower => self.after_per_s < self.before_per_s,
                Change::Alike | Change::Chance => false,
            }
    }
}

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Names are made up, for each report anew: what has the same name need not be the same.
    Redacted,
    /// Requests were seen on one side only; the group that served most there.
    RequestsOnOneSide {
        /// Where they were seen.
        side: Side,
        /// Who served them.
        group: String,
        /// How many.
        requests: u64,
    },
    /// Both served requests, but no group is in both.
    NoGroupInCommon {
        /// The group that served most before.
        before: String,
        /// The one that served most after.
        after: String,
    },
    /// Too few requests to tell anything, and nothing else differs: how many the best group has.
    TooFewRequests {
        /// Before.
        before: u64,
        /// After.
        after: u64,
        /// So many are needed.
        needed: u64,
    },
    /// Neither side measured anything that the other measured too.
    NothingInCommon,
}

/// What the two were measured under, where it is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// One and the same run.
    SameRun,
    /// The second is the older one.
    Swapped,
    /// Their times overlap.
    Overlap,
    /// Two hosts.
    Hosts(String, String),
    /// Two targets.
    Targets(String, String),
    /// Two kernels.
    Kernels(String, String),
    /// Two versions of the tool.
    Versions(String, String),
    /// Two lengths, ns.
    Lengths(u64, u64),
    /// A probe is off on one side only, with the reason; what needs it is not compared.
    ProbeOff {
        /// Where it is off.
        side: Side,
        /// Its id.
        probe: String,
        /// Why.
        why: String,
    },
    /// Something was lost.
    Lost {
        /// Where.
        side: Side,
        /// What, in words.
        what: String,
        /// What that means.
        means: String,
        /// How much.
        count: u64,
    },
    /// A group that served on one side only.
    GroupOnOneSide {
        /// Where.
        side: Side,
        /// Which.
        group: String,
        /// Its requests.
        requests: u64,
    },
}

/// True when a side could measure it.
pub(super) fn knows(facts: &Facts, what: &What) -> bool {
    facts.watched.contains(&what.section)
        && what.needs.iter().all(|need| off(facts, need).is_none())
}

/// Why a probe is off; `None` when it is on.
fn off(facts: &Facts, probe: &str) -> Option<String> {
    match facts.probes.iter().find(|(id, _)| id == probe) {
        Some((_, why)) => why.clone(),
        None => Some("it is not in this report".to_owned()),
    }
}

/// What stands against comparing; `quiet` when nothing is better or worse.
pub(super) fn obstacles(before: &Facts, after: &Facts, rows: &[Row], quiet: bool) -> Vec<Obstacle> {
    if (before.redacted || after.redacted) && !same_run(before, after) {
        return vec![Obstacle::Redacted];
    }
    let (most_before, most_after) = (most(before), most(after));
    match (most_before, most_after) {
        (Some(one), None) => return vec![on_one_side(Side::Before, one)],
        (None, Some(one)) => return vec![on_one_side(Side::After, one)],
        _ => {}
    }
    let best = in_common(before, after);
    if let (Some(b), Some(a), None) = (most_before, most_after, best) {
        return vec![Obstacle::NoGroupInCommon {
            before: b.group.clone(),
            after: a.group.clone(),
        }];
    }
    if let Some((b, a)) = best
        && quiet
        && b.min(a) < FEW
    {
        return vec![Obstacle::TooFewRequests {
            before: b,
            after: a,
            needed: FEW,
        }];
    }
    let compared = rows.iter().any(|r| r.before.is_some() && r.after.is_some());
    let watched = |facts: &Facts| {
        let mut all = CATALOGUE.iter();
        all.any(|what| what.section != Section::Requests && knows(facts, what))
    };
    let both_watched = watched(before) && watched(after);
    if !compared && !both_watched {
        return vec![Obstacle::NothingInCommon];
    }
    Vec::new()
}

fn on_one_side(side: Side, one: &Served) -> Obstacle {
    Obstacle::RequestsOnOneSide {
        side,
        group: one.group.clone(),
        requests: all_requests(one),
    }
}

fn all_requests(one: &Served) -> u64 {
    one.requests.saturating_add(one.incomplete)
}

/// The group that served most requests, finished or not; `None` when there were none.
fn most(facts: &Facts) -> Option<&Served> {
    let served = facts.groups.iter().filter(|g| all_requests(g) > 0);
    served.max_by_key(|g| all_requests(g))
}

/// Finished requests of the group with most of them on the side where it has fewer; `None` when no group is in both.
fn in_common(before: &Facts, after: &Facts) -> Option<(u64, u64)> {
    let theirs: HashMap<&str, &Served> =
        after.groups.iter().map(|g| (g.group.as_str(), g)).collect();
    let both = before.groups.iter().filter_map(|b| {
        let a = theirs.get(b.group.as_str())?;
        (all_requests(b) > 0 && all_requests(a) > 0).then_some((b.requests, a.requests))
    });
    both.max_by_key(|(b, a)| *b.min(a))
}

/// Everything that a reader has to know before he believes the rest.
pub(super) fn notes(before: &Facts, after: &Facts) -> Vec<Note> {
    let mut notes = Vec::new();
    let end = |f: &Facts| f.start_unix_ns.saturating_add(f.duration_ns);
    if same_run(before, after) {
        notes.push(Note::SameRun);
    } else if after.start_unix_ns < before.start_unix_ns {
        notes.push(Note::Swapped);
    } else if before.host == after.host && after.start_unix_ns < end(before) {
        notes.push(Note::Overlap);
    }
    let mut differs = |b: &String, a: &String, note: fn(String, String) -> Note| {
        if b != a {
            notes.push(note(b.clone(), a.clone()));
        }
    };
    differs(&before.host, &after.host, Note::Hosts);
    differs(&before.target, &after.target, Note::Targets);
    differs(&before.kernel, &after.kernel, Note::Kernels);
    differs(&before.tool_version, &after.tool_version, Note::Versions);
    let (b, a) = (before.duration_ns, after.duration_ns);
    if b.max(a) as f64 >= b.min(a) as f64 * SAME_LENGTH {
        notes.push(Note::Lengths(b, a));
    }
    notes.extend(coverage(before, after));
    for (side, facts) in [(Side::Before, before), (Side::After, after)] {
        notes.extend(facts.losses.iter().map(|(what, means, count)| Note::Lost {
            side,
            what: what.clone(),
            means: means.clone(),
            count: *count,
        }));
    }
    notes.extend(one_sided(Side::Before, before, after));
    notes.extend(one_sided(Side::After, after, before));
    notes
}

fn same_run(before: &Facts, after: &Facts) -> bool {
    before.start_unix_ns == after.start_unix_ns
        && before.duration_ns == after.duration_ns
        && before.host == after.host
}

/// Probes that something compared needs, and that are off on one side only.
fn coverage(before: &Facts, after: &Facts) -> Vec<Note> {
    let mut needed: Vec<&str> = CATALOGUE.iter().flat_map(|w| w.needs).copied().collect();
    let mut seen = std::collections::HashSet::new();
    needed.retain(|id| seen.insert(*id));
    let note = |side, probe: &str, why: String| Note::ProbeOff {
        side,
        probe: probe.to_owned(),
        why,
    };
    let one = |probe: &&str| match (off(before, probe), off(after, probe)) {
        (Some(why), None) => Some(note(Side::Before, probe, why)),
        (None, Some(why)) => Some(note(Side::After, probe, why)),
        _ => None,
    };
    needed.iter().filter_map(one).collect()
}

/// Groups that served here and not there.
fn one_sided(side: Side, here: &Facts, there: &Facts) -> Vec<Note> {
    let theirs: std::collections::HashSet<&str> = there
        .groups
        .iter()
        .filter(|g| all_requests(g) > 0)
        .map(|g| g.group.as_str())
        .collect();
    let ours = here.groups.iter().filter(|g| all_requests(g) > 0);
    ours.filter(|g| !theirs.contains(g.group.as_str()))
        .map(|g| Note::GroupOnOneSide {
            side,
            group: g.group.clone(),
            requests: all_requests(g),
        })
        .collect()
}
