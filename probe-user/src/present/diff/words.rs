//! What a comparison says, in words.

use crate::{
    diagnose::{
        Quantity, Unit,
        compare::{
            About, Comparison, Estimate, Fate, Found, Judged, Load, Note, Obstacle, Row, Side,
            Verdict,
            measures::{self, What},
        },
    },
    present::units::{count, duration, mean, percent, plural, quantity},
};

/// Why the verdict is what it is; ends with a full stop.
pub(super) fn why(c: &Comparison) -> String {
    let headline = c.headline.and_then(|at| c.rows.get(at));
    match c.verdict {
        Verdict::NotComparable => {
            let all: Vec<String> = c.obstacles.iter().map(obstacle).collect();
            format!("{}.", all.join("; "))
        }
        Verdict::Same => match headline {
            Some(row) => format!(
                "no change beyond chance. {}{}.",
                capital(&briefly(row)),
                resolution(row)
            ),
            None => "no change beyond chance.".to_owned(),
        },
        Verdict::Better | Verdict::Worse => match (headline, counted(c, c.verdict)) {
            (Some(row), _) => format!("{}.", briefly(row)),
            (None, found) => format!("{found}."),
        },
        Verdict::Mixed => {
            let worse = match headline {
                Some(row) => briefly(row),
                None => counted(c, Verdict::Worse),
            };
            format!("{worse} is worse, other things are better. Mixed counts as worse.")
        }
    }
}

/// The first finding that counts as the verdict says.
fn counted(c: &Comparison, verdict: Verdict) -> String {
    let better = verdict == Verdict::Better;
    let mut all = c.findings.iter().filter(|f| f.better == Some(better));
    let Some(first) = all.next() else {
        return "a finding changed".to_owned();
    };
    let rule = first.after.as_ref().or(first.before.as_ref());
    let rule = rule.map_or("", |found| &found.rule);
    match first.fate {
        Fate::Gone => format!("{rule} is gone"),
        Fate::New => format!("{rule} is new"),
        Fate::Stayed if better => format!("{rule} is milder"),
        Fate::Stayed => format!("{rule} is graver"),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// How small a change would show; empty where that is not known.
fn resolution(row: &Row) -> String {
    // Both ranges must be passed.
    let off: f64 = [row.before, row.after]
        .iter()
        .flatten()
        .map(Estimate::spread)
        .sum();
    if off.is_finite() && off > 0.0 {
        format!(
            "; it would have to change by {} or more to show",
            percent(off.max(row.what.least - 1.0))
        )
    } else {
        String::new()
    }
}

fn obstacle(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Redacted => "names in a redacted report are made up, for each report anew; take \
             the reports as they were before, or recordings"
            .to_owned(),
        Obstacle::RequestsOnOneSide {
            side,
            group,
            requests,
        } => {
            let (one, other) = match side {
                Side::Before => ("before", "after"),
                Side::After => ("after", "before"),
            };
            let requests = plural(*requests, "request", "requests");
            format!("{requests} of {group} {one}, no request {other}")
        }
        Obstacle::NoGroupInCommon { before, after } => format!(
            "requests were served by {before} before and by {after} after, and by nobody in both"
        ),
        Obstacle::TooFewRequests {
            before,
            after,
            needed,
        } => format!(
            "too few requests, {before} before and {after} after; it takes {needed} on each side \
             (watch for longer), and nothing else changed"
        ),
        Obstacle::NothingInCommon => {
            "nothing was measured in both (`beware` says which probes were off)".to_owned()
        }
    }
}

/// How far the two can be compared.
pub(super) fn comparable(c: &Comparison) -> String {
    let covered = if c.notes.iter().any(|n| matches!(n, Note::ProbeOff { .. })) {
        "Not the same coverage"
    } else {
        "Same coverage"
    };
    let can = match c.verdict {
        Verdict::NotComparable => "",
        _ => "Comparable: ",
    };
    let load_words = match c.verdict {
        Verdict::NotComparable => rates(c.load),
        _ => load(c.load),
    };
    let load_words = capital(&format!("{can}{load_words}"));
    if c.load.same {
        let covered = covered.to_lowercase();
        format!("{load_words}, {covered}.")
    } else {
        format!("{load_words}. {covered}.")
    }
}

/// What was served on both sides.
fn rates(load: Load) -> String {
    let (b, a) = (load.before_per_s, load.after_per_s);
    format!("{} and {} requests/s", mean(b), mean(a))
}

fn load(load: Load) -> String {
    let (b, a) = (load.before_per_s, load.after_per_s);
    if b == 0.0 && a == 0.0 {
        return "no requests on either side".to_owned();
    }
    let rates = rates(load);
    let apart = (b - a).abs() / b.max(a);
    match (load.same, apart < 0.005) {
        (true, true) => format!("same load ({rates})"),
        (true, false) => format!("same load within {} ({rates})", percent(apart)),
        (false, _) => format!(
            "another load ({rates}): what is per request is compared, rates that changed with the \
             load are not"
        ),
    }
}

pub(super) fn note(note: &Note) -> String {
    match note {
        Note::SameRun => "both are reports of one and the same run".to_owned(),
        Note::Swapped => "AFTER is older than BEFORE: are they swapped?".to_owned(),
        Note::Overlap => "the two were watched at the same time, in part".to_owned(),
        Note::Hosts(b, a) => format!("two hosts: {b} and {a}"),
        Note::Targets(b, a) => format!("two targets: {b} and {a}"),
        Note::Kernels(b, a) => format!("two kernels: {b} and {a}"),
        Note::Versions(b, a) => format!("two versions of stallscope: {b} and {a}"),
        Note::Lengths(b, a) => format!(
            "watched for {} and {}: what grows with time, such as TIME_WAIT up to a minute, is not alike",
            duration(*b),
            duration(*a)
        ),
        Note::ProbeOff { side, probe, why } => {
            format!(
                "{}, probe {probe} was off ({why}): what needs it is not compared",
                at(*side)
            )
        }
        Note::Lost {
            side,
            what,
            means,
            count: n,
        } => format!("lost {}: {} {what}; {means}", at(*side), count(*n)),
        Note::GroupOnOneSide {
            side,
            group,
            requests,
        } => format!(
            "{group} served only {} ({})",
            at(*side),
            plural(*requests, "request", "requests")
        ),
    }
}

/// `before` or `after`.
pub(super) fn at(side: Side) -> &'static str {
    match side {
        Side::Before => "before",
        Side::After => "after",
    }
}

