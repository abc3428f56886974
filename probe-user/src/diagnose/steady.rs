//! Findings over time: windows that overlap are judged again and again, and what one says and the next does not is no news.
//! A finding opens when it has been there for a while, stays open while it comes back, and closes when it has been gone for
//! a while.

use super::{
    Culprit, Diagnosis, Finding, Place, RuleRef, Severity,
    rules::{self, Subject},
};
use crate::{aggregate::Peer, collect::mounts::Device};

/// Findings that are open at once. A rule can name many culprits, and a client can make them up.
pub const MOST: usize = 256;

/// What makes a finding the same one in another window: rule and [`Subject`]. Which process is named as an example is no part
/// of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    rule: &'static str,
    group: Option<Vec<u8>>,
    php_fpm: bool,
    peer: Option<Peer>,
    /// File system and directory. Where it is mounted may change.
    place: Option<(Device, Option<Vec<u8>>)>,
}

impl Identity {
    fn of(rule: RuleRef, culprit: &Culprit) -> Self {
        let subject = rules::find(rule.id).map_or(Subject::Culprit, |rule| rule.subject);
        if let (Subject::FileSystem, Some(place)) = (subject, &culprit.place) {
            return Self {
                rule: rule.id,
                group: None,
                php_fpm: false,
                peer: None,
                place: Some((place.device, None)),
            };
        }
        let place = |place: &Place| (place.device, place.directory.clone());
        Self {
            rule: rule.id,
            group: culprit.group.clone(),
            php_fpm: culprit.php_fpm,
            peer: culprit.peer.clone(),
            place: culprit.place.as_ref().map(place),
        }
    }
}

/// A finding that is open.
#[derive(Clone, Debug)]
pub struct Open {
    /// Counts up from 1: stands for this finding from its opening to its closing.
    pub id: u64,
    /// What it is told by.
    pub identity: Identity,
    /// As the last window that had it says; without its symptoms, which are open on their own.
    pub finding: Finding,
    /// The worst severity since it opened.
    pub worst: Severity,
    /// True when, in the last window that had it, it stood below another finding, and as long as that one is open.
    pub symptom: bool,
    /// The earliest that it can have begun, CLOCK_MONOTONIC ns: the window that had it first tells no more.
    pub onset_ns: u64,
    /// When it was first seen, CLOCK_MONOTONIC ns.
    pub since_ns: u64,
    /// When it was last seen, CLOCK_MONOTONIC ns.
    pub last_ns: u64,
}

/// What changed with a window.
#[derive(Clone, Debug)]
pub enum Change {
    /// It has been there for long enough.
    Opened(Open),
    /// It is worse than ever since it opened.
    Worse(Open),
    /// It has been gone for long enough.
    Closed(Open),
}

impl Change {
    /// The finding.
    pub fn open(&self) -> &Open {
        let (Self::Opened(open) | Self::Worse(open) | Self::Closed(open)) = self;
        open
    }
}

/// How steady a finding must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steadiness {
    /// It opens when it was there in so many windows in a row, and closes when it was in none of as many ...
    pub windows: u32,
    /// ... and gone for this long, ns.
    pub gone_ns: u64,
}

/// The findings that are open.
#[derive(Debug)]
pub struct Steady {
    steadiness: Steadiness,
    /// Open ones, and those that may become so.
    rows: Vec<Row>,
    open: Vec<Open>,
    ids: u64,
    crowded_out: u64,
}

/// A finding that is open, or was there in the last window.
#[derive(Debug)]
struct Row {
    open: Open,
    opened: bool,
    /// Windows in a row that had it, or had it not.
    there: u32,
    gone: u32,
    /// Rules that were named as its cause when it last had one.
    causes: Vec<RuleRef>,
}

impl Steady {
    /// None is open.
    pub fn new(steadiness: Steadiness) -> Self {
        Self {
            steadiness,
            rows: Vec::new(),
            open: Vec::new(),
            ids: 0,
            crowded_out: 0,
        }
    }

