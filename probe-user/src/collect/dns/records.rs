//! The kernel side's tables of questions, as a reading has them.

use std::{
    collections::{HashMap as StdHashMap, HashSet, hash_map::Entry},
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
    table::{Made, slot},
};

use super::{Name, OpenQuestion, Questions, Resolver, Step};
use crate::{
    collect::{
        CallSum, monotonic_ns,
        table::{self, Fate, Table},
    },
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

/// The tables of sums, and the names in them.
pub struct Tables {
    sums: Table<QuestionKey>,
    others: Table<QuestionKey>,
    names: StdHashMap<u64, Known>,
}

/// A name.
struct Known {
    name: Name,
    /// Readings since a row had it.
    unused: u32,
}

/// A name is kept for so many readings after its last row: another may begin meanwhile.
const KEEP_NAMES: u32 = 3;
/// A row stays for so long as a question that it counts may be answered, ns: no resolver waits as long.
const OPEN_FOR_NS: u64 = 120_000_000_000;

impl Default for Tables {
    fn default() -> Self {
        Self {
            sums: Table::new("DNS_SUMS", Some(slot::QUESTIONS)),
            others: Table::new("DNS_OTHERS", None),
            names: StdHashMap::new(),
        }
    }
}

impl Tables {
    /// The kernel side says that so many rows were made.
    pub fn told(&mut self, made: &Made) {
        self.sums.told(made);
    }

    /// See [`Table::is_crowded`].
    pub fn is_crowded(&self) -> bool {
        self.sums.is_crowded()
    }

    /// A name, as far as it is known.
    pub fn name(&self, hash: u64) -> Option<&Name> {
        self.names.get(&hash).map(|known| &known.name)
    }

    /// All sums, when they are `wanted`, and those that were taken out of the tables. `open` are the questions without an
    /// answer.
    pub fn look(
        &mut self,
        ebpf: &Ebpf,
        open: &[dns::Open],
        wanted: bool,
    ) -> Result<(Vec<Questions>, Vec<Questions>), Error> {
        let now_ns = monotonic_ns();
        // Before the rows that they belong to: each has its own by then.
        let mut timeouts = StdHashMap::new();
        table::for_each(
            ebpf,
            "DNS_TIMEOUTS",
            |key: QuestionKey, sum: &TimeoutSum| {
                if sum.count > 0 {
                    timeouts.insert(key, timed_out(sum));
                }
            },
        )?;
        let young = open
            .iter()
            .filter(|open| now_ns.saturating_sub(open.asked_ns) < OPEN_FOR_NS);
        let asked: HashSet<QuestionKey> = young.map(|open| open.row).collect();
        let fate = |key: &QuestionKey| match asked.contains(key) || *key == EVERYBODY {
            true => Fate::Stays,
            false => Fate::Alive,
        };
        let mark = |sum: &QuestionSum| sum.asked + sum.answered + sum.refused;
        let (mut rows, mut retired) = (Vec::new(), Vec::new());
        for table in [&mut self.sums, &mut self.others] {
            let names = &mut self.names;
            let found = table.look(ebpf, now_ns, wanted, mark, fate, |key, sum| {
                questions(key, sum, named(ebpf, names, key.name))
            })?;
            for (key, mut questions) in found.rows {
                questions.timed_out = timeouts.remove(&key).unwrap_or_default();
                rows.push(questions);
            }
            for (key, mut questions) in found.retired {
                timeouts.remove(&key);
                if let Some(sum) = table::take(ebpf, "DNS_TIMEOUTS", &key)? {
                    questions.timed_out = timed_out(&sum);
                }
                retired.push(questions);
            }
        }
        // What is left has no row any more, or found one here alone.
        for (key, sum) in timeouts.into_iter().filter(|_| wanted) {
            let name = self.name(key.name).cloned();
            let mut questions = questions(&key, &QuestionSum::ZERO, name);
            questions.timed_out = sum;
            if key == EVERYBODY {
                rows.push(questions);
            } else if let Some(sum) = table::take(ebpf, "DNS_TIMEOUTS", &key)? {
                questions.timed_out = timed_out(&sum);
                retired.push(questions);
            }
        }
        // A row that was taken out between a question and its answer begins again with the answer.
        rows.retain(|q| q.asked + q.answered + q.refused + q.timed_out.count > 0);
        if wanted {
            self.forget(ebpf, open)?;
        }
        Ok((rows, retired))
    }

    /// Forgets names that no row has any more, here and in the kernel.
    fn forget(&mut self, ebpf: &Ebpf, open: &[dns::Open]) -> Result<(), Error> {
        let rows = self.sums.keys().map(|key| key.name);
        let used: HashSet<u64> = rows.chain(open.iter().map(|open| open.row.name)).collect();
        let mut gone = Vec::new();
        self.names.retain(|hash, known| {
            known.unused = match used.contains(hash) {
                true => 0,
                false => known.unused + 1,
            };
            if known.unused == 1 {
                gone.push(*hash);
            }
            known.unused < KEEP_NAMES
        });
        for hash in gone {
            table::take::<u64, dns::Name>(ebpf, "DNS_NAMES", &hash)?;
        }
        Ok(())
    }
}

/// The name behind a hash. A row that was made a moment ago may not have its name yet.
fn named(ebpf: &Ebpf, names: &mut StdHashMap<u64, Known>, hash: u64) -> Option<Name> {
    if hash != 0
        && let Entry::Vacant(place) = names.entry(hash)
        && let Ok(Some(name)) = table::get::<u64, dns::Name>(ebpf, "DNS_NAMES", &hash)
    {
        place.insert(Known {
            name: text(&name),
            unused: 0,
        });
    }
    names.get(&hash).map(|known| known.name.clone())
}

fn questions(key: &QuestionKey, sum: &QuestionSum, name: Option<Name>) -> Questions {
    let comm = sum.comm.iter().take_while(|b| **b != 0);
    Questions {
        pid: key.tgid,
        comm: comm.copied().collect(),
        server: key.server,
        name,
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
pub fn open(ebpf: &Ebpf) -> Result<Vec<dns::Open>, Error> {
    let mut open = Vec::new();
    table::for_each(ebpf, "DNS_OPEN", |_: dns::OpenKey, row: &dns::Open| {
        open.push(*row)
    })?;
    Ok(open)
}

/// The same, as a reading has them.
pub fn waiting(rows: &[dns::Open], tables: &Tables, resolvers: &[Resolver]) -> Vec<OpenQuestion> {
    let now = monotonic_ns();
    let timeouts: StdHashMap<u32, Duration> = resolvers
        .iter()
        .map(|r| (r.pid, Duration::from_secs(r.timeout_s.into())))
        .collect();
    let mut alive: StdHashMap<u32, bool> = StdHashMap::new();
    let open = rows.iter().map(|open| {
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
            name: tables.name(open.row.name).cloned(),
            qtype: open.row.qtype as u16,
            asked_ns: open.asked_ns,
            waiting,
        }
    });
    open.collect()
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