/// The shares that a finding explains on both sides.
pub(super) fn shares(was: &Found, is: &Found) -> String {
    if was.explains <= 0.0 && is.explains <= 0.0 {
        return String::new();
    }
    let (was, now) = (percent(was.explains), percent(is.explains));
    format!(" ({was} -> {now} of {})", is.explains_what)
}

/// True when the name of what it is about is a part of its own words.
pub(super) fn is_inline(what: &What) -> bool {
    [measures::PART.id, measures::STATE.id].contains(&what.id)
}

/// A row's name.
pub(super) fn row(what: &What, about: &About) -> String {
    if is_inline(what) {
        format!("{} {}", about.of, what.words)
    } else {
        what.words.to_owned()
    }
}

/// `request time p95 of pool www 9.21 s -> 48 ms`.
pub(super) fn briefly(r: &Row) -> String {
    let (before, after) = (value(r.what, r.before), value(r.what, r.after));
    let values = if before == after {
        before
    } else {
        format!("{before} -> {after}")
    };
    let (name, about) = (row(r.what, &r.about), &r.about);
    let of = if is_inline(r.what) { "" } else { &about.of };
    match (of.is_empty(), about.group.is_empty()) {
        (true, true) => format!("{name} {values}"),
        (true, false) => format!("{name} of {} {values}", about.group),
        (false, true) => format!("{of}: {name} {values}"),
        (false, false) => format!("{of} ({}): {name} {values}", about.group),
    }
}

/// A value in its unit; `-` where there is none.
pub(super) fn value(what: &What, estimate: Option<Estimate>) -> String {
    let Some(estimate) = estimate else {
        return "-".to_owned();
    };
    // Sockets are whole; requests have means.
    let value = if what.id == measures::STATE.id {
        estimate.value.round()
    } else {
        estimate.value
    };
    quantity(Quantity {
        value,
        unit: what.unit,
    })
}

/// What changed, in a few words.
pub(super) fn change(row: &Row) -> String {
    let (Some(b), Some(a)) = (row.before, row.after) else {
        return "one side only".to_owned();
    };
    let much = how_much(b.value, a.value);
    match row.judged {
        Judged::Better => format!("{much}, better"),
        Judged::Worse => format!("{much}, worse"),
        Judged::Lower | Judged::Higher => much,
        Judged::Alike => "same".to_owned(),
        Judged::Chance if b.is_open() || a.is_open() => "too few to say".to_owned(),
        Judged::Chance => "within chance".to_owned(),
        Judged::Load => "as the load".to_owned(),
        Judged::OneSided => "one side only".to_owned(),
    }
}

fn how_much(before: f64, after: f64) -> String {
    if after == 0.0 {
        return "none left".to_owned();
    }
    if before == 0.0 {
        return "none before".to_owned();
    }
    let factor = after / before;
    if factor >= 2.0 {
        format!("{} x more", times(factor))
    } else if factor <= 0.5 {
        format!("{} x less", times(1.0 / factor))
    } else {
        let sign = if factor < 1.0 { "-" } else { "+" };
        format!("{sign}{}", percent((factor - 1.0).abs()))
    }
}

fn times(factor: f64) -> String {
    if factor < 9.95 {
        format!("{factor:.1}")
    } else {
        quantity(Quantity {
            value: factor.round(),
            unit: Unit::Count,
        })
    }
}
