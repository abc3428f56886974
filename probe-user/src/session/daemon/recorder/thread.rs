//! The recorder's thread: writes the ring, and cuts incidents from it. Whatever the disk says, it goes on, and tries again.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::{Arc, atomic::Ordering::Relaxed, mpsc::Receiver},
};

use super::{
    super::{super::output, settings::Keep},
    Counts, Incident, Message,
    directory::{Directory, RING},
};
use crate::{
    collect::recording::{Frame, Header, Writer},
    present::units,
};

/// The ring takes at most so much of the disk ...
const RING_BYTES: u64 = 64 << 20;
/// ... and of what the directory may hold: one part in so many.
const RING_SHARE: u64 = 4;
/// Its segments are so small a part of the time before a finding: that much more than asked for is copied, at most.
const SEGMENTS: u64 = 4;
/// A ring that could not be written is begun again after this long, ns.
const AGAIN_NS: u64 = 30 * 1_000_000_000;
/// A ring is not begun with less room than this, bytes.
const LEAST_BYTES: u64 = 4 << 20;

/// What the thread has.
pub struct Writing {
    keep: Keep,
    directory: Directory,
    header: Header,
    counts: Arc<Counts>,
    ring: Option<Writer>,
    /// When a ring is begun next, CLOCK_MONOTONIC ns.
    again_ns: u64,
    /// That the ring cannot be written was said.
    complained: bool,
    /// Incidents that wait for the time after them.
    waiting: Vec<Incident>,
    /// The last look at everything, CLOCK_MONOTONIC ns.
    now_ns: u64,
}

impl Writing {
    /// Begins the ring with the first look.
    pub fn new(keep: Keep, directory: Directory, header: Header, counts: Arc<Counts>) -> Self {
        Self {
            keep,
            directory,
            header,
            counts,
            ring: None,
            again_ns: 0,
            complained: false,
            waiting: Vec::new(),
            now_ns: 0,
        }
    }

    /// Does what it is told until nobody can tell it anything any more.
    pub fn run(mut self, told: &Receiver<Message>) {
        while let Ok(message) = told.recv() {
            match message {
                Message::Frame(frame, weight, gap) => {
                    self.frame(&frame, gap);
                    self.counts.frame_bytes.fetch_sub(weight, Relaxed);
                }
                Message::Incident(incident) => {
                    self.report(*incident);
                    self.counts.incidents.fetch_sub(1, Relaxed);
                }
                Message::Keep(keep, directory) => self.keep(*keep, directory),
            }
        }
        self.end();
    }

    fn frame(&mut self, frame: &Frame, gap: bool) {
        let full = matches!(frame, Frame::Full(_));
        if let Frame::Full(full) = frame {
            self.now_ns = full.reading.at_ns;
            self.tend();
        }
        if let Some(ring) = &mut self.ring {
            if gap {
                ring.gap();
            }
            match ring.push(frame) {
                Ok(()) => self.counts.ring_bytes.store(ring.bytes(), Relaxed),
                Err(error) => self.lose(&error.to_string()),
            }
        }
        if full {
            self.cut(false);
        }
    }

    /// Keeps the ring within what the disk has, or begins it.
    fn tend(&mut self) {
        let most = ring_bytes(self.keep.max_bytes);
        let free = self.directory.free().unwrap_or(0);
        if let Some(ring) = &mut self.ring {
            // On a disk that fills up it goes round in what it has.
            ring.set_max_bytes(most.min(ring.bytes() + free));
            return;
        }
        if self.now_ns < self.again_ns {
            return;
        }
        let least = LEAST_BYTES.min(most);
        if free < least {
            return self.lose("the disk is too full: a twentieth of it stays free, at most 1 GB");
        }
        let segment_ns = self.segment_ns();
        let path = self.directory.at(RING);
        match Writer::ring(&path, &self.header, most.min(free), segment_ns) {
            Ok(ring) => {
                if std::mem::take(&mut self.complained) {
                    say("the ring is written again");
                }
                self.ring = Some(ring);
            }
            Err(error) => self.lose(&error.to_string()),
        }
    }

    fn segment_ns(&self) -> u64 {
        self.keep.before.as_nanos() as u64 / SEGMENTS
    }

    /// The ring cannot be written: that is said once, and it is tried again later.
    fn lose(&mut self, why: &str) {
        if self.ring.take().is_some() {
            self.directory.remove(RING);
        }
        self.counts.ring_bytes.store(0, Relaxed);
        self.again_ns = self.now_ns + AGAIN_NS;
        if !std::mem::replace(&mut self.complained, true) {
            let path = self.directory.at(RING);
            say(&format!(
                "no recording is kept in {} for now ({why}); watching goes on",
                path.display()
            ));
        }
    }

