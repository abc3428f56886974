//! `stallscope record`: watch, and write what is seen to a file. `diagnose --record` watches the same way.

use std::{
    cell::RefCell,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    CLEAR, FAILED, Setup,
    live::Live,
    output::{self, Progress},
    own,
    signals::{End, Signals},
};
use crate::{
    attach::{Mode, Options, Signals as Watched},
    cli::{Record, Watch},
    collect::recording::{Frame, Full, Header, Writer},
    error::Error,
    present::units,
    target::Target,
};

/// How often there is a whole look at the node in a recording: what is lost at its end when it is cut, at most ...
const FULL: Duration = Duration::from_secs(2);
/// ... unless these looks would take more than one part in this many of a CPU, one that took longer than those around it (the
/// kernel's symbols are read when a task sleeps in a place that is new) aside.
const FULL_SHARE: u32 = 100;
/// Recordings that are made beside a report keep within so many bytes.
pub const BESIDE_BYTES: u64 = 100 << 20;
/// The longest that a recording lasts when nothing is said: longer than any machine is up.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs it until the time is up, a signal, or the target's end.
///
/// # Errors
/// Why it could not do its job.
pub async fn run(args: &Record, target: Target, setup: Setup) -> Result<u8, Error> {
    free(&args.file)?;
    let mut live = Live::start(&options(&args.watch, &target), target, setup.started)?;
    let mut signals = Signals::new()?;
    let tape = Tape::create(&args.file, &header(&live), args.max_size)?;
    let mut progress = Progress::new();
    let until = live.began + args.duration.unwrap_or(FOREVER);
    let end = frames(
        &mut live,
        until,
        &mut signals,
        &mut |frame| tape.push(&frame),
        |live| {
            // A path or name of any length must leave room for the rest.
            let words: String = live.words().chars().take(30).collect();
            progress.show(&format!(
                "recording {words}: {} s, {} (Ctrl-C ends it)",
                live.watched().as_secs(),
                units::bytes(tape.bytes()),
            ));
        },
    )
    .await;
    progress.clear();
    let words = live.words().to_owned();
    let _detaching = live.detach();
    if let Some(note) = end.as_ref().ok().and_then(|end| end.note()) {
        output::complain(note);
    }
    let file = args.file.display().to_string();
    match end.and_then(|_| tape.finish()) {
        Ok(kept) => {
            output::complain(&output::plain(&format!(
                "recorded {words} for {kept}; `stallscope replay {file}` shows it"
            )));
            Ok(CLEAR)
        }
        Err(error) => {
            output::complain(&output::plain(&error.to_string()));
            if let Some(kept) = tape.kept() {
                output::complain(&output::plain(&format!(
                    "{file} can be replayed: it has {kept}"
                )));
            }
            Ok(FAILED)
        }
    }
}

/// What is attached for a recording: everything.
pub fn options(watch: &Watch, target: &Target) -> Options {
    Options {
        mode: Mode::Ledger {
            follow_all: target.is_all(),
        },
        log: watch.kernel.verbose,
        fastcgi: !watch.no_fastcgi,
        signals: Watched::ALL,
        netns_of: watch.netns,
        ..Options::default()
    }
}

/// Says so at once when a file is there already, before anything is attached.
///
/// # Errors
/// It is.
pub fn free(path: &Path) -> Result<(), Error> {
    if path.symlink_metadata().is_ok() {
        return Err(Error::Usage(format!(
            "cannot record to {}: it is there already; name another file, or remove it",
            path.display()
        )));
    }
    Ok(())
}

