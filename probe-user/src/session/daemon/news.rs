//! Which open findings are news: to be saved, and told to the program of `--on-finding`. Each is at most once in a pause, and
//! all of them together are not too often: what comes too soon waits as long as it is open.

use crate::diagnose::{
    Severity,
    steady::{Change, Identity, Open},
};

/// The least time between two incidents, whatever is found, ns.
const LEAST_NS: u64 = 30 * 1_000_000_000;
/// Findings that are remembered for their pause; the oldest are forgotten.
const MOST: usize = 1024;

/// What was told already.
#[derive(Debug, Default)]
pub struct News {
    /// Findings and when they were told, CLOCK_MONOTONIC ns; the newest last.
    told: Vec<(Identity, u64)>,
    /// Open findings that were decided upon, and how bad they were then.
    decided: Vec<(u64, Severity)>,
    /// Open findings that somebody has heard of.
    heard: Vec<u64>,
}

impl News {
    /// A change as it is said to those who hear of what is at least so bad: for them, a finding opens when it becomes that bad,
    /// and one that never was has not been there.
    pub fn heard(&mut self, change: &Change, least: Severity) -> Option<Change> {
        let open = change.open();
        let known = self.heard.iter().position(|id| *id == open.id);
        match (change, known) {
            (Change::Closed(_), Some(at)) => {
                self.heard.swap_remove(at);
                Some(change.clone())
            }
            (_, Some(_)) => Some(change.clone()),
            (Change::Opened(_) | Change::Worse(_), None) if open.worst >= least => {
                self.heard.push(open.id);
                Some(Change::Opened(open.clone()))
            }
            (_, None) => None,
        }
    }

    /// Those that are to be told at `at_ns`, CLOCK_MONOTONIC. What follows from something else is in the report of that.
    pub fn pick<'a>(
        &mut self,
        at_ns: u64,
        open: &'a [Open],
        least: Severity,
        pause_ns: u64,
    ) -> Vec<&'a Open> {
        self.decided
            .retain(|(id, _)| open.iter().any(|open| open.id == *id));
        let since = |ns: u64| at_ns.saturating_sub(ns);
        if self
            .told
            .last()
            .is_some_and(|(_, ns)| since(*ns) < LEAST_NS)
        {
            return Vec::new();
        }
        self.told.retain(|(_, ns)| since(*ns) < pause_ns);
        let mut news = Vec::new();
        for open in open {
            if open.symptom || open.worst < least {
                continue;
            }
            match self.decided.iter_mut().find(|(id, _)| *id == open.id) {
                Some((_, worst)) if *worst >= open.worst => continue,
                Some((_, worst)) => *worst = open.worst,
                None => self.decided.push((open.id, open.worst)),
            }
            if self.told.iter().any(|(told, _)| *told == open.identity) {
                continue;
            }
            self.told.push((open.identity.clone(), at_ns));
            news.push(open);
        }
        let over = self.told.len().saturating_sub(MOST);
        self.told.drain(..over);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{
        Culprit, Diagnosis, Finding, RuleRef,
        rules::finding_for_tests,
        steady::{Steadiness, Steady},
    };

    const S: u64 = 1_000_000_000;
    const PAUSE: u64 = 900 * S;

    fn found(rule: &'static str, severity: Severity) -> Finding {
        Finding {
            rule: RuleRef {
                id: rule,
                name: "x",
            },
            culprit: Culprit::default(),
            severity,
            ..finding_for_tests()
        }
    }

    /// Judges a window every 5 s, and says when what was told; `script` says what is found at a time in s.
    fn run(until_s: u64, script: impl Fn(u64) -> Vec<Finding>) -> Vec<(u64, &'static str)> {
        let mut steady = Steady::new(Steadiness {
            windows: 2,
            gone_ns: 30 * S,
        });
        let mut news = News::default();
        let mut told = Vec::new();
        for at in (0..until_s).step_by(5) {
            let diagnosis = Diagnosis {
                findings: script(at),
                not_judged: Vec::new(),
            };
            steady.update(at * S, &diagnosis);
            let picked = news.pick(at * S, steady.open(), Severity::Warning, PAUSE);
            told.extend(picked.iter().map(|open| (at, open.finding.rule.id)));
        }
        told
    }

    #[test]
    fn for_who_hears_of_it_a_finding_opens_when_it_is_bad_enough() {
        let mut steady = Steady::new(Steadiness {
            windows: 2,
            gone_ns: 30 * S,
        });
        let mut news = News::default();
        let mut heard = Vec::new();
        for at in (0..300).step_by(5) {
            let findings = match at {
                ..50 => vec![found("W01", Severity::Info), found("T03", Severity::Info)],
                50..100 => vec![found("W01", Severity::Warning)],
                100..150 => vec![found("W01", Severity::Critical)],
                _ => Vec::new(),
            };
            let diagnosis = Diagnosis {
                findings,
                not_judged: Vec::new(),
            };
            for change in steady.update(at * S, &diagnosis) {
                heard.extend(
                    news.heard(&change, Severity::Warning)
                        .map(|change| (at, format!("{change:?}")[..6].to_owned())),
                );
            }
        }
        let expected = [(50, "Opened"), (100, "Worse("), (175, "Closed")];
        assert_eq!(heard.len(), 3, "{heard:?}");
        assert_eq!(
            heard
                .iter()
                .map(|(_, word)| word.as_str())
                .collect::<Vec<_>>(),
            expected.map(|(_, word)| word)
        );
        assert_eq!((heard[0].0, heard[1].0), (50, 100));
        assert!(news.heard.is_empty());
    }

    #[test]
    fn what_lasts_is_told_once() {
        assert_eq!(
            run(7200, |_| vec![found("W01", Severity::Warning)]),
            [(5, "W01")]
        );
        assert_eq!(run(600, |_| vec![found("W01", Severity::Info)]), []);
    }

    #[test]
    fn what_comes_back_is_told_after_the_pause() {
        let on = |at: u64| match at % 300 < 60 {
            true => vec![found("W01", Severity::Warning)],
            false => Vec::new(),
        };
        assert_eq!(run(2000, on), [(5, "W01"), (905, "W01"), (1805, "W01")]);
    }

    #[test]
    fn what_gets_worse_is_told_again_but_not_within_the_pause() {
        let worse_at = |when: u64| {
            move |at: u64| {
                let worst = [Severity::Warning, Severity::Critical];
                vec![found("W01", worst[usize::from(at >= when)])]
            }
        };
        assert_eq!(run(2000, worse_at(100)), [(5, "W01")]);
        assert_eq!(run(2000, worse_at(1000)), [(5, "W01"), (1000, "W01")]);
    }

    #[test]
    fn what_comes_too_soon_after_another_waits() {
        let both = |at: u64| match at < 10 {
            true => vec![found("W01", Severity::Warning)],
            false => vec![
                found("W01", Severity::Warning),
                found("T01", Severity::Critical),
                found("T02", Severity::Critical),
            ],
        };
        assert_eq!(run(600, both), [(5, "W01"), (35, "T01"), (35, "T02")]);
    }
}
