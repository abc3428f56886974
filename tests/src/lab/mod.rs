//! The lab: incidents re-enacted on real servers, their healthy twins, and mixtures, each with the causes that the tool has to
//! find, and numbers of something independent that it has to agree with. `cargo xtask lab` runs them.
//!
//! A scenario is one function in `tests/lab/`: it draws its parameters ([`Lab`]), starts servers, has `diagnose` watch them
//! ([`Lab::watch`]), makes the load and the fault, and returns an [`Outcome`]. Everything that decides whether that is good is
//! in [`judge`].

mod judge;
mod table;

use std::{
    fmt::Debug,
    fs::File,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
pub use judge::{Cause, Expected, Fault, Outcome, Truth, judge};
pub use table::{Row, Verdict, markdown, text};

use crate::{
    netns::Netns,
    report::Report,
    tool::{self, Tool},
    web,
};

/// What a scenario is, and so what its report has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One cause.
    Incident,
    /// A busy, well-tuned server: nothing to be said.
    Healthy,
    /// Two things at once.
    Mixture,
}

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What happens, in a few words.
    pub about: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Plays it.
    pub play: fn(&mut Lab) -> anyhow::Result<Outcome>,
}

/// A run of one scenario: where its numbers and names come from, and where it keeps its files.
///
/// The calling thread is in a network namespace of the run's own, so that ports, limits and counters are nobody else's.
pub struct Lab {
    /// What everything that is drawn follows from.
    pub seed: u64,
    full: bool,
    random: fastrand::Rng,
    drawn: Vec<(&'static str, String)>,
    dir: tempfile::TempDir,
    _netns: Netns,
}

/// A healthy server is watched for so long: in full, and in the quick subset.
const HEALTHY: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(12)];

impl Lab {
    /// A run of the scenario called `name`; `full` as `cargo xtask lab --all` has it.
    pub fn new(name: &str, seed: u64, full: bool) -> anyhow::Result<Self> {
        let netns = Netns::enter()?;
        // Scenarios with the same seed draw different numbers.
        let own = name.bytes().fold(seed, |sum, byte| {
            sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        let dir = tempfile::Builder::new().prefix("lab-").tempdir()?;
        web::open_to_all(dir.path())?;
        Ok(Self {
            seed,
            full,
            random: fastrand::Rng::with_seed(own),
            drawn: Vec::new(),
            dir,
            _netns: netns,
        })
    }

    /// A number within a range, both ends included.
    pub fn number(&mut self, what: &'static str, range: RangeInclusive<u64>) -> u64 {
        let number = self.random.u64(range);
        self.drawn.push((what, number.to_string()));
        number
    }

    /// One of several.
    pub fn one_of<T: Copy + Debug>(&mut self, what: &'static str, of: &[T]) -> T {
        let one = of[self.random.usize(..of.len())];
        self.drawn.push((what, format!("{one:?}")));
        one
    }

    /// A name that no rule can know: small letters and figures, beginning with a letter.
    pub fn name(&mut self, what: &'static str) -> String {
        let length = self.random.usize(4..=9);
        let mut name = String::from(self.random.lowercase());
        while name.len() < length {
            let next = self.random.alphanumeric().to_ascii_lowercase();
            name.push(next);
        }
        self.drawn.push((what, name.clone()));
        name
    }

    /// What was drawn, in order.
    pub fn drawn(&self) -> &[(&'static str, String)] {
        &self.drawn
    }

    /// How long a healthy server is kept busy.
    pub fn healthy_for(&self) -> Duration {
        HEALTHY[usize::from(!self.full)]
    }

    /// A directory of the run's own, which the servers' users may enter.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Has `diagnose` watch: `who` are its options, such as `["--pool", "shop"]`. It is attached when this returns.
    pub fn watch(&self, who: &[&str]) -> anyhow::Result<Watch> {
        let recording = self.dir.path().join("recording");
        let args = [&["diagnose", "--json", "--duration", "150s"], who].concat();
        let tool = Tool::start_recording(&args, &recording)?;
        Ok(Watch { tool, recording })
    }
}

/// Waits until no other lab plays on this machine, and keeps others from it until this is dropped: files and disks are not
/// in a namespace, and two scenarios would be each other's neighbours.
pub fn alone() -> anyhow::Result<File> {
    // A lock on the directory leaves nothing behind.
    let place = File::open(std::env::temp_dir())?;
    place.lock()?;
    Ok(place)
}

/// A running `diagnose`.
pub struct Watch {
    tool: Tool,
    recording: PathBuf,
}

/// What it said.
pub struct Said {
    /// The report.
    pub report: Report,
    /// Exit code.
    pub code: Option<i32>,
    /// The same report as text, for who looks on.
    pub text: String,
}

impl Watch {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.tool.pid()
    }

    /// Ends it, as Ctrl-C does, and takes its report.
    pub fn end(self) -> anyhow::Result<Said> {
        let output = self.tool.interrupt()?;
        let report = Report::of(&output)?;
        let at = self.recording.display().to_string();
        let text = tool::run(&["replay", &at])?;
        ensure!(text.code == output.code, "the replay: {}", text.stderr);
        Ok(Said {
            report,
            code: output.code,
            text: text.stdout,
        })
    }
}