    /// Takes in what the rules say of the window that ends at `at_ns`, CLOCK_MONOTONIC.
    pub fn update(&mut self, at_ns: u64, diagnosis: &Diagnosis) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut found = Vec::new();
        for finding in &diagnosis.findings {
            flatten(finding, false, &mut found);
        }
        // The worst find a place first.
        found.sort_by_key(|(finding, _)| std::cmp::Reverse(finding.severity));
        for row in &mut self.rows {
            row.gone = row.gone.saturating_add(1);
        }
        for (finding, below) in found {
            self.see(at_ns, finding, below, &mut changes);
        }
        let Steadiness { windows, gone_ns } = self.steadiness;
        self.rows.retain(|row| {
            let long = at_ns.saturating_sub(row.open.last_ns) >= gone_ns;
            let over = row.gone > 0 && (!row.opened || row.gone >= windows && long);
            if over && row.opened {
                changes.push(Change::Closed(row.open.clone()));
            }
            !over
        });
        self.list();
        changes
    }

    /// Those that are open, the worst first.
    pub fn open(&self) -> &[Open] {
        &self.open
    }

    /// Findings, window by window, that found no place among [`MOST`].
    pub fn crowded_out(&self) -> u64 {
        self.crowded_out
    }

    fn see(&mut self, at_ns: u64, finding: &Finding, below: bool, changes: &mut Vec<Change>) {
        let identity = Identity::of(finding.rule, &finding.culprit);
        let known = self.rows.iter().position(|r| r.open.identity == identity);
        // Its cause may be missing from a window; that alone makes it no cause.
        let symptom = below
            || known.is_some_and(|at| {
                let row = &self.rows[at];
                row.open.symptom && self.is_open(&row.causes)
            });
        let Some(at) = known.or_else(|| self.room(finding.severity, changes)) else {
            self.crowded_out += 1;
            return;
        };
        let finding = Finding {
            symptoms: Vec::new(),
            ..finding.clone()
        };
        if at == self.rows.len() {
            let begin_ns = at_ns.saturating_sub(finding.window_ns);
            let onset_ns = begin_ns + finding.first_ns.unwrap_or(0).min(finding.window_ns);
            self.rows.push(Row {
                open: Open {
                    id: 0,
                    identity,
                    worst: finding.severity,
                    symptom,
                    onset_ns,
                    since_ns: at_ns,
                    last_ns: at_ns,
                    finding,
                },
                opened: false,
                there: 1,
                gone: 0,
                causes: Vec::new(),
            });
        } else {
            let row = &mut self.rows[at];
            // Two findings of a window may be told by the same: the worse one, which came first, stands.
            if row.gone == 0 {
                return;
            }
            row.there = if row.gone == 1 { row.there + 1 } else { 1 };
            row.gone = 0;
            row.open.last_ns = at_ns;
            row.open.symptom = symptom;
            let worse = finding.severity > row.open.worst;
            row.open.worst = row.open.worst.max(finding.severity);
            row.open.finding = finding;
            if worse && row.opened {
                changes.push(Change::Worse(row.open.clone()));
            }
        }
        let row = &mut self.rows[at];
        if below {
            row.causes.clone_from(&row.open.finding.caused_by);
        }
        if !row.opened && row.there >= self.steadiness.windows {
            row.opened = true;
            self.ids += 1;
            row.open.id = self.ids;
            changes.push(Change::Opened(row.open.clone()));
        }
    }

    /// True while a finding of one of these rules is open.
    fn is_open(&self, rules: &[RuleRef]) -> bool {
        let mut open = self.rows.iter().filter(|row| row.opened);
        open.any(|row| rules.contains(&row.open.finding.rule))
    }

    /// Where a new one goes: behind the others; when these are too many, something milder makes room.
    fn room(&mut self, severity: Severity, changes: &mut Vec<Change>) -> Option<usize> {
        if self.rows.len() >= MOST {
            let mildest = (0..self.rows.len()).min_by_key(|&at| self.rows[at].open.worst)?;
            if self.rows[mildest].open.worst >= severity {
                return None;
            }
            let row = self.rows.swap_remove(mildest);
            self.crowded_out += 1;
            if row.opened {
                changes.push(Change::Closed(row.open));
            }
        }
        Some(self.rows.len())
    }

    fn list(&mut self) {
        let open = self.rows.iter().filter(|row| row.opened);
        self.open = open.map(|row| row.open.clone()).collect();
        self.open
            .sort_by_key(|open| (std::cmp::Reverse(open.worst), open.symptom, open.id));
    }
}

/// A finding and all that follows from it; and whether it follows from something.
fn flatten<'a>(finding: &'a Finding, below: bool, into: &mut Vec<(&'a Finding, bool)>) {
    into.push((finding, below));
    for symptom in &finding.symptoms {
        flatten(symptom, true, into);
    }
}

#[cfg(test)]
mod tests;
