//! Writes a recording: every frame is in the file when [`Writer::push`] returns, so that being killed loses none. Nothing
//! is synced to the disk: on a node whose journal stalls, that would wait for it, and make it worse.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation as _, OutBuffer};

use super::{
    Frame, Header,
    format::{self, BLOCK, BlockHead, Kind, MARK, Place, WINDOW_LOG},
};
use crate::error::Error;

/// zstd's quickest level: higher ones save a few per cent, for several times the CPU time.
const LEVEL: i32 = 1;
/// Segments are so small a part of what may be written ...
const SEGMENTS: u64 = 16;
/// ... between these bounds, bytes.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(4 << 20);

/// A recording that is being written.
pub struct Writer {
    path: PathBuf,
    file: File,
    encoder: Encoder<'static>,
    max_bytes: u64,
    /// Where segments may begin.
    begin: u64,
    /// How large a segment is to become.
    target: u64,
    /// The next block.
    place: Place,
    /// Where it goes.
    at: u64,
    /// What can be read: the segments, oldest first. The last one is being written.
    segments: VecDeque<Segment>,
    /// How far the file goes.
    size: u64,
    /// What could not be written; nothing more is tried then.
    failed: bool,
    unpacked: Vec<u8>,
    packed: Vec<u8>,
}

/// A segment in the file.
struct Segment {
    begin: u64,
    end: u64,
    /// When its first reading was taken, CLOCK_MONOTONIC ns.
    from_ns: u64,
}

