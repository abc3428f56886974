//! Folds readings into a window.

use super::{Cost, Window};
use crate::{attach::ProbeStatus, collect::Reading};

/// What a window is about: what no reading says.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// What is watched, in words: `pool www`, `pid 4711`, `all processes`.
    pub target: String,
    /// Start of the window, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// Start of the window, CLOCK_MONOTONIC ns.
    pub start_ns: u64,
}

/// Takes in the readings of one window.
pub struct Aggregator {
    about: About,
}

impl Aggregator {
    /// A window that starts when watching began: sums so far are 0.
    pub fn new(about: About) -> Self {
        Self { about }
    }

    /// A window that starts at `base`, a full or a threads-only reading; `about.start_ns` is ignored.
    pub fn since(about: About, base: &Reading) -> Self {
        let _ = base;
        Self { about }
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, reading: Reading) {
        let _ = reading;
    }

    /// The window from its start to the last reading.
    pub fn finish(self, probes: Vec<ProbeStatus>, cost: Cost) -> Window {
        Window {
            host: self.about.host,
            probes,
            cost,
            ..Window::default()
        }
    }
}
