//! Words that come from our own lists: they are written as text, and found again in the lists.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use syscalls::Sysno;

use crate::attach::{ProbeStatus, State, probe};

/// A word of ours. By this name, serde does not take it for a part of what is read.
pub type Word = &'static str;

/// Names of system calls.
pub mod call {
    use std::str::FromStr as _;

    use super::{Deserialize, Deserializer, Serializer, Sysno, Word};

    pub fn serialize<S: Serializer>(name: &str, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
        let name = <&str>::deserialize(from)?;
        Ok(Sysno::from_str(name).map_or("other", |call| call.name()))
    }
}

/// What became of probes. One that this version does not know is left out.
pub mod probes {
    use super::{Deserialize, Deserializer, ProbeStatus, Serializer, State, Status, probe};

    pub fn serialize<S: Serializer>(probes: &[ProbeStatus], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(probes.iter().map(|probe| Status {
            id: probe.id.into(),
            source: probe.source.as_str().into(),
            off: match &probe.state {
                State::Active => None,
                State::Off(why) => Some(why.as_str().into()),
            },
            seen: probe.seen,
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ProbeStatus>, D::Error> {
        let written = Vec::<Status<'_>>::deserialize(from)?;
        Ok(written
            .into_iter()
            .filter_map(|status| {
                let probe = probe(&status.id)?;
                Some(ProbeStatus {
                    id: probe.id,
                    summary: probe.summary,
                    source: status.source.into_owned(),
                    state: status
                        .off
                        .map_or(State::Active, |why| State::Off(why.into_owned())),
                    seen: status.seen,
                })
            })
            .collect())
    }
}

/// A [`ProbeStatus`] as it is written.
#[derive(Serialize, Deserialize)]
struct Status<'a> {
    id: Cow<'a, str>,
    source: Cow<'a, str>,
    off: Option<Cow<'a, str>>,
    seen: Option<u64>,
}