/// Watches until `until`, a signal, or the target's end. `each` is given a look at everything first, then what came since a
/// few times a second, a look at everything now and then, and one last.
///
/// # Errors
/// Reading the kernel side or `/proc` failed; or what `each` says, as soon as the next look is due.
pub async fn frames(
    live: &mut Live,
    until: Instant,
    signals: &mut Signals,
    each: &mut dyn FnMut(Frame) -> Result<(), Error>,
    mut second: impl FnMut(&Live),
) -> Result<End, Error> {
    // The first look costs what no later one does: the kernel's symbols are read, tables are made.
    look(live, each)?;
    let (mut took, mut before) = (Duration::ZERO, Duration::ZERO);
    loop {
        let next = Instant::now() + FULL.max(took.min(before) * FULL_SHARE);
        let mut refused = None;
        let end = live
            .watch(
                next.min(until),
                signals,
                Some(&mut |reading| {
                    if refused.is_none() {
                        refused = each(Frame::Events(Box::new(reading))).err();
                    }
                }),
                &mut second,
            )
            .await?;
        if let Some(error) = refused {
            return Err(error);
        }
        (took, before) = (look(live, each)?, took);
        if end != End::Time || Instant::now() >= until {
            return Ok(end);
        }
    }
}

/// Takes a look at everything; says how much CPU time it took.
fn look(
    live: &mut Live,
    each: &mut dyn FnMut(Frame) -> Result<(), Error>,
) -> Result<Duration, Error> {
    let before = own::cpu_ns();
    let full = Full {
        reading: live.collector.read()?,
        probes: live.probes(),
        cost: live.cost(),
        unix_ns: own::unix_ns(),
    };
    each(Frame::Full(Box::new(full)))?;
    Ok(Duration::from_nanos(own::cpu_ns().saturating_sub(before)))
}

/// What a recording is about.
pub fn header(live: &Live) -> Header {
    let about = live.about();
    Header {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: about.host,
        kernel: about.kernel,
        target: about.target,
        start_unix_ns: about.start_unix_ns,
        start_ns: about.start_ns,
    }
}

/// A recording under way.
pub struct Tape(RefCell<Inner>);

struct Inner {
    /// `None` when it is ended.
    writer: Option<Writer>,
    bytes: u64,
    readings: u64,
    /// When the oldest reading that is kept was taken, and the newest one, CLOCK_MONOTONIC ns.
    span: Option<(u64, u64)>,
    dropped: bool,
}

impl Tape {
    /// Begins one in a new file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path, header: &Header, max_bytes: u64) -> Result<Self, Error> {
        Ok(Self(RefCell::new(Inner {
            writer: Some(Writer::create(path, header, max_bytes)?),
            bytes: 0,
            readings: 0,
            span: None,
            dropped: false,
        })))
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// It cannot be written; what was before can be read.
    pub fn push(&self, frame: &Frame) -> Result<(), Error> {
        let at_ns = match frame {
            Frame::Events(reading) => reading.at_ns,
            Frame::Full(full) => full.reading.at_ns,
        };
        let inner = &mut *self.0.borrow_mut();
        let Some(writer) = &mut inner.writer else {
            return Ok(());
        };
        writer.push(frame)?;
        inner.bytes = writer.bytes();
        inner.readings += 1;
        if let Some((since_ns, dropped)) = writer.kept_since() {
            // Without a whole look behind them, readings are not replayed.
            let until_ns = match (frame, inner.span) {
                (Frame::Events(_), Some((_, until_ns))) => until_ns,
                _ => at_ns,
            };
            inner.span = Some((since_ns, until_ns));
            inner.dropped = dropped;
        }
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.0.borrow().bytes
    }

    /// Ends it, and says what it has.
    ///
    /// # Errors
    /// It cannot be written; what was before can be read.
    pub fn finish(&self) -> Result<String, Error> {
        let writer = self.0.borrow_mut().writer.take();
        writer.map_or(Ok(()), Writer::finish)?;
        Ok(self.kept().unwrap_or_default())
    }

    /// What can be replayed of it, such as `12.3 s, 1.2 MB, 52 readings`; `None` when that is nothing.
    pub fn kept(&self) -> Option<String> {
        let inner = self.0.borrow();
        let (since_ns, until_ns) = inner.span?;
        let length = units::duration(until_ns.saturating_sub(since_ns));
        let bytes = units::bytes(inner.bytes);
        Some(match inner.dropped {
            true => format!("{length} (the newest that fit into {bytes})"),
            false => format!("{length} ({bytes}, {} readings)", inner.readings),
        })
    }
}
