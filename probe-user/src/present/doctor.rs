//! The list of `stallscope doctor`: what works on this machine, what does not, and why.

use super::Style;
use crate::attach::ProbeStatus;

/// What the doctor found.
#[derive(Clone, Debug, Default)]
pub struct Checkup {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Facts about the kernel as name and value: `BTF` `yes`, `lockdown` `integrity`, ...
    pub facts: Vec<(String, String)>,
    /// How long the probes were watched, ns.
    pub watched_ns: u64,
    /// What became of each probe.
    pub probes: Vec<ProbeStatus>,
    /// Set when nothing could be attached at all: why.
    pub failed: Option<String>,
}

/// The list as text; ends with a newline.
pub fn text(checkup: &Checkup, style: Style) -> String {
    let _ = (checkup, style);
    String::new()
}

/// One JSON document; ends with a newline.
pub fn json(checkup: &Checkup) -> String {
    let _ = checkup;
    String::new()
}
