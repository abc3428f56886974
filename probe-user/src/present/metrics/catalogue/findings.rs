//! Findings that are open, and the rules that could not look.

use std::collections::BTreeMap;

use super::labels::{MAX_BYTES, group_of, name, peer};
use crate::{
    diagnose::{
        Finding,
        rules::CATALOGUE,
        steady::{Change, Open},
    },
    present::metrics::{Kind, Metric, Rows, Seen},
};

const RULE: &[&str] = &["stallscope.rule.id", "stallscope.rule.name"];
const TOP: usize = 256;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "stallscope.finding.active",
        kind: Kind::UpDownCounter,
        unit: "{finding}",
        help: "1 for each finding that is open, with its worst severity so far; a symptom follows from another finding.",
        labels: &[
            "stallscope.rule.id",
            "stallscope.rule.name",
            "stallscope.finding.severity",
            "stallscope.finding.role",
            "stallscope.group",
            "stallscope.peer",
            "system.filesystem.mountpoint",
        ],
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for open in seen.open {
                let role = if open.symptom { "symptom" } else { "cause" };
                let rule = &open.finding.rule;
                let [group, peer, mountpoint] = culprit(&open.finding);
                let labels = [
                    rule.id,
                    rule.name,
                    open.worst.name(),
                    role,
                    &group,
                    &peer,
                    &mountpoint,
                ];
                rows.level(labels, 1.0);
            }
        },
    },
    Metric {
        name: "stallscope.finding.explained",
        kind: Kind::Gauge,
        unit: "1",
        help: "Share of the lost time or of the errors that a finding explains.",
        labels: &[
            "stallscope.rule.id",
            "stallscope.rule.name",
            "stallscope.group",
            "stallscope.peer",
            "system.filesystem.mountpoint",
        ],
        small: &[],
        otel: false,
        top: TOP,
        read: |seen, rows| {
            for Open { finding, .. } in seen.open {
                let [group, peer, mountpoint] = culprit(finding);
                let labels = [
                    finding.rule.id,
                    finding.rule.name,
                    &group,
                    &peer,
                    &mountpoint,
                ];
                rows.level(labels, finding.explains);
            }
        },
    },
    Metric {
        name: "stallscope.finding.opened",
        kind: Kind::Counter,
        unit: "{finding}",
        help: "Findings that opened.",
        labels: RULE,
        small: RULE,
        otel: false,
        top: 0,
        read: opened,
    },
    Metric {
        name: "stallscope.rule.judged",
        kind: Kind::UpDownCounter,
        unit: "{rule}",
        help: "1 where a rule could look, 0 where something that it needs is missing.",
        labels: RULE,
        small: RULE,
        otel: false,
        top: 0,
        read: |seen, rows| {
            for rule in CATALOGUE {
                let blind = seen.not_judged.iter().any(|n| n.rule.id == rule.id);
                rows.level([rule.id, rule.name], f64::from(u8::from(!blind)));
            }
        },
    },
];

/// Group, peer and file system.
fn culprit(finding: &Finding) -> [String; 3] {
    let culprit = &finding.culprit;
    let group = culprit.group.as_ref();
    let group = group.map_or_else(String::new, |g| group_of(g, culprit.php_fpm));
    let peer = culprit.peer.as_ref().map_or_else(String::new, words);
    let place = culprit.place.as_ref();
    let mountpoint = place.map_or_else(String::new, |p| name(&p.mount_point));
    [group, peer, mountpoint]
}

/// `203.0.113.5:443`, `/run/mysqld/mysqld.sock`.
fn words(p: &crate::aggregate::Peer) -> String {
    let text = crate::present::names::peer(p, 100);
    if text.len() <= MAX_BYTES {
        return text;
    }
    let [_, address, _] = peer(p);
    address
}

fn opened(seen: &Seen<'_>, rows: &mut Rows<'_>) {
    // All rules have a row from the start: what begins at 1 is no increase to who looks at differences.
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for change in seen.changes {
        if let Change::Opened(open) = change {
            *counts.entry(open.finding.rule.id).or_default() += 1;
        }
    }
    for rule in CATALOGUE {
        let count = counts.get(rule.id).copied().unwrap_or(0);
        rows.adds([rule.id, rule.name], f64::from(count));
    }
}
