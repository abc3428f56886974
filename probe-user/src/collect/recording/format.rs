//! What a recording looks like in a file, and how much of it is believed.
//!
//! ```text
//! 64 bytes          MAGIC, format number, version of the tool that wrote it: every format has this
//! length, checksum  the Header
//! 4 KiB boundary    a segment: its mark and number, then blocks, one for each frame
//!     block         length, length unpacked, checksum, kind; the frame, packed
//!     16 zeros      behind the last block, until the next one is written
//! 4 KiB boundary    another segment
//! ```
//!
//! All numbers are little-endian. A frame is postcard; the blocks of a segment are one zstd stream, flushed after each,
//! so that what a block repeats of an earlier one costs next to nothing, and all that was written can be read. Segments
//! are in no order: their numbers are. A new one takes the place of the oldest when there is no room left.

use std::io;

use super::{Header, raw};

/// What every recording begins with.
pub const MAGIC: &[u8; 16] = b"stallscope rec\x1a\n";

/// The number of this format. Anything that changes what is written needs a new one: the field of a reading, the layout of
/// a struct of the kernel side.
pub const FORMAT: u16 = 2;

/// Bytes of what every format has: magic, number, version.
pub const PREAMBLE: usize = 64;
/// Segments begin at multiples of this.
pub const ALIGN: u64 = 4096;
/// Bytes of a segment's mark.
pub const MARK: usize = 24;
/// Bytes before the frame in a block.
pub const BLOCK: usize = 16;

/// What a segment begins with.
const SEGMENT: &[u8; 8] = b"segment\n";

/// The longest header that is read.
pub const MAX_HEADER: usize = 4 << 20;
/// The longest frame that is read, unpacked, bytes: 65,536 threads have a quarter of it.
pub const MAX_FRAME: usize = 64 << 20;
/// The most memory that one frame may take.
pub const MAX_MEMORY: usize = 256 << 20;

