//! The report as Markdown, to be pasted into a ticket: GitHub's, GitLab's, or another that knows CommonMark.
//!
//! Names stand in code spans, and what is left of our own words is escaped: nothing from the traced system becomes a
//! heading, a link, HTML, or a mention of somebody.

mod inline;

#[cfg(test)]
mod tests;

use self::inline::{code, fence, sentence, text};
use super::{
    escape, sentences,
    units::{duration, quantity},
};
use crate::{
    aggregate::Window,
    diagnose::{Diagnosis, Evidence, Finding, Remedy, Severity},
};

/// The whole document.
pub fn report(window: &Window, diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    head(&mut out, window, diagnosis);
    for (n, found) in diagnosis.findings.iter().enumerate() {
        cause(&mut out, n + 1, found);
    }
    closing(&mut out, window, diagnosis);
    out
}

fn head(out: &mut String, window: &Window, diagnosis: &Diagnosis) {
    let worst = diagnosis.findings.first();
    match worst.filter(|f| f.severity >= Severity::Warning) {
        Some(found) => {
            let title = escape::name(found.title.as_bytes());
            line(out, &format!("# {}", text(&title)));
            for said in found.summary.iter().take(1) {
                line(
                    out,
                    &format!("**{}:** {}", found.severity.name(), sentence(said)),
                );
            }
        }
        None => {
            let said = sentences::nothing_wrong(window, diagnosis);
            let (verdict, rest) = said.split_once(": ").unwrap_or((&said, ""));
            line(out, &format!("# {}", text(verdict.trim_end_matches('.'))));
            line(out, &text(rest));
            line(out, &text(&sentences::closest(window).unwrap_or_default()));
        }
    }
    let facts = [
        code(&escape::bounded(window.host.as_bytes(), 64)),
        text(&format!(
            "Linux {}",
            escape::bounded(window.kernel.as_bytes(), 64)
        )),
        sentences::begun(window),
        format!("{:.1} s", window.duration_ns as f64 / 1e9),
        text(&sentences::served(window)),
        format!("stallscope {}", env!("CARGO_PKG_VERSION")),
    ];
    line(out, &facts.join(" · "));
}

/// A paragraph; nothing for an empty one.
fn line(out: &mut String, text: &str) {
    if !text.is_empty() {
        out.push_str(text);
        out.push_str("\n\n");
    }
}

fn cause(out: &mut String, number: usize, found: &Finding) {
    let title = text(&escape::name(found.title.as_bytes()));
    let severity = found.severity.name().to_uppercase();
    line(
        out,
        &format!("## {number}. {severity} {}: {title}", found.rule.id),
    );
    for said in &found.summary {
        line(out, &sentence(said));
    }
    evidence(out, &found.evidence);
    let mut explains = format!("Explains {}", sentences::explains(found));
    if let Some(ns) = found.first_ns.filter(|ns| *ns > 0) {
        explains.push_str(&format!(
            "; first seen {} after watching began",
            duration(ns)
        ));
    }
    line(out, &(text(&explains) + "."));
    let commands = found.evidence.iter().filter_map(|e| e.command.as_deref());
    let commands: Vec<&str> = commands.collect();
    if !commands.is_empty() {
        line(out, "**Confirm by hand**");
        line(out, &fence(&commands.join("\n"), ""));
    }
    if !found.remedies.is_empty() {
        line(out, "**What to do, safest first**");
        for (n, one) in found.remedies.iter().enumerate() {
            remedy(out, n + 1, one);
        }
    }
    if !found.symptoms.is_empty() {
        line(out, "**Symptoms it explains**");
        symptoms(out, &found.symptoms, 0);
        out.push('\n');
    }
}

/// A list: lines of evidence, those about the same thing together.
fn evidence(out: &mut String, list: &[Evidence]) {
    for items in list.chunk_by(|a, b| a.about == b.about) {
        let items_said: Vec<String> = items
            .iter()
            .map(|e| format!("{} **{}**", sentence(&e.text), text(&quantity(e.value))))
            .collect();
        out.push_str(&format!(
            "- {}: {}\n",
            text(items[0].about),
            items_said.join(", ")
        ));
    }
    if !list.is_empty() {
        out.push('\n');
    }
}

fn remedy(out: &mut String, number: usize, remedy: &Remedy) {
    let marker = format!("{number}. ");
    let indent = " ".repeat(marker.len());
    let mut lines = vec![sentence(&remedy.text)];
    if let Some((from, to)) = &remedy.change {
        let name = |text: &String| code(&escape::name(text.as_bytes()));
        lines.push(format!("{} → {}", name(from), name(to)));
    }
    lines.extend(remedy.arithmetic.as_ref().map(sentence));
    lines.push(text(&format!("risk: {}", remedy.risk)));
    // Two spaces end a line without ending the paragraph.
    line(
        out,
        &format!("{marker}{}", lines.join(&format!("  \n{indent}"))),
    );
    if let Some(command) = &remedy.command {
        line(out, &fence(command, &indent));
    }
    if let Some(command) = &remedy.persistent {
        line(out, &format!("{indent}so that it survives a reboot:"));
        line(out, &fence(command, &indent));
    }
}

/// What follows from a finding, and from that, each step further to the right.
fn symptoms(out: &mut String, list: &[Finding], depth: usize) {
    for found in list {
        let title = text(&escape::name(found.title.as_bytes()));
        let said: Vec<String> = found.summary.iter().take(1).map(sentence).collect();
        out.push_str(&format!(
            "{}- **{}** {title}: {}\n",
            "  ".repeat(depth),
            found.rule.id,
            said.concat()
        ));
        symptoms(out, &found.symptoms, depth + 1);
    }
}

fn closing(out: &mut String, window: &Window, diagnosis: &Diagnosis) {
    line(out, "---");
    let coverage = sentences::coverage(window);
    let missing = diagnosis.not_judged.iter().map(sentences::not_judged);
    let one = |label, said: Option<String>| said.map(|said| (label, said));
    let mut lines: Vec<(&str, String)> = Vec::new();
    lines.extend(one(
        "Not explained",
        sentences::not_explained(window, diagnosis),
    ));
    lines.extend(one("Left out", sentences::left_out(window)));
    lines.extend(missing.map(|said| ("Not judged", said)));
    let seen = if coverage.whole { "Saw it all" } else { "Saw" };
    lines.push((seen, coverage.seen));
    lines.extend(coverage.lost.into_iter().map(|said| ("Lost", said)));
    if window.redacted {
        lines.push(("Redacted", sentences::REDACTED.to_owned()));
    }
    lines.push(("Cost", sentences::cost(window)));
    for (label, said) in lines {
        out.push_str(&format!("- **{label}:** {}\n", text(&said)));
    }
}
