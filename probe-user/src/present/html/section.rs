//! A section about one signal. One that has nothing to say is not there; one that no finding is about is folded.

use super::writer::Html;
use crate::diagnose::{Diagnosis, Finding};

/// What a section is about.
pub(super) struct About {
    /// Where links lead.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The rules that judge it: the letter of their ids, or whole ids.
    pub rules: &'static [&'static str],
}

/// A section with a heading, what `inside` writes, and what could not be seen.
pub(super) fn section(
    h: &mut Html,
    about: &About,
    diagnosis: &Diagnosis,
    unseen: &[String],
    inside: impl FnOnce(&mut Html),
) {
    let mut body = h.aside();
    inside(&mut body);
    if body.is_empty() {
        return;
    }
    let found = concerns(&diagnosis.findings, about.rules);
    let mut attributes = vec![("class", "signal")];
    attributes.extend(found.then_some(("open", "open")));
    h.nest("section", &[("id", about.id)], |h| {
        h.nest("details", &attributes, |h| {
            h.nest("summary", &[], |h| {
                h.element("h2", &[], about.title);
                if !found {
                    h.text(" ");
                    h.element("span", &[("class", "soft")], "no finding is about it");
                }
            });
            h.append(body);
            if !unseen.is_empty() {
                let text = format!("Not seen: {}", unseen.join("; "));
                h.element("p", &[("class", "soft")], &text);
            }
        });
    });
}

/// True when one of the findings, or of their symptoms, comes from one of these rules.
fn concerns(findings: &[Finding], rules: &[&str]) -> bool {
    findings.iter().any(|f| {
        rules.iter().any(|rule| f.rule.id.starts_with(rule)) || concerns(&f.symptoms, rules)
    })
}
