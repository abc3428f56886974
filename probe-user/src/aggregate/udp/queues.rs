//! Queues and drop counters of single sockets, from one census to the next.

use std::{collections::HashMap, net::SocketAddr};

use super::{MAX_UDP_ROWS, QueuePoint, QueueUse};
use crate::{
    aggregate::series::{Growth, Peak, Series},
    bounded::has_room,
    collect::udp::Census,
};

/// Sockets followed; further ones are not.
const MAX_FOLLOWED: usize = 1024;

/// A socket while it exists: its kernel address, and its port, as an address is used again.
type Key = (u64, u16);

/// What the censuses tell of single sockets.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    followed: HashMap<Key, Queue>,
    /// A census was taken in this window, or stands at its start.
    begun: bool,
    /// The last census had no place for some sockets: one that it does not list may have dropped before.
    incomplete: bool,
}

/// One socket.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub local: SocketAddr,
    pub remote: Option<SocketAddr>,
    pub uid: u32,
    pub rcvbuf_bytes: Option<u64>,
    series: Series<QueuePoint>,
    max_bytes: u64,
    /// sk_drops at the last census, before the window, and what came in it; not known for one that was there
    /// before us and was not listed.
    drops: u64,
    pub before: Option<u64>,
    pub grown: Option<u64>,
    pub peak: Peak,
    pub growth: Growth<1>,
    /// When `grown` first and last grew, CLOCK_MONOTONIC ns.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Bytes and datagrams of all censuses that knew both.
    measured: (u64, u64),
}

impl Queues {
    /// Takes in a census.
    pub fn push(&mut self, census: &Census) {
        let at_ns = census.at_ns;
        // A list of those that have dropped something, or have something queued: who is not in it has neither.
        for (key, queue) in &mut self.followed {
            let listed = |s: &(u64, u16)| s == key;
            let mut sockets = census.sockets.iter();
            if census.left_out == 0 && !sockets.any(|s| listed(&(s.sock, s.local.port()))) {
                queue.at(at_ns, 0, None);
            }
        }
        for socket in &census.sockets {
            let key = (socket.sock, socket.local.port());
            if !has_room(&self.followed, &key, MAX_FOLLOWED) {
                continue;
            }
            let new = !self.begun;
            let known_before = !self.incomplete;
            let queue = self.followed.entry(key).or_insert_with(|| {
                // At the first census, what it had dropped is from before; later, it had dropped nothing at
                // the last one, or did not exist.
                let before = if new { socket.drops } else { 0 };
                let known = (new || known_before).then_some(before);
                Queue {
                    local: socket.local,
                    remote: socket.remote,
                    uid: socket.uid,
                    rcvbuf_bytes: None,
                    series: Series::default(),
                    max_bytes: 0,
                    drops: known.unwrap_or(socket.drops),
                    before: known,
                    grown: known.map(|_| 0),
                    peak: Peak::from(at_ns, 0),
                    growth: Growth::from([0]),
                    first_ns: 0,
                    last_ns: 0,
                    measured: (0, 0),
                }
            });
            queue.remote = socket.remote.or(queue.remote);
            queue.rcvbuf_bytes = socket.rcvbuf_bytes.or(queue.rcvbuf_bytes);
            queue.at(at_ns, socket.queued_bytes, socket.queued);
            queue.dropped(at_ns, socket.drops);
        }
        self.begun = true;
        self.incomplete = census.left_out > 0;
    }

    /// The socket of a kernel address that is bound to this port.
    pub fn get(&self, sock: u64, port: u16) -> Option<&Queue> {
        self.followed.get(&(sock, port))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = ((u64, u16), &Queue)> {
        self.followed.iter().map(|(key, queue)| (*key, queue))
    }

    /// Growth of all sockets' own counters; `None` without a census, or when some sockets were not listed.
    pub fn grown(&self) -> Option<u64> {
        let grown = self.followed.values().map(|q| q.grown);
        let all = grown.sum::<Option<u64>>();
        all.filter(|_| self.begun && !self.incomplete && self.followed.len() < MAX_FOLLOWED)
    }

    /// The fullest, by share of their limit.
    pub fn fullest(&self) -> Vec<QueueUse> {
        let with = self.followed.values().filter(|q| q.max_bytes > 0);
        let mut list: Vec<QueueUse> = with
            .map(|q| QueueUse {
                local: q.local,
                remote: q.remote,
                bytes: q.series.last().map_or(0, |p| p.bytes),
                max_bytes: q.max_bytes,
                rcvbuf_bytes: q.rcvbuf_bytes,
            })
            .collect();
        list.sort_by(|a, b| {
            let order = b.fill().total_cmp(&a.fill());
            order.then_with(|| a.local.cmp(&b.local))
        });
        list.truncate(MAX_UDP_ROWS);
        list
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        let mut next = Self {
            followed: HashMap::new(),
            ..*self
        };
        for (key, queue) in &self.followed {
            let Some(last) = queue.series.last() else {
                continue;
            };
            // Closed, or empty and without drops: the next census has it when it comes back.
            if last.bytes == 0 && queue.drops == 0 {
                continue;
            }
            next.followed.insert(
                *key,
                Queue {
                    series: queue.series.successor(),
                    max_bytes: last.bytes,
                    before: Some(queue.drops),
                    grown: Some(0),
                    peak: Peak::from(last.at_ns, 0),
                    growth: Growth::from([0]),
                    first_ns: 0,
                    last_ns: 0,
                    measured: (0, 0),
                    ..*queue
                },
            );
        }
        next
    }
}

impl Queue {
    fn at(&mut self, at_ns: u64, bytes: u64, datagrams: Option<u64>) {
        self.max_bytes = self.max_bytes.max(bytes);
        if let Some(n) = datagrams.filter(|n| *n > 0) {
            self.measured.0 += bytes;
            self.measured.1 += n;
        }
        self.series.push(QueuePoint {
            at_ns,
            bytes,
            datagrams,
        });
    }

    fn dropped(&mut self, at_ns: u64, drops: u64) {
        // Fewer than before: another socket at the same place.
        let came = drops.checked_sub(self.drops).unwrap_or(drops);
        self.drops = drops;
        let Some(grown) = &mut self.grown else {
            // From here on it is known.
            self.grown = Some(0);
            return;
        };
        *grown += came;
        self.peak.step(at_ns, *grown);
        self.growth.step(at_ns, [*grown]);
        if came > 0 {
            if self.first_ns == 0 {
                self.first_ns = at_ns;
            }
            self.last_ns = at_ns;
        }
    }

    /// Bytes that one queued datagram takes, on average.
    pub fn datagram_bytes(&self) -> Option<f64> {
        let (bytes, datagrams) = self.measured;
        (datagrams > 0).then(|| bytes as f64 / datagrams as f64)
    }

    /// The queue over time, from `start_ns` on.
    pub fn points(&self, start_ns: u64) -> Vec<QueuePoint> {
        let points = self.series.iter().map(|point| QueuePoint {
            at_ns: point.at_ns.saturating_sub(start_ns),
            ..point
        });
        points.collect()
    }
}
