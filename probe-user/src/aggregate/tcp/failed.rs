//! Failed connects, added up by process, address and errno.

use std::{cmp::Reverse, collections::HashMap};

use probe_common::{peer::special, tcp::Connect};

use super::{FailedConnects, MAX_TCP_ROWS, Process, states::Who};
use crate::{aggregate::Peer, bounded::has_room};

/// Rows kept while the window lasts: more than are shown, so that the largest are among them.
const MAX_ROWS: usize = 4096;

#[derive(Clone, Debug)]
struct Row {
    count: u64,
    first_ns: u64,
    last_ns: u64,
}

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct Failed {
    rows: HashMap<(Who, u64, u32), Row>,
    /// By errno, what found no row.
    other: HashMap<u32, Row>,
    /// First failure and number, by peer id, of connects that found no free port.
    pub no_port: HashMap<u64, (u64, u64)>,
}

impl Failed {
    /// Takes in a record of the ring.
    pub fn push(&mut self, connect: &Connect) {
        if connect.errno == 0 {
            return;
        }
        let key = (Who::connected(connect), connect.peer, connect.errno);
        let new = Row {
            count: 0,
            first_ns: connect.at_ns,
            last_ns: connect.at_ns,
        };
        let row = match has_room(&self.rows, &key, MAX_ROWS) {
            true => self.rows.entry(key).or_insert(new),
            false => self.other.entry(connect.errno).or_insert(new),
        };
        add(row, 1, connect.at_ns, connect.at_ns);
        if connect.errno == libc::EADDRNOTAVAIL as u32
            && has_room(&self.no_port, &connect.peer, MAX_ROWS)
        {
            let port = self
                .no_port
                .entry(connect.peer)
                .or_insert((connect.at_ns, 0));
            port.0 = port.0.min(connect.at_ns);
            port.1 += 1;
        }
    }

    /// Connects that failed with one errno, by the path or address asked for: when the first was, CLOCK_MONOTONIC ns,
    /// and how many.
    pub fn with(&self, errno: i32) -> HashMap<u64, (u64, u64)> {
        let mut out = HashMap::new();
        for ((_, peer, _), row) in self.rows.iter().filter(|(k, _)| k.2 == errno as u32) {
            let sum = out.entry(*peer).or_insert((row.first_ns, 0));
            *sum = (sum.0.min(row.first_ns), sum.1 + row.count);
        }
        out
    }

    /// The rows, most first; what is beyond [`MAX_TCP_ROWS`] is added up by errno.
    pub fn finish(&self, start_ns: u64, peer: impl Fn(u64) -> Peer) -> Vec<FailedConnects> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|((who, id, errno), row)| {
            (Reverse(row.count), row.first_ns, *who, *id, *errno)
        });
        let rest = rows.split_off(rows.len().min(MAX_TCP_ROWS));
        let mut other = self.other.clone();
        for ((_, _, errno), row) in rest {
            let sum = other.entry(*errno).or_insert(Row {
                count: 0,
                ..row.clone()
            });
            add(sum, row.count, row.first_ns, row.last_ns);
        }
        let shown = |process: Process, peer, errno: u32, row: &Row| FailedConnects {
            process,
            peer,
            errno,
            count: row.count,
            first_ns: row.first_ns.saturating_sub(start_ns),
            last_ns: row.last_ns.saturating_sub(start_ns),
        };
        let mut out: Vec<FailedConnects> = rows
            .into_iter()
            .map(|((who, id, errno), row)| shown((*who).into(), peer(*id), *errno, row))
            .collect();
        let mut other: Vec<_> = other.into_iter().collect();
        other.sort_by_key(|(errno, row)| (Reverse(row.count), *errno));
        out.extend(other.iter().map(|(errno, row)| {
            let other = Peer::Special(special::OTHER);
            shown(Process::default(), other, *errno, row)
        }));
        out
    }
}

fn add(row: &mut Row, count: u64, first_ns: u64, last_ns: u64) {
    row.count += count;
    row.first_ns = row.first_ns.min(first_ns);
    row.last_ns = row.last_ns.max(last_ns);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_come_and_go_do_not_fill_the_memory() {
        let mut failed = Failed::default();
        for tgid in 1..=9000 {
            failed.push(&Connect {
                errno: libc::EADDRNOTAVAIL as u32,
                tgid,
                peer: tgid.into(),
                ..Connect::ZERO
            });
        }
        assert_eq!(
            (failed.rows.len(), failed.no_port.len()),
            (MAX_ROWS, MAX_ROWS)
        );
        let rows = failed.finish(0, Peer::Special);
        assert_eq!(rows.iter().map(|r| r.count).sum::<u64>(), 9000);
    }

    #[test]
    fn what_lies_behind_the_end_of_a_name_makes_no_other_process() {
        let mut failed = Failed::default();
        for behind in [b'x', b'y'] {
            let mut connect = Connect {
                errno: libc::ECONNREFUSED as u32,
                tgid: 7,
                ..Connect::ZERO
            };
            connect.comm[..3].copy_from_slice(&[b'a', 0, behind]);
            failed.push(&connect);
        }
        let rows = failed.finish(0, Peer::Special);
        let of: Vec<_> = rows.iter().map(|r| (&*r.process.comm, r.count)).collect();
        assert_eq!(of, [(&b"a"[..], 2)]);
    }
}
