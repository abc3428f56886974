//! Findings as the view needs them: one by one with their depth, a key that stays the same from look to look, and all
//! about one.

use ratatui::text::{Line, Span};

use super::{Theme, Tone, screens::Lines};
use crate::{
    diagnose::{Culprit, Diagnosis, Evidence, Finding, Remedy, Severity},
    present::{escape, names, sentences, units},
};

/// Every finding, causes first and their symptoms below them, with how deep it is.
pub fn each(diagnosis: &Diagnosis) -> Vec<(usize, &Finding)> {
    fn add<'a>(list: &'a [Finding], depth: usize, out: &mut Vec<(usize, &'a Finding)>) {
        for found in list {
            out.push((depth, found));
            add(&found.symptoms, depth + 1, out);
        }
    }
    let mut out = Vec::new();
    add(&diagnosis.findings, 0, &mut out);
    out
}

/// What it is about: the rule and the culprit. The process to look at may change.
pub fn key(found: &Finding) -> String {
    let Culprit {
        group, peer, place, ..
    } = &found.culprit;
    format!("{} {group:?} {peer:?} {place:?}", found.rule.id)
}

/// A severity in four letters, and how it is marked.
pub fn severity(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Critical => ("CRIT", Tone::Critical),
        Severity::Warning => ("WARN", Tone::Warning),
        Severity::Info => ("INFO", Tone::Strong),
    }
}

/// The title.
pub fn title(found: &Finding) -> String {
    escape::name(found.title.as_bytes())
}

/// The first sentence.
pub fn headline(found: &Finding) -> String {
    found
        .summary
        .first()
        .map(names::sentence)
        .unwrap_or_default()
}

/// All about one.
pub fn detail(found: &Finding, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let (_, tone) = severity(found.severity);
    let word = found.severity.name().to_uppercase();
    let first = Line::from_iter([
        Span::styled(word, theme.style(tone)),
        Span::raw(format!("  {} {}", found.rule.id, found.rule.name)),
    ]);
    let mut lines = Lines::new(width, theme);
    lines.heading(&title(found));
    for sentence in &found.summary {
        lines.text(&names::sentence(sentence));
    }
    evidence(&mut lines, &found.evidence);
    lines.heading("How much it explains");
    lines.text(&sentences::explains(found));
    lines.text(&format!(
        "Seen in the last {}.",
        units::duration(found.window_ns)
    ));
    if !found.remedies.is_empty() {
        lines.heading("What to do, the safest first");
        for (n, each) in found.remedies.iter().enumerate() {
            remedy(&mut lines, n + 1, each);
        }
    }
    let commands: Vec<&String> = found
        .evidence
        .iter()
        .filter_map(|e| e.command.as_ref())
        .collect();
    if !commands.is_empty() {
        lines.heading("By hand");
        commands.iter().for_each(|command| lines.text(command));
    }
    if !found.symptoms.is_empty() {
        lines.heading("What follows from it");
        for symptom in &found.symptoms {
            let text = format!("{}: {}", title(symptom), headline(symptom));
            lines.labelled(symptom.rule.id, &text);
        }
    }
    for cause in &found.caused_by {
        lines.heading("It follows from");
        lines.text(&cause.to_string());
    }
    lines.heading("More");
    lines.text(&format!("stallscope explain {}", found.rule.id));
    std::iter::once(first).chain(lines.done()).collect()
}

/// Lines of evidence, those about the same thing together.
fn evidence(lines: &mut Lines, list: &[Evidence]) {
    if !list.is_empty() {
        lines.heading("In numbers");
    }
    for items in list.chunk_by(|a, b| a.about == b.about) {
        let text: Vec<String> = items
            .iter()
            .map(|e| format!("{} {}", names::sentence(&e.text), units::quantity(e.value)))
            .collect();
        lines.labelled(items[0].about, &text.join(", "));
    }
}

fn remedy(lines: &mut Lines, number: usize, remedy: &Remedy) {
    lines.labelled(&format!("{number}."), &names::sentence(&remedy.text));
    let change = remedy.change.as_ref().map(|(from, to)| {
        let safe = |text: &String| escape::name(text.as_bytes());
        format!("{} -> {}", safe(from), safe(to))
    });
    let arithmetic = remedy.arithmetic.as_ref().map(names::sentence);
    for (label, text) in [
        ("  change", change.as_ref()),
        ("  brings", arithmetic.as_ref()),
        ("  risk", Some(&remedy.risk)),
        ("  command", remedy.command.as_ref()),
        ("  for good", remedy.persistent.as_ref()),
    ] {
        lines.labelled(label, text.map_or("", String::as_str));
    }
}
