//! FastCGI records as reads cut them: what runs in the kernel, beside a plain reader of the whole stream.

use probe_common::{
    fastcgi::{
        Reader, STEPS, Scratch, Source, ends_response, feed, flag, saw, starts_http_request,
    },
    request::{NAME_LEN, Request},
};

use crate::input::Input;

/// Bits after which names may be missing.
const MISSING: u32 = saw::GAVE_UP | saw::READ_FAILED;
/// Bits that say that the framing was lost.
const LOST: u32 = saw::LOST | saw::NOT_FASTCGI;

/// What a read returned; it refuses what lies outside of it.
struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    unsafe fn read<const MASK: u32>(&self, offset: u32, into: *mut u8, len: u32) -> bool {
        assert!(len <= MASK && (MASK + 1).is_power_of_two());
        let piece = &self.0[offset as usize..][..len as usize];
        // SAFETY: `feed` promises that `into` is valid for `len` bytes.
        unsafe { into.copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
        true
    }
}

/// The names of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    script: Vec<u8>,
    uri: Vec<u8>,
}

/// Feeds a stream, in reads as long as the first bytes say.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let cuts = input.byte() % 32;
    let cuts = input.take(cuts.into());
    let stream = input.0;
    let (saw, names) = fed(stream, cuts);
    let expected = plain(stream);
    if saw & MISSING == 0 {
        assert_eq!(saw & LOST != 0, expected.is_none(), "{saw:#x}");
        if let Some(expected) = &expected {
            assert_eq!(names, *expected);
        }
    }
    // Bytes one by one never take more steps than there are.
    let (saw, names) = fed(stream, &[1]);
    assert_eq!(saw & MISSING, 0);
    assert_eq!(saw & LOST != 0, expected.is_none(), "{saw:#x}");
    if let Some(expected) = expected {
        assert_eq!(names, expected);
    }
    recognised(stream);
}

/// What is seen, and the names that are known in the end.
fn fed(stream: &[u8], cuts: &[u8]) -> (u32, Names) {
    let (mut reader, mut scratch) = (Box::new(Reader::ZERO), Box::new(Scratch::ZERO));
    let mut request = Box::new(Request::ZERO);
    // What other requests left there.
    scratch.window.fill(0x81);
    scratch.loaded = 77;
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    let (mut seen, mut rest) = (0, stream);
    while !rest.is_empty() {
        let len = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (read, behind) = rest.split_at(len);
        let now = feed(
            &mut reader,
            &mut request,
            &mut scratch,
            len as u32,
            &Bytes(read),
        );
        rest = behind;
        assert!(usize::from(request.script_len) <= NAME_LEN);
        assert!(usize::from(request.uri_len) <= NAME_LEN);
        assert!(reader.held < 24 && reader.headed < 8);
        // A read that ends before it could take so many steps is never given up.
        assert!(now & saw::GAVE_UP == 0 || len > STEPS as usize / 2, "{len}");
        // Said once.
        assert!(now & saw::NOT_FASTCGI == 0 || seen & saw::NOT_FASTCGI == 0);
        assert!(reader.flags & flag::DEAD == 0 || (seen | now) & saw::NOT_FASTCGI != 0);
        seen |= now;
        if seen & LOST != 0 {
            // From here on it depends on where reads begin.
            break;
        }
    }
    let names = Names {
        script: request.script[..request.script_len.into()].to_vec(),
        uri: request.uri[..request.uri_len.into()].to_vec(),
    };
    (seen, names)
}

/// The names of the last request in a stream, as far as it goes (FastCGI specification, sections 3.3 and 3.4); `None` where it
/// is none of FastCGI.
fn plain(stream: &[u8]) -> Option<Names> {
    let (mut pairs, mut began, mut done) = (Vec::new(), false, false);
    let mut rest = stream;
    while let Some((head, behind)) = rest.split_first_chunk::<8>() {
        let [version, kind, id_high, id_low, high, low, padding, _] = *head;
        let content = u16::from_be_bytes([high, low]);
        let is_begin = kind == 1;
        if version != 1 || !(1..=11).contains(&kind) {
            return None;
        }
        if is_begin && (content != 8 || id_high == 0 && id_low == 0) {
            return None;
        }
        if is_begin {
            (began, done) = (true, false);
            pairs.clear();
        }
        if kind == 4 {
            match content {
                0 => done = true,
                n if began && !done => pairs.extend(&behind[..behind.len().min(n.into())]),
                _ => {}
            }
        }
        let skip = usize::from(content) + usize::from(padding);
        rest = behind.get(skip..).unwrap_or_default();
    }
    Some(names(&pairs))
}

/// What is sought among the pairs: of a name given twice the first counts, and a script's file before its name.
fn names(mut pairs: &[u8]) -> Names {
    let mut found = Names::default();
    let (mut has_file, mut has_script, mut has_uri) = (false, false, false);
    let length = |pairs: &mut &[u8]| -> Option<usize> {
        let (&first, rest) = pairs.split_first()?;
        if first < 128 {
            *pairs = rest;
            return Some(first.into());
        }
        let (word, rest) = pairs.split_first_chunk::<4>()?;
        *pairs = rest;
        Some((u32::from_be_bytes(*word) & 0x7fff_ffff) as usize)
    };
    while let (Some(name), Some(value)) = (length(&mut pairs), length(&mut pairs)) {
        let Some((name, rest)) = pairs.split_at_checked(name) else {
            break;
        };
        let whole = value <= rest.len();
        let (value, rest) = rest.split_at(value.min(rest.len()));
        let cut = value[..value.len().min(NAME_LEN)].to_vec();
        match name {
            b"SCRIPT_FILENAME" if !has_file => (has_file, found.script) = (true, cut),
            b"SCRIPT_NAME" if !has_file && !has_script => (has_script, found.script) = (true, cut),
            b"REQUEST_URI" if !has_uri => (has_uri, found.uri) = (true, cut),
            _ => {}
        }
        if has_file && has_uri || !whole {
            break;
        }
        pairs = rest;
    }
    found
}

/// What a few bytes say of a connection.
fn recognised(stream: &[u8]) {
    if let Some(tail) = stream.last_chunk::<16>()
        && ends_response(tail)
    {
        // END_REQUEST (section 5.5), of 8 bytes, of a request.
        assert!(tail[..2] == [1, 3] && tail[2..4] != [0, 0] && tail[4..7] == [0, 8, 0]);
        assert!(tail[12] <= 3);
    }
    if let Some(first) = stream.first_chunk::<8>() {
        let text = String::from_utf8_lossy(first);
        let method = text.split(' ').next().unwrap_or_default();
        let known = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"].contains(&method);
        let target = text[method.len()..].chars().nth(1);
        let fits = target.is_none_or(|c| matches!(c, '/' | 'h' | 'H' | '*'));
        let expected = known && text[method.len()..].starts_with(' ') && fits;
        assert_eq!(starts_http_request(first), expected, "{text:?}");
    }
}
