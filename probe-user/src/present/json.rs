//! The report of `diagnose` as JSON: types of its own, mapped by hand, so that a change inside never
//! changes the format. Units are in the names (`_ns`, `_bytes`); names follow OpenTelemetry where it has
//! them; histograms are lists of buckets, each with its own count (not cumulative); every string from the
//! traced system is escaped. The descriptions of the types are those of docs/report.schema.json.

mod findings;
mod read;
mod requests;
mod signals;
mod text;
mod values;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Cost, Window},
    attach::{ProbeStatus, State},
    diagnose::{self, Diagnosis},
};

// The types of the signals stand beside their pages.
pub use super::{dns::json::*, fs::json::*, tcp::json::*, udp::json::*};
pub use findings::{
    ChangeJson, ConfidenceJson, CulpritJson, EvidenceJson, FindingJson, MeasuredJson,
    NotJudgedJson, PlaceJson, RemedyJson,
};
pub use read::Unreadable;
pub use requests::{GroupJson, PeerTimeJson, RequestJson, RequestPeerJson, SpanJson, UseJson};
pub use signals::{CallsJson, ProcessJson, Signals, WaitsForJson};
pub use text::Text;
pub use values::{Bucket, ErrorJson, PartsJson, PeerJson};
pub(super) use values::{buckets, finite};

/// Version of all JSON that stallscope writes: readers ignore unknown fields and refuse a newer major. What is added makes
/// a new minor, everything else a new major.
pub const SCHEMA_VERSION: &str = "1.1";

/// One JSON document; ends with a newline.
pub fn report(window: &Window, diagnosis: &Diagnosis) -> String {
    line(&Report::of(window, diagnosis))
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

/// What `stallscope diagnose --json` writes: what was measured in one stretch of time, and what the rules say about it.
/// Fields ending in `_ns` are nanoseconds, in `_offset_ns` nanoseconds after the window's start, in `_bytes` bytes, in
/// `_per_s` a number per second. Names from the system are escaped: control characters and bytes that are not UTF-8 as
/// `\xNN`, what deceives the eye as `\u{NNNN}`, a backslash as `\\`. Later versions may add fields: ignore unknown ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Report of stallscope diagnose --json")]
pub struct Report {
    /// Version of this format, `major.minor`: a newer minor only adds fields.
    #[schemars(extend("pattern" = r"^1\.[0-9]+$"))]
    pub schema_version: Text,
    /// Which program wrote it.
    pub tool: Tool,
    /// Where it was measured.
    pub host: Host,
    /// When, how long, and what.
    pub window: WindowJson,
    /// True when addresses, paths and names were replaced by made-up ones. Since 1.1.
    #[serde(default)]
    pub redacted: bool,
    /// What was measured of the processes that were watched.
    pub signals: Signals,
    /// TCP in one network namespace; null when it was not watched.
    pub tcp: Option<TcpJson>,
    /// UDP in one network namespace; null when it was not watched.
    pub udp: Option<UdpJson>,
    /// Questions to name servers; null when they were not watched.
    pub dns: Option<DnsJson>,
    /// Files created, and space left; null when files were not watched.
    pub files: Option<FilesJson>,
    /// Journals of file systems and uninterruptible sleep; null when journals were not watched.
    pub journal: Option<JournalJson>,
    /// What the rules found: worst first, then by what it explains.
    pub findings: Vec<FindingJson>,
    /// Rules that could not look.
    pub not_judged: Vec<NotJudgedJson>,
    /// What was lost on the way from the kernel; empty when nothing was.
    pub losses: Vec<LossJson>,
    /// What watching cost.
    pub cost: CostJson,
    /// What became of each probe.
    pub probes: Vec<ProbeJson>,
}

impl Report {
    /// The report of a window that has been judged.
    pub fn of(window: &Window, diagnosis: &Diagnosis) -> Self {
        let not_judged = diagnosis.not_judged.iter().map(NotJudgedJson::of);
        Self {
            schema_version: SCHEMA_VERSION.into(),
            tool: Tool::this(),
            host: Host::of(&window.host, &window.kernel),
            window: WindowJson::of(window),
            redacted: window.redacted,
            signals: Signals::of(window),
            tcp: window.tcp.as_deref().map(TcpJson::of),
            udp: window.udp.as_deref().map(UdpJson::of),
            dns: window.dns.as_deref().map(DnsJson::of),
            files: window.files.as_deref().map(FilesJson::of),
            journal: window.journal.as_deref().map(JournalJson::of),
            findings: diagnosis.findings.iter().map(FindingJson::of).collect(),
            not_judged: not_judged.collect(),
            losses: losses(&window.losses),
            cost: CostJson::of(&window.cost, window.duration_ns),
            probes: window.probes.iter().map(ProbeJson::of).collect(),
        }
    }
}

/// Which program wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `stallscope`.
    pub name: Text,
    /// Its version.
    pub version: Text,
}

