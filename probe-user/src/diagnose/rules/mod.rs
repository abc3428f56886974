//! The catalogue: one visible list, one file a rule. Ids are stable and never used again.

mod accept_queue;
mod blocking_upstream;
mod dns_storm;
mod fin_wait2;
mod inode_exhaustion;
mod journal_stall;
mod listener_gap;
mod pool_saturated;
mod port_exhaustion;
mod small_file_storm;
mod storage;
mod tcp;
mod udp_rcvbuf_drop;

use super::{Finding, RuleRef, Severity};
use crate::aggregate::Window;

/// A rule. `CATALOGUE` lists them in the order in which the outputs show them.
#[derive(Debug)]
pub struct Rule {
    /// `W01`: a letter for the area (W workers, T TCP, U UDP and queues, S storage, C configuration) and
    /// two digits.
    pub id: &'static str,
    /// Lower-case words; they name the condition, not the cure.
    pub name: &'static str,
    /// What it judges, as the list of rules shows it: one line.
    pub summary: &'static str,
    /// How well it is tried.
    pub stage: Stage,
    /// What its findings are about: two with the same subject are one that goes on.
    pub subject: Subject,
    /// The worst severity it gives.
    pub severity: Severity,
    /// Ids of the probes without which it cannot look.
    pub needs: &'static [&'static str],
    /// What may be behind its findings, the likeliest first; such a finding is listed as a symptom.
    pub causes: &'static [Cause],
    /// What `explain` shows.
    pub doc: Doc,
    /// Judges a window.
    pub check: fn(&Window) -> Verdict,
}

/// What a rule's findings are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The culprit: who suffers, from which peer, or in which directory.
    Culprit,
    /// The file system, whoever takes most of it at the moment.
    FileSystem,
}

impl Rule {
    /// Its id and name.
    pub fn reference(&self) -> RuleRef {
        RuleRef {
            id: self.id,
            name: self.name,
        }
    }
}

/// That a finding of one rule may be behind a finding of another.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Id of the rule that finds the cause.
    pub rule: &'static str,
    /// Whether its finding, the first, explains the other, the second: both must be about the same thing.
    pub explains: fn(&Finding, &Finding) -> bool,
}

impl Cause {
    /// A finding of `rule` that is about the same thing.
    pub const fn of(rule: &'static str, explains: fn(&Finding, &Finding) -> bool) -> Self {
        Self { rule, explains }
    }
}

/// How well a rule is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Tested on sick and healthy servers.
    Stable,
    /// Thresholds may still move.
    Preview,
}

impl Stage {
    /// `stable`, `preview`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Preview => "preview",
        }
    }
}

/// A rule's documentation. Paragraphs are parted by an empty line.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// What the rule sees.
    pub sees: &'static str,
    /// Why it matters.
    pub matters: &'static str,
    /// How to confirm it by hand.
    pub confirm: &'static str,
    /// What to try.
    pub try_: &'static str,
    /// When it is wrong.
    pub wrong: &'static str,
}

impl Doc {
    /// The fixed headings with their texts, in order.
    pub fn sections(&self) -> [(&'static str, &'static str); 5] {
        [
            ("What it sees", self.sees),
            ("Why it matters", self.matters),
            ("How to confirm", self.confirm),
            ("What to try", self.try_),
            ("When it is wrong", self.wrong),
        ]
    }
}

/// What a rule says about a window.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What it found; empty when all is clear.
    pub findings: Vec<Finding>,
    /// What it could not judge, and why.
    pub not_judged: Vec<String>,
}

impl Verdict {
    /// Nothing found.
    pub fn clear() -> Self {
        Self::default()
    }
}

macro_rules! rules {
    ($( $module:ident ),* $(,)?) => {
        /// Every rule, in the order of display.
        pub const CATALOGUE: &[&Rule] = &[$( &$module::RULE ),*];
    };
}

rules![
    blocking_upstream,
    pool_saturated,
    port_exhaustion,
    fin_wait2,
    accept_queue,
    listener_gap,
    udp_rcvbuf_drop,
    dns_storm,
    journal_stall,
    small_file_storm,
    inode_exhaustion,
];

