//! Reads a recording: whatever stands in the file, it is a frame or an error with its place, and memory is bounded.
//!
//! A recording that breaks off (the writer was killed, a copy was cut) is no error: it is read up to its last whole look at
//! the node, as sums without the newest of them would not fit together. [`Recording::note`] says so. Of a recording that is
//! damaged, the newest stretch without damage is read.

use std::{fs, fs::File, os::unix::fs::FileTypeExt as _, path::Path};

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::{
    Frame, Header,
    format::{self, BLOCK, BlockHead, FORMAT, Kind, MAGIC, MAX_FRAME, MAX_HEADER, PREAMBLE},
    index::{self, Last, Segment, Source},
};
use crate::error::Error;

/// A recording that is being read.
pub struct Recording {
    /// What it is called in errors.
    name: String,
    source: Source,
    header: Header,
    segments: Vec<Segment>,
    /// Which of them is read.
    segment: usize,
    /// The next block.
    at: u64,
    decoder: Decoder<'static>,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
}

impl Recording {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is no recording of a version that is understood.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let error = |source| Error::Io {
            what: format!("cannot read {name}"),
            source,
        };
        let kind = fs::metadata(path).map_err(error)?.file_type();
        let what = match () {
            () if kind.is_file() => None,
            () if kind.is_dir() => Some("a directory"),
            () if kind.is_fifo() => Some("a pipe, and a recording must be a file"),
            () => Some("no file"),
        };
        if let Some(what) = what {
            return Err(Error::Usage(format!("cannot read {name}: it is {what}")));
        }
        let file = File::open(path).map_err(error)?;
        Self::new(name, Source::File(file))
    }

    /// Reads a recording that is in memory.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn of_bytes(name: &str, bytes: &'static [u8]) -> Result<Self, Error> {
        Self::new(name.to_owned(), Source::Bytes(bytes))
    }

    fn new(name: String, source: Source) -> Result<Self, Error> {
        let error = |source| Error::Io {
            what: format!("cannot read {name}"),
            source,
        };
        let (header, begin) = beginning(&name, &source)?;
        let segments = index::segments(&source, begin).map_err(error)?;
        let Some(first) = segments.first() else {
            return Err(Error::Usage(format!(
                "{name} holds nothing that can be read: it breaks off, or is damaged, before byte {}",
                source.len().map_err(error)?.min(begin + 1)
            )));
        };
        let mut decoder = Decoder::new().map_err(error)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(format::WINDOW_LOG))
            .map_err(error)?;
        Ok(Self {
            at: first.begin,
            name,
            source,
            header,
            segments,
            segment: 0,
            decoder,
            packed: Vec::new(),
            unpacked: Vec::new(),
        })
    }

    /// What it is about.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// False when its beginning was dropped.
    pub fn is_whole(&self) -> bool {
        self.segments.first().is_some_and(|first| first.number == 0)
    }

    /// Where reports on it begin, CLOCK_MONOTONIC ns: it was saved for what was seen from there on, and what is before shows
    /// what led to it.
    pub fn judged_from_ns(&self) -> Option<u64> {
        self.segments.last()?.judged_from_ns
    }

    /// What of it is missing, in a line without the file's name; `None` when it is whole. Dropping the oldest to keep within
    /// a size is meant, and said as well.
    pub fn note(&self) -> Option<String> {
        let last = self.segments.last()?;
        let end = match last.last {
            Last::End => None,
            Last::Nothing => Some(format!(
                "it was not ended, and is read up to its last whole look at the node (byte {})",
                last.full_end
            )),
            Last::Cut => Some(format!(
                "it breaks off at byte {}, and is read up to its last whole look at the node (byte {})",
                last.end, last.full_end
            )),
            Last::Damaged => Some(format!(
                "it is damaged at byte {}, and is read up to the last whole look at the node before (byte {})",
                last.end, last.full_end
            )),
        };
        // An excerpt was never meant to have it.
        let dropped = (!self.is_whole() && self.judged_from_ns().is_none()).then(|| {
            "its beginning was dropped, to keep within its size or because of damage".to_owned()
        });
        match (dropped, end) {
            (Some(dropped), Some(end)) => Some(format!("{dropped}; {end}")),
            (dropped, end) => dropped.or(end),
        }
    }

    /// The next frame; `None` at the end. The first one is a [`Frame::Full`], the state that everything begins at, and so is
    /// the last one.
    ///
    /// # Errors
    /// What stands there is damaged; the text says where.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(mut segment) = self.segments.get(self.segment) else {
            return Ok(None);
        };
        let last = self.segment + 1 == self.segments.len();
        let end = if last { segment.full_end } else { segment.end };
        if self.at >= end {
            self.segment += 1;
            match self.segments.get(self.segment) {
                Some(next) => segment = next,
                None => return Ok(None),
            }
            self.at = segment.begin;
        }
        if self.at == segment.begin {
            self.decoder.reinit().map_err(|e| self.unreadable(e))?;
        }
        let mut head = [0; BLOCK];
        self.source
            .read_at(&mut head, self.at)
            .map_err(|e| self.unreadable(e))?;
        let head = BlockHead::of(&head).ok_or_else(|| self.damaged("no frame begins there"))?;
        let frame = self.frame(&head)?;
        self.at += BLOCK as u64 + u64::from(head.len);
        Ok(Some(frame))
    }

    /// The frame of the block at `at`.
    fn frame(&mut self, head: &BlockHead) -> Result<Frame, Error> {
        let (len, unpacked) = (head.len as usize, head.unpacked as usize);
        if unpacked > MAX_FRAME || len > MAX_FRAME {
            return Err(self.damaged("its length makes no sense"));
        }
        self.packed.resize(len, 0);
        let at = self.at + BLOCK as u64;
        let read = self.source.read_at(&mut self.packed, at);
        read.map_err(|e| self.unreadable(e))?;
        self.unpack(unpacked)?;
        let frame = match head.kind {
            Kind::Events => format::decode(&self.unpacked).map(Frame::Events),
            Kind::Full => format::decode(&self.unpacked).map(Frame::Full),
            Kind::End => None,
        };
        frame.ok_or_else(|| {
            self.damaged("what stands there is no reading, or takes too much memory")
        })
    }

    /// Unpacks `packed` to so many bytes.
    fn unpack(&mut self, len: usize) -> Result<(), Error> {
        self.unpacked.clear();
        let mut input = InBuffer::around(&self.packed);
        loop {
            let used = self.unpacked.len();
            // Never more than it says; and what it says is not believed before it is there.
            self.unpacked
                .reserve_exact((len - used).min(used.max(256 << 10)));
            let room = self.unpacked.capacity().min(len);
            let mut output = OutBuffer::around_pos(&mut self.unpacked, used);
            let before = input.pos();
            let run = self.decoder.run(&mut input, &mut output);
            if run.is_err() || self.unpacked.len() > len {
                return Err(self.damaged("it cannot be unpacked"));
            }
            let stuck = input.pos() == before && self.unpacked.len() == used;
            if stuck || self.unpacked.len() == room && room == len && input.pos() == input.src.len()
            {
                break;
            }
        }
        if self.unpacked.len() != len || input.pos() != input.src.len() {
            return Err(self.damaged("it cannot be unpacked"));
        }
        Ok(())
    }

    fn damaged(&self, why: &str) -> Error {
        Error::Usage(format!(
            "{} is damaged at byte {}: {why}",
            self.name, self.at
        ))
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        Error::Io {
            what: format!("cannot read {} at byte {}", self.name, self.at),
            source,
        }
    }
}

