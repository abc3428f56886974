//! Findings as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PeerJson, Text, values::finite};
use crate::{
    diagnose::{Culprit, Evidence, Finding, Measured, NotJudged, Place, Remedy, RuleRef},
    present::names,
};

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingJson {
    /// Id and name of the rule: `W01 blocking-upstream`. Ids are never reused.
    pub rule: Text,
    /// One line.
    pub title: Text,
    /// `info`, `warning` (users notice it, or soon will) or `critical` (requests fail, or users wait for seconds).
    pub severity: Text,
    /// How sure it is.
    pub confidence: ConfidenceJson,
    /// Share of `explains_what` that it explains, 0 to 1; among equally severe findings, the report is ranked by it.
    pub explains: f64,
    /// What `explains` is a share of, in words: `the time lost in requests`.
    pub explains_what: Text,
    /// Who is to blame.
    pub culprit: CulpritJson,
    /// The values that made the rule fire.
    pub measured: Vec<MeasuredJson>,
    /// What happened, a sentence each; the first is the headline.
    pub summary: Vec<Text>,
    /// Proof.
    pub evidence: Vec<EvidenceJson>,
    /// What to do, safest first.
    pub remedies: Vec<RemedyJson>,
    /// Length of the window it rests on.
    pub window_ns: u64,
    /// When the first of it was seen, after the window's start; null where it was there before, or that is not known.
    /// Since 1.1.
    #[serde(default)]
    pub first_offset_ns: Option<u64>,
    /// The rules that found its cause.
    pub caused_by: Vec<Text>,
    /// What follows from it.
    pub symptoms: Vec<FindingJson>,
}

/// How sure a finding is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfidenceJson {
    /// `low` (a hint: look yourself before acting), `medium` (likely) or `high`.
    pub level: Text,
    /// Why it is not higher, or what it rests on: one clause each.
    pub reasons: Vec<Text>,
}

/// Who is to blame; null where one is not known or not meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CulpritJson {
    /// The group of processes that suffers: a PHP-FPM pool's or a process's name.
    pub group: Option<Text>,
    /// True when `group` is a PHP-FPM pool.
    pub php_fpm: bool,
    /// A process to look at.
    #[serde(rename = "process.pid")]
    pub pid: Option<u32>,
    /// The peer.
    pub peer: Option<PeerJson>,
    /// The file system, where it is one.
    pub place: Option<PlaceJson>,
}

/// A file system, or a directory in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceJson {
    /// Device number: `259:3`.
    pub device: Text,
    /// What is mounted, such as `/dev/sda1`.
    #[serde(rename = "system.device")]
    pub source: Text,
    /// Where it is mounted.
    #[serde(rename = "system.filesystem.mountpoint")]
    pub mount_point: Text,
    /// The directory; null for the whole file system.
    #[serde(rename = "file.directory")]
    pub directory: Option<Text>,
}

/// A measured value beside the limit it went past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeasuredJson {
    /// What was measured, in words.
    pub what: Text,
    /// The value.
    pub observed: f64,
    /// The rule's limit for it.
    pub threshold: f64,
    /// Unit of both: `ns`, `ratio` (0 to 1), `count`, `per_second` or `bytes`.
    pub unit: Text,
}

/// One line of proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceJson {
    /// What it belongs to, so that related lines can be put together: `per request`, `per call`.
    pub about: Text,
    /// What it is, in words.
    pub text: Text,
    /// How much.
    pub value: f64,
    /// Unit of `value`: `ns`, `ratio` (0 to 1), `count`, `per_second` or `bytes`.
    pub unit: Text,
    /// The command that confirms it by hand; null where there is none.
    pub command: Option<Text>,
}

