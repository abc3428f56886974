//! The list of `stallscope rules`, and the index of docs/rules.

use serde::Serialize;

use super::{
    Style,
    explain::page,
    json::{self, SCHEMA_VERSION, Tool},
    layout::hang,
    style::Tone,
};
use crate::diagnose::rules::CATALOGUE;

/// First line of every generated page.
pub(super) const GENERATED: &str = "<!-- Generated from probe-user/src/diagnose/rules: BLESS=1 cargo test -p probe-user docs_rules -->";

/// Every rule, a line each; ends with a newline.
pub fn text(style: Style) -> String {
    let names = CATALOGUE.iter().map(|r| r.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for rule in CATALOGUE {
        let first = format!(
            "{}  {:<names$}  ",
            style.paint(Tone::Strong, rule.id),
            rule.name
        );
        hang(
            &mut out,
            &first,
            3 + 2 + names + 2,
            rule.summary,
            style.columns(),
        );
    }
    out.push_str(
        "stallscope explain RULE tells what a rule sees, how to confirm it and what to try.\n",
    );
    out
}

#[derive(Serialize)]
struct Document {
    schema_version: &'static str,
    tool: Tool,
    rules: Vec<RuleJson>,
}

#[derive(Serialize)]
struct RuleJson {
    id: &'static str,
    name: &'static str,
    summary: &'static str,
    stage: &'static str,
    worst_severity: &'static str,
    needs_probes: &'static [&'static str],
    doc: Vec<SectionJson>,
}

#[derive(Serialize)]
struct SectionJson {
    heading: &'static str,
    text: &'static str,
}

/// One JSON document; ends with a newline.
pub fn json() -> String {
    let rules = CATALOGUE.iter().map(|rule| RuleJson {
        id: rule.id,
        name: rule.name,
        summary: rule.summary,
        stage: rule.stage.name(),
        worst_severity: rule.severity.name(),
        needs_probes: rule.needs,
        doc: rule
            .doc
            .sections()
            .into_iter()
            .map(|(heading, text)| SectionJson { heading, text })
            .collect(),
    });
    json::line(&Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        rules: rules.collect(),
    })
}

/// The index page of docs/rules as Markdown; ends with a newline.
pub fn markdown_index() -> String {
    let mut out = format!(
        "{GENERATED}\n\n# Rules\n\n| rule | fires when | at worst | stage |\n|---|---|---|---|\n"
    );
    for rule in CATALOGUE {
        out.push_str(&format!(
            "| [{}]({}) | {} | {} | {} |\n",
            rule.reference(),
            page(rule),
            rule.summary,
            rule.severity.name(),
            rule.stage.name()
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_listed() {
        let list = text(Style::default());
        assert!(list.starts_with("W01  blocking-upstream  requests spend most of their wall time"));
        for rule in CATALOGUE {
            let first = format!("{}  {}", rule.id, rule.name);
            let lines = list.lines().filter(|line| line.starts_with(&first));
            assert_eq!(lines.count(), 1, "{first}");
        }
        let v: serde_json::Value = serde_json::from_str(&json()).expect("it is JSON");
        assert_eq!(v["rules"].as_array().map(Vec::len), Some(CATALOGUE.len()));
        assert_eq!(v["rules"][0]["doc"][0]["heading"], "What it sees");
    }
}