/// The header, and where the first segment may begin.
fn beginning(name: &str, source: &Source) -> Result<(Header, u64), Error> {
    let error = |source| Error::Io {
        what: format!("cannot read {name}"),
        source,
    };
    let foreign = |why: &str| Error::Usage(format!("{name} is no recording of stallscope{why}"));
    let len = source.len().map_err(error)?;
    let mut preamble = [0; PREAMBLE + 8];
    let there = preamble.len().min(len as usize);
    source.read_at(&mut preamble[..there], 0).map_err(error)?;
    if there == 0 {
        return Err(foreign(": it is empty"));
    }
    if preamble[..MAGIC.len()] != *MAGIC {
        let report = preamble[..there].trim_ascii_start().starts_with(b"{");
        return Err(foreign(match report {
            true => " (a report? `diff` reads these)",
            false => "",
        }));
    }
    let broken =
        |at: usize| Error::Usage(format!("{name} breaks off, or is damaged, at byte {at}"));
    if there < PREAMBLE {
        return Err(broken(there));
    }
    let format = u16::from_le_bytes([preamble[16], preamble[17]]);
    let version = preamble[19..PREAMBLE].get(..preamble[18].into());
    let version = String::from_utf8_lossy(version.unwrap_or_default());
    if format != FORMAT {
        return Err(Error::Usage(format!(
            "{name} was written by stallscope {version} in format {format}, and this one reads format {FORMAT} alone: \
             replay it with stallscope {version}"
        )));
    }
    let broken = || broken(PREAMBLE);
    let number = |at: usize| preamble[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
    let body_len = number(PREAMBLE).ok_or_else(broken)? as usize;
    let crc = number(PREAMBLE + 4).ok_or_else(broken)?;
    let end = (PREAMBLE + 8 + body_len) as u64;
    if body_len > MAX_HEADER || end > len {
        return Err(broken());
    }
    let mut body = vec![0; body_len];
    source
        .read_at(&mut body, (PREAMBLE + 8) as u64)
        .map_err(error)?;
    let header = format::decode(&body).filter(|_| crc32fast::hash(&body) == crc);
    Ok((header.ok_or_else(broken)?, format::align(end)))
}
