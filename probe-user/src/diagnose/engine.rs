//! Runs the catalogue over a window.

use super::{
    Diagnosis, Finding, NotJudged, REQUEST_TIME,
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
    symptoms(rules, &mut diagnosis.findings);
    diagnosis.findings.sort_by(rank);
    diagnosis
}

/// Puts each finding under the one that its rule names as a cause, where one explains it: what is proposed
/// for a symptom would not help.
fn symptoms(rules: &[&Rule], findings: &mut Vec<Finding>) {
    let mut parents: Vec<Option<usize>> = vec![None; findings.len()];
    for at in 0..findings.len() {
        let rule = rules.iter().find(|rule| rule.id == findings[at].rule.id);
        let causes = rule.map_or(&[][..], |rule| rule.causes);
        let found = &findings[at];
        let candidates = causes.iter().flat_map(|cause| {
            (0..findings.len()).filter(|&other| {
                findings[other].rule.id == cause.rule
                    && !is_below(&parents, other, at)
                    && in_order(&findings[other], found)
                    && (cause.explains)(&findings[other], found)
            })
        });
        // Of several, the one that took most of the requests' time; else the likeliest, which its rule names first.
        let candidates: Vec<usize> = candidates.collect();
        parents[at] = candidates.into_iter().rev().max_by(|&a, &b| {
            let share = |at: usize| request_share(&findings[at]);
            share(a).total_cmp(&share(b))
        });
    }
    let mut places: Vec<Option<Finding>> = findings.drain(..).map(Some).collect();
    for at in 0..places.len() {
        if parents[at].is_none() {
            findings.extend(gather(&mut places, &parents, at));
        }
    }
}

/// Sockets, queues and file systems are looked at once a second: what is seen within one of each other may have been in
/// either order.
const TOGETHER_NS: u64 = 1_000_000_000;

/// False when the cause began clearly later than what is to follow from it.
fn in_order(cause: &Finding, symptom: &Finding) -> bool {
    match (cause.first_ns, symptom.first_ns) {
        (Some(cause), Some(symptom)) => cause <= symptom.saturating_add(TOGETHER_NS),
        _ => true,
    }
}

/// Share of the time lost in requests that a finding explains; 0 where it explains something else.
fn request_share(found: &Finding) -> f64 {
    if found.explains_what == REQUEST_TIME {
        found.explains
    } else {
        0.0
    }
}

/// True when `at` is `other`, or stands somewhere above it.
fn is_below(parents: &[Option<usize>], mut other: usize, at: usize) -> bool {
    while other != at {
        match parents[other] {
            Some(parent) => other = parent,
            None => return false,
        }
    }
    true
}

/// A finding with all that follows from it. It is as severe as the worst of them: the report is not milder
/// for what it nests.
fn gather(places: &mut [Option<Finding>], parents: &[Option<usize>], at: usize) -> Option<Finding> {
    let mut found = places[at].take()?;
    for below in 0..places.len() {
        if parents[below] == Some(at)
            && let Some(mut symptom) = gather(places, parents, below)
        {
            symptom.caused_by.push(found.rule);
            found.severity = found.severity.max(symptom.severity);
            found.symptoms.push(symptom);
        }
    }
    Some(found)
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
            Culprit, RuleRef, Severity,
            rules::{Cause, finding_for_tests, rule_for_tests},
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

    fn found(id: &'static str, group: &[u8], severity: Severity) -> Finding {
        Finding {
            rule: RuleRef { id, name: "x" },
            culprit: Culprit {
                group: Some(group.to_vec()),
                ..Culprit::default()
            },
            severity,
            ..finding_for_tests()
        }
    }

    #[test]
    fn what_began_later_is_no_cause() {
        let at = |id, group: &[u8], first_ns| Finding {
            first_ns,
            ..found(id, group, Severity::Critical)
        };
        let nested = |cause: Option<u64>, symptom: Option<u64>| {
            let mut findings = vec![at("W01", b"www", cause), at("T03", b"www", symptom)];
            symptoms(CATALOGUE, &mut findings);
            findings.len() == 1
        };
        let s = |n: u64| Some(n * 1_000_000_000);
        assert!(nested(s(2), s(5)) && nested(s(0), s(0)));
        // Seen in the same second.
        assert!(nested(s(6), s(5)));
        assert!(!nested(s(7), s(5)));
        // Not known when: nothing contradicts it.
        assert!(nested(None, s(5)) && nested(s(7), None));
    }

    #[test]
    fn of_several_causes_it_is_the_one_that_took_most_of_the_requests_time() {
        let with = |id, explains| Finding {
            explains,
            ..found(id, b"www", Severity::Critical)
        };
        let cause = |w01, s01| {
            let mut findings = vec![with("W01", w01), with("T03", 1.0), with("S01", s01)];
            findings[1].explains_what = "the connections turned away";
            symptoms(CATALOGUE, &mut findings);
            let above = findings.iter().find(|f| !f.symptoms.is_empty());
            above.map(|f| f.rule.id)
        };
        assert_eq!(cause(0.2, 0.7), Some("S01"));
        assert_eq!(cause(0.7, 0.2), Some("W01"));
        // Alike: the one that its rule names first.
        assert_eq!(cause(0.4, 0.4), Some("W01"));
    }

    #[test]
    fn a_queue_whose_workers_wait_for_a_peer_is_a_symptom_of_that() {
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        let mut list = vec![
            found("T03", b"www", critical),
            found("T03", b"other", warning),
            found("W01", b"www", warning),
            found("T01", b"www", warning),
        ];
        symptoms(CATALOGUE, &mut list);
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
        symptoms(CATALOGUE, &mut info);
        assert_eq!(info.len(), 2);
    }

    #[test]
    fn symptoms_of_symptoms_are_nested_and_no_circle_loses_a_finding() {
        const fn rule(id: &'static str, causes: &'static [Cause]) -> Rule {
            Rule {
                id,
                causes,
                ..rule_for_tests(&[], |_| Verdict::clear())
            }
        }
        const FIRST: Rule = rule("T91", &[Cause::of("T93", |_, _| true)]);
        const SECOND: Rule = rule("T92", &[Cause::of("T91", |_, _| true)]);
        const THIRD: Rule = rule("T93", &[Cause::of("T92", |_, _| true)]);
        let rules = [&FIRST, &SECOND, &THIRD];
        let (info, critical) = (Severity::Info, Severity::Critical);
        let mut list = vec![
            found("T92", b"a", info),
            found("T93", b"a", critical),
            found("T91", b"a", info),
        ];
        symptoms(&rules, &mut list);
        // T92 is below T91, T93 below T92; that T91 would be below T93 closes the circle and is left out.
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].rule.id, list[0].severity), ("T91", critical));
        let below = &list[0].symptoms[0];
        assert_eq!((below.rule.id, below.severity), ("T92", critical));
        assert_eq!(below.symptoms[0].rule.id, "T93");
    }
}
