//! Whether what the tool said of a scenario is right.

use serde_json::Value;

use super::Said;
use crate::report::Report;

/// A cause that has to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The rule that finds it: `W01`.
    pub rule: &'static str,
    /// What its culprit has to name, each somewhere in it: a pool, an address, a directory, a process id.
    pub names: Vec<String>,
}

/// What a report has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing at warning or above.
    Silence,
    /// These causes and no other, above all.
    Causes {
        /// In any order where it is not the order of the first findings.
        causes: Vec<Cause>,
        /// Are they the first findings in this order?
        in_order: bool,
        /// Rules that may be there besides, as what follows from the causes.
        besides: Vec<&'static str>,
    },
}

impl Expected {
    /// One cause, which comes first; `besides` may follow from it.
    pub fn first(rule: &'static str, names: &[&str], besides: &[&'static str]) -> Self {
        Self::Causes {
            causes: vec![Cause {
                rule,
                names: names.iter().map(|&name| name.to_owned()).collect(),
            }],
            in_order: true,
            besides: besides.to_vec(),
        }
    }
}

/// A number that the tool told, beside one that something else did.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// What it is a number of, with its unit.
    pub what: &'static str,
    /// What the tool says; none: it says nothing.
    pub told: Option<f64>,
    /// What the other says.
    pub truth: f64,
    /// Who the other is: `nginx's access log`.
    pub source: &'static str,
    /// So far off the tool may be, as a share of the truth; 0: not at all.
    pub within: f64,
}

impl Truth {
    /// A number that has to be told exactly.
    pub fn exact(what: &'static str, told: Option<f64>, truth: f64, source: &'static str) -> Self {
        Self {
            what,
            told,
            truth,
            source,
            within: 0.0,
        }
    }

    /// The same, but it may be off by this share of the truth.
    pub fn within(self, within: f64) -> Self {
        Self { within, ..self }
    }

    /// How far off it is, as a share of the truth.
    pub fn off(&self) -> Option<f64> {
        let told = self.told?;
        if told == self.truth {
            return Some(0.0);
        }
        Some((told - self.truth).abs() / self.truth.abs().max(f64::MIN_POSITIVE))
    }

    /// Do they agree?
    pub fn agrees(&self) -> bool {
        self.off().is_some_and(|off| off <= self.within)
    }
}

/// What came of a scenario.
pub struct Outcome {
    /// What the tool said.
    pub said: Said,
    /// What it had to say.
    pub expected: Expected,
    /// Its numbers beside those of others. At least one.
    pub truths: Vec<Truth>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A sentence.
    pub says: String,
    /// May it be so because the machine was taken away meanwhile? A wrong count may not, nor an exit code that does not fit.
    pub excusable: bool,
}

impl Fault {
    /// What a machine that is taken away may do.
    pub fn excusable(says: String) -> Self {
        Self {
            says,
            excusable: true,
        }
    }

    /// What nothing but the tool, or its test, does.
    fn plain(says: String) -> Self {
        Self {
            says,
            excusable: false,
        }
    }
}

/// Everything that is wrong with it; none: it is as it should be.
pub fn judge(outcome: &Outcome) -> Vec<Fault> {
    let report = &outcome.said.report;
    let findings = of_findings(report.findings(), &outcome.expected);
    let mut faults: Vec<Fault> = findings.into_iter().map(Fault::excusable).collect();
    if outcome.truths.is_empty() {
        let says = "the scenario compares no number with anything independent";
        faults.push(Fault::plain(says.to_owned()));
    }
    let whole = kept_all(report);
    for truth in outcome.truths.iter().filter(|truth| !truth.agrees()) {
        let told = truth.told.map_or("nothing".to_owned(), |n| n.to_string());
        let Truth {
            what,
            truth,
            source,
            within,
            ..
        } = truth;
        faults.push(Fault {
            says: format!(
                "{what}: told {told}, {source} says {truth} ({:.0} % off are let pass)",
                within * 100.0
            ),
            // What has to be exact is the same however slowly the machine runs; what was lost, and said to be, is no wrong count.
            excusable: *within > 0.0 || !whole,
        });
    }
    if !whole {
        faults.push(Fault::excusable(format!("lost: {}", report.0["losses"])));
    }
    let loud = report.findings().iter().any(matters);
    if outcome.said.code != Some(i32::from(loud)) {
        faults.push(Fault::plain(format!("exit code {:?}", outcome.said.code)));
    }
    faults
}

