//! The kernel side's tables of questions, as a reading has them.

use std::{
    collections::{HashMap as StdHashMap, hash_map::Entry},
    path::Path,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapError},
};
use probe_common::{
    dns::{self, QuestionKey, QuestionSum, TimeoutSum, Totals, open_flag},
    hist,
    peer::special,
};

use super::{Name, OpenQuestion, Questions, Resolver, Step, batch};
use crate::{
    collect::{CallSum, monotonic_ns},
    error::Error,
};

/// The row for what finds no place in any other.
const EVERYBODY: QuestionKey = QuestionKey {
    server: special::OTHER,
    ..QuestionKey::ZERO
};

/// The time-out of a resolver that is not known (resolv.conf(5)).
const TIMEOUT: Duration = Duration::from_secs(5);

/// Puts the last resort in each table: the kernel side adds to it when the rest is full.
pub fn make_other_rows(ebpf: &mut Ebpf) -> Result<(), Error> {
    let mut others: HashMap<_, QuestionKey, QuestionSum> = map(ebpf, "DNS_OTHERS")?;
    let made = others.insert(EVERYBODY, QuestionSum::ZERO, 0);
    made.map_err(map_error)?;
    let mut timeouts: HashMap<_, QuestionKey, TimeoutSum> = map(ebpf, "DNS_TIMEOUTS")?;
    let made = timeouts.insert(EVERYBODY, TimeoutSum::ZERO, 0);
    made.map_err(map_error)
}

/// All sums. Names that were not known yet are added to `names`.
pub fn sums(ebpf: &mut Ebpf, names: &mut StdHashMap<u64, Name>) -> Result<Vec<Questions>, Error> {
    let mut rows: Vec<(QuestionKey, QuestionSum)> = batch::rows(ebpf, "DNS_SUMS")?;
    rows.extend(batch::rows::<QuestionKey, QuestionSum>(ebpf, "DNS_OTHERS")?);
    let timeouts: Vec<(QuestionKey, TimeoutSum)> = batch::rows(ebpf, "DNS_TIMEOUTS")?;
    let mut timeouts: StdHashMap<QuestionKey, CallSum> = timeouts
        .iter()
        .filter(|(_, sum)| sum.count > 0)
        .map(|(key, sum)| (*key, timed_out(sum)))
        .collect();
    let known: HashMap<_, u64, dns::Name> = map(ebpf, "DNS_NAMES")?;
    let mut out = Vec::with_capacity(rows.len());
    for (key, sum) in rows.iter().filter(|(_, sum)| sum.asked > 0) {
        if key.name != 0
            && let Entry::Vacant(place) = names.entry(key.name)
            // A row that was made a moment ago may not have its name yet.
            && let Ok(name) = known.get(&key.name, 0)
        {
            place.insert(text(&name));
        }
        let mut questions = questions(key, sum, names.get(&key.name));
        questions.timed_out = timeouts.remove(key).unwrap_or_default();
        out.push(questions);
    }
    // What found a row among the questions, but none here.
    for (key, timed_out) in timeouts {
        let mut questions = questions(&key, &QuestionSum::ZERO, names.get(&key.name));
        questions.timed_out = timed_out;
        out.push(questions);
    }
    Ok(out)
}

fn questions(key: &QuestionKey, sum: &QuestionSum, name: Option<&Name>) -> Questions {
    let comm = sum.comm.iter().take_while(|b| **b != 0);
    Questions {
        pid: key.tgid,
        comm: comm.copied().collect(),
        server: key.server,
        name: name.cloned(),
        qtype: key.qtype as u16,
        asked: sum.asked,
        retried: sum.retried,
        duplicates: sum.duplicates,
        answered: sum.answered,
        refused: sum.refused,
        rcodes: sum.rcodes,
        empty: sum.empty,
        truncated: sum.truncated,
        latency: CallSum {
            count: sum.answered,
            total_ns: sum.latency_ns,
            max_ns: sum.latency_max_ns,
            hist: filled(&sum.latency),
            ..CallSum::default()
        },
        timed_out: CallSum::default(),
        first_ns: sum.first_ns,
        last_ns: sum.last_ns,
    }
}

fn timed_out(sum: &TimeoutSum) -> CallSum {
    CallSum {
        count: sum.count,
        total_ns: sum.total_ns,
        max_ns: sum.max_ns,
        hist: filled(&sum.hist),
        ..CallSum::default()
    }
}

