//! Prometheus's alert rules, and the tests of them that `promtool` runs.

use std::fmt::Write as _;

use super::{names, own_alerts::OWN, query::metric};
use crate::{
    diagnose::rules::{CATALOGUE, Rule},
    present::explain::page,
};

/// The metric of open findings, and its labels.
const FINDING: &str = "stallscope.finding.active";
const RULE: &str = "stallscope.rule.id";
const NAME: &str = "stallscope.rule.name";
const SEVERITY: &str = "stallscope.finding.severity";
const ROLE: &str = "stallscope.finding.role";
const GROUP: &str = "stallscope.group";
const PEER: &str = "stallscope.peer";

/// Where pages are read.
const PAGES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs");

/// An alert as Prometheus has it.
struct Alert {
    name: String,
    expr: String,
    wait: Option<&'static str>,
    labels: Vec<(&'static str, String)>,
    annotations: Vec<(&'static str, String)>,
}

/// `StallscopeW01BlockingUpstream`: begins with the rule's id, which stays.
fn name(rule: &Rule) -> String {
    let words = rule.name.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    format!("Stallscope{}{}", rule.id, words.collect::<String>())
}

/// The value of a label, in an annotation.
fn value(label: &str) -> String {
    format!("{{{{ $labels.{} }}}}", names::label(label))
}

/// A sentence, if the label has a value.
fn with(label: &str, before: &str) -> String {
    format!(
        "{{{{ with $labels.{} }}}}{before}{{{{ . }}}}{{{{ end }}}}",
        names::label(label)
    )
}

fn of_rule(rule: &Rule) -> Result<Alert, String> {
    let finding = metric(FINDING)?;
    for label in [RULE, NAME, SEVERITY, ROLE, GROUP, PEER] {
        if !finding.labels.contains(&label) {
            return Err(format!("{FINDING} has no label {label}"));
        }
    }
    Ok(Alert {
        name: name(rule),
        // No `for`: a finding is open when several windows in a row have it, and stays open while it comes back.
        expr: format!(
            "{}{{{}={:?}}} == 1",
            names::sample(finding),
            names::label(RULE),
            rule.id
        ),
        wait: None,
        labels: vec![("severity", value(SEVERITY)), ("role", value(ROLE))],
        annotations: vec![
            ("summary", format!("{}: {}", rule.reference(), rule.summary)),
            (
                "description",
                format!(
                    "On {{{{ $labels.instance }}}}{}{}. `stallscope explain {}` says how to confirm it and what to try.",
                    with(GROUP, ", group "),
                    with(PEER, ", peer "),
                    rule.id
                ),
            ),
            ("runbook_url", format!("{PAGES}/rules/{}", page(rule))),
        ],
    })
}

fn of_itself() -> Result<Vec<Alert>, String> {
    let made = OWN.iter().map(|own| {
        Ok(Alert {
            name: format!("Stallscope{}", own.name),
            expr: fill(own.expr)?,
            wait: Some(own.wait),
            labels: vec![("severity", own.severity.to_owned())],
            annotations: vec![
                ("summary", own.summary.to_owned()),
                ("description", own.description.to_owned()),
                ("runbook_url", format!("{PAGES}/dashboards.md#alerts")),
            ],
        })
    });
    made.collect()
}

/// Names in `<` and `>` as Prometheus has them.
fn fill(expr: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = expr;
    while let Some((before, after)) = rest.split_once('<') {
        let (inside, behind) = after.split_once('>').ok_or("a < without its >")?;
        out += before;
        out += &names::sample(metric(inside)?);
        rest = behind;
    }
    Ok(out + rest)
}

/// alerts.yml.
pub fn rules() -> Result<String, String> {
    let mut out = format!(
        "# Generated from probe-user/src/diagnose/rules and present/metrics: {}\ngroups:\n",
        super::BLESS
    );
    let findings = CATALOGUE
        .iter()
        .map(|rule| of_rule(rule))
        .collect::<Result<Vec<_>, _>>()?;
    for (group, alerts) in [
        ("stallscope-findings", findings),
        ("stallscope-itself", of_itself()?),
    ] {
        let _ = write!(out, "  - name: {group}\n    rules:\n");
        for alert in alerts {
            let _ = writeln!(
                out,
                "      - alert: {}\n        expr: {}",
                alert.name,
                quoted(&alert.expr)
            );
            if let Some(wait) = alert.wait {
                let _ = writeln!(out, "        for: {wait}");
            }
            for (what, pairs) in [
                ("labels", &alert.labels),
                ("annotations", &alert.annotations),
            ] {
                let _ = writeln!(out, "        {what}:");
                for (key, text) in pairs {
                    let _ = writeln!(out, "          {key}: {}", quoted(text));
                }
            }
        }
    }
    Ok(out)
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// alerts.test.yml: each alert fires when it should, with these labels and words, and ends.
pub fn tests() -> Result<String, String> {
    let mut out = format!(
        "# Generated like alerts.yml: {}\nrule_files: [alerts.yml]\nevaluation_interval: 1m\ntests:\n",
        super::BLESS
    );
    for rule in CATALOGUE {
        test_of_rule(&mut out, rule)?;
    }
    for (own, alert) in OWN.iter().zip(of_itself()?) {
        for (series, fires) in [(own.sick, true), (own.well, false)] {
            let _ = writeln!(
                out,
                "  - name: {} {}\n    interval: 1m\n    input_series:",
                alert.name,
                if fires { "fires" } else { "is quiet" }
            );
            for (of, labels, values) in series {
                let series = format!(
                    "{}{{job=\"stallscope\", instance=\"node:9777\"{labels}}}",
                    if *of == "up" {
                        "up".to_owned()
                    } else {
                        names::sample(metric(of)?)
                    }
                );
                let _ = writeln!(
                    out,
                    "      - series: {}\n        values: {}",
                    quoted(&series),
                    quoted(values)
                );
            }
            let more = if alert.expr.starts_with("increase") {
                ", stallscope_outcome: failure"
            } else {
                ""
            };
            let labels = fires.then(|| {
                format!(
                    "{{severity: {}, job: stallscope, instance: 'node:9777'{more}}}",
                    own.severity
                )
            });
            // The words of these have the labels' values in them, too.
            let words = |text: &str| text.replace("{{ $labels.instance }}", "node:9777");
            let annotations: Vec<(&str, String)> = alert
                .annotations
                .iter()
                .map(|(key, text)| (*key, words(text)))
                .collect();
            out.push_str("    alert_rule_test:\n");
            expect(&mut out, "1h", &alert.name, labels.as_deref(), &annotations);
        }
    }
    Ok(out)
}

/// Open for five minutes, with a peer and without one, then gone.
fn test_of_rule(out: &mut String, rule: &Rule) -> Result<(), String> {
    let finding = metric(FINDING)?;
    for peer in ["10.0.0.7:6379", ""] {
        let known = |label: &str| match label {
            RULE => rule.id,
            NAME => rule.name,
            SEVERITY => "critical",
            ROLE => "cause",
            GROUP => "www",
            PEER => peer,
            _ => "",
        };
        let labels = |between: &str| {
            let pairs = finding.labels.iter().filter(|l| !known(l).is_empty());
            let pairs =
                pairs.map(|label| format!("{}{between}\"{}\"", names::label(label), known(label)));
            pairs.collect::<Vec<_>>().join(", ")
        };
        let series = format!(
            "{}{{job=\"stallscope\", instance=\"node:9777\", {}}}",
            names::sample(finding),
            labels("=")
        );
        let _ = write!(
            out,
            "  - name: {}{}\n    interval: 1m\n    input_series:\n      - series: {}\n        values: '_ 1x5 stale'\n    alert_rule_test:\n",
            rule.reference(),
            if peer.is_empty() { ", no peer" } else { "" },
            quoted(&series)
        );
        let expected = format!(
            "{{severity: critical, role: cause, job: stallscope, instance: 'node:9777', {}}}",
            labels(": ")
        );
        let peer_words = if peer.is_empty() {
            String::new()
        } else {
            format!(", peer {peer}")
        };
        let annotations = [
            (
                "summary",
                format!("{} {}: {}", rule.id, rule.name, rule.summary),
            ),
            (
                "description",
                format!(
                    "On node:9777, group www{peer_words}. `stallscope explain {}` says how to confirm it and what to try.",
                    rule.id
                ),
            ),
            ("runbook_url", format!("{PAGES}/rules/{}", page(rule))),
        ];
        for (at, labels) in [("0m", None), ("3m", Some(expected.as_str())), ("8m", None)] {
            expect(out, at, &name(rule), labels, &annotations);
        }
    }
    Ok(())
}

fn expect(
    out: &mut String,
    at: &str,
    name: &str,
    labels: Option<&str>,
    annotations: &[(&str, String)],
) {
    let _ = write!(
        out,
        "      - eval_time: {at}\n        alertname: {name}\n        exp_alerts:"
    );
    let Some(labels) = labels else {
        out.push_str(" []\n");
        return;
    };
    let _ = write!(
        out,
        "\n          - exp_labels: {labels}\n            exp_annotations:\n"
    );
    for (key, text) in annotations {
        let _ = writeln!(out, "              {key}: {}", quoted(text));
    }
}
