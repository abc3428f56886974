//! What happened to a finding, as an event in the log: its headline for people, its parts as attributes for machines.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, SeverityNumber},
};

use super::{attribute, string, text};
use crate::{
    diagnose::{
        Culprit, Severity,
        steady::{Change, Open},
    },
    present::{
        escape,
        json::{PeerJson, rfc3339},
        log, names,
    },
};

/// The longest headline, in characters.
const HEADLINE: usize = 1024;

/// Something that happened to a finding.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub change: Change,
    /// When, ns since the Unix epoch.
    pub unix_ns: u64,
    /// When the finding was first seen, ns since the Unix epoch.
    pub first_unix_ns: u64,
}

impl Event {
    /// What happened at `at_ns`, CLOCK_MONOTONIC, which is `unix_ns`.
    pub fn new(change: &Change, at_ns: u64, unix_ns: u64) -> Self {
        let open = change.open();
        Self {
            change: change.clone(),
            unix_ns,
            first_unix_ns: unix_ns.saturating_sub(at_ns.saturating_sub(open.since_ns)),
        }
    }
}

/// The event as a log record. `instance` is that of the resource.
pub fn record(event: &Event, instance: &str) -> LogRecord {
    let (what, open) = match &event.change {
        Change::Opened(open) => ("opened", open),
        Change::Worse(open) => ("worse", open),
        Change::Closed(open) => ("closed", open),
    };
    // That it is over is good news, however bad it was.
    let severity = match event.change {
        Change::Closed(_) => Severity::Info,
        _ => open.worst,
    };
    LogRecord {
        time_unix_nano: event.unix_ns,
        observed_time_unix_nano: event.unix_ns,
        severity_number: number(severity).into(),
        severity_text: severity.name().to_owned(),
        body: Some(AnyValue {
            value: Some(string(&log::headline(&open.finding), HEADLINE)),
        }),
        attributes: attributes(open, what, event.first_unix_ns, instance),
        event_name: format!("stallscope.finding.{what}"),
        ..LogRecord::default()
    }
}

fn number(severity: Severity) -> SeverityNumber {
    match severity {
        Severity::Info => SeverityNumber::Info,
        Severity::Warning => SeverityNumber::Warn,
        Severity::Critical => SeverityNumber::Error,
    }
}

fn attributes(open: &Open, what: &str, first_unix_ns: u64, instance: &str) -> Vec<KeyValue> {
    let finding = &open.finding;
    // What is sent again because the answer was lost has the same one: whoever stores it may leave out the second.
    let uid = format!("{instance}-{}-{what}-{}", open.id, open.worst.name());
    let mut all: Vec<KeyValue> = [
        text("log.record.uid", &uid),
        text("stallscope.rule.id", finding.rule.id),
        text("stallscope.rule.name", finding.rule.name),
        text("stallscope.finding.title", &finding.title),
        text("stallscope.finding.severity", open.worst.name()),
        text(
            "stallscope.finding.role",
            if open.symptom { "symptom" } else { "cause" },
        ),
        text(
            "stallscope.finding.confidence",
            finding.confidence.level.name(),
        ),
        text("stallscope.finding.explained_what", finding.explains_what),
        text("stallscope.finding.first_seen", &rfc3339(first_unix_ns)),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.push(attribute(
        "stallscope.finding.id",
        Value::IntValue(open.id as i64),
    ));
    if finding.explains.is_finite() {
        all.push(attribute(
            "stallscope.finding.explained",
            Value::DoubleValue(finding.explains),
        ));
    }
    if !finding.caused_by.is_empty() {
        let rules = finding.caused_by.iter().map(|rule| AnyValue {
            value: Some(string(rule.id, escape::MAX)),
        });
        let values = rules.collect();
        all.push(attribute(
            "stallscope.finding.caused_by",
            Value::ArrayValue(ArrayValue { values }),
        ));
    }
    culprit(&finding.culprit, &mut all);
    all
}

fn culprit(culprit: &Culprit, all: &mut Vec<KeyValue>) {
    if let Some(group) = &culprit.group {
        all.extend(text(
            "stallscope.group",
            &names::group(group, culprit.php_fpm),
        ));
    }
    if let Some(pid) = culprit.pid {
        all.push(attribute("process.pid", Value::IntValue(pid.into())));
    }
    if let Some(peer) = &culprit.peer {
        let peer = PeerJson::of(peer);
        all.extend(text("stallscope.peer", &peer.name));
        all.extend(text(
            "network.transport",
            peer.transport.as_deref().unwrap_or_default(),
        ));
        all.extend(text(
            "network.peer.address",
            peer.address.as_deref().unwrap_or_default(),
        ));
        if let Some(port) = peer.port {
            all.push(attribute("network.peer.port", Value::IntValue(port.into())));
        }
    }
    if let Some(place) = &culprit.place {
        let name = |bytes: &[u8]| escape::name(bytes);
        all.extend(text("system.device", &name(&place.source)));
        all.extend(text(
            "system.filesystem.mountpoint",
            &name(&place.mount_point),
        ));
        let directory = place.directory.as_deref().unwrap_or_default();
        all.extend(text("file.directory", &name(directory)));
    }
}
