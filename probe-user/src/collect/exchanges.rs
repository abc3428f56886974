//! The last exchange of each request with each peer.
//!
//! The kernel side adds an exchange up when the next one begins; the last one is still open in the request's record. Those
//! are added up here between two readings and go into the next one as rows that are retired at once, so that nothing is kept
//! of them, and all readings together have them all.

use probe_common::{
    hist,
    op::derived,
    request::Request,
    stat::{Stat, StatKey},
};

use super::CallSum;

/// So many are added up at once: what is kept of them until then is no more than 300 KB.
const MANY: usize = 8192;

/// Exchanges that no reading has yet, and how long each took, ns.
#[derive(Default)]
pub struct LastExchanges {
    each: Vec<(StatKey, u64)>,
}

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
                op: derived::LAST_EXCHANGE,
                peer: used.peer,
            };
            self.each
                .push((key, used.exchange_last - used.exchange_start));
        }
    }

    /// True when they are to be taken before the next reading of everything.
    pub fn are_many(&self) -> bool {
        self.each.len() >= MANY
    }

    /// Adds them up, and forgets them.
    pub fn take(&mut self) -> Vec<(StatKey, CallSum)> {
        let mut each = std::mem::take(&mut self.each);
        each.sort_unstable_by_key(|(key, _)| {
            let thread = (key.tgid, key.tid, key.start_ticks);
            (thread, key.peer)
        });
        let sums = each.chunk_by(|a, b| a.0 == b.0).map(|same| {
            let mut stat = Stat::ZERO;
            for (_, ns) in same {
                stat.count += 1;
                stat.total_ns += ns;
                stat.max_ns = stat.max_ns.max(*ns);
                stat.hist[hist::bucket(*ns) as usize] += 1;
            }
            (same[0].0, CallSum::from(&stat))
        });
        sums.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: u64, start: u64, last: u64) -> Request {
        let mut request = Request {
            tid: 7,
            tgid: 7,
            npeers: 1,
            ..Request::ZERO
        };
        request.peers[0].peer = peer;
        request.peers[0].exchange_start = start;
        request.peers[0].exchange_last = last;
        request
    }

    #[test]
    fn each_is_in_one_reading() {
        let mut last = LastExchanges::default();
        last.add(&request(99, 1000, 2_001_000));
        last.add(&request(98, 1000, 1_001_000));
        last.add(&request(99, 1000, 3_001_000));
        // Never answered: no exchange.
        last.add(&request(99, 1000, 0));
        let mut rows = last.take();
        rows.sort_by_key(|(key, _)| key.peer);
        let of = |n: usize| (rows[n].1.count, rows[n].1.total_ns, rows[n].1.max_ns);
        assert_eq!(rows.len(), 2);
        assert_eq!(of(0), (1, 1_000_000, 1_000_000));
        assert_eq!(of(1), (2, 5_000_000, 3_000_000));
        assert_eq!(rows[1].1.hist.iter().map(|(_, n)| n).sum::<u32>(), 2);
        assert!(last.take().is_empty());
    }
}
