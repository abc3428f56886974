//! The causes with their evidence, remedies and symptoms.

use super::{chart, ink, words, writer::Html};
use crate::{
    diagnose::{Diagnosis, Evidence, Finding, Remedy, Severity},
    present::{escape, names, sentences, units},
};

/// All of them.
pub(super) fn causes(h: &mut Html, diagnosis: &Diagnosis) {
    if diagnosis.findings.is_empty() {
        return;
    }
    h.nest("section", &[("id", "causes")], |h| {
        let several = diagnosis.findings.len() > 1;
        let title = if several { "Causes" } else { "Cause" };
        h.element("h2", &[], title);
        for (n, found) in diagnosis.findings.iter().enumerate() {
            cause(h, n + 1, found);
        }
    });
}

fn cause(h: &mut Html, number: usize, found: &Finding) {
    let id = format!("cause-{number}");
    let class = format!("cause is-{}", found.severity.name());
    h.nest("article", &[("id", &id), ("class", &class)], |h| {
        h.nest("h3", &[], |h| {
            h.text(&format!("{number} "));
            words::badge(h, found.severity);
            h.text(" ");
            h.element("span", &[("class", "rule")], found.rule.id);
            h.text(" ");
            h.text(&escape::name(found.title.as_bytes()));
        });
        body(h, found, "h4");
        if !found.symptoms.is_empty() {
            h.element("h4", &[], "Symptoms it explains");
            found.symptoms.iter().for_each(|s| symptom(h, s));
        }
    });
}

fn body(h: &mut Html, found: &Finding, heading: &'static str) {
    for sentence in &found.summary {
        h.nest("p", &[], |h| words::sentence(h, sentence));
    }
    evidence(h, &found.evidence);
    h.nest("div", &[("class", "share")], |h| {
        let ink = match found.severity {
            Severity::Info => ink::FIRST,
            Severity::Warning | Severity::Critical => ink::LIMIT,
        };
        h.nest("div", &[("class", "strip thin")], |h| {
            h.svg(&chart::strip(&[(found.explains, ink)]));
        });
    });
    h.nest("p", &[], |h| {
        h.text("Explains ");
        h.text(&sentences::explains(found));
        if let Some(ns) = found.first_ns.filter(|ns| *ns > 0) {
            h.text(&format!(
                "; first seen {} after watching began",
                units::duration(ns)
            ));
        }
    });
    let mut commands = found
        .evidence
        .iter()
        .filter_map(|e| e.command.as_deref())
        .peekable();
    if commands.peek().is_some() {
        h.element(heading, &[], "Confirm by hand");
        commands.for_each(|c| words::command(h, c));
    }
    if !found.remedies.is_empty() {
        h.element(heading, &[], "What to do, safest first");
        h.nest("ol", &[("class", "remedies")], |h| {
            found.remedies.iter().for_each(|r| remedy(h, r));
        });
    }
}

/// Lines of evidence, those about the same thing together.
fn evidence(h: &mut Html, list: &[Evidence]) {
    if list.is_empty() {
        return;
    }
    h.nest("table", &[("class", "evidence")], |h| {
        h.nest("tbody", &[], |h| {
            for items in list.chunk_by(|a, b| a.about == b.about) {
                h.nest("tr", &[], |h| {
                    h.element("th", &[("scope", "row")], items[0].about);
                    h.nest("td", &[], |h| {
                        for item in items {
                            h.nest("span", &[], |h| {
                                words::sentence(h, &item.text);
                                h.text(" ");
                                h.element("b", &[], &units::quantity(item.value));
                            });
                            h.text(" ");
                        }
                    });
                });
            }
        });
    });
}

fn remedy(h: &mut Html, remedy: &Remedy) {
    h.nest("li", &[], |h| {
        h.nest("p", &[], |h| words::sentence(h, &remedy.text));
        if let Some((from, to)) = &remedy.change {
            h.nest("p", &[], |h| {
                h.element("code", &[], &escape::name(from.as_bytes()));
                h.text(" → ");
                h.element("code", &[], &escape::name(to.as_bytes()));
            });
        }
        if let Some(arithmetic) = &remedy.arithmetic {
            h.nest("p", &[], |h| words::sentence(h, arithmetic));
        }
        h.element("p", &[("class", "soft")], &format!("risk: {}", remedy.risk));
        if let Some(command) = &remedy.command {
            words::command(h, command);
        }
        if let Some(command) = &remedy.persistent {
            h.element("p", &[("class", "soft")], "so that it survives a reboot:");
            words::command(h, command);
        }
    });
}

/// What follows from a finding, and from that, each step further to the right. What helps against the cause is above; what
/// proves the symptom is folded.
fn symptom(h: &mut Html, found: &Finding) {
    h.nest("div", &[("class", "symptom")], |h| {
        h.nest("h5", &[], |h| {
            h.element("span", &[("class", "rule")], found.rule.id);
            h.text(" ");
            h.text(&escape::name(found.title.as_bytes()));
        });
        for sentence in found.summary.iter().take(1) {
            h.element("p", &[], &names::sentence(sentence));
        }
        h.nest("details", &[], |h| {
            h.element("summary", &[], "Evidence and remedies of its own");
            let rest = Finding {
                summary: found.summary.iter().skip(1).cloned().collect(),
                ..found.clone()
            };
            body(h, &rest, "h6");
        });
        found.symptoms.iter().for_each(|s| symptom(h, s));
    });
}
