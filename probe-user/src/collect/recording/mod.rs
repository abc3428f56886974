//! Recordings: readings in a file, from which the same windows come as from the kernel side, on any machine.

pub(super) mod format;
mod index;
pub(super) mod known;
pub(crate) mod make;
pub(super) mod raw;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use serde::{Deserialize, Serialize};

use super::{Cost, Reading};
use crate::attach::ProbeStatus;

pub use format::MAGIC;
pub use reader::Recording;
pub use writer::{Excerpt, Writer};

/// What a recording is about: what no reading says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// What was watched, in words.
    pub target: String,
    /// When watching began, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// The same, CLOCK_MONOTONIC ns.
    pub start_ns: u64,
}

/// One piece of a recording, in the order in which they came.
#[derive(Clone, Debug)]
pub enum Frame {
    /// What came since the last reading.
    Events(Box<Reading>),
    /// A reading of everything, with what became of each probe and what watching had cost so far. A recording can be
    /// looked at from any of these on, and up to any of these.
    Full(Box<Full>),
}

/// A reading of everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Full {
    /// The reading.
    pub reading: Reading,
    /// What became of each probe.
    #[serde(with = "known::probes")]
    pub probes: Vec<ProbeStatus>,
    /// What watching had cost since it began.
    pub cost: Cost,
    /// The time of day, ns since the Unix epoch.
    pub unix_ns: u64,
}
