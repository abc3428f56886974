//! Folds what readings say about UDP.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use super::{
    Agreement, Counters, Dropping, MAX_UDP_ROWS, Process, Reasons, Settings, Udp, UdpCounters,
    queues::Queues,
};
use crate::{
    aggregate::{
        lives::fitting,
        series::{Growth, Peak},
    },
    collect::udp::{Census, Holder, SocketDrops, UdpReading},
};

/// A row of drops: the socket's kernel address, and when the row began.
type Key = (u64, u64);

/// UDP in the window so far.
#[derive(Clone, Debug, Default)]
pub(in crate::aggregate) struct UdpFold {
    /// Rows at the start of the window.
    base: HashMap<Key, SocketDrops>,
    rows: HashMap<Key, SocketDrops>,
    /// Rows that the next window knows nothing of: they were taken out.
    ended: HashSet<Key>,
    peaks: HashMap<Key, (Peak, Growth<1>)>,
    queues: Queues,
    holders: Vec<Holder>,
    first: Option<Counters>,
    last: Option<Counters>,
    total: Option<u64>,
    censuses: u64,
    census_ns: u64,
    left_out: u64,
    settings: Settings,
}

impl UdpFold {
    /// Takes in the reading that the window starts at: its sums, and its last census, are the base.
    pub fn set_base(&mut self, reading: &UdpReading) {
        let rows = reading.drops.iter().cloned();
        self.base = rows.map(|row| ((row.sock, row.born_ns), row)).collect();
        self.rows.clone_from(&self.base);
        if let Some(census) = reading.censuses.last() {
            self.census(census);
        }
        self.learn(reading);
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, reading: UdpReading) {
        reading.censuses.iter().for_each(|c| self.census(c));
        self.learn(&reading);
        for step in &reading.steps {
            self.step((step.sock, step.born_ns), step.at_ns, step.total);
        }
        let ended = reading.retired.iter().map(|row| (row.sock, row.born_ns));
        self.ended.extend(ended);
        for row in reading.retired.into_iter().chain(reading.drops) {
            let key = (row.sock, row.born_ns);
            self.step(key, row.last_ns, row.reasons.total());
            self.rows.insert(key, row);
        }
    }

    /// What stays as it was until a reading says otherwise.
    fn learn(&mut self, reading: &UdpReading) {
        if !reading.holders.is_empty() {
            self.holders.clone_from(&reading.holders);
        }
        if reading.settings.rmem_default_bytes.is_some() {
            self.settings = reading.settings;
        }
    }

    fn step(&mut self, key: Key, at_ns: u64, total: u64) {
        let base = self.base.get(&key);
        let from = base.map_or((key.1, 0), |row| (row.last_ns, row.reasons.total()));
        let peak = self.peaks.entry(key);
        let (peak, growth) =
            peak.or_insert_with(|| (Peak::from(from.0, from.1), Growth::from([from.1])));
        peak.step(at_ns, total);
        growth.step(at_ns, [total]);
    }

    fn census(&mut self, census: &Census) {
        self.queues.push(census);
        self.first.get_or_insert(census.counters);
        self.last = Some(census.counters);
        self.total = Some(census.total);
        self.censuses += 1;
        self.census_ns = self.census_ns.max(census.took_ns);
        self.left_out = self.left_out.max(census.left_out);
    }

    /// For a window that begins where this one ends: the sums so far are its base.
    pub fn successor(&self) -> Self {
        let mut rows = fitting(&self.rows);
        rows.retain(|key, _| !self.ended.contains(key));
        Self {
            base: fitting(&rows),
            rows,
            ended: HashSet::new(),
            peaks: HashMap::new(),
            queues: self.queues.successor(),
            holders: self.holders.clone(),
            first: self.last,
            censuses: 0,
            census_ns: 0,
            left_out: 0,
            ..*self
        }
    }

    /// The result. `span` is the window's start and end, CLOCK_MONOTONIC ns; `traced` says whether drops were
    /// seen one by one.
    pub fn finish(&self, (start_ns, end_ns): (u64, u64), traced: bool) -> Udp {
        let mut sockets = if traced {
            self.traced(start_ns)
        } else {
            self.counted(start_ns)
        };
        // The worst is at least the mean, however few moments are known.
        let seconds = end_ns.saturating_sub(start_ns).max(1) as f64 / 1e9;
        for socket in &mut sockets {
            socket.peak_per_s = socket.peak_per_s.max(socket.drops as f64 / seconds);
        }
        sockets.sort_by_key(|s| (Reverse(s.drops), s.local));
        let buffer_full = sockets.iter().filter_map(|s| s.reasons);
        let buffer_full = buffer_full.map(|r| r.buffer_full).sum();
        // The row of all sockets that found none in the kernel side's table has no address.
        let mut rest = sockets.split_off(sockets.len().min(MAX_UDP_ROWS));
        rest.extend(sockets.extract_if(.., |s| s.local.port() == 0));
        let counters = match (&self.first, &self.last) {
            (Some(first), Some(last)) => Counters {
                v4: growth(&first.v4, &last.v4),
                v6: growth(&first.v6, &last.v6),
            },
            _ => Counters::default(),
        };
        let (v4, v6) = (counters.v4.rcvbuf_errors, counters.v6.rcvbuf_errors);
        Udp {
            other_drops: rest.iter().map(|s| s.drops).sum(),
            sockets,
            total: self.total,
            queues: self.queues.fullest(),
            censuses: self.censuses,
            census_ns: self.census_ns,
            census_left_out: self.left_out,
            counters,
            agreement: Agreement {
                traced: traced.then_some(buffer_full),
                rcvbuf_errors: v4.or(v6).map(|_| v4.unwrap_or(0) + v6.unwrap_or(0)),
                sockets: self.queues.grown(),
            },
            settings: self.settings,
        }
    }

