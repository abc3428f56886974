//! Reads a report back: one of this version or of an earlier one, of a later minor too. It comes from anywhere, so what is
//! read is bounded, and what is no report gets an answer that says what it is.

use std::{
    fmt,
    io::{self, Read as _},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess},
};

use super::{Report, Text};
use crate::{collect::recording, present::escape};

/// The version of the format that is read: the number before the dot.
const MAJOR: u32 = 1;
/// The longest file that is read. A report of a large node has some MB.
const MAX_BYTES: u64 = 128 << 20;
/// The most values in it. Some of them are kept for a while at 32 bytes each, whatever they are.
const MAX_VALUES: usize = 4_000_000;
/// Of a piece of the file in a message, so many characters.
const MAX_PIECE: usize = 120;

/// Documents of other commands: a field that only they have, and the command.
const OTHERS: [(&str, &str); 10] = [
    ("verdict", "diff"),
    ("processes", "workers"),
    ("counts", "count"),
    ("census", "tcp"),
    ("transitions", "tcp --events"),
    ("socket_count", "udp"),
    ("dns", "dns"),
    ("files", "fs"),
    ("facts", "doctor"),
    ("rules", "rules"),
];
/// How files begin that are often mistaken for a report.
const KINDS: [(&[u8], &str); 8] = [
    (
        recording::MAGIC,
        "it is a recording: `stallscope replay FILE --json` makes its report",
    ),
    (
        b"stallscope ",
        "it is a report as text: the one of --json can be read",
    ),
    (
        b"<!doctype html",
        "it is a report as HTML: the one of --json can be read",
    ),
    (
        b"# ",
        "it is a report as Markdown: the one of --json can be read",
    ),
    (b"\x1f\x8b", "it is compressed (gzip): unpack it first"),
    (
        b"\x28\xb5\x2f\xfd",
        "it is compressed (zstd): unpack it first",
    ),
    (
        b"\xff\xfe",
        "it is text in UTF-16: JSON is written in UTF-8",
    ),
    (
        b"\xfe\xff",
        "it is text in UTF-16: JSON is written in UTF-8",
    ),
];

/// Why something is no report that can be read; to be said behind the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is too large for a report.
    #[error("it has more than {0}: no report is as large")]
    TooLarge(&'static str),
    /// It is something else.
    #[error("{0}")]
    Foreign(String),
    /// It was written by a version whose format is another one.
    #[error(
        "its format is version {0}, and stallscope {tool} reads {MAJOR}.x: use a newer one",
        tool = env!("CARGO_PKG_VERSION")
    )]
    Newer(String),
    /// It is cut off.
    #[error("it ends in the middle ({0}): it was cut off when it was written or copied")]
    CutOff(String),
    /// It is broken, with the place.
    #[error("it is no report: {0}")]
    Broken(String),
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(from: impl io::Read) -> Result<Self, Unreadable> {
        let mut bytes = Vec::new();
        from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// The same from memory.
    ///
    /// # Errors
    /// It is no report.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Unreadable::TooLarge("128 MiB"));
        }
        // What some editors and shells put before UTF-8.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        begins_as_json(bytes)?;
        let separators = bytes.iter().filter(|b| matches!(b, b',' | b'[' | b'{'));
        if separators.count() > MAX_VALUES {
            return Err(Unreadable::TooLarge("4 million values"));
        }
        let head: Head = document(bytes)?;
        head.check()?;
        document(bytes)
    }
}

/// One JSON document, and nothing behind it.
fn document<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Unreadable> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| broken(&error.path().to_string(), error.inner()))?;
    match json.end() {
        Ok(()) => Ok(read),
        Err(_) if several(bytes) => {
            let why = "it holds several documents, one a line, as live commands write them; a report is one";
            Err(Unreadable::Foreign(why.to_owned()))
        }
        Err(error) => Err(broken(".", &error)),
    }
}

fn broken(path: &str, error: &serde_json::Error) -> Unreadable {
    let (line, column) = (error.line(), error.column());
    let place = format!("line {line}, column {column}");
    if error.is_eof() {
        return Unreadable::CutOff(place);
    }
    let what = error.to_string();
    let behind = format!(" at line {line} column {column}");
    let what = shown(what.strip_suffix(&behind).unwrap_or(&what));
    Unreadable::Broken(match path {
        "." => format!("{what} ({place})"),
        path => format!("{}: {what} ({place})", shown(path)),
    })
}

/// A piece of the file, as a message shows it.
fn shown(piece: &str) -> String {
    escape::again(piece, MAX_PIECE).into_owned()
}

/// True when the second line with something on it begins another document.
fn several(bytes: &[u8]) -> bool {
    let mut lines = bytes
        .split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii_start)
        .filter(|line| !line.is_empty());
    lines.next().is_some() && lines.next().is_some_and(|line| line.starts_with(b"{"))
}

fn begins_as_json(bytes: &[u8]) -> Result<(), Unreadable> {
    let start = bytes.trim_ascii_start();
    let begins = |with: &[u8]| {
        start
            .get(..with.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(with))
    };
    let why = match start {
        [] => "it is empty",
        [b'{', ..] => return Ok(()),
        _ => KINDS
            .iter()
            .find(|(with, _)| begins(with))
            .map_or("it is no JSON document", |(_, why)| why),
    };
    Err(Unreadable::Foreign(why.to_owned()))
}

/// What is looked at before the rest: what document it is.
#[derive(Default)]
struct Head {
    schema_version: Option<Text>,
    is_report: bool,
    /// The command whose document it is.
    other: Option<&'static str>,
}

impl Head {
    fn check(&self) -> Result<(), Unreadable> {
        let Some(version) = &self.schema_version else {
            let why = "it has no schema_version: stallscope did not write it";
            return Err(Unreadable::Foreign(why.to_owned()));
        };
        match version.split('.').next().map(str::parse::<u32>) {
            Some(Ok(MAJOR)) => {}
            Some(Ok(newer)) if newer > MAJOR => return Err(Unreadable::Newer(shown(version))),
            _ => {
                let why = format!("there is no version {} of the format", shown(version));
                return Err(Unreadable::Foreign(why));
            }
        }
        match self.other {
            Some(command) if !self.is_report => Err(Unreadable::Foreign(format!(
                "it is a document of `stallscope {command}`: only that of `stallscope diagnose --json` is a report"
            ))),
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Head;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Head, M::Error> {
                let mut head = Head::default();
                while let Some(key) = map.next_key::<Text>()? {
                    match key.as_str() {
                        "schema_version" => head.schema_version = Some(map.next_value()?),
                        key => {
                            head.is_report |= key == "signals";
                            let other = OTHERS.iter().find(|(field, _)| *field == key);
                            head.other = head.other.or(other.map(|(_, command)| *command));
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(head)
            }
        }
        from.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests;
