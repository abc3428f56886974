//! `diff --json`: types of its own, as the rest of the format.

use serde::Serialize;

use super::words;
use crate::{
    diagnose::compare::{
        Comparison, Doubt, Estimate, Facts, Fate, Found, FoundChange, Judged, Note, Row, Verdict,
    },
    present::json::{SCHEMA_VERSION, Tool, line, rfc3339},
};

/// One JSON document; ends with a newline.
pub fn json(before: &Facts, after: &Facts, c: &Comparison) -> String {
    line(&Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        verdict: verdict(c.verdict),
        why: words::why(c),
        before: Side::of(before, c.load.before_per_s),
        after: Side::of(after, c.load.after_per_s),
        same_load: c.load.same,
        notes: c.notes.iter().map(NoteJson::of).collect(),
        findings: c.findings.iter().map(FindingJson::of).collect(),
        changes: c.rows.iter().map(RowJson::of).collect(),
    })
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Mixed => "mixed",
        Verdict::Same => "same",
        Verdict::NotComparable => "not_comparable",
    }
}

#[derive(Serialize)]
struct Document {
    schema_version: &'static str,
    tool: Tool,
    /// `better`, `worse`, `mixed`, `same` or `not_comparable`.
    verdict: &'static str,
    /// The first line of the text.
    why: String,
    before: Side,
    after: Side,
    same_load: bool,
    /// What the two were measured under, where it differs.
    notes: Vec<NoteJson>,
    findings: Vec<FindingJson>,
    /// Everything that was measured on either side, changed or not.
    changes: Vec<RowJson>,
}

#[derive(Serialize)]
struct Side {
    host: String,
    kernel: String,
    tool_version: String,
    target: String,
    /// RFC 3339, UTC.
    start: String,
    start_unix_ns: u64,
    duration_ns: u64,
    requests_per_s: f64,
    groups: Vec<GroupJson>,
}

#[derive(Serialize)]
struct GroupJson {
    group: String,
    requests: u64,
    incomplete_requests: u64,
}

impl Side {
    fn of(facts: &Facts, requests_per_s: f64) -> Self {
        let group = |g: &crate::diagnose::compare::Served| GroupJson {
            group: g.group.clone(),
            requests: g.requests,
            incomplete_requests: g.incomplete,
        };
        Self {
            host: facts.host.clone(),
            kernel: facts.kernel.clone(),
            tool_version: facts.tool_version.clone(),
            target: facts.target.clone(),
            start: rfc3339(facts.start_unix_ns),
            start_unix_ns: facts.start_unix_ns,
            duration_ns: facts.duration_ns,
            requests_per_s,
            groups: facts.groups.iter().map(group).collect(),
        }
    }
}

#[derive(Serialize)]
struct NoteJson {
    /// `same_run`, `swapped`, `overlap`, `hosts`, `targets`, `kernels`, `versions`, `durations`, `probe_off`,
    /// `lost` or `group_on_one_side`.
    kind: &'static str,
    text: String,
}

impl NoteJson {
    fn of(note: &Note) -> Self {
        let kind = match note {
            Note::SameRun => "same_run",
            Note::Swapped => "swapped",
            Note::Overlap => "overlap",
            Note::Hosts(..) => "hosts",
            Note::Targets(..) => "targets",
            Note::Kernels(..) => "kernels",
            Note::Versions(..) => "versions",
            Note::Lengths(..) => "durations",
            Note::ProbeOff { .. } => "probe_off",
            Note::Lost { .. } => "lost",
            Note::GroupOnOneSide { .. } => "group_on_one_side",
        };
        Self {
            kind,
            text: words::note(note),
        }
    }
}

#[derive(Serialize)]
struct FindingJson {
    /// `gone`, `new` or `stayed`.
    change: &'static str,
    rule: String,
    culprit: String,
    before: Option<FoundJson>,
    after: Option<FoundJson>,
    /// `better` or `worse`; null when it counts for neither.
    counts_as: Option<&'static str>,
    /// Why it counts for neither: `not_judged` on the other side, or `at_its_limit`.
    doubt: Option<&'static str>,
    /// Why it was not judged.
    not_judged: Option<String>,
}

#[derive(Serialize)]
struct FoundJson {
    title: String,
    severity: &'static str,
    explains: f64,
    explains_what: String,
}

impl FoundJson {
    fn of(found: &Found) -> Self {
        Self {
            title: found.title.clone(),
            severity: found.severity.name(),
            explains: found.explains,
            explains_what: found.explains_what.clone(),
        }
    }
}

impl FindingJson {
    fn of(change: &FoundChange) -> Self {
        let one = change.after.as_ref().or(change.before.as_ref());
        let word = |better| if better { "better" } else { "worse" };
        let (doubt, not_judged) = match &change.doubt {
            Some(Doubt::NotJudged(why)) => (Some("not_judged"), Some(why.clone())),
            Some(Doubt::AtItsLimit) => (Some("at_its_limit"), None),
            None => (None, None),
        };
        Self {
            change: match change.fate {
                Fate::Gone => "gone",
                Fate::New => "new",
                Fate::Stayed => "stayed",
            },
            rule: one.map_or_else(String::new, |f| f.rule.clone()),
            culprit: one.map_or_else(String::new, |f| f.culprit.clone()),
            before: change.before.as_ref().map(FoundJson::of),
            after: change.after.as_ref().map(FoundJson::of),
            counts_as: change.better.map(word),
            doubt,
            not_judged,
        }
    }
}

#[derive(Serialize)]
struct RowJson {
    /// What was measured: `request_p95`, `connects_per_request`, ...
    what: &'static str,
    section: &'static str,
    /// Of which group of processes; null when of the whole node.
    group: Option<String>,
    /// Of which peer, socket, state, part of time or disk; null when of none.
    of: Option<String>,
    /// `ns`, `ratio`, `count`, `per_second` or `bytes`.
    unit: &'static str,
    /// Null when it was not measured.
    before: Option<EstimateJson>,
    after: Option<EstimateJson>,
    /// `better`, `worse`, `lower`, `higher`, `alike`, `chance`, `load` or `one_sided`.
    judged: &'static str,
}

/// A value and the range that chance leaves, at 99 %.
#[derive(Serialize)]
struct EstimateJson {
    value: f64,
    low: f64,
    /// Null when there are too few samples to bound it.
    high: Option<f64>,
}

impl RowJson {
    fn of(row: &Row) -> Self {
        let some = |name: &String| (!name.is_empty()).then(|| name.clone());
        let estimate = |e: Estimate| EstimateJson {
            value: e.value,
            low: e.low,
            high: e.high.is_finite().then_some(e.high),
        };
        Self {
            what: row.what.id,
            section: row.what.section.id(),
            group: some(&row.about.group),
            of: some(&row.about.of),
            unit: row.what.unit.name(),
            before: row.before.map(estimate),
            after: row.after.map(estimate),
            judged: match row.judged {
                Judged::Better => "better",
                Judged::Worse => "worse",
                Judged::Lower => "lower",
                Judged::Higher => "higher",
                Judged::Alike => "alike",
                Judged::Chance => "chance",
                Judged::Load => "load",
                Judged::OneSided => "one_sided",
            },
        }
    }
}
