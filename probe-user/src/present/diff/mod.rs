//! The text of `diff`: the verdict and why, findings gone and new, then a table of what changed.

mod facts;
mod json;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use facts::facts;
pub use json::json;

use super::{
    Style,
    json::rfc3339,
    layout::{cell, hang},
    style::Tone,
    units::{plural, seconds},
};
use crate::diagnose::compare::{
    Comparison, Doubt, Facts, Fate, FoundChange, Judged, Note, Verdict, measures::Role,
};

/// Columns of the labels at the left.
const LABEL: usize = 8;
/// Findings listed that did not change.
const STAYED: usize = 5;
/// Others listed of a kind.
const LISTED: usize = 20;

/// The whole text; ends with a newline.
pub fn text(before: &Facts, after: &Facts, c: &Comparison, style: Style) -> String {
    let mut out = String::new();
    verdict(&mut out, c, style);
    hang(&mut out, "", 0, &words::comparable(c), style.columns());
    out.push('\n');
    for (label, facts) in [("before", before), ("after", after)] {
        let text = format!(
            "{}, {}, {}, {} of watching",
            rfc3339(facts.start_unix_ns),
            facts.host,
            facts.target,
            seconds(facts.duration_ns)
        );
        labelled(&mut out, label, Tone::Faint, &text, style);
    }
    notes(&mut out, &c.notes, style);
    out.push('\n');
    findings(&mut out, &c.findings, style);
    table::table(&mut out, before, after, c, style);
    unchanged(&mut out, c, style);
    out
}

fn verdict(out: &mut String, c: &Comparison, style: Style) {
    let (word, tone) = match c.verdict {
        Verdict::Better => ("Better", Tone::Good),
        Verdict::Worse => ("Worse", Tone::Critical),
        Verdict::Mixed => ("Mixed", Tone::Critical),
        Verdict::Same => ("Same", Tone::Strong),
        Verdict::NotComparable => ("Not comparable", Tone::Warning),
    };
    let first = style.paint(tone, word) + ": ";
    let why = words::why(c);
    // The first line is wrapped as if its word stood in the text: what follows begins at the left edge.
    let filled = format!("{}{why}", "x".repeat(word.len() + 2));
    for (n, line) in super::layout::wrap(&filled, style.columns())
        .iter()
        .enumerate()
    {
        if n == 0 {
            out.push_str(&first);
            out.push_str(&line[word.len() + 2..]);
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn labelled(out: &mut String, label: &str, tone: Tone, text: &str, style: Style) {
    let painted = if label.is_empty() {
        String::new()
    } else {
        style.paint(tone, label)
    };
    let first = painted + &" ".repeat(LABEL.saturating_sub(label.len()));
    hang(out, &first, LABEL, text, style.columns());
}

fn notes(out: &mut String, notes: &[Note], style: Style) {
    for note in notes.iter().take(LISTED) {
        labelled(out, "beware", Tone::Warning, &words::note(note), style);
    }
    if notes.len() > LISTED {
        let more = format!("and {} more", notes.len() - LISTED);
        labelled(out, "", Tone::Warning, &more, style);
    }
}

fn findings(out: &mut String, all: &[FoundChange], style: Style) {
    for (fate, label, tone, most) in [
        (Fate::Gone, "gone", Tone::Good, LISTED),
        (Fate::New, "new", Tone::Critical, LISTED),
        (Fate::Stayed, "still", Tone::Strong, STAYED),
    ] {
        let of: Vec<&FoundChange> = all.iter().filter(|f| f.fate == fate).collect();
        if of.is_empty() && fate != Fate::Stayed {
            labelled(out, label, Tone::Faint, "nothing", style);
        }
        for (n, found) in of.iter().take(most).enumerate() {
            let label = if n == 0 { label } else { "" };
            let tone = if found.doubt.is_some() {
                Tone::Warning
            } else {
                tone
            };
            labelled(out, label, tone, &finding(found), style);
        }
        if of.len() > most {
            let more = format!("and {}", plural((of.len() - most) as u64, "more", "more"));
            labelled(out, "", Tone::Faint, &more, style);
        }
    }
}

/// One finding, in a line or two.
fn finding(change: &FoundChange) -> String {
    let Some(found) = change.after.as_ref().or(change.before.as_ref()) else {
        return String::new();
    };
    let mut text = cell(&found.severity.name().to_uppercase(), LABEL);
    // A gap that no line breaks at.
    text = text.replace(' ', "\u{a0}") + "\u{a0} " + &found.rule;
    if !found.culprit.is_empty() {
        text.push_str(&format!(": {}", found.culprit));
    }
    if let (Some(was), Some(is)) = (&change.before, &change.after) {
        if was.severity != is.severity {
            text.push_str(&format!(", was {}", was.severity.name()));
        }
        text.push_str(&words::shares(was, is));
    }
    match &change.doubt {
        Some(Doubt::NotJudged(why)) => {
            let side = if change.fate == Fate::Gone {
                "after"
            } else {
                "before"
            };
            text.push_str(&format!(" (does not count: not judged {side}: {why})"));
        }
        Some(Doubt::AtItsLimit) => {
            text.push_str(
                " (does not count: it was so near its limit that chance may have done it)",
            );
        }
        None => {}
    }
    text
}

/// What counts and is as it was, in a few words each.
fn unchanged(out: &mut String, c: &Comparison, style: Style) {
    let rows = c.rows.iter().filter(|row| {
        let alike = matches!(row.judged, Judged::Alike | Judged::Chance);
        let nothing = [row.before, row.after]
            .iter()
            .flatten()
            .all(|e| e.value == 0.0);
        alike && row.what.role == Role::Counts && !nothing && !table::always(row)
    });
    let texts: Vec<String> = rows.map(words::briefly).collect();
    if texts.is_empty() {
        return;
    }
    let mut text = texts[..texts.len().min(LISTED)].join("; ");
    if texts.len() > LISTED {
        text.push_str(&format!("; and {} more", texts.len() - LISTED));
    }
    out.push('\n');
    labelled(out, "same", Tone::Faint, &text, style);
}
