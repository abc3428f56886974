//! Runs the catalogue over a window.

use super::{
    Diagnosis, Finding, NotJudged, Severity,
    rules::{CATALOGUE, Rule, Verdict},
};
use crate::{aggregate::Window, attach::State};

/// Judges a window by every rule.
pub fn run(window: &Window) -> Diagnosis {
    run_rules(CATALOGUE, window)
}

fn run_rules(rules: &[&Rule], window: &Window) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    for rule in rules {
        let missing = missing_probes(rule, window);
        if !missing.is_empty() {
            diagnosis.not_judged.push(NotJudged {
                rule: rule.reference(),
                missing: missing.join("; "),
            });
            continue;
        }
        let Verdict {
            findings,
            not_judged,
        } = (rule.check)(window);
        diagnosis.findings.extend(findings);
        diagnosis
            .not_judged
            .extend(not_judged.into_iter().map(|missing| NotJudged {
                rule: rule.reference(),
                missing,
            }));
    }
    symptoms(&mut diagnosis.findings);
    diagnosis.findings.sort_by(rank);
    diagnosis
}

/// A queue of workers that wait for a slow peer overflows because they wait: T03 of a group is a symptom of
/// its W01, and what T03 proposes would not help. An info is no cause.
fn symptoms(findings: &mut Vec<Finding>) {
    let is_symptom = |found: &Finding, cause: &Finding| {
        (cause.rule.id, found.rule.id) == ("W01", "T03")
            && cause.severity >= Severity::Warning
            && cause.culprit.group.is_some()
            && cause.culprit.group == found.culprit.group
            && cause.culprit.php_fpm == found.culprit.php_fpm
    };
    let mut at = 0;
    while at < findings.len() {
        let cause = findings
            .iter()
            .position(|cause| is_symptom(&findings[at], cause));
        let Some(cause) = cause else {
            at += 1;
            continue;
        };
        let mut symptom = findings.remove(at);
        // A W01 is never a symptom: its place moved by one when it stood behind.
        let cause = &mut findings[if cause > at { cause - 1 } else { cause }];
        symptom.caused_by.push(cause.rule);
        cause.severity = cause.severity.max(symptom.severity);
        cause.symptoms.push(symptom);
    }
}

/// The worst first; among equals the one that explains most.
fn rank(a: &Finding, b: &Finding) -> std::cmp::Ordering {
    b.severity
        .cmp(&a.severity)
        .then(b.explains.total_cmp(&a.explains))
}

/// A probe that a rule needs and that is off, with the reason; one that reports no status is off, too.
fn missing_probes(rule: &Rule, window: &Window) -> Vec<String> {
    rule.needs
        .iter()
        .filter_map(|need| off(window, need))
        .collect()
}

/// That a probe is off, with the reason; `None` when it is active.
pub(super) fn off(window: &Window, probe: &str) -> Option<String> {
    let status = window.probes.iter().find(|p| p.id == probe);
    match status.map(|p| &p.state) {
        Some(State::Active) => None,
        Some(State::Off(why)) => Some(format!("probe {probe} is off: {why}")),
        None => Some(format!("probe {probe} is not in this recording")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregate::fixture::probe,
        diagnose::{
            Culprit, RuleRef,
            rules::{finding_for_tests, rule_for_tests},
        },
    };

    #[test]
    fn a_rule_whose_probe_is_off_or_unknown_is_not_judged() {
        let rule = rule_for_tests(&["calls", "peers"], |_| Verdict::clear());
        let mut window = Window {
            probes: vec![probe("calls"), probe("peers")],
            ..Window::default()
        };
        assert_eq!(run_rules(&[&rule], &window), Diagnosis::default());

        window.probes[1].state = State::Off("no BTF".to_owned());
        let off = run_rules(&[&rule], &window);
        assert_eq!(off.not_judged[0].missing, "probe peers is off: no BTF");

        window.probes.truncate(1);
        let unknown = run_rules(&[&rule], &window);
        assert_eq!(
            unknown.not_judged[0].missing,
            "probe peers is not in this recording"
        );
    }

    #[test]
    fn the_worst_finding_is_first_and_among_equals_the_one_that_explains_most() {
        let rule = rule_for_tests(&[], |_| {
            let finding = |severity, explains| Finding {
                severity,
                explains,
                ..finding_for_tests()
            };
            Verdict {
                findings: vec![
                    finding(Severity::Info, 0.9),
                    finding(Severity::Warning, 0.1),
                    finding(Severity::Critical, 0.2),
                    finding(Severity::Warning, 0.4),
                ],
                not_judged: Vec::new(),
            }
        });
        let diagnosis = run_rules(&[&rule], &Window::default());
        let order: Vec<f64> = diagnosis.findings.iter().map(|f| f.explains).collect();
        assert_eq!(order, [0.2, 0.4, 0.1, 0.9]);
        assert_eq!(diagnosis.worst(), Some(Severity::Critical));
    }

    #[test]
    fn a_queue_whose_workers_wait_for_a_peer_is_a_symptom_of_that() {
        let found = |id, group: &[u8], severity| Finding {
            rule: RuleRef { id, name: "x" },
            culprit: Culprit {
                group: Some(group.to_vec()),
                ..Culprit::default()
            },
            severity,
            ..finding_for_tests()
        };
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        let mut list = vec![
            found("T03", b"www", critical),
            found("T03", b"other", warning),
            found("W01", b"www", warning),
            found("T01", b"www", warning),
        ];
        symptoms(&mut list);
        let ids: Vec<_> = list.iter().map(|f| f.rule.id).collect();
        assert_eq!(ids, ["T03", "W01", "T01"]);
        assert_eq!(list[1].symptoms[0].rule.id, "T03");
        assert_eq!(list[1].symptoms[0].caused_by, [list[1].rule]);
        // The report is not milder for what it nests.
        assert_eq!(list[1].severity, critical);

        let mut info = vec![
            found("T03", b"www", critical),
            found("W01", b"www", Severity::Info),
        ];
        symptoms(&mut info);
        assert_eq!(info.len(), 2);
    }
}
