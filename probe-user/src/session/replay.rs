//! `stallscope replay` and `demo`: a recording as a report, or in the live view.

use std::path::Path;

use super::{Setup, output, report, view};
use crate::{
    aggregate::{About, Aggregator, Cost, Window},
    attach::ProbeStatus,
    cli::{Demo, Replay, Shown},
    collect::recording::{Frame, Full, Header, Recording},
    error::Error,
};

/// A recording of incident A, made as docs/demo.md says.
static DEMO: &[u8] = include_bytes!("../../demo/incident-a.rec");

/// Runs `replay`.
///
/// # Errors
/// Why it could not do its job.
pub fn run(args: &Replay, setup: Setup) -> Result<u8, Error> {
    show(open(&args.file)?, args.shown, setup)
}

/// Runs `demo`.
///
/// # Errors
/// Likewise.
pub fn demo(args: &Demo, setup: Setup) -> Result<u8, Error> {
    show(Recording::of_bytes("the demo", DEMO)?, args.shown, setup)
}

fn show(recording: Recording, shown: Shown, setup: Setup) -> Result<u8, Error> {
    if shown.view {
        return view::replay(recording, shown.output.redact, setup);
    }
    report::print(window(recording)?, shown.output, setup.style)
}

/// Opens a recording; what it lacks is said on stderr.
///
/// # Errors
/// It cannot be read, or is no recording of a version that is understood.
pub fn open(path: &Path) -> Result<Recording, Error> {
    let recording = Recording::open(path)?;
    if let Some(note) = recording.note() {
        output::complain(&output::plain(&format!("{}: {note}", path.display())));
    }
    Ok(recording)
}

/// A recording as one window: all of it, or of an excerpt the part that it was saved for.
///
/// # Errors
/// It is damaged.
pub fn window(mut recording: Recording) -> Result<Window, Error> {
    let mut fold = Fold::new(recording.header().clone(), recording.is_whole());
    fold.judge_from(recording.judged_from_ns());
    while let Some(frame) = recording.next_frame()? {
        fold.push(frame);
    }
    Ok(fold.finish())
}

/// What a window that begins at a look at everything is about.
pub fn about(header: &Header, base: &Full) -> About {
    About {
        host: header.host.clone(),
        kernel: header.kernel.clone(),
        target: header.target.clone(),
        start_unix_ns: base.unix_ns,
        start_ns: base.reading.at_ns,
    }
}

/// Makes a window of frames, be they recorded or about to be: the same ones make the same window.
pub struct Fold {
    header: Header,
    whole: bool,
    window: Option<Aggregator>,
    probes: Vec<ProbeStatus>,
    /// What had been spent at the first look at everything, and at the last one.
    spent: (Cost, Cost),
    /// The window begins at the last look at everything until then.
    from_ns: u64,
}

impl Fold {
    /// Begins. Of a recording that is not `whole`, what watching cost before its beginning counts for nothing.
    pub fn new(header: Header, whole: bool) -> Self {
        Self {
            header,
            whole,
            window: None,
            probes: Vec::new(),
            spent: Default::default(),
            from_ns: 0,
        }
    }

    /// Begins the window no earlier than it must to have everything since then, CLOCK_MONOTONIC ns.
    pub fn judge_from(&mut self, from_ns: Option<u64>) {
        self.from_ns = from_ns.unwrap_or(0);
        self.whole &= from_ns.is_none();
    }

    /// Takes in a frame; what comes before the first look at everything has no place.
    pub fn push(&mut self, frame: Frame) {
        let full = match (frame, &mut self.window) {
            (Frame::Events(reading), Some(window)) => return window.push(*reading),
            (Frame::Events(_), None) => return,
            (Frame::Full(full), _) => *full,
        };
        self.spent.1 = full.cost;
        if full.reading.at_ns <= self.from_ns {
            self.window = None;
        }
        match &mut self.window {
            Some(window) => window.push(full.reading),
            None => {
                let about = about(&self.header, &full);
                self.window = Some(Aggregator::since(about, &full.reading));
                self.spent.0 = full.cost;
            }
        }
        self.probes = full.probes;
    }

    /// The window, up to the last look at everything.
    pub fn finish(self) -> Window {
        let (first, last) = self.spent;
        let cost = if self.whole { last } else { last.since(&first) };
        self.window
            .map(|window| window.finish(self.probes, cost))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod demo;
#[cfg(test)]
mod tests;
