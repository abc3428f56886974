//! What the tests of the FastCGI reader share: a builder of streams and a connection that is fed them.

use std::cell::Cell;

use super::*;
use crate::request::{NAME_LEN, Request};

mod bad;
mod good;

/// What a read returned; it refuses what lies outside of it.
struct Bytes<'a> {
    bytes: &'a [u8],
    reads: Cell<u32>,
    fails: bool,
}

impl<'a> Bytes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            reads: Cell::new(0),
            fails: false,
        }
    }
}

impl Source for Bytes<'_> {
    unsafe fn read<const MASK: u32>(&self, offset: u32, into: *mut u8, len: u32) -> bool {
        assert!(len <= MASK && (MASK + 1).is_power_of_two());
        self.reads.set(self.reads.get() + 1);
        if self.fails {
            return false;
        }
        let piece = &self.bytes[offset as usize..][..len as usize];
        // SAFETY: `feed` promises that `into` is valid for `len` bytes.
        unsafe { into.copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
        true
    }
}

/// One connection as a worker's row holds it.
struct Connection {
    reader: Reader,
    request: Request,
    scratch: Scratch,
}

impl Connection {
    /// Scratch and names hold what other requests left there.
    fn new() -> Self {
        let mut new = Self {
            reader: Reader::ZERO,
            request: Request::ZERO,
            scratch: Scratch::ZERO,
        };
        new.scratch.window.fill(0x81);
        new.scratch.loaded = 77;
        new
    }

    fn feed(&mut self, source: &Bytes) -> u32 {
        let len = source.bytes.len() as u32;
        feed(
            &mut self.reader,
            &mut self.request,
            &mut self.scratch,
            len,
            source,
        )
    }

    /// Feeds one read after the other and returns all that they saw.
    fn reads<'a>(&mut self, reads: impl IntoIterator<Item = &'a [u8]>) -> u32 {
        reads
            .into_iter()
            .fold(0, |saw, read| saw | self.feed(&Bytes::new(read)))
    }

    fn script(&self) -> &str {
        std::str::from_utf8(&self.request.script[..self.request.script_len as usize]).unwrap()
    }

    fn uri(&self) -> &str {
        std::str::from_utf8(&self.request.uri[..self.request.uri_len as usize]).unwrap()
    }
}

/// A length in 1 byte, or in 4 where it has to be or `long` asks for it.
fn push_length(out: &mut Vec<u8>, len: usize, long: bool) {
    if len < 128 && !long {
        out.push(len as u8);
    } else {
        out.extend((len as u32 | 0x8000_0000).to_be_bytes());
    }
}

fn params(pairs: &[(&str, &str)], long: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        push_length(&mut out, name.len(), long);
        push_length(&mut out, value.len(), long);
        out.extend(name.bytes());
        out.extend(value.bytes());
    }
    out
}

fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let len = (content.len() as u16).to_be_bytes();
    let mut out = vec![1, kind, 0, 1, len[0], len[1], padding, 0];
    out.extend(content);
    // Padding may hold anything; this looks like a header.
    out.extend(
        [1, 1, 0, 1, 0, 8, 0, 0]
            .iter()
            .cycle()
            .take(padding as usize),
    );
    out
}

fn begin(keep: u8) -> Vec<u8> {
    record(1, &[0, 1, keep, 0, 0, 0, 0, 0], 0)
}

/// A whole request; the parameters are cut into records of at most `piece` bytes.
fn request(params: &[u8], piece: usize, padding: u8, body: &[u8]) -> Vec<u8> {
    let mut out = begin(1);
    for part in params.chunks(piece) {
        out.extend(record(4, part, padding));
    }
    out.extend(record(4, &[], 0));
    for part in body.chunks(8192) {
        out.extend(record(5, part, padding));
    }
    out.extend(record(5, &[], 0));
    out
}

const SCRIPT: &str = "/var/www/shop/public/index.php";
const URI: &str = "/catalog.php?cat=excavators&page=2";

/// What nginx 1.22 sends with Debian's fastcgi.conf (the file first) and a browser's headers.
fn nginx() -> Vec<(&'static str, &'static str)> {
    vec![
        ("PATH_INFO", ""),
        ("SCRIPT_FILENAME", SCRIPT),
        ("QUERY_STRING", "cat=excavators&page=2"),
        ("REQUEST_METHOD", "POST"),
        ("CONTENT_TYPE", "application/x-www-form-urlencoded"),
        ("CONTENT_LENGTH", "20"),
        ("SCRIPT_NAME", "/index.php"),
        ("REQUEST_URI", URI),
        ("DOCUMENT_URI", "/index.php"),
        ("DOCUMENT_ROOT", "/var/www/shop/public"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "https"),
        ("HTTPS", "on"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "nginx/1.22.1"),
        ("REMOTE_ADDR", "203.0.113.5"),
        ("REMOTE_PORT", "52344"),
        ("REMOTE_USER", ""),
        ("SERVER_ADDR", "10.0.0.7"),
        ("SERVER_PORT", "443"),
        ("SERVER_NAME", "shop.example"),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_HOST", "shop.example"),
        (
            "HTTP_USER_AGENT",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        ),
        (
            "HTTP_ACCEPT",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("HTTP_ACCEPT_LANGUAGE", "en-US,en;q=0.5"),
        ("HTTP_COOKIE", "session=8f2b6c0d; theme=dark; consent=1"),
        ("HTTP_SEC_FETCH_MODE", "navigate"),
    ]
}

/// The same with the file last, as with fastcgi_params and one more line.
fn nginx_file_last() -> Vec<(&'static str, &'static str)> {
    let mut pairs = nginx();
    let file = pairs.remove(1);
    pairs.push(file);
    pairs
}

/// A header, then its content with the padding, as PHP reads.
fn as_php(stream: &[u8]) -> Vec<&[u8]> {
    let (mut reads, mut rest) = (Vec::new(), stream);
    while rest.len() >= 8 {
        let (head, behind) = rest.split_at(8);
        let len = u16::from_be_bytes([head[4], head[5]]) as usize + head[6] as usize;
        let (body, behind) = behind.split_at(len);
        reads.push(head);
        if !body.is_empty() {
            reads.push(body);
        }
        rest = behind;
    }
    assert!(rest.is_empty());
    reads
}

#[track_caller]
fn check<'a>(reads: impl IntoIterator<Item = &'a [u8]>, script: &str, uri: &str) {
    let mut c = Connection::new();
    assert_eq!(c.reads(reads), saw::BEGIN | saw::PARAMS_DONE);
    assert_eq!((c.script(), c.uri()), (script, uri));
}

/// Small deterministic random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}
