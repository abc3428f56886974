//! W01: requests spend most of their wall time waiting for one peer.

use super::{Doc, Rule, Stage, Verdict};
use crate::diagnose::Severity;

/// The rule.
pub const RULE: Rule = Rule {
    id: "W01",
    name: "blocking-upstream",
    summary: "requests spend most of their wall time waiting for one peer",
    stage: Stage::Stable,
    severity: Severity::Critical,
    needs: &["calls", "scheduler", "peers"],
    doc: Doc {
        sees: "",
        matters: "",
        confirm: "",
        try_: "",
        wrong: "",
    },
    check: |_| Verdict::clear(),
};