impl Writer {
    /// Begins a recording in a new file, which keeps the newest `max_bytes`. It may become larger by one segment: a
    /// sixteenth of `max_bytes`, at least 64 KiB and at most 4 MiB, or a whole look at the node, whichever is more.
    ///
    /// # Errors
    /// The file exists, or cannot be made.
    pub fn create(path: &Path, header: &Header, max_bytes: u64) -> Result<Self, Error> {
        let error = |source: io::Error| {
            let what = format!("cannot record to {}", path.display());
            match source.kind() {
                io::ErrorKind::AlreadyExists => Error::Usage(format!(
                    "{what}: it is there already; name another file, or remove it"
                )),
                _ => Error::Io { what, source },
            }
        };
        let beginning = format::beginning(header).map_err(error)?;
        let mut encoder = Encoder::new(LEVEL).map_err(error)?;
        encoder
            .set_parameter(CParameter::WindowLog(WINDOW_LOG))
            .map_err(error)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(error)?;
        file.write_all_at(&beginning, 0).map_err(|source| {
            // Nobody is helped by a name without anything.
            let _ = std::fs::remove_file(path);
            error(source)
        })?;
        let begin = beginning.len() as u64;
        let (least, most) = SEGMENT_BYTES.into_inner();
        Ok(Self {
            path: path.to_owned(),
            file,
            encoder,
            max_bytes,
            begin,
            target: (max_bytes / SEGMENTS).clamp(least, most),
            place: Place::default(),
            at: begin,
            segments: VecDeque::new(),
            size: begin,
            failed: false,
            unpacked: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Adds a frame; the first one must be a [`Frame::Full`].
    ///
    /// # Errors
    /// It cannot be written (a full disk); what was written before stays readable.
    pub fn push(&mut self, frame: &Frame) -> Result<(), Error> {
        let (kind, at_ns) = match frame {
            Frame::Events(reading) => (Kind::Events, reading.at_ns),
            Frame::Full(full) => (Kind::Full, full.reading.at_ns),
        };
        let mut unpacked = std::mem::take(&mut self.unpacked);
        unpacked.clear();
        let encoded = match frame {
            Frame::Events(reading) => format::encode(&**reading, unpacked),
            Frame::Full(full) => format::encode(&**full, unpacked),
        };
        self.unpacked = encoded.map_err(|source| self.error(source))?;
        self.write(kind, at_ns)
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.unpacked.clear();
        self.write(Kind::End, 0)
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.size
    }

    /// When the oldest reading that is kept was taken, CLOCK_MONOTONIC ns; and whether older ones were dropped for it.
    pub fn kept_since(&self) -> Option<(u64, bool)> {
        let oldest = self.segments.front()?;
        let dropped = self.place.segment + 1 > self.segments.len() as u64;
        Some((oldest.from_ns, dropped))
    }

    /// Packs what is in `unpacked`, and writes it where it belongs.
    fn write(&mut self, kind: Kind, at_ns: u64) -> Result<(), Error> {
        if self.failed {
            return Ok(());
        }
        let written = self.try_write(kind, at_ns);
        written.map_err(|source| {
            self.failed = true;
            self.error(source)
        })
    }

    fn try_write(&mut self, kind: Kind, at_ns: u64) -> io::Result<()> {
        let current = self.segments.back();
        let full = current.is_none_or(|segment| self.at - segment.begin >= self.target);
        let begins = kind == Kind::Full && full;
        if current.is_none() && !begins {
            return Err(io::Error::other("it does not begin with a whole look"));
        }
        let mut place = self.place;
        if begins {
            self.encoder.reinit()?;
            place.segment += u64::from(current.is_some());
            place.block = 0;
        }
        self.pack(kind, place, begins)?;
        let len = self.packed.len() as u64;
        let begin = if begins { self.room(len) } else { self.at };
        // What lies there is gone as soon as a byte of it is overwritten.
        let end = begin + len;
        let current = self.segments.len().saturating_sub(usize::from(!begins));
        let mut index = 0;
        self.segments.retain(|segment| {
            index += 1;
            index > current || segment.end <= begin || segment.begin >= end
        });
        // On a full disk, a part of it may be written: the file then breaks off there.
        self.size = self.size.max(begin);
        self.file.write_all_at(&self.packed, begin)?;
        self.size = self.size.max(end);
        // The next block goes where the zeros are.
        self.at = end.saturating_sub(BLOCK as u64);
        self.place = Place {
            block: place.block + 1,
            ..place
        };
        if begins {
            self.segments.push_back(Segment {
                begin,
                end,
                from_ns: at_ns,
            });
        } else if let Some(segment) = self.segments.back_mut() {
            segment.end = end;
        }
        Ok(())
    }

    /// Makes a block of what is in `unpacked`.
    fn pack(&mut self, kind: Kind, place: Place, begins: bool) -> io::Result<()> {
        let packed = &mut self.packed;
        packed.clear();
        if begins {
            packed.extend(format::mark(place.segment));
        }
        let head_at = packed.len();
        packed.extend([0; BLOCK]);
        let mut input = InBuffer::around(&self.unpacked);
        loop {
            packed.reserve((self.unpacked.len() / 4).max(4096));
            let used = packed.len();
            let mut output = OutBuffer::around_pos(packed, used);
            if input.pos() < input.src.len() {
                self.encoder.run(&mut input, &mut output)?;
            } else if self.encoder.flush(&mut output)? == 0 {
                break;
            }
        }
        let frame_at = head_at + BLOCK;
        let mut head = BlockHead {
            len: length(packed.len() - frame_at)?,
            unpacked: length(self.unpacked.len())?,
            crc: 0,
            kind,
        };
        let mut crc = head.checksum(place);
        crc.update(&packed[frame_at..]);
        head.crc = crc.finalize();
        packed[head_at..frame_at].copy_from_slice(&head.bytes());
        if kind != Kind::End {
            packed.extend([0; BLOCK]);
        }
        Ok(())
    }

    /// Where a segment that begins with so many bytes goes: behind the last one, or to the front when it would not end
    /// before `max_bytes`. The last one must stay as long as this one cannot be read.
    fn room(&self, len: u64) -> u64 {
        let next = format::align(self.at + BLOCK as u64);
        let Some(last) = self.segments.back() else {
            return self.begin;
        };
        let wanted = len.max(self.target + self.target / 2);
        let fits = next + wanted <= self.max_bytes;
        let front_is_free = self.begin + len <= last.begin || self.begin >= last.end;
        if fits || !front_is_free {
            next
        } else {
            self.begin
        }
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io {
            what: format!("cannot write to {}", self.path.display()),
            source,
        }
    }
}

/// A length as a block has it.
fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes)
        .ok()
        .filter(|_| bytes <= format::MAX_FRAME + MARK)
        .ok_or_else(|| io::Error::other("a look at the node is too large to be recorded"))
}
