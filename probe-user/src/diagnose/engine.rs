//! Runs the catalogue over a window.

use super::{
    Diagnosis, Finding, NotJudged,
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
    diagnosis.findings.sort_by(rank);
    diagnosis
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
        diagnose::{Severity, rules::rule_for_tests},
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
                ..crate::diagnose::rules::finding_for_tests()
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
}
