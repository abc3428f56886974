//! The table of `stallscope count`.

use probe_common::count::{CountKey, WaitSum};

use super::Style;
use crate::collect::Count;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// What was watched, in words.
    pub target: String,
    /// Start, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// How long was counted, ns.
    pub duration_ns: u64,
    /// The system calls that were asked for: number and name, in the order asked for.
    pub syscalls: Vec<(u32, String)>,
    /// Counts by process name, call and result (as `Collector::counts` gives them).
    pub counts: Vec<Count>,
    /// Durations, when they were asked for (as `Collector::waits` gives them).
    pub waits: Vec<(CountKey, WaitSum)>,
    /// Lost, by [`probe_common::loss::slot`].
    pub losses: Vec<u64>,
}

/// The table as text; ends with a newline.
pub fn text(counted: &Counted, style: Style) -> String {
    let _ = (counted, style);
    String::new()
}

/// One JSON document; ends with a newline.
pub fn json(counted: &Counted) -> String {
    let _ = counted;
    String::new()
}
