//! Speaks FastCGI (both sides), in every way the protocol allows the bytes to be cut.

use crate::sys;

/// Record types.
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// One record: header, content, padding.
fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let mut out = vec![1, kind, 0, 1];
    out.extend((content.len() as u16).to_be_bytes());
    out.extend([padding, 0]);
    out.extend(content);
    out.extend(std::iter::repeat_n(0, padding.into()));
    out
}

/// A name or value length: one byte below 128, four from there on (or when `long` asks for it).
fn length(n: usize, long: bool, out: &mut Vec<u8>) {
    if n < 128 && !long {
        out.push(n as u8);
    } else {
        out.extend((n as u32 | 1 << 31).to_be_bytes());
    }
}

/// How a request is put on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Ask the server to keep the connection.
    pub keep_conn: bool,
    /// Bytes of parameters in one record.
    pub params_per_record: usize,
    /// Use four-byte lengths for every name and value.
    pub long_lengths: bool,
    /// Padding bytes after each record.
    pub padding: u8,
    /// Parameters put before SCRIPT_FILENAME, of this many bytes together.
    pub bulk_before: usize,
}

impl Wire {
    /// As nginx sends it.
    pub const PLAIN: Self = Self {
        keep_conn: false,
        params_per_record: usize::MAX,
        long_lengths: false,
        padding: 0,
        bulk_before: 0,
    };
}

/// The bytes of a whole request.
pub fn request(wire: Wire, script: &str, uri: &str) -> Vec<u8> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut left = wire.bulk_before;
    while left > 0 {
        let n = left.min(200);
        pairs.push((format!("HTTP_X_{}", pairs.len()), "v".repeat(n)));
        left -= n;
    }
    pairs.push((
        "QUERY_STRING".into(),
        uri.split_once('?').map_or("", |u| u.1).into(),
    ));
    pairs.push(("REQUEST_METHOD".into(), "GET".into()));
    pairs.push((
        "SCRIPT_NAME".into(),
        uri.split('?').next().unwrap_or("").into(),
    ));
    pairs.push(("REQUEST_URI".into(), uri.into()));
    pairs.push(("SCRIPT_FILENAME".into(), script.into()));
    pairs.push(("SERVER_PROTOCOL".into(), "HTTP/1.1".into()));

    let mut params = Vec::new();
    for (name, value) in &pairs {
        length(name.len(), wire.long_lengths, &mut params);
        length(value.len(), wire.long_lengths, &mut params);
        params.extend(name.as_bytes());
        params.extend(value.as_bytes());
    }
    // Role 1 is the responder.
    let begin = [0, 1, u8::from(wire.keep_conn), 0, 0, 0, 0, 0];
    let mut out = record(BEGIN_REQUEST, &begin, 0);
    for chunk in params.chunks(wire.params_per_record.min(65_000)) {
        out.extend(record(PARAMS, chunk, wire.padding));
    }
    out.extend(record(PARAMS, &[], 0));
    out.extend(record(STDIN, &[], 0));
    out
}

/// The bytes of an answer.
pub fn response(body: &str) -> Vec<u8> {
    let text = format!("Content-Type: text/plain\r\n\r\n{body}");
    let mut out = record(STDOUT, text.as_bytes(), 3);
    out.extend(record(STDOUT, &[], 0));
    out.extend(record(END_REQUEST, &[0; 8], 0));
    out
}

/// Server side: reads one request as PHP-FPM does for a GET: a read for each header and one for each
/// content, up to the empty PARAMS record; the empty STDIN record stays unread, and one left over from the
/// request before is passed over. `None` when the client has closed.
pub fn read_request(fd: i32) -> Option<()> {
    read_until(fd, PARAMS)
}

/// Server side: ends a connection as PHP-FPM does: no more is sent, and what is left (the empty STDIN
/// record) is read until the client closes.
pub fn drain_and_close(fd: i32) {
    let _ = sys::shutdown_write(fd);
    while sys::recvfrom(fd, &mut [0; 64], 0).is_ok_and(|n| n > 0) {}
    let _ = sys::close(fd);
}

/// Client side: reads an answer up to its end. `None` when the server has closed before it.
pub fn read_response(fd: i32) -> Option<()> {
    read_until(fd, END_REQUEST)
}

/// Reads records until an empty one of this type, or one of END_REQUEST.
fn read_until(fd: i32, kind: u8) -> Option<()> {
    loop {
        let mut header = [0u8; 8];
        read_all(fd, &mut header)?;
        let length = u16::from_be_bytes([header[4], header[5]]) as usize + header[6] as usize;
        let mut content = vec![0; length];
        read_all(fd, &mut content)?;
        if header[1] == kind && (length == 0 || kind == END_REQUEST) {
            return Some(());
        }
    }
}

fn read_all(fd: i32, mut buf: &mut [u8]) -> Option<()> {
    while !buf.is_empty() {
        match sys::read(fd, buf) {
            Ok(n) if n > 0 => buf = &mut buf[n as usize..],
            _ => return None,
        }
    }
    Some(())
}
