//! The flight recorder: the last minutes in a ring on disk, and what was found, saved with what led to it: report (JSON and
//! HTML) and recording, in a directory of bounded size.
//!
//! A thread writes: a disk that stalls or is full is what may be found, and must not hold up the watching. What waits for the
//! thread is bounded, too; what finds no place is a gap in the ring.

mod directory;
mod thread;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use self::{directory::Directory, thread::Writing};
use super::settings::Keep;
use crate::{
    collect::{
        Reading,
        recording::{Frame, Header},
    },
    error::Error,
    present::{log, metrics::Own},
};

/// Frames that wait for the disk, bytes as they are in memory.
const WAITING_BYTES: u64 = 6 << 20;
/// Incidents that wait for the disk.
const WAITING: u64 = 8;
/// At the end, a disk that stalls is waited for no longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is saved together.
pub struct Incident {
    /// What its files are called, without the ending.
    stem: String,
    /// The report in two forms.
    pub json: Arc<str>,
    pub html: String,
    /// The earliest that it can have begun, CLOCK_MONOTONIC ns.
    pub onset_ns: u64,
    /// Reports on the recording begin here, CLOCK_MONOTONIC ns.
    pub judged_from_ns: u64,
    /// When it was found, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
}

/// Where an incident is going to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Its report as JSON.
    pub report: PathBuf,
    /// Its recording, which comes later.
    pub recording: PathBuf,
}

/// What the thread counts.
#[derive(Default)]
struct Counts {
    saved: AtomicU64,
    failures: AtomicU64,
    ring_bytes: AtomicU64,
    /// What waits for the thread.
    frame_bytes: AtomicU64,
    incidents: AtomicU64,
}

/// What the thread is told.
enum Message {
    /// A frame, what it weighs, and whether one before it is missing.
    Frame(Frame, u64, bool),
    Incident(Box<Incident>),
    /// Other settings; another directory when it is another.
    Keep(Box<Keep>, Option<Directory>),
}

/// The recorder; without a directory it does nothing.
pub struct Recorder {
    keep: Keep,
    /// Before the thread has it.
    directory: Option<Directory>,
    header: Header,
    thread: Option<Thread>,
    counts: Arc<Counts>,
    /// A frame was left out.
    gap: bool,
    names: directory::Names,
}

struct Thread {
    tell: Sender<Message>,
    handle: JoinHandle<()>,
    ended: Arc<AtomicBool>,
}

impl Recorder {
    /// Makes sure that the directory can be written to, and is nobody else's.
    ///
    /// # Errors
    /// It cannot, or it is.
    pub fn open(keep: &Keep) -> Result<Self, Error> {
        let directory = keep.dir.as_deref().map(Directory::open).transpose()?;
        Ok(Self {
            names: directory.as_ref().map(Directory::names).unwrap_or_default(),
            keep: keep.clone(),
            directory,
            header: Header::default(),
            thread: None,
            counts: Arc::default(),
            gap: false,
        })
    }