/// zstd's window, as a power of two: what is repeated is looked for as far back. It is the memory that reading takes.
pub const WINDOW_LOG: u32 = 21;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Frame::Events`](super::Frame::Events).
    Events = 1,
    /// [`Frame::Full`](super::Frame::Full).
    Full = 2,
    /// Nothing: the recording was ended.
    End = 3,
}

/// The place of a block in the recording. It goes into the checksum: a block that stands elsewhere is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment.
    pub segment: u64,
    /// Number of the block in it.
    pub block: u32,
}

/// What stands before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Bytes of the frame, packed.
    pub len: u32,
    /// The same, unpacked.
    pub unpacked: u32,
    /// See [`BlockHead::checksum`].
    pub crc: u32,
    /// What it is.
    pub kind: Kind,
}

impl BlockHead {
    /// Checksum over everything but itself, before the frame's bytes are added.
    pub fn checksum(&self, place: Place) -> crc32fast::Hasher {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&place.segment.to_le_bytes());
        crc.update(&place.block.to_le_bytes());
        crc.update(&self.len.to_le_bytes());
        crc.update(&self.unpacked.to_le_bytes());
        crc.update(&[self.kind as u8]);
        crc
    }

    /// As it is written.
    pub fn bytes(&self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.unpacked.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.crc.to_le_bytes());
        bytes[12] = self.kind as u8;
        bytes
    }

    /// As it was written; `None` where no block stands.
    pub fn of(bytes: &[u8; BLOCK]) -> Option<Self> {
        Some(Self {
            len: number(bytes, 0),
            unpacked: number(bytes, 4),
            crc: number(bytes, 8),
            kind: match bytes[12..] {
                [1, 0, 0, 0] => Kind::Events,
                [2, 0, 0, 0] => Kind::Full,
                [3, 0, 0, 0] => Kind::End,
                _ => return None,
            },
        })
    }
}

/// Bytes of what the last block of an excerpt holds.
pub const JUDGED: usize = 8;

/// The last block of an excerpt: it says where reports on it begin. Readers that do not know of it report on all of it.
pub fn end(place: Place, judged_from_ns: u64) -> Vec<u8> {
    let frame = judged_from_ns.to_le_bytes();
    let mut head = BlockHead {
        len: JUDGED as u32,
        unpacked: JUDGED as u32,
        crc: 0,
        kind: Kind::End,
    };
    let mut crc = head.checksum(place);
    crc.update(&frame);
    head.crc = crc.finalize();
    [&head.bytes()[..], &frame].concat()
}

/// The mark of a segment.
pub fn mark(segment: u64) -> [u8; MARK] {
    let mut bytes = [0; MARK];
    bytes[..8].copy_from_slice(SEGMENT);
    bytes[8..16].copy_from_slice(&segment.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The number of the segment that is marked; `None` where none begins.
pub fn marked(bytes: &[u8; MARK]) -> Option<u64> {
    let segment = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    (*bytes == mark(segment)).then_some(segment)
}

/// What a recording begins with, up to its first segment.
///
/// # Errors
/// It is too long.
pub fn beginning(header: &Header) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PREAMBLE];
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16..18].copy_from_slice(&FORMAT.to_le_bytes());
    let version = header.tool_version.as_bytes();
    let n = version.len().min(PREAMBLE - 19);
    bytes[18] = n as u8;
    bytes[19..19 + n].copy_from_slice(&version[..n]);
    let body = encode(header, Vec::new())?;
    if body.len() > MAX_HEADER {
        return Err(io::Error::other("the words for the target are too long"));
    }
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    bytes.resize(align(bytes.len() as u64) as usize, 0);
    Ok(bytes)
}

/// The next place where a segment may begin.
pub fn align(at: u64) -> u64 {
    at.next_multiple_of(ALIGN)
}

/// Adds a value to `to`.
///
/// # Errors
/// It cannot be written: a bug.
pub fn encode<T: serde::Serialize>(value: &T, to: Vec<u8>) -> io::Result<Vec<u8>> {
    postcard::serialize_with_flavor(value, Bytes(to)).map_err(io::Error::other)
}

/// A value from its bytes, all of them; `None` when they are damaged, or would take too much memory.
pub fn decode<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    raw::allow(MAX_MEMORY);
    let flavor = Careful(bytes);
    let mut from = postcard::Deserializer::from_flavor(flavor);
    let value = T::deserialize(&mut from).ok()?;
    from.finalize().ok()?.is_empty().then_some(value)
}

/// The number at a place that is known to be there.
fn number(bytes: &[u8; BLOCK], at: usize) -> u32 {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    u32::from_le_bytes(four)
}

/// Where postcard writes to.
struct Bytes(Vec<u8>);

impl postcard::ser_flavors::Flavor for Bytes {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Memory that a byte may stand for: the empty list, a byte, is three words.
const MEMORY_OF_BYTE: usize = 24;

/// What postcard reads from: each byte is counted with the memory that it may come to.
struct Careful<'a>(&'a [u8]);

impl<'a> postcard::de_flavors::Flavor<'a> for Careful<'a> {
    type Remainder = &'a [u8];
    type Source = &'a [u8];

    fn pop(&mut self) -> postcard::Result<u8> {
        let (byte, rest) = self
            .0
            .split_first()
            .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        if !raw::take(MEMORY_OF_BYTE) {
            return Err(postcard::Error::SerdeDeCustom);
        }
        self.0 = rest;
        Ok(*byte)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn try_take_n(&mut self, n: usize) -> postcard::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(n)
            .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        if !raw::take(n) {
            return Err(postcard::Error::SerdeDeCustom);
        }
        self.0 = rest;
        Ok(taken)
    }

    fn finalize(self) -> postcard::Result<&'a [u8]> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::{super::Full, *};
    use crate::collect::recording::make::kinds;

    /// Structs inside of those that readings name.
    const WITHIN: [&str; 4] = [
        "fastcgi::Reader",
        "request::PeerUse",
        "request::Span",
        "task::CachedPeer",
    ];

    /// Everything that decides what is written.
    fn described(here: &Path) -> String {
        let mut text = format!("What recordings of format {FORMAT} hold, in this order.\n");
        let lists = [
            ("header", kinds::<Header>()),
            ("a whole look", kinds::<Full>()),
        ];
        for (name, lines) in &lists {
            text += &format!("\n{name}\n");
            for line in lines {
                text += &format!("  {}\n", line.replace("probe_common::", ""));
            }
        }
        let abi = fs::read_to_string(here.join("../probe-common/abi.txt")).unwrap();
        for section in abi.split("\n\n") {
            let name = section.split(' ').next().unwrap_or_default();
            let named =
                text.contains(&format!("{name} of ")) || text.contains(&format!("({name},"));
            if named || WITHIN.contains(&name) {
                text += &format!("\n{}\n", section.trim_end());
            }
        }
        text
    }

    /// Recordings that were made must be read, or refused by their number; never be read as something else. A blessed
    /// description is thus never replaced: another encoding needs another number.
    #[test]
    fn another_encoding_has_another_number() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = here.join(format!("src/collect/recording/format-{FORMAT}.txt"));
        let now = described(here);
        if env::var_os("BLESS").is_some() && !file.exists() {
            fs::write(&file, &now).unwrap();
        }
        let blessed = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            now == blessed,
            "what recordings hold has changed: raise FORMAT, run this test with BLESS=1, and make the demo anew \
             (docs/recordings.md); now it is\n{now}"
        );
    }
}