    /// Sockets whose drops our program saw.
    fn traced(&self, start_ns: u64) -> Vec<Dropping> {
        let mut out = Vec::new();
        for (key, row) in &self.rows {
            let base = self.base.get(key);
            let limit = Some(row.rcvbuf_bytes).filter(|bytes| *bytes > 0);
            let reasons = base.map_or(row.reasons, |b| less(row.reasons, b.reasons));
            let drops = reasons.total();
            if drops == 0 {
                continue;
            }
            let queue = self.queues.get(row.sock, row.local.port());
            // Of those that were queued; else of the dropped ones.
            let queued = queue.and_then(|q| q.datagram_bytes());
            let truesize = row.truesize_bytes.map(|bytes| {
                let before = base.and_then(|b| b.truesize_bytes).unwrap_or(0);
                bytes.saturating_sub(before) as f64 / drops as f64
            });
            out.push(Dropping {
                local: row.local,
                remote: queue.and_then(|q| q.remote),
                sender: row.sender,
                owners: self.owners(row.sock, row.inode),
                uid: row.uid,
                drops,
                reasons: Some(reasons),
                peak_per_s: self.peaks.get(key).map_or(0.0, |(peak, _)| peak.per_s()),
                timeline: self
                    .peaks
                    .get(key)
                    .map_or_else(Vec::new, |(_, growth)| growth.points(start_ns)),
                // A row of before the window dropped again somewhere in it.
                first_ns: row.born_ns.saturating_sub(start_ns),
                last_ns: row.last_ns.saturating_sub(start_ns),
                rcvbuf_bytes: limit.or_else(|| queue.and_then(|q| q.rcvbuf_bytes)),
                queue: queue.map_or_else(Vec::new, |q| q.points(start_ns)),
                datagram_bytes: queued.or(truesize.filter(|b| *b > 0.0)),
                datagram_at_most: queued.is_none(),
                counted: queue.and_then(|q| q.grown),
                before: queue.and_then(|q| q.before),
            });
        }
        out
    }

    /// Sockets whose own counter grew, where nobody saw the single drops.
    fn counted(&self, start_ns: u64) -> Vec<Dropping> {
        let dropped = self.queues.iter().filter(|(_, q)| q.grown > Some(0));
        let rows = dropped.map(|((sock, _), queue)| Dropping {
            local: queue.local,
            remote: queue.remote,
            sender: None,
            owners: self.owners(sock, 0),
            uid: queue.uid,
            drops: queue.grown.unwrap_or(0),
            reasons: None,
            peak_per_s: queue.peak.per_s(),
            timeline: queue.growth.points(start_ns),
            first_ns: queue.first_ns.saturating_sub(start_ns),
            last_ns: queue.last_ns.saturating_sub(start_ns),
            rcvbuf_bytes: queue.rcvbuf_bytes,
            queue: queue.points(start_ns),
            datagram_bytes: queue.datagram_bytes(),
            datagram_at_most: false,
            counted: queue.grown,
            before: queue.before,
        });
        rows.collect()
    }

    /// Who holds a socket; `inode` is 0 where it is not known.
    fn owners(&self, sock: u64, inode: u64) -> Vec<(Process, u32)> {
        let of = |h: &&Holder| h.sock == sock && (inode == 0 || h.inode == inode);
        let holders = self.holders.iter().filter(of);
        let mut owners: Vec<_> = holders
            .map(|h| {
                let process = Process {
                    pid: h.pid,
                    comm: h.comm.clone(),
                };
                (process, h.fd)
            })
            .collect();
        owners.sort();
        owners.dedup_by_key(|owner| owner.0.pid);
        owners.truncate(MAX_UDP_ROWS);
        owners
    }
}

fn less(now: Reasons, then: Reasons) -> Reasons {
    Reasons {
        buffer_full: now.buffer_full.saturating_sub(then.buffer_full),
        memory: now.memory.saturating_sub(then.memory),
        other: now.other.saturating_sub(then.other),
    }
}

/// How much each counter grew.
fn growth(from: &UdpCounters, to: &UdpCounters) -> UdpCounters {
    let grown =
        |of: fn(&UdpCounters) -> Option<u64>| Some(of(to)?.saturating_sub(of(from).unwrap_or(0)));
    UdpCounters {
        in_datagrams: grown(|c| c.in_datagrams),
        no_ports: grown(|c| c.no_ports),
        in_errors: grown(|c| c.in_errors),
        out_datagrams: grown(|c| c.out_datagrams),
        rcvbuf_errors: grown(|c| c.rcvbuf_errors),
        sndbuf_errors: grown(|c| c.sndbuf_errors),
        csum_errors: grown(|c| c.csum_errors),
        mem_errors: grown(|c| c.mem_errors),
    }
}