    /// Begins the ring.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn begin(&mut self, header: &Header) -> Result<(), Error> {
        self.header = header.clone();
        if let Some(directory) = self.directory.take() {
            self.thread = Some(self.start(directory)?);
        }
        Ok(())
    }

    fn start(&self, directory: Directory) -> Result<Thread, Error> {
        let (tell, told) = mpsc::channel();
        let ended = Arc::<AtomicBool>::default();
        let writing = Writing::new(
            self.keep.clone(),
            directory,
            self.header.clone(),
            Arc::clone(&self.counts),
        );
        let end = Arc::clone(&ended);
        let handle = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                writing.run(&told);
                end.store(true, Relaxed);
            })
            .map_err(|source| Error::Io {
                what: "a thread for the recorder".to_owned(),
                source,
            })?;
        Ok(Thread {
            tell,
            handle,
            ended,
        })
    }

    /// Adds a frame.
    pub fn push(&mut self, frame: Frame) {
        let Some(thread) = &self.thread else { return };
        let weight = weight(&frame);
        let waiting = self.counts.frame_bytes.load(Relaxed);
        if waiting > 0 && waiting + weight > WAITING_BYTES {
            self.gap = true;
            return;
        }
        self.counts.frame_bytes.fetch_add(weight, Relaxed);
        let gap = std::mem::take(&mut self.gap);
        // It ends only after we do.
        let _ = thread.tell.send(Message::Frame(frame, weight, gap));
    }

    /// True when incidents are saved at all.
    pub fn saves(&self) -> bool {
        self.thread.is_some()
    }

    /// Saves an incident: its report now, and its recording when the time after it is over. Says where it is going to be;
    /// `None` when it is not saved.
    pub fn save(&mut self, rule: &str, unix_ns: u64, mut incident: Incident) -> Option<Files> {
        let thread = self.thread.as_ref()?;
        if self.counts.incidents.load(Relaxed) >= WAITING {
            self.counts.failures.fetch_add(1, Relaxed);
            return None;
        }
        incident.stem = self
            .names
            .free(&format!("incident-{}-{rule}", log::stamp(unix_ns)));
        let path = |ending| {
            let dir = self.keep.dir.clone().unwrap_or_default();
            dir.join(format!("{}.{ending}", incident.stem))
        };
        let files = Files {
            report: path("json"),
            recording: path("rec"),
        };
        self.counts.incidents.fetch_add(1, Relaxed);
        let _ = thread.tell.send(Message::Incident(Box::new(incident)));
        Some(files)
    }

    /// Adds what became of incidents.
    pub fn count(&self, own: &mut Own) {
        own.saved = self.counts.saved.load(Relaxed);
        own.save_failures = self.counts.failures.load(Relaxed);
        own.ring_bytes = self.counts.ring_bytes.load(Relaxed);
    }

    /// Takes over what may change while it runs.
    ///
    /// # Errors
    /// The new directory cannot be written to; the old one stays.
    pub fn reload(&mut self, keep: &Keep) -> Result<(), Error> {
        let directory = match &keep.dir {
            Some(dir) if keep.dir != self.keep.dir => Some(Directory::open(dir)?),
            _ => None,
        };
        self.keep = keep.clone();
        if let Some(directory) = &directory {
            self.names = directory.names();
        }
        match (&self.thread, directory) {
            (Some(_), _) if keep.dir.is_none() => self.end(),
            (Some(thread), directory) => {
                let _ = thread
                    .tell
                    .send(Message::Keep(Box::new(keep.clone()), directory));
            }
            (None, Some(directory)) => self.thread = Some(self.start(directory)?),
            (None, None) => {}
        }
        Ok(())
    }

    /// Saves what waits for its time after, and removes the ring.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(Thread {
            tell,
            handle,
            ended,
        }) = self.thread.take()
        else {
            return;
        };
        drop(tell);
        let until = Instant::now() + PATIENCE;
        while !ended.load(Relaxed) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if ended.load(Relaxed) {
            let _ = handle.join();
        }
    }
}

impl Incident {
    /// A report, and which part of the ring it is about; see the fields.
    pub fn new(
        json: Arc<str>,
        html: String,
        onset_ns: u64,
        judged_from_ns: u64,
        at_ns: u64,
    ) -> Self {
        Self {
            stem: String::new(),
            json,
            html,
            onset_ns,
            judged_from_ns,
            at_ns,
        }
    }
}

/// About how many bytes of memory a frame takes.
fn weight(frame: &Frame) -> u64 {
    /// For the rest of it.
    const REST: usize = 4096;
    fn of<T>(list: &[T]) -> usize {
        size_of_val(list)
    }
    let reading: &Reading = match frame {
        Frame::Events(reading) => reading,
        Frame::Full(full) => &full.reading,
    };
    let rows = of(&reading.requests) + of(&reading.exits) + of(&reading.tasks) + of(&reading.stats);
    // A name and a place in a map beside each.
    let named = 2 * of(&reading.processes) + 128 * reading.peers.len();
    (rows + named + REST) as u64
}

#[cfg(test)]
mod tests;