impl Tool {
    pub(super) fn this() -> Self {
        Self {
            name: "stallscope".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// Where it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Host name.
    pub name: Text,
    /// Kernel release.
    pub kernel: Text,
}

impl Host {
    pub(super) fn of(name: &str, kernel: &str) -> Self {
        Self {
            name: Text::name(name.as_bytes()),
            kernel: Text::name(kernel.as_bytes()),
        }
    }
}

/// When, how long, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowJson {
    /// Its start: RFC 3339, UTC, in milliseconds.
    pub start: Text,
    /// The same, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// Its length.
    pub duration_ns: u64,
    /// What was watched, in words: `pool www`, `pid 4711`, `all processes`.
    pub target: Text,
}

impl WindowJson {
    pub(super) fn of(window: &Window) -> Self {
        Self::new(window.start_unix_ns, window.duration_ns, &window.target)
    }

    pub(super) fn new(start_unix_ns: u64, duration_ns: u64, target: &str) -> Self {
        Self {
            start: rfc3339(start_unix_ns).into(),
            start_unix_ns,
            duration_ns,
            target: Text::name(target.as_bytes()),
        }
    }
}

/// Something that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossJson {
    /// Stable id of what was full or failed.
    pub id: Text,
    /// What was lost, in words.
    pub what: Text,
    /// What that means for the numbers.
    pub means: Text,
    /// How often.
    pub count: u64,
}

/// What was lost; empty when nothing was.
pub(super) fn losses(counts: &[u64]) -> Vec<LossJson> {
    diagnose::losses(counts)
        .into_iter()
        .map(|l| LossJson {
            id: l.id.into(),
            what: l.what.into(),
            means: l.means.into(),
            count: l.count,
        })
        .collect()
}

/// What watching cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostJson {
    /// CPU time of the tool's kernel programs; null where the kernel does not tell.
    pub kernel_ns: Option<u64>,
    /// CPU time of the tool itself.
    pub own_cpu_ns: u64,
    /// Both, as a share of one core.
    pub cpu_ratio: f64,
    /// Memory of the tool.
    pub rss_bytes: u64,
    /// Memory of its tables in the kernel.
    pub map_bytes: u64,
    /// From start to the first data.
    pub start_ns: u64,
}

impl CostJson {
    pub(super) fn of(cost: &Cost, duration_ns: u64) -> Self {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeJson {
    /// Stable id, such as `calls`.
    pub id: Text,
    /// What it shows.
    pub summary: Text,
    /// What it is attached to.
    pub source: Text,
    /// `active`, `quiet` (attached, but nothing was seen) or `off`.
    pub state: Text,
    /// Why it is off; null when it is not.
    pub reason: Option<Text>,
    /// Times its programs ran; null where that was not measured.
    pub seen: Option<u64>,
}

impl ProbeJson {
    pub(super) fn of(probe: &ProbeStatus) -> Self {
        let (state, reason) = match &probe.state {
            State::Active if probe.seen == Some(0) => ("quiet", None),
            State::Active => ("active", None),
            State::Off(why) => ("off", Some(Text::name(why.as_bytes()))),
        };
        Self {
            id: probe.id.into(),
            summary: probe.summary.into(),
            source: Text::name(probe.source.as_bytes()),
            state: state.into(),
            reason,
            seen: probe.seen,
        }
    }
}

/// A moment in UTC: `2023-11-14T22:13:20.000Z`.
pub(super) fn rfc3339(unix_ns: u64) -> String {
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
mod generated;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