/// Of so many transitions of TCP sockets one may not have been shown to the tool, which says so: see decision 0020.
const SHOWN: u64 = 10_000;

/// Was nothing lost, but for what the kernel itself left out?
fn kept_all(report: &Report) -> bool {
    let states = report.0["tcp"]["states"].as_array().into_iter().flatten();
    let transitions: u64 = states.filter_map(|state| state["entered"].as_u64()).sum();
    report
        .losses()
        .all(|(id, count)| match id == "transition_unseen" {
            true => count <= transitions.div_ceil(SHOWN),
            false => count == 0,
        })
}

/// Is it a warning or worse?
fn matters(finding: &Value) -> bool {
    finding["severity"] != "info"
}

fn rule(finding: &Value) -> &str {
    let whole = finding["rule"].as_str().unwrap_or_default();
    whole.split(' ').next().unwrap_or_default()
}

/// A finding and everything that hangs below it.
fn with_symptoms(finding: &Value) -> Vec<&Value> {
    let below = finding["symptoms"].as_array().into_iter().flatten();
    let below = below.flat_map(with_symptoms);
    std::iter::once(finding).chain(below).collect()
}

fn is(finding: &Value, cause: &Cause) -> bool {
    let culprit = finding["culprit"].to_string();
    rule(finding) == cause.rule && cause.names.iter().all(|name| culprit.contains(name))
}