    /// Saves an incident's report; its recording follows.
    fn report(&mut self, mut incident: Incident) {
        let bytes = (incident.json.len() + incident.html.len()) as u64;
        let stem = &incident.stem;
        let saved = self.make_room(bytes, stem).and_then(|()| {
            let text = |text: &str, ending: &str| {
                let name = format!("{stem}.{ending}");
                self.directory
                    .write(&name, |file| file.write_all(text.as_bytes()))
            };
            text(&incident.json, "json")?;
            text(&incident.html, "html")
        });
        match saved {
            Ok(()) => {
                self.counts.saved.fetch_add(1, Relaxed);
                let path = self.directory.at(&format!("{stem}.json"));
                say(&format!("saved {} (and .html)", path.display()));
            }
            Err(error) => self.fail(stem, "report", &error),
        }
        // It may wait for long.
        (incident.json, incident.html) = ("".into(), String::new());
        self.waiting.push(incident);
    }

    /// Copies the recordings that are due, or all that wait.
    fn cut(&mut self, all: bool) {
        let after_ns = self.keep.after.as_nanos() as u64;
        let now_ns = self.now_ns;
        let due =
            |incident: &mut Incident| all || incident.at_ns.saturating_add(after_ns) <= now_ns;
        let due: Vec<Incident> = self.waiting.extract_if(.., due).collect();
        for incident in due {
            match self.copy(&incident) {
                Ok(words) => say(&words),
                Err(error) => self.fail(&incident.stem, "recording", &error),
            }
        }
    }

    fn copy(&self, incident: &Incident) -> io::Result<String> {
        let Some(ring) = &self.ring else {
            return Err(io::Error::other("the ring is not written for now"));
        };
        if ring
            .kept_since()
            .is_none_or(|(since_ns, _)| since_ns > incident.at_ns)
        {
            return Err(io::Error::other("the ring was not written then"));
        }
        let stem = &incident.stem;
        let from_ns = incident
            .onset_ns
            .saturating_sub(self.keep.before.as_nanos() as u64);
        self.make_room(ring.excerpt_bytes(from_ns), stem)?;
        let name = format!("{stem}.rec");
        let mut excerpt = None;
        self.directory.write(&name, |file: &mut File| {
            excerpt = Some(ring.excerpt(file, from_ns, incident.judged_from_ns)?);
            Ok(())
        })?;
        let path = self.directory.at(&name);
        let mut words = format!("saved {}", path.display());
        if let Some(excerpt) = excerpt {
            let since = |ns: u64| units::duration(ns.saturating_sub(excerpt.from_ns));
            words += &format!(
                " ({}, {}, of that {} before it",
                units::bytes(excerpt.bytes),
                since(self.now_ns),
                since(incident.onset_ns)
            );
            // The ring was not long enough: by its size, or because watching had just begun.
            let dropped = ring.kept_since().is_some_and(|(_, dropped)| dropped);
            if excerpt.from_ns > from_ns && dropped {
                words += "; the ring holds no more";
            }
            words += ")";
        }
        Ok(words)
    }

    fn make_room(&self, bytes: u64, stem: &str) -> io::Result<()> {
        let mut spared: Vec<&str> = self.waiting.iter().map(|i| i.stem.as_str()).collect();
        spared.push(stem);
        let ring_bytes = ring_bytes(self.keep.max_bytes);
        self.directory
            .make_room(bytes, self.keep.max_bytes, ring_bytes, &spared)
    }

    fn fail(&self, stem: &str, what: &str, error: &io::Error) {
        self.counts.failures.fetch_add(1, Relaxed);
        let path = self.directory.at(stem);
        say(&format!(
            "the {what} of {} is not saved: {error}",
            path.display()
        ));
    }

    fn keep(&mut self, keep: Keep, directory: Option<Directory>) {
        if let Some(directory) = directory {
            self.end();
            self.directory = directory;
            self.again_ns = 0;
        }
        self.keep = keep;
        let segment_ns = self.segment_ns();
        if let Some(ring) = &mut self.ring {
            ring.set_segment_ns(segment_ns);
        }
    }

    /// Saves what waits, and removes the ring.
    fn end(&mut self) {
        self.cut(true);
        if self.ring.take().is_some() {
            self.directory.remove(RING);
        }
        self.counts.ring_bytes.store(0, Relaxed);
    }
}

fn ring_bytes(max_bytes: u64) -> u64 {
    RING_BYTES.min(max_bytes / RING_SHARE)
}

fn say(words: &str) {
    output::complain(&output::plain(words));
}
