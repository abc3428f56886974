//! What users write: the configuration file, times, sizes, addresses, passwords. The first line of an input names the reader.
//!
//! What is wrong is said with its place, in one line, and never with a secret in it.

use stallscope::{
    cli::{Protocol, duration, size},
    session::{
        fuzzing::{self, Auth, end, headers, listen},
        plain,
    },
};

use crate::{input, memory, outputs};

/// Gives it to the reader that it names.
pub fn run(bytes: &[u8]) {
    let Some((name, bytes)) = input::named(bytes) else {
        return;
    };
    if name == "passwords" {
        return passwords(bytes);
    }
    let Some(text) = input::text(bytes) else {
        return;
    };
    match name {
        "file" => file(text),
        "time" => time(text),
        "size" => {
            if let Ok(bytes) = said(text, size::bytes(text)) {
                assert_eq!(size::bytes(&bytes.to_string()), Ok(bytes));
            }
        }
        "listen" => {
            let read = listen(Some(text)).map_err(|why| why.to_string());
            if let Ok(address) = said(text, read) {
                let again = address.map_or("none".to_owned(), |address| address.to_string());
                assert_eq!(listen(Some(&again)).ok(), Some(address));
            }
        }
        "url" => [Protocol::Grpc, Protocol::Http]
            .iter()
            .for_each(|p| url(text, *p)),
        "header" => header(text),
        _ => {}
    }
}

/// A complaint about `text` is one line, which is not much longer.
fn said<T>(text: &str, read: Result<T, String>) -> Result<T, String> {
    if let Err(why) = &read {
        let why = plain(why);
        outputs::harmless(&why);
        assert!(
            !why.contains('\n') && why.len() < 12 * text.len() + 600,
            "{why:?}"
        );
    }
    read
}

fn file(text: &str) {
    // A byte that begins a table or a list is some words of a tree; what is read is kept beside it until it is checked.
    let most = 4 * memory::ALWAYS + 512 * text.len();
    let read = memory::within(most, || fuzzing::file(text));
    if let Err(why) = said(text, read) {
        let line = why.strip_prefix(':').and_then(|rest| rest.split_once(": "));
        let line = line.and_then(|(number, _)| number.parse::<usize>().ok());
        let lines = text.matches('\n').count() + 1;
        assert!(
            line.is_some_and(|line| (1..=lines).contains(&line)),
            "{why:?}"
        );
        assert!(!why.contains('\n'), "{why:?}");
    }
}

fn time(text: &str) {
    for read in [duration::watch, duration::interval] {
        if let Ok(time) = said(text, read(text)) {
            assert!(!time.is_zero() && time.as_secs() <= 24 * 60 * 60);
            // Fractions of a millisecond have at most nine digits, which is enough for each ns.
            let ms = format!(
                "{}.{:06}ms",
                time.as_millis(),
                time.subsec_nanos() % 1_000_000
            );
            assert_eq!(read(&ms), Ok(time), "{ms}");
        }
    }
}

/// A URL is what it says when it is written out; a password in it stands in no message.
fn url(text: &str, protocol: Protocol) {
    let read = end(text, protocol).map_err(|why| why.to_string());
    match said(text, read) {
        Ok(read) => {
            assert!(!read.host.is_empty() && read.port > 0 && !read.path.ends_with('/'));
            let again = end(&read.url(), protocol);
            assert_eq!(again.ok(), Some(read));
        }
        Err(why) if text.contains('@') => {
            let of_another = end("name:password@collector", protocol).err();
            assert_eq!(Some(why), of_another.map(|why| why.to_string()));
        }
        Err(_) => {}
    }
}

/// `NAME=VALUE`: the value is marked as a secret, and stands in no message.
fn header(text: &str) {
    let Some((name, value)) = text.split_once('=') else {
        return;
    };
    // Files are not ours to read.
    if value.starts_with('@') {
        return;
    }
    let given = [(name.to_owned(), value.to_owned())];
    match said(text, headers(&given).map_err(|why| why.to_string())) {
        Ok(all) => {
            assert_eq!(all.len(), 1);
            assert!(
                all.values()
                    .all(|v| v.is_sensitive() && v.as_bytes() == value.as_bytes())
            );
        }
        Err(why) => {
            let rest = why.replacen(name, "", 1);
            assert!(value.len() < 40 || !rest.contains(value), "{why:?}");
        }
    }
}

/// A file of passwords, and a header behind a NUL: who may is who stands in it.
fn passwords(bytes: &[u8]) {
    let [file, header] = input::parts(bytes);
    let read = memory::within(memory::ALWAYS + 64 * file.len(), || Auth::parse(file));
    let Ok(auth) = said("", read) else { return };
    let known = file
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut known = known.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let sent = basic(header);
    let expected = sent.is_some_and(|sent| known.any(|line| base64(line) == sent));
    assert_eq!(auth.allows(Some(header)), expected);
    assert!(!auth.allows(None));
    // Everybody in it may.
    for line in file.split(|b| *b == b'\n').take(4) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() && !line.starts_with(b"#") {
            let header = format!("Basic {}", base64(line));
            assert!(auth.allows(Some(header.as_bytes())));
        }
    }
}

/// The credentials in an Authorization header (RFC 7617).
fn basic(header: &[u8]) -> Option<&str> {
    let header = std::str::from_utf8(header).ok()?;
    let (scheme, sent) = header.split_at_checked(6)?;
    let sent = sent.trim_matches(|c: char| c.is_ascii_whitespace());
    scheme.eq_ignore_ascii_case("basic ").then_some(sent)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes(word);
        for n in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * n) & 63) as usize];
            text.push(if n > three.len() { '=' } else { digit.into() });
        }
    }
    text
}
