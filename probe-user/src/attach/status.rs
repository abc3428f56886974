//! What became of each probe.

/// What became of a probe on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Attached.
    Active,
    /// Not attached, and why (one line).
    Off(String),
}

/// One line of `doctor`, and of the coverage in every report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Stable id, such as `calls`.
    pub id: &'static str,
    /// What it shows.
    pub summary: &'static str,
    /// What it is attached to.
    pub source: String,
    /// Active, or off with a reason.
    pub state: State,
    /// Times its programs ran, where that was measured.
    pub seen: Option<u64>,
}
