//! What a rule says: the record that every output shows.

use std::fmt;

use crate::{aggregate::Peer, collect::mounts::Device};

/// How much a finding matters. From [`Severity::Warning`] on, `diagnose` exits with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Users notice it, or soon will.
    Warning,
    /// Requests fail, or users wait for seconds.
    Critical,
}

impl Severity {
    /// `info`, `warning`, `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A hint: look yourself before acting.
    Low,
    /// Likely.
    Medium,
    /// As sure as a measurement can make it.
    High,
}

impl Level {
    /// `low`, `medium`, `high`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// How sure, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confidence {
    /// How sure.
    pub level: Level,
    /// Why it is not higher, or what it rests on: one clause each.
    pub reasons: Vec<String>,
}

/// Unit of a [`Quantity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// A share, 0 to 1.
    Ratio,
    /// A number of things.
    Count,
    /// Things per second.
    PerSecond,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// As JSON spells it: `ns`, `ratio`, `count`, `per_second`, `bytes`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Ratio => "ratio",
            Self::Count => "count",
            Self::PerSecond => "per_second",
            Self::Bytes => "bytes",
        }
    }
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
}

impl Quantity {
    /// Nanoseconds.
    pub fn ns(value: u64) -> Self {
        Self {
            value: value as f64,
            unit: Unit::Ns,
        }
    }

    /// A share, 0 to 1.
    pub fn ratio(value: f64) -> Self {
        Self {
            value,
            unit: Unit::Ratio,
        }
    }

    /// A number of things.
    pub fn count(value: f64) -> Self {
        Self {
            value,
            unit: Unit::Count,
        }
    }

    /// Bytes.
    pub fn bytes(value: u64) -> Self {
        Self {
            value: value as f64,
            unit: Unit::Bytes,
        }
    }

    /// Things per second.
    pub fn per_second(value: f64) -> Self {
        Self {
            value,
            unit: Unit::PerSecond,
        }
    }
}

/// A measured value beside the limit it went past.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What was measured, in words.
    pub what: &'static str,
    /// The value.
    pub observed: Quantity,
    /// The rule's limit for it.
    pub threshold: Quantity,
}

/// Who is to blame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Culprit {
    /// The group of processes that suffers (a pool's or a process's name), any bytes.
    pub group: Option<Vec<u8>>,
    /// True when `group` is a PHP-FPM pool.
    pub php_fpm: bool,
    /// A process to look at.
    pub pid: Option<u32>,
    /// The peer.
    pub peer: Option<Peer>,
    /// The file system, and where in it.
    pub place: Option<Place>,
}

/// A file system, or a directory in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Device number of the file system.
    pub device: Device,
    /// What is mounted, such as `/dev/sda1`, any bytes.
    pub source: Vec<u8>,
    /// Where it is mounted, any bytes.
    pub mount_point: Vec<u8>,
    /// The directory, as it is mounted, any bytes.
    pub directory: Option<Vec<u8>>,
}

/// One line of proof.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What it belongs to, so that outputs can put related lines together: `per request`, `per call`.
    pub about: &'static str,
    /// What it is, in words.
    pub text: Sentence,
    /// How much.
    pub value: Quantity,
    /// The command that confirms it by hand. It holds no name from the traced system, only numbers.
    pub command: Option<String>,
}

/// A piece of a sentence. Numbers stay numbers, for the outputs to write; names from the traced system
/// are kept apart from our own words, for the outputs to escape.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Our own words.
    Text(String),
    /// A number with its unit.
    Value(Quantity),
    /// A peer.
    Peer(Peer),
    /// A name from the traced system, any bytes.
    Name(Vec<u8>),
}

impl From<&str> for Piece {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Piece {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Quantity> for Piece {
    fn from(value: Quantity) -> Self {
        Self::Value(value)
    }
}

impl From<&Peer> for Piece {
    fn from(peer: &Peer) -> Self {
        Self::Peer(peer.clone())
    }
}

/// A sentence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sentence(pub Vec<Piece>);

impl From<&str> for Sentence {
    fn from(text: &str) -> Self {
        Self(vec![text.into()])
    }
}

/// A [`Sentence`] of pieces: text, [`Quantity`], `&Peer`, or a [`Piece`].
macro_rules! sentence {
    ($( $piece:expr ),+ $(,)?) => {
        $crate::diagnose::Sentence(vec![$( $crate::diagnose::Piece::from($piece) ),+])
    };
}
pub(super) use sentence;

/// Something to try. The tool never does it itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remedy {
    /// What to do.
    pub text: Sentence,
    /// The command, for now.
    pub command: Option<String>,
    /// The same so that it survives a reboot.
    pub persistent: Option<String>,
    /// For a setting: its value now, and the proposed one.
    pub change: Option<(String, String)>,
    /// What it brings, with the arithmetic.
    pub arithmetic: Option<Sentence>,
    /// What may go wrong.
    pub risk: String,
}

/// A rule's id and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// `W01`.
    pub id: &'static str,
    /// `blocking-upstream`.
    pub name: &'static str,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.name)
    }
}

/// What [`Finding::explains`] is a share of for rules about requests.
pub const REQUEST_TIME: &str = "the time lost in requests";

/// What a rule found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which rule.
    pub rule: RuleRef,
    /// One line.
    pub title: String,
    /// How much it matters.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// Share of `explains_what` that it explains, 0 to 1; among equally severe findings, the report is
    /// ranked by it.
    pub explains: f64,
    /// What `explains` is a share of, to be read behind "98 % of": [`REQUEST_TIME`], `the failed connects`.
    pub explains_what: &'static str,
    /// Who is to blame.
    pub culprit: Culprit,
    /// The values that made it fire.
    pub measured: Vec<Measured>,
    /// What happened, a sentence a line; the first is the headline.
    pub summary: Vec<Sentence>,
    /// Proof.
    pub evidence: Vec<Evidence>,
    /// What to do, safest first.
    pub remedies: Vec<Remedy>,
    /// Length of the window it rests on, ns.
    pub window_ns: u64,
    /// When the first of it was seen, ns after the window's start; `None` where it was there before, or that is not known.
    /// What begins clearly later than something else is not its cause.
    pub first_ns: Option<u64>,
    /// Ids of the rules that found its cause.
    pub caused_by: Vec<RuleRef>,
    /// What follows from it.
    pub symptoms: Vec<Finding>,
}

/// A rule that could not look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJudged {
    /// Which rule.
    pub rule: RuleRef,
    /// What is missing, and why.
    pub missing: String,
}

/// All that the rules say about a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosis {
    /// What was found: worst first, then by what it explains.
    pub findings: Vec<Finding>,
    /// What could not be judged.
    pub not_judged: Vec<NotJudged>,
}

impl Diagnosis {
    /// The worst severity found.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }
}
