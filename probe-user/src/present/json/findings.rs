//! Findings as JSON.

use serde::Serialize;

use super::{super::names, PeerJson};
use crate::{
    diagnose::{Evidence, Finding, Measured, NotJudged, Place, Quantity, Remedy, RuleRef},
    present::escape,
};

/// A finding.
#[derive(Serialize)]
pub(in crate::present) struct FindingJson {
    rule: String,
    title: String,
    severity: &'static str,
    confidence: ConfidenceJson,
    explains: f64,
    /// What `explains` is a share of.
    explains_what: &'static str,
    culprit: CulpritJson,
    measured: Vec<MeasuredJson>,
    summary: Vec<String>,
    evidence: Vec<EvidenceJson>,
    remedies: Vec<RemedyJson>,
    window_ns: u64,
    caused_by: Vec<String>,
    symptoms: Vec<FindingJson>,
}

#[derive(Serialize)]
struct ConfidenceJson {
    level: &'static str,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct CulpritJson {
    group: Option<String>,
    php_fpm: bool,
    #[serde(rename = "process.pid")]
    pid: Option<u32>,
    peer: Option<PeerJson>,
    /// The file system, where it is one.
    place: Option<PlaceJson>,
}

/// A file system, or a directory in it.
#[derive(Serialize)]
struct PlaceJson {
    /// `259:3`.
    device: String,
    #[serde(rename = "system.device")]
    source: String,
    #[serde(rename = "system.filesystem.mountpoint")]
    mount_point: String,
    #[serde(rename = "file.directory")]
    directory: Option<String>,
}

#[derive(Serialize)]
struct MeasuredJson {
    what: &'static str,
    observed: f64,
    threshold: f64,
    unit: &'static str,
}

#[derive(Serialize)]
struct EvidenceJson {
    about: &'static str,
    text: String,
    value: f64,
    unit: &'static str,
    command: Option<String>,
}

#[derive(Serialize)]
struct RemedyJson {
    text: String,
    command: Option<String>,
    persistent: Option<String>,
    change: Option<ChangeJson>,
    arithmetic: Option<String>,
    risk: String,
}

#[derive(Serialize)]
struct ChangeJson {
    current: String,
    proposed: String,
}

/// A rule that could not look.
#[derive(Serialize)]
pub(in crate::present) struct NotJudgedJson {
    rule: String,
    missing: String,
}

pub(super) fn not_judged(n: &NotJudged) -> NotJudgedJson {
    NotJudgedJson {
        rule: n.rule.to_string(),
        missing: escape::name(n.missing.as_bytes()),
    }
}

pub(super) fn of(f: &Finding) -> FindingJson {
    FindingJson {
        rule: f.rule.to_string(),
        title: escape::name(f.title.as_bytes()),
        severity: f.severity.name(),
        confidence: ConfidenceJson {
            level: f.confidence.level.name(),
            reasons: f.confidence.reasons.clone(),
        },
        explains: f.explains,
        explains_what: f.explains_what,
        culprit: CulpritJson {
            group: f.culprit.group.as_deref().map(escape::name),
            php_fpm: f.culprit.php_fpm,
            pid: f.culprit.pid,
            peer: f.culprit.peer.as_ref().map(PeerJson::of),
            place: f.culprit.place.as_ref().map(place),
        },
        measured: f.measured.iter().map(measured).collect(),
        summary: f.summary.iter().map(names::sentence).collect(),
        evidence: f.evidence.iter().map(evidence).collect(),
        remedies: f.remedies.iter().map(remedy).collect(),
        window_ns: f.window_ns,
        caused_by: f.caused_by.iter().map(RuleRef::to_string).collect(),
        symptoms: f.symptoms.iter().map(of).collect(),
    }
}

fn place(p: &Place) -> PlaceJson {
    PlaceJson {
        device: format!("{}:{}", p.device.major, p.device.minor),
        source: escape::name(&p.source),
        mount_point: escape::name(&p.mount_point),
        directory: p.directory.as_deref().map(escape::name),
    }
}

fn measured(m: &Measured) -> MeasuredJson {
    let Quantity {
        value: observed,
        unit,
    } = m.observed;
    MeasuredJson {
        what: m.what,
        observed,
        threshold: m.threshold.value,
        unit: unit.name(),
    }
}

fn evidence(e: &Evidence) -> EvidenceJson {
    EvidenceJson {
        about: e.about,
        text: names::sentence(&e.text),
        value: e.value.value,
        unit: e.value.unit.name(),
        command: e.command.clone(),
    }
}

fn remedy(r: &Remedy) -> RemedyJson {
    RemedyJson {
        text: names::sentence(&r.text),
        command: r.command.clone(),
        persistent: r.persistent.clone(),
        change: r.change.as_ref().map(|(current, proposed)| ChangeJson {
            current: escape::name(current.as_bytes()),
            proposed: escape::name(proposed.as_bytes()),
        }),
        arithmetic: r.arithmetic.as_ref().map(names::sentence),
        risk: r.risk.clone(),
    }
}
