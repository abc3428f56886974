//! The last exchange of each request with each peer.
//!
//! The kernel side adds an exchange up when the next one begins; the last one is still open in the
//! request's record, and is added here, so that every [`super::Reading`] has them all.

use std::collections::{HashMap, HashSet};

use probe_common::{
    hist,
    op::derived,
    request::Request,
    stat::{Stat, StatKey},
};

use super::CallSum;

/// Sums that are still to be added to those of the kernel side.
#[derive(Default)]
pub struct LastExchanges {
    sums: HashMap<StatKey, Sum>,
}

#[derive(Default)]
struct Sum {
    count: u64,
    total_ns: u64,
    max_ns: u64,
    /// Sparse: one request has one last exchange.
    buckets: HashMap<u32, u32>,
}

/// Rows kept; as many as the kernel side's table holds at most.
const MAX_ROWS: usize = 16384;

impl LastExchanges {
    /// Takes in a finished request.
    pub fn add(&mut self, request: &Request) {
        let n = (request.npeers as usize).min(request.peers.len());
        for used in &request.peers[..n] {
            if used.exchange_start == 0 || used.exchange_last <= used.exchange_start {
                continue;
            }
            let key = StatKey {
                tid: request.tid,
                start_ticks: request.start_ticks,
                tgid: request.tgid,
                op: derived::EXCHANGE,
                peer: used.peer,
            };
            if self.sums.len() >= MAX_ROWS && !self.sums.contains_key(&key) {
                continue;
            }
            let ns = used.exchange_last - used.exchange_start;
            let sum = self.sums.entry(key).or_default();
            sum.count += 1;
            sum.total_ns += ns;
            sum.max_ns = sum.max_ns.max(ns);
            *sum.buckets.entry(hist::bucket(ns)).or_default() += 1;
        }
    }

    /// Adds the sums to the rows of the kernel side, and makes these compact: at no moment there is more
    /// than one of them in its full size.
    pub fn merge(&self, rows: impl Iterator<Item = (StatKey, Stat)>) -> Vec<(StatKey, CallSum)> {
        let mut met = HashSet::new();
        let mut out: Vec<_> = rows
            .map(|(key, mut stat)| {
                if key.op == derived::EXCHANGE
                    && let Some(sum) = self.sums.get(&key)
                {
                    sum.add_to(&mut stat);
                    met.insert(key);
                }
                (key, CallSum::from(&stat))
            })
            .collect();
        for (key, sum) in self.sums.iter().filter(|(key, _)| !met.contains(*key)) {
            let mut stat = Stat::ZERO;
            sum.add_to(&mut stat);
            out.push((*key, CallSum::from(&stat)));
        }
        out
    }
}

impl Sum {
    fn add_to(&self, stat: &mut Stat) {
        stat.count += self.count;
        stat.total_ns += self.total_ns;
        stat.max_ns = stat.max_ns.max(self.max_ns);
        for (bucket, n) in &self.buckets {
            if let Some(slot) = stat.hist.get_mut(*bucket as usize) {
                *slot += n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(start: u64, last: u64) -> Request {
        let mut request = Request {
            tid: 7,
            tgid: 7,
            npeers: 1,
            ..Request::ZERO
        };
        request.peers[0].peer = 99;
        request.peers[0].exchange_start = start;
        request.peers[0].exchange_last = last;
        request
    }

    #[test]
    fn adds_to_the_row_that_is_there_and_makes_the_one_that_is_not() {
        let mut last = LastExchanges::default();
        last.add(&request(1000, 2_001_000));
        last.add(&request(1000, 3_001_000));
        // Never answered: no exchange.
        last.add(&request(1000, 0));
        let rows = last.merge(std::iter::empty());
        let sum = &rows[0].1;
        assert_eq!(
            (sum.count, sum.total_ns, sum.max_ns),
            (2, 5_000_000, 3_000_000)
        );
        assert_eq!(sum.hist.iter().map(|(_, n)| n).sum::<u32>(), 2);
        let mut there = Stat::ZERO;
        (there.count, there.max_ns) = (5, 9_000_000);
        let rows = last.merge(std::iter::once((rows[0].0, there)));
        assert_eq!(
            (rows.len(), rows[0].1.count, rows[0].1.max_ns),
            (1, 7, 9_000_000)
        );
    }
}