/// Something to try. The tool never does it itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemedyJson {
    /// What to do.
    pub text: Text,
    /// The command, for now; null where there is none.
    pub command: Option<Text>,
    /// The same so that it survives a reboot; null where there is none.
    pub persistent: Option<Text>,
    /// For a setting: its value now, and the proposed one.
    pub change: Option<ChangeJson>,
    /// What it brings, with the arithmetic; null where there is none.
    pub arithmetic: Option<Text>,
    /// What may go wrong.
    pub risk: Text,
}

/// A change of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeJson {
    /// Its value now.
    pub current: Text,
    /// The proposed one.
    pub proposed: Text,
}

/// A rule that could not look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotJudgedJson {
    /// Id and name of the rule.
    pub rule: Text,
    /// What is missing, and why.
    pub missing: Text,
}

impl NotJudgedJson {
    pub(super) fn of(n: &NotJudged) -> Self {
        Self {
            rule: n.rule.to_string().into(),
            missing: Text::name(n.missing.as_bytes()),
        }
    }
}

impl FindingJson {
    pub(super) fn of(f: &Finding) -> Self {
        Self {
            rule: f.rule.to_string().into(),
            title: Text::name(f.title.as_bytes()),
            severity: f.severity.name().into(),
            confidence: ConfidenceJson {
                level: f.confidence.level.name().into(),
                reasons: f
                    .confidence
                    .reasons
                    .iter()
                    .cloned()
                    .map(Text::from)
                    .collect(),
            },
            explains: finite(f.explains),
            explains_what: f.explains_what.into(),
            culprit: CulpritJson::of(&f.culprit),
            measured: f.measured.iter().map(MeasuredJson::of).collect(),
            summary: f
                .summary
                .iter()
                .map(|s| names::sentence(s).into())
                .collect(),
            evidence: f.evidence.iter().map(EvidenceJson::of).collect(),
            remedies: f.remedies.iter().map(RemedyJson::of).collect(),
            window_ns: f.window_ns,
            first_offset_ns: f.first_ns,
            caused_by: f.caused_by.iter().map(reference).collect(),
            symptoms: f.symptoms.iter().map(Self::of).collect(),
        }
    }
}

fn reference(rule: &RuleRef) -> Text {
    rule.to_string().into()
}

impl CulpritJson {
    fn of(c: &Culprit) -> Self {
        Self {
            group: c.group.as_deref().map(Text::name),
            php_fpm: c.php_fpm,
            pid: c.pid,
            peer: c.peer.as_ref().map(PeerJson::of),
            place: c.place.as_ref().map(PlaceJson::of),
        }
    }
}

impl PlaceJson {
    fn of(p: &Place) -> Self {
        Self {
            device: format!("{}:{}", p.device.major, p.device.minor).into(),
            source: Text::name(&p.source),
            mount_point: Text::name(&p.mount_point),
            directory: p.directory.as_deref().map(Text::name),
        }
    }
}

impl MeasuredJson {
    fn of(m: &Measured) -> Self {
        Self {
            what: m.what.into(),
            observed: finite(m.observed.value),
            threshold: finite(m.threshold.value),
            unit: m.observed.unit.name().into(),
        }
    }
}

impl EvidenceJson {
    fn of(e: &Evidence) -> Self {
        Self {
            about: e.about.into(),
            text: names::sentence(&e.text).into(),
            value: finite(e.value.value),
            unit: e.value.unit.name().into(),
            command: e.command.clone().map(Text::from),
        }
    }
}

impl RemedyJson {
    fn of(r: &Remedy) -> Self {
        Self {
            text: names::sentence(&r.text).into(),
            command: r.command.clone().map(Text::from),
            persistent: r.persistent.clone().map(Text::from),
            change: r.change.as_ref().map(|(current, proposed)| ChangeJson {
                current: Text::name(current.as_bytes()),
                proposed: Text::name(proposed.as_bytes()),
            }),
            arithmetic: r.arithmetic.as_ref().map(|s| names::sentence(s).into()),
            risk: r.risk.clone().into(),
        }
    }
}
