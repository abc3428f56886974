//! The file that `--config` names: TOML, with the long options as keys (`max_size` for `--max-size`). One file serves both
//! commands: `watch` leaves alone what only `serve` does.

use std::{
    io::Read as _,
    num::NonZero,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    cli::{Protocol, duration, size},
    diagnose::Severity,
    error::Error,
};

/// A file that is larger is none of ours.
const MOST_BYTES: u64 = 1 << 20;

/// What may stand in it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub interval: Option<Time>,
    pub span: Option<Time>,
    pub duration: Option<Run>,
    pub no_fastcgi: Option<bool>,
    pub netns: Option<NonZero<u32>>,
    pub verbose: Option<bool>,
    pub pid: Option<Pids>,
    pub comm: Option<Words>,
    pub pool: Option<Words>,
    pub cgroup: Option<Words>,
    pub dir: Option<PathBuf>,
    pub severity: Option<Least>,
    pub before: Option<Time>,
    pub after: Option<Time>,
    pub pause: Option<Time>,
    pub max_size: Option<Size>,
    pub on_finding: Option<Command>,
    pub listen: Option<String>,
    pub socket: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub basic_auth: Option<PathBuf>,
    pub otlp: Option<String>,
    pub otlp_protocol: Option<Spoken>,
    pub otlp_header: Option<Words>,
    pub otlp_ca: Option<PathBuf>,
    pub otlp_interval: Option<Time>,
}

impl File {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or what stands in it is not understood; the text names the line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let error = |source| Error::Io {
            what: format!("cannot read {shown}"),
            source,
        };
        let file = std::fs::File::open(path).map_err(error)?;
        if !file.metadata().map_err(error)?.is_file() {
            return Err(Error::Usage(format!("cannot read {shown}: it is no file")));
        }
        let mut text = String::new();
        file.take(MOST_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(error)?;
        if text.len() as u64 > MOST_BYTES {
            return Err(Error::Usage(format!("{shown} is too long: more than 1 MB")));
        }
        Self::parse(&text).map_err(|why| Error::Usage(format!("{shown}{why}")))
    }

    /// From its text; what is wrong begins with the number of the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let why = error.message().replace('\n', "; ");
            format!(":{line}: {why}")
        })
    }
}

/// A time, as arguments have it.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Duration);

/// How long to run, as arguments have it.
#[derive(Clone, Copy, Debug)]
pub struct Run(pub Duration);

/// A size, as arguments have it.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

/// How bad a finding must be.
#[derive(Clone, Copy, Debug)]
pub struct Least(pub Severity);

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug)]
pub struct Spoken(pub Protocol);

/// A text, or a list of them.
#[derive(Clone, Debug, Default)]
pub struct Words(pub Vec<String>);

/// A number, or a list of them.
#[derive(Clone, Debug, Default)]
pub struct Pids(pub Vec<u32>);

/// A program and its arguments: a text that is split at spaces, or a list, of which each may have some.
#[derive(Clone, Debug, Default)]
pub struct Command(pub Vec<String>);

/// By what reads it from a text.
macro_rules! of_text {
    ($( $type:ident($read:expr); )*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                $read(&text).map($type).map_err(|why| D::Error::custom(format!("{text:?}: {why}")))
            }
        }
    )*};
}

of_text! {
    Time(duration::interval);
    Run(duration::watch);
    Size(size::bytes);
    Least(severity);
    Spoken(protocol);
}

fn severity(text: &str) -> Result<Severity, &'static str> {
    let all = [Severity::Info, Severity::Warning, Severity::Critical];
    let named = all.into_iter().find(|severity| severity.name() == text);
    named.ok_or("write info, warning or critical")
}

fn protocol(text: &str) -> Result<Protocol, &'static str> {
    match text {
        "grpc" => Ok(Protocol::Grpc),
        "http" => Ok(Protocol::Http),
        _ => Err("write grpc or http"),
    }
}

/// One, or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write one, or a list of them")]
enum Several<T> {
    One(T),
    Many(Vec<T>),
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = match Several::deserialize(from)? {
            Several::One(word) => vec![word],
            Several::Many(words) => words,
        };
        match words.iter().any(String::is_empty) {
            true => Err(D::Error::custom("it is empty")),
            false => Ok(Self(words)),
        }
    }
}

impl<'de> Deserialize<'de> for Pids {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let pids: Vec<NonZero<u32>> = match Several::deserialize(from)? {
            Several::One(pid) => vec![pid],
            Several::Many(pids) => pids,
        };
        Ok(Self(pids.into_iter().map(NonZero::get).collect()))
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match Several::<String>::deserialize(from)? {
            Several::One(text) => text.split_whitespace().map(str::to_owned).collect(),
            Several::Many(words) => words,
        }))
    }
}
