//! Writes a recording: every frame is in the file when [`Writer::push`] returns, so that being killed loses none. Nothing
//! is synced to the disk: on a node whose journal stalls, that would wait for it, and make it worse.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
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
    /// How large a segment is to become, and how long.
    target: u64,
    target_ns: u64,
    /// Something was left out: what comes next does not follow what is there.
    gap: bool,
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
    number: u64,
    /// Blocks in it.
    blocks: u32,
}

/// A part of a recording that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// When its first reading was taken, CLOCK_MONOTONIC ns.
    pub from_ns: u64,
    /// Bytes of its file.
    pub bytes: u64,
}

impl Writer {
    /// Begins a recording in a new file, which keeps the newest `max_bytes`. It may become larger by one segment: a
    /// sixteenth of `max_bytes`, at least 64 KiB and at most 4 MiB, or a whole look at the node, whichever is more.
    ///
    /// # Errors
    /// The file exists, or cannot be made.
    pub fn create(path: &Path, header: &Header, max_bytes: u64) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        Self::begin(path, &options, header, max_bytes)
    }

    /// Begins a recording that is there to be cut from ([`Writer::excerpt`]): only its owner may read it, and segments end
    /// after `segment_ns`, so that little is copied of what is older than asked for.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn ring(
        path: &Path,
        header: &Header,
        max_bytes: u64,
        segment_ns: u64,
    ) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let mut ring = Self::begin(path, &options, header, max_bytes)?;
        ring.target_ns = segment_ns;
        Ok(ring)
    }

    fn begin(
        path: &Path,
        options: &OpenOptions,
        header: &Header,
        max_bytes: u64,
    ) -> Result<Self, Error> {
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
        let file = options.open(path).map_err(error)?;
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
            target_ns: u64::MAX,
            gap: false,
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

    /// Says that something was left out since the last frame: nothing is written until the next [`Frame::Full`], and what is
    /// older can no more be read together with what comes.
    pub fn gap(&mut self) {
        self.gap = true;
    }

    /// Keeps within so many bytes from now on, but gives nothing back: a smaller limit makes it go round in what it has.
    pub fn set_max_bytes(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
    }

    /// Cuts segments of this length from now on.
    pub fn set_segment_ns(&mut self, segment_ns: u64) {
        self.target_ns = segment_ns;
    }

    /// The segments that hold what was seen since `from_ns`, or the oldest that are left; none across a gap.
    fn since(&self, from_ns: u64) -> impl Iterator<Item = &Segment> {
        let follows = |at: usize| self.segments[at - 1].number + 1 == self.segments[at].number;
        let last = self.segments.len();
        let mut first = last.saturating_sub(1);
        while first > 0 && self.segments[first].from_ns > from_ns && follows(first) {
            first -= 1;
        }
        self.segments.range(first..last)
    }

    /// How many bytes [`Writer::excerpt`] would write.
    pub fn excerpt_bytes(&self, from_ns: u64) -> u64 {
        let lengths = self.since(from_ns).map(|s| format::align(s.end - s.begin));
        self.begin + lengths.sum::<u64>() + format::ALIGN
    }

    /// Copies what was seen since `from_ns`, CLOCK_MONOTONIC (or the oldest that is left, when that is younger), as a
    /// recording of its own that is ended. Reports on it begin at `judged_from_ns`; what is before shows what led to it.
    ///
    /// # Errors
    /// It cannot be copied (a full disk), or there is nothing yet.
    pub fn excerpt(
        &self,
        into: &mut File,
        from_ns: u64,
        judged_from_ns: u64,
    ) -> io::Result<Excerpt> {
        let mut head = vec![0; self.begin as usize];
        self.file.read_exact_at(&mut head, 0)?;
        into.write_all(&head)?;
        let mut at = self.begin;
        let (mut oldest_ns, mut last) = (None, None);
        for segment in self.since(from_ns) {
            let begin = format::align(at);
            io::copy(&mut io::repeat(0).take(begin - at), into)?;
            // Up to the last block's end, without the zeros behind it.
            let len = segment.end - segment.begin - BLOCK as u64;
            let mut from = &self.file;
            from.seek(io::SeekFrom::Start(segment.begin))?;
            let copied = io::copy(&mut from.take(len), into)?;
            if copied != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Zeros behind the last block, as in the ring.
            io::copy(&mut io::repeat(0).take(BLOCK as u64), into)?;
            at = begin + len + BLOCK as u64;
            oldest_ns.get_or_insert(segment.from_ns);
            last = Some(segment);
        }
        let (Some(from_ns), Some(last)) = (oldest_ns, last) else {
            return Err(io::Error::other("nothing is recorded yet"));
        };
        let place = Place {
            segment: last.number,
            block: last.blocks,
        };
        let end = format::end(place, judged_from_ns);
        let begin = at - BLOCK as u64;
        into.write_all_at(&end, begin)?;
        Ok(Excerpt {
            from_ns,
            bytes: begin + end.len() as u64,
        })
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
        let full = current.is_none_or(|segment| {
            let long = at_ns.saturating_sub(segment.from_ns) >= self.target_ns;
            self.at - segment.begin >= self.target || long || self.gap
        });
        let begins = kind == Kind::Full && full;
        if self.gap && !begins {
            return Ok(());
        }
        if current.is_none() && !begins {
            return Err(io::Error::other("it does not begin with a whole look"));
        }
        let mut place = self.place;
        if begins {
            self.encoder.reinit()?;
            place.segment += u64::from(current.is_some()) + u64::from(self.gap);
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
                number: place.segment,
                blocks: 1,
            });
            self.gap = false;
        } else if let Some(segment) = self.segments.back_mut() {
            segment.end = end;
            segment.blocks += 1;
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
