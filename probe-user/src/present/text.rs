//! The report of `diagnose` as text: the causes, what stays unexplained, what could not be judged, what
//! was lost, and what watching cost.

mod closing;

use super::{
    Style, escape,
    layout::{KEEP, hang},
    names, sentences,
    style::Tone,
    units,
};
use crate::{
    aggregate::Window,
    diagnose::{Diagnosis, Evidence, Finding, Severity},
};

pub(super) use super::sentences::part_words as words;
pub(super) use closing::{cost, coverage};

/// Columns that the labels at the left take.
const LABEL: usize = 15;

/// The whole report; ends with a newline.
pub fn report(window: &Window, diagnosis: &Diagnosis, style: Style) -> String {
    let mut out = String::new();
    header(&mut out, window, style);
    out.push('\n');
    for (n, found) in diagnosis.findings.iter().enumerate() {
        finding(&mut out, n + 1, found, style);
        out.push('\n');
    }
    if diagnosis.worst() < Some(Severity::Warning) {
        nothing_wrong(&mut out, window, diagnosis, style);
    }
    closing::not_explained(&mut out, window, diagnosis, style);
    closing::left_out(&mut out, window, style);
    for missing in &diagnosis.not_judged {
        let text = sentences::not_judged(missing);
        labelled(&mut out, "Not judged", Tone::Warning, &text, style);
    }
    coverage(&mut out, window, style);
    closing::redacted(&mut out, window, style);
    cost(&mut out, window, style);
    out
}

fn labelled(out: &mut String, label: &str, tone: Tone, text: &str, style: Style) {
    let first = style.paint(tone, label) + &" ".repeat(LABEL.saturating_sub(label.len()));
    hang(out, &first, LABEL, text, style.columns());
}

fn header(out: &mut String, window: &Window, style: Style) {
    let served = sentences::served(window);
    let line = format!(
        "stallscope {}   {}   Linux {}   {:.1} s   {served}",
        env!("CARGO_PKG_VERSION"),
        escape::bounded(window.host.as_bytes(), 64),
        escape::bounded(window.kernel.as_bytes(), 64),
        window.duration_ns as f64 / 1e9,
    );
    hang(
        out,
        "",
        0,
        &line.replace("   ", &format!(" {KEEP} ")),
        style.columns(),
    );
}

fn finding(out: &mut String, number: usize, found: &Finding, style: Style) {
    let (word, tone) = match found.severity {
        Severity::Critical => ("CRITICAL", Tone::Critical),
        Severity::Warning => ("WARNING ", Tone::Warning),
        Severity::Info => ("INFO    ", Tone::Strong),
    };
    let first = format!("{number}  {}  {}  ", style.paint(tone, word), found.rule.id);
    let indent = 3 + word.len() + 2 + found.rule.id.len() + 2;
    let title = escape::name(found.title.as_bytes());
    hang(out, &first, indent, &title, style.columns());
    for (n, sentence) in found.summary.iter().enumerate() {
        hang(out, "   ", 3, &names::sentence(sentence), style.columns());
        if n == 0 {
            first_remedy(out, found, style);
        }
    }
    evidence(out, &found.evidence, style);
    let sure = sentences::explains(found);
    hang(out, "   Explains       ", 18, &sure, style.columns());
    let commands = found.evidence.iter().filter_map(|e| e.command.as_deref());
    for (n, command) in commands.enumerate() {
        // A command stays on one line, to be copied.
        out.push_str(if n == 0 {
            "   By hand        "
        } else {
            "                  "
        });
        out.push_str(command);
        out.push('\n');
    }
    remedies(out, found, style);
    if !found.symptoms.is_empty() {
        out.push_str("   Symptoms it explains\n");
        symptoms(out, &found.symptoms, 5, style);
    }
}

/// What to do first, and what it brings: whoever reads no further knows the cause, its weight, and this.
fn first_remedy(out: &mut String, found: &Finding, style: Style) {
    let Some(remedy) = found.remedies.first() else {
        return;
    };
    let mut text = names::sentence(&remedy.text);
    if let Some(arithmetic) = &remedy.arithmetic {
        text.push_str("; ");
        text.push_str(&names::sentence(arithmetic));
    }
    let first = format!("   {}       ", style.paint(Tone::Strong, "Do first"));
    hang(out, &first, 18, &text, style.columns());
}

/// What follows from a finding, and from that, each step further to the right.
fn symptoms(out: &mut String, list: &[Finding], indent: usize, style: Style) {
    for symptom in list {
        let first = format!("{}{}  ", " ".repeat(indent), symptom.rule.id);
        let mut text = escape::name(symptom.title.as_bytes());
        for sentence in symptom.summary.iter().take(1) {
            text.push_str(": ");
            text.push_str(&names::sentence(sentence));
        }
        hang(out, &first, first.len(), &text, style.columns());
        symptoms(out, &symptom.symptoms, indent + 2, style);
    }
}

/// Lines of evidence, those about the same thing together.
fn evidence(out: &mut String, list: &[Evidence], style: Style) {
    for items in list.chunk_by(|a, b| a.about == b.about) {
        let text: Vec<String> = items
            .iter()
            .map(|e| format!("{} {}", names::sentence(&e.text), units::quantity(e.value)))
            .map(|item| item.replace(' ', &KEEP.to_string()))
            .collect();
        let first = format!("     {:<13}", items[0].about);
        hang(
            out,
            &first,
            18,
            &text.join(&format!(" {KEEP} ")),
            style.columns(),
        );
    }
}

fn remedies(out: &mut String, found: &Finding, style: Style) {
    for (n, remedy) in found.remedies.iter().enumerate() {
        let label = if n == 0 { "Do" } else { "" };
        let first = format!("   {label:<15}{}. ", n + 1);
        hang(
            out,
            &first,
            21,
            &names::sentence(&remedy.text),
            style.columns(),
        );
        let mut line = |text: &str| hang(out, &" ".repeat(21), 21, text, style.columns());
        if let Some((from, to)) = &remedy.change {
            line(&format!(
                "{} -> {}",
                escape::name(from.as_bytes()),
                escape::name(to.as_bytes())
            ));
        }
        if let Some(arithmetic) = &remedy.arithmetic {
            line(&names::sentence(arithmetic));
        }
        line(&format!("risk: {}", remedy.risk));
        for command in [&remedy.command, &remedy.persistent].into_iter().flatten() {
            // On one line, like those of the evidence, to be copied.
            out.push_str(&format!("{:21}{command}\n", ""));
        }
    }
}

fn nothing_wrong(out: &mut String, window: &Window, diagnosis: &Diagnosis, style: Style) {
    let text = sentences::nothing_wrong(window, diagnosis);
    let tone = if sentences::judged(diagnosis) {
        Tone::Good
    } else {
        Tone::Warning
    };
    for line in super::layout::wrap(&text, style.columns()) {
        out.push_str(&style.paint(tone, &line));
        out.push('\n');
    }
    if let Some(limits) = sentences::closest(window) {
        hang(out, "", 0, &limits, style.columns());
    }
    out.push('\n');
}

#[cfg(test)]
mod tests;
