//! Findings that come, go, blink and crowd.

use proptest::prelude::*;

use super::*;
use crate::diagnose::rules::finding_for_tests;

const S: u64 = 1_000_000_000;
const STEADINESS: Steadiness = Steadiness {
    windows: 2,
    gone_ns: 30 * S,
};

fn found(rule: &'static str, group: &str, severity: Severity) -> Finding {
    Finding {
        rule: RuleRef {
            id: rule,
            name: "x",
        },
        culprit: Culprit {
            group: Some(group.into()),
            ..Culprit::default()
        },
        severity,
        window_ns: 40 * S,
        ..finding_for_tests()
    }
}

fn says(findings: Vec<Finding>) -> Diagnosis {
    Diagnosis {
        findings,
        not_judged: Vec::new(),
    }
}

/// `+W01 www`, `!W01 www`, `-W01 www`: opened, worse, closed.
fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| {
        let (sign, open) = match change {
            Change::Opened(open) => ('+', open),
            Change::Worse(open) => ('!', open),
            Change::Closed(open) => ('-', open),
        };
        let group = open.finding.culprit.group.clone().unwrap_or_default();
        let group = String::from_utf8_lossy(&group).into_owned();
        format!("{sign}{} {group}", open.finding.rule.id)
    };
    changes.iter().map(word).collect()
}

/// A window every 5 s; each letter is one: `.` nothing, `i` info, `w` warning, `c` critical.
fn run(script: &str) -> Vec<(usize, String)> {
    let mut steady = Steady::new(STEADINESS);
    let mut seen = Vec::new();
    for (n, letter) in script.chars().enumerate() {
        let findings = match letter {
            'i' => vec![found("W01", "www", Severity::Info)],
            'w' => vec![found("W01", "www", Severity::Warning)],
            'c' => vec![found("W01", "www", Severity::Critical)],
            _ => Vec::new(),
        };
        let changes = steady.update((n as u64 + 100) * 5 * S, &says(findings));
        seen.extend(words(&changes).into_iter().map(|word| (n, word)));
    }
    seen
}

#[test]
fn it_opens_when_it_lasts_and_closes_when_it_has_been_gone() {
    let at = |n: usize, word: &str| (n, word.to_owned());
    assert_eq!(run("w.w..w...w"), []);
    assert_eq!(run("ww"), [at(1, "+W01 www")]);
    // Last seen in the fourth window, gone for 30 s in the tenth.
    assert_eq!(run("wwww......"), [at(1, "+W01 www"), at(9, "-W01 www")]);
    assert_eq!(run("ww.....ww....."), [at(1, "+W01 www")]);
    assert_eq!(
        run("iiwwccw"),
        [at(1, "+W01 www"), at(2, "!W01 www"), at(4, "!W01 www")]
    );
}

#[test]
fn what_blinks_does_not_flap() {
    // Also when a window is as long as it must be gone.
    let mut steady = Steady::new(Steadiness {
        gone_ns: S,
        ..STEADINESS
    });
    let mut seen = Vec::new();
    for n in 0..1000 {
        let findings = match n < 2 || n % 2 == 0 {
            true => vec![found("W01", "www", Severity::Warning)],
            false => Vec::new(),
        };
        seen.extend(words(&steady.update(n * 60 * S, &says(findings))));
    }
    assert_eq!(seen, ["+W01 www"]);
}

#[test]
fn the_example_process_makes_no_other_finding_and_the_peer_does() {
    let peer = |port| Peer::Inet {
        transport: "tcp".to_owned(),
        address: [192, 0, 2, 1].into(),
        port,
    };
    let with = |pid, port| {
        let mut finding = found("W01", "www", Severity::Warning);
        finding.culprit.pid = Some(pid);
        finding.culprit.peer = Some(peer(port));
        finding
    };
    let mut steady = Steady::new(STEADINESS);
    for n in 0..10 {
        steady.update(n * 5 * S, &says(vec![with(n as u32, 80)]));
    }
    assert_eq!(steady.open().len(), 1);
    assert_eq!(steady.open()[0].finding.culprit.pid, Some(9));
    for n in 10..12 {
        steady.update(n * 5 * S, &says(vec![with(1, 80), with(1, 81)]));
    }
    assert_eq!(steady.open().len(), 2);
}

#[test]
fn a_symptom_is_open_on_its_own_and_stays_one_while_its_cause_is_open() {
    let mut cause = found("W01", "www", Severity::Warning);
    let mut symptom = found("W02", "www", Severity::Warning);
    symptom.caused_by = vec![cause.rule];
    cause.symptoms = vec![symptom.clone()];
    let mut steady = Steady::new(STEADINESS);
    steady.update(0, &says(vec![cause.clone()]));
    steady.update(5 * S, &says(vec![cause]));
    let of = |steady: &Steady| -> Vec<(&str, bool)> {
        let rule = |open: &Open| (open.finding.rule.id, open.symptom);
        steady.open().iter().map(rule).collect()
    };
    assert_eq!(of(&steady), [("W01", false), ("W02", true)]);
    symptom.caused_by.clear();
    for n in 2..6 {
        steady.update(n * 5 * S, &says(vec![symptom.clone()]));
        assert_eq!(of(&steady), [("W01", false), ("W02", true)]);
    }
    for n in 6..20 {
        steady.update(n * 5 * S, &says(vec![symptom.clone()]));
    }
    assert_eq!(of(&steady), [("W02", false)]);
}

