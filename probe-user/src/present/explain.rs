//! The text of `stallscope explain`, and the pages of docs/rules.

use super::{Style, layout::hang, style::Tone};
use crate::diagnose::rules::{CATALOGUE, Rule, find};

/// A rule's documentation as text; ends with a newline.
pub fn text(rule: &Rule, style: Style) -> String {
    let mut out = style.paint(Tone::Strong, &rule.reference().to_string());
    out.push('\n');
    hang(&mut out, "  ", 2, &facts(rule), style.columns());
    for (heading, body) in rule.doc.sections() {
        out.push('\n');
        out.push_str(&style.paint(Tone::Strong, heading));
        out.push('\n');
        for (n, paragraph) in body.split("\n\n").enumerate() {
            if n > 0 {
                out.push('\n');
            }
            if paragraph.starts_with("    ") {
                // Commands stay as they are, to be copied.
                out.push_str(paragraph);
                out.push('\n');
            } else {
                hang(&mut out, "  ", 2, paragraph, style.columns());
            }
        }
    }
    out
}

/// The same as a Markdown page for docs/rules, which is generated from it; ends with a newline.
pub fn markdown(rule: &Rule) -> String {
    let mut out = format!(
        "{}\n\n# {}\n\n{}\n",
        super::rules::GENERATED,
        rule.reference(),
        facts(rule)
    );
    for (heading, body) in rule.doc.sections() {
        out.push_str(&format!("\n## {heading}\n"));
        for paragraph in body.split("\n\n") {
            out.push('\n');
            out.push_str(paragraph);
            out.push('\n');
        }
    }
    out
}

/// File name of a rule's page.
pub fn page(rule: &Rule) -> String {
    format!("{}-{}.md", rule.id, rule.name)
}

fn facts(rule: &Rule) -> String {
    let mut facts = format!(
        "Fires when {}. At worst {}; {}. Needs the probes {}.",
        rule.summary,
        rule.severity.name(),
        rule.stage.name(),
        rule.needs.join(", ")
    );
    let causes = rule.causes.iter().filter_map(|cause| find(cause.rule));
    let symptoms = CATALOGUE
        .iter()
        .filter(|other| other.causes.iter().any(|cause| cause.rule == rule.id));
    let list = |rules: Vec<String>| rules.join(", ");
    let causes = list(causes.map(|r| r.reference().to_string()).collect());
    let symptoms = list(symptoms.map(|r| r.reference().to_string()).collect());
    if !causes.is_empty() {
        facts.push_str(&format!(" It may follow from {causes}."));
    }
    if !symptoms.is_empty() {
        facts.push_str(&format!(" What may follow from it: {symptoms}."));
    }
    facts
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::present::rules::markdown_index;

    #[test]
    fn every_heading_is_shown_and_commands_keep_their_lines() {
        for rule in CATALOGUE {
            let shown = text(rule, Style::default());
            for (heading, _) in rule.doc.sections() {
                assert!(
                    shown.contains(&format!("\n{heading}\n")),
                    "{}: {heading}",
                    rule.id
                );
            }
        }
        let shown = text(CATALOGUE[0], Style::default());
        assert!(shown.starts_with("W01 blocking-upstream\n  Fires when requests spend most"));
        assert!(shown.contains("\n    ss -tnp | grep pid=PID\n"));
    }

    /// `BLESS=1 cargo test -p probe-user docs_rules` writes the pages.
    #[test]
    fn docs_rules_is_what_the_catalogue_says() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/rules");
        let mut pages = vec![("README.md".to_owned(), markdown_index())];
        pages.extend(CATALOGUE.iter().map(|rule| (page(rule), markdown(rule))));
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).expect("docs/rules can be made");
            for (name, text) in &pages {
                fs::write(folder.join(name), text).expect("a page can be written");
            }
        }
        for (name, wanted) in &pages {
            let found = fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert_eq!(
                &found, wanted,
                "docs/rules/{name} is stale: run the test with BLESS=1"
            );
        }
        let there = fs::read_dir(&folder).expect("docs/rules is there").count();
        assert_eq!(there, pages.len(), "docs/rules has a page of no rule");
    }
}
