//! Finds the segments of a recording, without unpacking them: what of the file can be relied on.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::format::{self, BLOCK, BlockHead, JUDGED, Kind, MARK, Place};

/// Where a recording is read from.
pub enum Source {
    /// A file.
    File(File),
    /// Memory.
    Bytes(&'static [u8]),
}

impl Source {
    /// Fills `into` with the bytes at `at`.
    pub fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(into, at),
            Self::Bytes(bytes) => {
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                let from = from.and_then(|bytes| bytes.get(..into.len()));
                into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }
}

/// A segment, as far as its blocks are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Where its first block begins.
    pub begin: u64,
    /// Where its last whole look ends.
    pub full_end: u64,
    /// Where its last block ends.
    pub end: u64,
    /// How it ends.
    pub last: Last,
    /// Where reports begin, when it ends an excerpt, CLOCK_MONOTONIC ns.
    pub judged_from_ns: Option<u64>,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// The recording was ended there.
    End,
    /// No block follows.
    Nothing,
    /// What follows breaks off with the file.
    Cut,
    /// What follows is damaged.
    Damaged,
}

/// The newest segments that follow each other without a gap, oldest first.
///
/// # Errors
/// The file cannot be read.
pub fn segments(source: &Source, begin: u64) -> io::Result<Vec<Segment>> {
    let len = source.len()?;
    let mut segments = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut at = begin;
    while at + MARK as u64 <= len {
        let mut mark = [0; MARK];
        source.read_at(&mut mark, at)?;
        if let Some(number) = format::marked(&mark) {
            let segment = walk(source, number, at + MARK as u64, len, &mut buffer)?;
            at = segment.end;
            if segment.full_end > segment.begin {
                segments.push(segment);
            }
        }
        at = format::align(at + 1);
    }
    segments.sort_unstable_by_key(|segment| segment.number);
    // Only the last one may lack its end: what came before a gap is older.
    let follow = |pair: &[Segment]| {
        pair[0].last == Last::Nothing && pair[0].number.checked_add(1) == Some(pair[1].number)
    };
    let from = segments.windows(2).rposition(|pair| !follow(pair));
    Ok(segments.split_off(from.map_or(0, |gap| gap + 1)))
}

/// Goes through the blocks of a segment.
fn walk(
    source: &Source,
    number: u64,
    begin: u64,
    len: u64,
    buffer: &mut [u8],
) -> io::Result<Segment> {
    let mut segment = Segment {
        number,
        begin,
        full_end: begin,
        end: begin,
        last: Last::Nothing,
        judged_from_ns: None,
    };
    let mut place = Place {
        segment: number,
        block: 0,
    };
    loop {
        let at = segment.end;
        let mut head = [0; BLOCK];
        if at + BLOCK as u64 > len {
            segment.last = if at == len { Last::Nothing } else { Last::Cut };
            return Ok(segment);
        }
        source.read_at(&mut head, at)?;
        if head == [0; BLOCK] {
            return Ok(segment);
        }
        let end =
            BlockHead::of(&head).map(|head| (head, at + (BLOCK as u64) + u64::from(head.len)));
        let Some((head, end)) = end else {
            segment.last = Last::Damaged;
            return Ok(segment);
        };
        if end > len {
            segment.last = Last::Cut;
            return Ok(segment);
        }
        let mut crc = head.checksum(place);
        let mut next = at + BLOCK as u64;
        while next < end {
            let n = buffer.len().min((end - next) as usize);
            source.read_at(&mut buffer[..n], next)?;
            crc.update(&buffer[..n]);
            next += n as u64;
        }
        let first = place.block == 0;
        if crc.finalize() != head.crc || first && head.kind != Kind::Full {
            segment.last = Last::Damaged;
            return Ok(segment);
        }
        place.block = place.block.wrapping_add(1);
        segment.end = end;
        match head.kind {
            Kind::Events => {}
            Kind::Full => segment.full_end = end,
            Kind::End => {
                segment.last = Last::End;
                if head.len as usize == JUDGED {
                    let mut frame = [0; JUDGED];
                    source.read_at(&mut frame, at + BLOCK as u64)?;
                    segment.judged_from_ns = Some(u64::from_le_bytes(frame));
                }
                return Ok(segment);
            }
        }
    }
}