/// The buckets that are not empty.
fn filled(hist: &[u32; hist::BUCKETS]) -> Box<[(u8, u32)]> {
    let buckets = hist.iter().enumerate().filter(|(_, n)| **n > 0);
    buckets.map(|(bucket, n)| (bucket as u8, *n)).collect()
}

/// Questions without an answer.
pub fn open(
    ebpf: &Ebpf,
    names: &StdHashMap<u64, Name>,
    resolvers: &[Resolver],
) -> Result<Vec<OpenQuestion>, Error> {
    let rows: Vec<(dns::OpenKey, dns::Open)> = batch::rows(ebpf, "DNS_OPEN")?;
    let now = monotonic_ns();
    let timeouts: StdHashMap<u32, Duration> = resolvers
        .iter()
        .map(|r| (r.pid, Duration::from_secs(r.timeout_s.into())))
        .collect();
    let mut alive: StdHashMap<u32, bool> = StdHashMap::new();
    let open = rows.iter().map(|(_, open)| {
        let pid = open.row.tgid;
        let timeout = timeouts.get(&pid).unwrap_or(&TIMEOUT);
        let age = Duration::from_nanos(now.saturating_sub(open.asked_ns));
        let waiting = open.flags & open_flag::TIMED_OUT == 0
            && age <= *timeout
            && *alive
                .entry(open.tid)
                .or_insert_with(|| Path::new(&format!("/proc/{}", open.tid)).exists());
        OpenQuestion {
            pid,
            tid: open.tid,
            server: open.row.server,
            name: names.get(&open.row.name).cloned(),
            qtype: open.row.qtype as u16,
            asked_ns: open.asked_ns,
            waiting,
        }
    });
    Ok(open.collect())
}

/// How far it has come.
pub fn totals(ebpf: &mut Ebpf) -> Result<Step, Error> {
    let totals: Array<_, Totals> = map(ebpf, "DNS_TOTALS")?;
    let totals = totals.get(&0, 0).map_err(map_error)?;
    Ok(Step {
        at_ns: monotonic_ns(),
        asked: totals.asked,
        answered: totals.answered,
    })
}

/// A name as it is written: see [`Name`].
fn text(name: &dns::Name) -> Name {
    let mut left = &name.bytes[..(name.len as usize).min(name.bytes.len())];
    let mut out = Vec::with_capacity(left.len());
    while let Some((len, rest)) = left.split_first() {
        let (label, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        left = rest;
        if label.is_empty() {
            break;
        }
        if !out.is_empty() {
            out.push(b'.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => out.extend(format!("\\{byte:03}").bytes()),
                0x21..=0x7e => out.push(*byte),
                _ => out.extend(format!("\\{byte:03}").bytes()),
            }
        }
    }
    out
}

fn map<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<T, Error>
where
    T: TryFrom<&'a mut aya::maps::Map, Error = MapError>,
{
    let map = ebpf.map_mut(name);
    let map = map.ok_or_else(|| Error::Kernel(format!("the object has no map {name}")))?;
    T::try_from(map).map_err(map_error)
}

fn map_error(e: MapError) -> Error {
    Error::Kernel(format!("a table of DNS cannot be read or written: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(wire: &[u8]) -> String {
        let mut name = dns::Name::ZERO;
        name.bytes[..wire.len()].copy_from_slice(wire);
        name.len = wire.len() as u64;
        String::from_utf8(text(&name)).unwrap()
    }

    #[test]
    fn names_are_written_with_dots_and_escapes() {
        assert_eq!(written(b"\x03www\x07example\x03org\0"), "www.example.org");
        assert_eq!(written(b"\0"), "");
        assert_eq!(written(b"\x05a.b\\c\x01\x00\0"), "a\\046b\\092c.\\000");
        assert_eq!(written(b"\x03\x1b[m\x02\xc3\xa9\0"), "\\027[m.\\195\\169");
        // Bytes that no parser lets through are no reason to read beyond the end.
        assert_eq!(written(b"\x3fab"), "ab");
        assert_eq!(written(b""), "");
    }

    #[test]
    fn a_full_length_tells_nothing_of_what_lies_behind() {
        let mut name = dns::Name::ZERO;
        name.bytes.fill(63);
        name.len = u64::MAX;
        assert!(text(&name).len() <= 256);
    }
}