#[test]
fn it_cannot_have_begun_before_the_window_that_had_it_first() {
    let mut steady = Steady::new(STEADINESS);
    let mut finding = found("W01", "www", Severity::Warning);
    for n in 20..22 {
        steady.update(n * 5 * S, &says(vec![finding.clone()]));
    }
    let open = &steady.open()[0];
    assert_eq!((open.onset_ns, open.since_ns), (60 * S, 100 * S));
    finding.culprit.group = Some(b"other".to_vec());
    finding.first_ns = Some(30 * S);
    for n in 22..24 {
        steady.update(n * 5 * S, &says(vec![finding.clone()]));
    }
    assert_eq!(steady.open()[1].onset_ns, (110 - 40 + 30) * S);
}

#[test]
fn a_crowd_is_bounded_and_the_worst_find_a_place() {
    let mut steady = Steady::new(STEADINESS);
    let crowd = |severity, n: u64| -> Vec<Finding> {
        let name = |i: usize| format!("{n}-{i}");
        let finding = |i| found("T01", &name(i), severity);
        (0..2 * MOST).map(finding).collect()
    };
    for n in 0..10 {
        steady.update(n * 5 * S, &says(crowd(Severity::Warning, 0)));
        assert!(steady.open().len() <= MOST);
    }
    assert_eq!(steady.crowded_out(), 10 * MOST as u64);
    let mut findings = crowd(Severity::Warning, 0);
    findings.push(found("W01", "www", Severity::Critical));
    let mut changes = Vec::new();
    for n in 10..12 {
        changes.extend(words(&steady.update(n * 5 * S, &says(findings.clone()))));
    }
    assert!(changes[0].starts_with("-T01"), "{changes:?}");
    assert_eq!(changes[1..], ["+W01 www"]);
    assert_eq!(steady.open()[0].finding.rule.id, "W01");
}

proptest! {
    #[test]
    fn every_opening_has_one_closing(
        windows in proptest::collection::vec(proptest::collection::vec((0..6usize, 0..3u8, 0..3u8), 0..6), 0..60)
    ) {
        const RULES: [&str; 3] = ["W01", "T01", "D01"];
        const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];
        let mut steady = Steady::new(STEADINESS);
        let mut open: Vec<(u64, Severity)> = Vec::new();
        // In the end, all of them have been gone for long enough.
        let quiet = std::iter::repeat_n(Vec::new(), 10);
        for (n, window) in windows.into_iter().chain(quiet).enumerate() {
            let mut findings: Vec<Finding> = Vec::new();
            for (group, rule, severity) in window {
                let finding = found(RULES[rule as usize], &group.to_string(), SEVERITIES[severity as usize]);
                match findings.first_mut() {
                    Some(first) if group > 3 => first.symptoms.push(finding),
                    _ => findings.push(finding),
                }
            }
            for change in steady.update(n as u64 * 5 * S, &says(findings)) {
                match change {
                    Change::Opened(new) => {
                        prop_assert!(open.iter().all(|(id, _)| *id != new.id));
                        open.push((new.id, new.worst));
                    }
                    Change::Worse(worse) => {
                        let known = open.iter_mut().find(|(id, _)| *id == worse.id);
                        let (_, before) = known.expect("it is open");
                        prop_assert!(worse.worst > *before);
                        *before = worse.worst;
                    }
                    Change::Closed(closed) => {
                        let at = open.iter().position(|(id, _)| *id == closed.id);
                        open.swap_remove(at.expect("it is open"));
                    }
                }
            }
            prop_assert_eq!(open.len(), steady.open().len());
        }
        prop_assert!(open.is_empty());
    }
}

#[test]
fn a_file_system_that_runs_out_is_one_finding_whoever_takes_most_of_it() {
    let by = |rule, group, device| Finding {
        culprit: Culprit {
            group: Some(Vec::from(group)),
            place: Some(Place {
                device: Device {
                    major: 8,
                    minor: device,
                },
                directory: Some(Vec::from(group)),
                ..Place::default()
            }),
            ..Culprit::default()
        },
        ..found(rule, "", Severity::Warning)
    };
    let count = |rule| {
        let mut steady = Steady::new(STEADINESS);
        for n in 0..6 {
            let group = [&b"cargo"[..], b"tar", b"rust-lld"][n as usize % 3];
            let findings = vec![by(rule, group, 1), by(rule, group, 2)];
            steady.update(n * 5 * S, &says(findings));
        }
        steady.open().len()
    };
    assert_eq!(count("S03"), 2);
    // Who creates the files, and where, is what this one is about: none was there twice in a row.
    assert_eq!(count("S02"), 0);
}