/// The rule of an id (`W01`, in any case) or name (`blocking-upstream`), or both (`W01 blocking-upstream`).
pub fn find(asked: &str) -> Option<&'static Rule> {
    let asked = asked.trim();
    CATALOGUE.iter().copied().find(|rule| {
        rule.id.eq_ignore_ascii_case(asked)
            || rule.name.eq_ignore_ascii_case(asked)
            || rule.reference().to_string().eq_ignore_ascii_case(asked)
    })
}

/// A rule made up for a test of the engine.
#[cfg(test)]
pub(super) const fn rule_for_tests(
    needs: &'static [&'static str],
    check: fn(&Window) -> Verdict,
) -> Rule {
    Rule {
        id: "T99",
        name: "made-up",
        summary: "made up",
        stage: Stage::Preview,
        subject: Subject::Culprit,
        severity: Severity::Info,
        needs,
        causes: &[],
        doc: Doc {
            sees: "a",
            matters: "b",
            confirm: "c",
            try_: "d",
            wrong: "e",
        },
        check,
    }
}

/// A finding made up for a test.
#[cfg(test)]
pub(crate) fn finding_for_tests() -> Finding {
    use super::{Confidence, Culprit, Level};
    Finding {
        rule: RuleRef {
            id: "T99",
            name: "made-up",
        },
        title: "Made up".to_owned(),
        severity: Severity::Info,
        confidence: Confidence {
            level: Level::High,
            reasons: Vec::new(),
        },
        explains: 0.0,
        explains_what: super::REQUEST_TIME,
        culprit: Culprit::default(),
        measured: Vec::new(),
        summary: Vec::new(),
        evidence: Vec::new(),
        remedies: Vec::new(),
        window_ns: 0,
        first_ns: None,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::attach::probe_ids;

    #[test]
    fn ids_and_names_are_unique_and_follow_the_pattern() {
        let ids: BTreeSet<_> = CATALOGUE.iter().map(|r| r.id).collect();
        let names: BTreeSet<_> = CATALOGUE.iter().map(|r| r.name).collect();
        assert_eq!((ids.len(), names.len()), (CATALOGUE.len(), CATALOGUE.len()));
        for rule in CATALOGUE {
            let (area, number) = rule.id.split_at(1);
            assert!("WTUSC".contains(area), "{}", rule.id);
            assert!(
                number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit()),
                "{}",
                rule.id
            );
            let word = |w: &str| {
                !w.is_empty()
                    && w.bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            assert!(rule.name.split('-').all(word), "{}", rule.name);
            assert!(
                rule.summary.len() <= 80 && !rule.summary.contains('\n'),
                "{}",
                rule.id
            );
        }
    }

    #[test]
    fn every_heading_of_every_rule_is_filled() {
        for rule in CATALOGUE {
            for (heading, text) in rule.doc.sections() {
                assert!(text.len() > 60, "{}: {heading}", rule.id);
                assert_eq!(text, text.trim(), "{}: {heading}", rule.id);
            }
        }
    }

    #[test]
    fn every_probe_that_a_rule_needs_exists() {
        for rule in CATALOGUE {
            assert!(!rule.needs.is_empty(), "{} needs nothing", rule.id);
            for need in rule.needs {
                assert!(
                    probe_ids().any(|id| id == *need),
                    "{} needs {need}",
                    rule.id
                );
            }
        }
    }

    #[test]
    fn every_cause_is_a_rule_and_nothing_causes_itself() {
        for rule in CATALOGUE {
            // All that may stand above it, however far.
            let mut above: Vec<&str> = rule.causes.iter().map(|c| c.rule).collect();
            let mut at = 0;
            while at < above.len() {
                assert_ne!(above[at], rule.id);
                let cause = find(above[at]);
                assert!(cause.is_some(), "{}: {}", rule.id, above[at]);
                for further in cause.iter().flat_map(|c| c.causes) {
                    if !above.contains(&further.rule) {
                        above.push(further.rule);
                    }
                }
                at += 1;
            }
        }
    }

    #[test]
    fn a_rule_is_found_by_id_by_name_and_by_both() {
        for asked in ["W01", "w01", "blocking-upstream", " W01 blocking-upstream "] {
            assert_eq!(find(asked).map(|r| r.id), Some("W01"), "{asked}");
        }
        assert!(find("W0").is_none() && find("").is_none());
    }
}
