//! Findings that are gone, new, or still there.

use std::collections::HashMap;

use super::Facts;
use crate::diagnose::Severity;

/// A finding, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its rule: id and name.
    pub rule: String,
    /// Its headline.
    pub title: String,
    /// How much it matters.
    pub severity: Severity,
    /// Who is to blame.
    pub culprit: String,
    /// The share that it explains, 0 to 1, and of what.
    pub explains: f64,
    /// See `explains`.
    pub explains_what: String,
    /// What was measured, beside the rule's limit for it.
    pub limits: Vec<Limit>,
}

/// A measured value beside a rule's limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The value.
    pub observed: f64,
    /// The limit.
    pub threshold: f64,
}

impl Limit {
    /// True when the next run may well be on the other side of the limit: within a tenth of it; or, where one thing
    /// is enough, fewer than chance tells from none.
    fn is_close(&self) -> bool {
        const FEW: f64 = 6.0;
        let single = self.threshold == 1.0 && self.observed < FEW && self.observed.fract() == 0.0;
        single || (self.observed - self.threshold).abs() < self.threshold.abs() * 0.1
    }
}

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Before only.
    Gone,
    /// After only.
    New,
    /// On both sides.
    Stayed,
}

/// Why a finding that came or went does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Its rule could not look, on the side that does not have it; why.
    NotJudged(String),
    /// It was near its rule's limit.
    AtItsLimit,
}

/// A finding on the two sides.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundChange {
    /// What became of it.
    pub fate: Fate,
    /// As it was, where it was.
    pub before: Option<Found>,
    /// As it is, where it is.
    pub after: Option<Found>,
    /// Whether that is better or worse; `None` when it counts for neither.
    pub better: Option<bool>,
    /// Why it does not count, where it would.
    pub doubt: Option<Doubt>,
}

/// All findings: those that are gone, then the new ones, then those that stayed; each in the order of its report.
pub(super) fn changes(before: &Facts, after: &Facts) -> Vec<FoundChange> {
    // Of several with the same culprit the first is that of the other side's first.
    let mut left: HashMap<(&str, &str), Vec<&Found>> = HashMap::new();
    for found in after.findings.iter().rev() {
        left.entry((&found.rule, &found.culprit))
            .or_default()
            .push(found);
    }
    let (mut gone, mut stayed) = (Vec::new(), Vec::new());
    for found in &before.findings {
        let same = left.get_mut(&(found.rule.as_str(), found.culprit.as_str()));
        match same.and_then(Vec::pop) {
            Some(now) => stayed.push(still(found, now)),
            None => gone.push(alone(Fate::Gone, found, before, after)),
        }
    }
    // What is left has no match; it is taken in the report's order.
    let mut new = Vec::new();
    for found in &after.findings {
        let same = left.get_mut(&(found.rule.as_str(), found.culprit.as_str()));
        let is_left =
            same.is_some_and(
                |rest| match rest.iter().position(|f| std::ptr::eq(*f, found)) {
                    Some(at) => {
                        rest.remove(at);
                        true
                    }
                    None => false,
                },
            );
        if is_left {
            new.push(alone(Fate::New, found, after, before));
        }
    }
    gone.into_iter().chain(new).chain(stayed).collect()
}

/// A finding that only `side` has.
fn alone(fate: Fate, found: &Found, side: &Facts, other: &Facts) -> FoundChange {
    let doubt = not_judged(&found.rule, side, other).map(Doubt::NotJudged);
    let at_limit = found.limits.iter().any(Limit::is_close);
    let doubt = doubt.or(at_limit.then_some(Doubt::AtItsLimit));
    let counts = found.severity >= Severity::Warning && doubt.is_none();
    let one = Some(found.clone());
    FoundChange {
        fate,
        before: if fate == Fate::Gone {
            one.clone()
        } else {
            None
        },
        after: if fate == Fate::New { one } else { None },
        better: counts.then_some(fate == Fate::Gone),
        doubt,
    }
}

/// Why `other` could not judge what `side` could.
fn not_judged(rule: &str, side: &Facts, other: &Facts) -> Option<String> {
    let of = |facts: &Facts, why: &str| {
        let mut all = facts.not_judged.iter();
        all.any(|(r, w)| r == rule && w == why)
    };
    let missing = other
        .not_judged
        .iter()
        .find(|(r, why)| r == rule && !of(side, why));
    missing.map(|(_, why)| why.clone())
}

/// A finding on both sides: it counts when its severity is another.
fn still(before: &Found, after: &Found) -> FoundChange {
    let (was, is) = (before.severity, after.severity);
    let matters = was.max(is) >= Severity::Warning && was != is;
    let close = [before, after]
        .iter()
        .any(|found| found.limits.iter().any(Limit::is_close));
    FoundChange {
        fate: Fate::Stayed,
        before: Some(before.clone()),
        after: Some(after.clone()),
        better: (matters && !close).then_some(is < was),
        doubt: (matters && close).then_some(Doubt::AtItsLimit),
    }
}
