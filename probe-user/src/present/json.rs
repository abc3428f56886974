//! The report of `diagnose` as JSON: types of its own, mapped by hand, so that a change inside never
//! changes the format. Units are in the names (`_ns`, `_bytes`); names follow OpenTelemetry where it has
//! them; histograms are lists of buckets, each with its own count (not cumulative); every string from the
//! traced system is escaped.

mod findings;
mod signals;

use serde::Serialize;

use super::{
    dns::DnsJson,
    escape,
    fs::{FilesJson, JournalJson},
    tcp::TcpJson,
    udp::UdpJson,
};
use crate::{
    aggregate::{Cost, Window},
    attach::{ProbeStatus, State},
    diagnose::{self, Diagnosis},
};

pub(super) use signals::{Bucket, PeerJson, ProcessJson, buckets};

/// Version of all JSON that stallscope writes: readers ignore unknown fields and refuse a newer major.
pub const SCHEMA_VERSION: &str = "1.0";

/// One JSON document; ends with a newline.
pub fn report(window: &Window, diagnosis: &Diagnosis) -> String {
    line(&Report {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        host: Host::of(&window.host, &window.kernel),
        window: WindowJson::of(window),
        signals: signals::of(window),
        tcp: window.tcp.as_deref().map(TcpJson::of),
        udp: window.udp.as_deref().map(UdpJson::of),
        dns: window.dns.as_deref().map(DnsJson::of),
        files: window.files.as_deref().map(FilesJson::of),
        journal: window.journal.as_deref().map(JournalJson::of),
        findings: diagnosis.findings.iter().map(findings::of).collect(),
        not_judged: diagnosis
            .not_judged
            .iter()
            .map(findings::not_judged)
            .collect(),
        losses: losses(&window.losses),
        cost: CostJson::of(&window.cost, window.duration_ns),
        probes: window.probes.iter().map(ProbeJson::of).collect(),
    })
}

/// A document on one line.
pub(super) fn line(document: &impl Serialize) -> String {
    // Nothing in these types can fail: no maps with odd keys, no writer. Were it to, the reader must get
    // a document that says so rather than an empty line.
    let mut text = serde_json::to_string(document).unwrap_or_else(|e| {
        format!(
            r#"{{"schema_version":"{SCHEMA_VERSION}","error":"{}"}}"#,
            e.classify() as u8
        )
    });
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Report {
    schema_version: &'static str,
    tool: Tool,
    host: Host,
    window: WindowJson,
    signals: signals::Signals,
    /// Null when TCP was not watched.
    tcp: Option<TcpJson>,
    /// Likewise.
    udp: Option<UdpJson>,
    /// Likewise.
    dns: Option<DnsJson>,
    /// Null when files were not watched.
    files: Option<FilesJson>,
    /// Null when journals were not watched.
    journal: Option<JournalJson>,
    findings: Vec<findings::FindingJson>,
    not_judged: Vec<findings::NotJudgedJson>,
    losses: Vec<LossJson>,
    cost: CostJson,
    probes: Vec<ProbeJson>,
}

/// Which program wrote it.
#[derive(Serialize)]
pub(super) struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    pub fn this() -> Self {
        Self {
            name: "stallscope",
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Where it was measured.
#[derive(Serialize)]
pub(super) struct Host {
    name: String,
    kernel: String,
}

impl Host {
    pub fn of(name: &str, kernel: &str) -> Self {
        Self {
            name: escape::name(name.as_bytes()),
            kernel: escape::name(kernel.as_bytes()),
        }
    }
}

/// When, how long, and what.
#[derive(Serialize)]
pub(super) struct WindowJson {
    /// RFC 3339, UTC.
    start: String,
    start_unix_ns: u64,
    duration_ns: u64,
    target: String,
}

impl WindowJson {
    pub fn of(window: &Window) -> Self {
        Self::new(window.start_unix_ns, window.duration_ns, &window.target)
    }

    pub fn new(start_unix_ns: u64, duration_ns: u64, target: &str) -> Self {
        Self {
            start: rfc3339(start_unix_ns),
            start_unix_ns,
            duration_ns,
            target: escape::name(target.as_bytes()),
        }
    }
}

/// Something that was lost.
#[derive(Serialize)]
pub(super) struct LossJson {
    id: &'static str,
    what: &'static str,
    means: &'static str,
    count: u64,
}

/// What was lost; empty when nothing was.
pub(super) fn losses(counts: &[u64]) -> Vec<LossJson> {
    diagnose::losses(counts)
        .into_iter()
        .map(|l| LossJson {
            id: l.id,
            what: l.what,
            means: l.means,
            count: l.count,
        })
        .collect()
}

/// What watching cost.
#[derive(Serialize)]
pub(super) struct CostJson {
    /// Time in the tool's kernel programs; null where the kernel does not tell.
    kernel_ns: Option<u64>,
    own_cpu_ns: u64,
    /// Both, as a share of one core.
    cpu_ratio: f64,
    rss_bytes: u64,
    map_bytes: u64,
    /// From start to the first data.
    start_ns: u64,
}

impl CostJson {
    pub fn of(cost: &Cost, duration_ns: u64) -> Self {
        let ns = cost.kernel_ns.unwrap_or(0) + cost.own_cpu_ns;
        Self {
            kernel_ns: cost.kernel_ns,
            own_cpu_ns: cost.own_cpu_ns,
            cpu_ratio: ns as f64 / duration_ns.max(1) as f64,
            rss_bytes: cost.rss_bytes,
            map_bytes: cost.map_bytes,
            start_ns: cost.start_ns,
        }
    }
}

/// What became of a probe.
#[derive(Serialize)]
pub(super) struct ProbeJson {
    id: &'static str,
    summary: &'static str,
    source: String,
    /// `active`, `quiet` (attached, but nothing was seen) or `off`.
    state: &'static str,
    /// Why it is off.
    reason: Option<String>,
    /// Times its programs ran, where that was measured.
    seen: Option<u64>,
}

impl ProbeJson {
    pub fn of(probe: &ProbeStatus) -> Self {
        let (state, reason) = match &probe.state {
            State::Active if probe.seen == Some(0) => ("quiet", None),
            State::Active => ("active", None),
            State::Off(why) => ("off", Some(escape::name(why.as_bytes()))),
        };
        Self {
            id: probe.id,
            summary: probe.summary,
            source: escape::name(probe.source.as_bytes()),
            state,
            reason,
            seen: probe.seen,
        }
    }
}

/// A moment in UTC: `2023-11-14T22:13:20.000Z`.
fn rfc3339(unix_ns: u64) -> String {
    let (seconds, ms) = (unix_ns / 1_000_000_000, unix_ns / 1_000_000 % 1000);
    let (days, s) = (seconds / 86_400, seconds % 86_400);
    // Days to date, in eras of 400 years that begin in March, so that a leap day ends its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (s / 3600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests;