fn of_findings(findings: &[Value], expected: &Expected) -> Vec<String> {
    let mut faults = Vec::new();
    let Expected::Causes {
        causes,
        in_order,
        besides,
    } = expected
    else {
        let loud = findings
            .iter()
            .flat_map(with_symptoms)
            .filter(|f| matters(f));
        return loud
            .map(|f| format!("blamed without a cause: {} {}", f["rule"], f["culprit"]))
            .collect();
    };
    for (n, cause) in causes.iter().enumerate() {
        let found = findings.iter().position(|finding| is(finding, cause));
        match found {
            None => faults.push(format!(
                "not found as a cause: {} of {}",
                cause.rule,
                cause.names.join(", ")
            )),
            Some(at) if !matters(&findings[at]) => {
                faults.push(format!(
                    "{} is only {}",
                    cause.rule, findings[at]["severity"]
                ));
            }
            Some(at) if at != n && *in_order => {
                faults.push(format!(
                    "{} is number {}, not {}",
                    cause.rule,
                    at + 1,
                    n + 1
                ));
            }
            // Without an order the causes are still what the report begins with.
            Some(at) if at >= causes.len() => {
                faults.push(format!("{} comes after others", cause.rule));
            }
            Some(_) => {}
        }
    }
    let others = findings
        .iter()
        .flat_map(with_symptoms)
        .filter(|f| matters(f));
    for finding in others {
        let wanted = causes.iter().any(|cause| is(finding, cause));
        if !wanted && !besides.contains(&rule(finding)) {
            faults.push(format!(
                "blamed besides: {} {}",
                finding["rule"], finding["culprit"]
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(rule: &str, severity: &str, group: &str, symptoms: Value) -> Value {
        json!({"rule": rule, "severity": severity, "culprit": {"group": group}, "symptoms": symptoms})
    }

    fn count(findings: &[Value], expected: &Expected) -> usize {
        of_findings(findings, expected).len()
    }

    #[test]
    fn silence_is_no_warning_at_any_depth() {
        let quiet = finding("S02 small-file-storm", "info", "shop", json!([]));
        assert_eq!(count(std::slice::from_ref(&quiet), &Expected::Silence), 0);
        let loud = finding("W02 pool-saturated", "warning", "shop", json!([]));
        assert_eq!(count(std::slice::from_ref(&loud), &Expected::Silence), 1);
        let below = finding("S02 small-file-storm", "info", "shop", json!([loud]));
        assert_eq!(count(&[below], &Expected::Silence), 1);
    }

    #[test]
    fn a_cause_comes_first_with_its_culprit_and_nobody_else_is_blamed() {
        let symptom = finding("W02 pool-saturated", "warning", "shop", json!([]));
        let found = finding(
            "W01 blocking-upstream",
            "critical",
            "shop",
            json!([symptom]),
        );
        let other = finding("T03 accept-queue", "warning", "shop", json!([]));
        let expected = Expected::first("W01", &["shop"], &["W02"]);
        assert_eq!(count(std::slice::from_ref(&found), &expected), 0);
        assert_eq!(count(&[], &expected), 1);
        // Second, and blamed besides.
        assert_eq!(count(&[other, found.clone()], &expected), 2);
        assert_eq!(
            count(
                std::slice::from_ref(&found),
                &Expected::first("W01", &["shop"], &[])
            ),
            1
        );
        // Another culprit: it is not found, and blamed besides.
        assert_eq!(
            count(&[found], &Expected::first("W01", &["blog"], &["W02"])),
            2
        );
    }

    #[test]
    fn two_causes_are_the_first_two_in_any_order() {
        let cause = |rule, name: &str| Cause {
            rule,
            names: vec![name.to_owned()],
        };
        let expected = Expected::Causes {
            causes: vec![cause("W01", "shop"), cause("T01", "api")],
            in_order: false,
            besides: vec!["W02"],
        };
        let a = finding("W01 blocking-upstream", "warning", "shop", json!([]));
        let b = finding("T01 port-exhaustion", "critical", "api", json!([]));
        let c = finding("W02 pool-saturated", "warning", "shop", json!([]));
        assert_eq!(count(&[b.clone(), a.clone(), c.clone()], &expected), 0);
        assert_eq!(count(&[b, c, a], &expected), 1);
    }

    #[test]
    fn what_was_lost_is_a_fault_unless_the_kernel_left_it_out() {
        let report = |id: &str, count: u64| {
            Report(json!({
                "losses": [{"id": id, "count": count}],
                "tcp": {"states": [{"entered": 15_000}, {"entered": 6_000}]},
            }))
        };
        assert!(kept_all(&Report(json!({"losses": []}))));
        assert!(kept_all(&report("switch_unseen", 90)));
        assert!(!kept_all(&report("ring_full", 1)));
        // Three in twenty-one thousand.
        assert!(kept_all(&report("transition_unseen", 3)));
        assert!(!kept_all(&report("transition_unseen", 4)));
    }

    #[test]
    fn a_number_agrees_or_is_within_its_share() {
        let truth = |told, within| Truth {
            what: "requests",
            told,
            truth: 100.0,
            source: "the access log",
            within,
        };
        assert!(truth(Some(100.0), 0.0).agrees() && truth(Some(98.0), 0.02).agrees());
        assert!(!truth(Some(99.0), 0.0).agrees() && !truth(None, 1.0).agrees());
    }

    #[test]
    fn a_machine_that_is_taken_away_excuses_times_and_no_counts() {
        let of = |losses: Value, truth: Truth| {
            judge(&Outcome {
                said: Said {
                    report: Report(json!({"findings": [], "losses": losses})),
                    code: Some(0),
                    text: String::new(),
                },
                expected: Expected::Silence,
                truths: vec![truth],
            })
        };
        let count = || Truth::exact("requests", Some(99.0), 100.0, "the access log");
        let excused = |faults: &[Fault]| faults.iter().all(|fault| fault.excusable);
        assert!(!excused(&of(json!([]), count())));
        assert!(excused(&of(json!([]), count().within(0.001))));
        // It says itself that it lost some.
        let lost = json!([{"id": "ring_full", "count": 1}]);
        let faults = of(lost, count());
        assert!(faults.len() == 2 && excused(&faults), "{faults:?}");
    }
}
