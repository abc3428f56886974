//! Listening sockets: how full their queues were, who holds them, and what they refused.

use std::collections::{BTreeSet, HashMap};

use probe_common::{
    peer::{PeerKey, kind},
    tcp::Listener,
};

use super::{ListenQueue, MAX_TCP_ROWS, Process, flows::Rows};
use crate::{
    aggregate::{Peer, peer::from_key},
    collect::tcp::{Census, Owners},
};

/// Listening sockets followed; further ones are counted.
const MAX_SOCKETS: usize = 4096;
/// Owners listed of one.
const MAX_OWNERS: usize = 8;

/// One listening socket.
#[derive(Clone, Debug)]
struct Queue {
    address: PeerKey,
    queue: u32,
    queue_max: u32,
    limit: u32,
    syn_queue_max: u32,
    queue_sum: u64,
    looks: u64,
    full: u64,
    /// Drops at the start of the window (0 for a socket that began in it), and at the last look.
    drops: (u32, u32),
    /// The census that showed the first of the window, CLOCK_MONOTONIC ns.
    first_drop_ns: Option<u64>,
    owners: BTreeSet<u32>,
    /// The look that showed it last.
    look: u64,
}

impl Queue {
    fn tcp(&self) -> bool {
        self.address.kind != kind::UNIX
    }
}

/// Follows listening sockets by inode number.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    sockets: HashMap<u64, Queue>,
    /// Numbers of the last census and of the last walk over descriptors; 0 before the first.
    census: u64,
    walk: u64,
    pub left_out: u64,
}

impl Queues {
    /// Takes in the TCP listeners of a census.
    pub fn census(&mut self, census: &Census) {
        self.census += 1;
        // A socket that the first census shows has dropped before the window; a later one is new.
        let first = self.census == 1;
        for listener in &census.listeners {
            let look = self.census;
            if let Some(queue) = self.socket(listener) {
                if queue.looks == 0 && first {
                    queue.drops.0 = listener.drops;
                }
                queue.drops.1 = listener.drops;
                if queue.drops.1 != queue.drops.0 {
                    queue.first_drop_ns.get_or_insert(census.at_ns);
                }
                queue.look = look;
                seen(queue, listener);
            }
        }
    }

    /// Takes in a walk over descriptors: owners, and the queues of Unix listeners.
    pub fn walk(&mut self, owners: &Owners) {
        self.walk += 1;
        for queue in self.sockets.values_mut() {
            queue.owners.clear();
        }
        for listener in &owners.listeners {
            let walk = self.walk;
            if let Some(queue) = self.socket(listener) {
                queue.owners.insert(listener.tgid);
                // Once for each process that holds it, but one look.
                if !queue.tcp() && queue.look != walk {
                    queue.look = walk;
                    seen(queue, listener);
                }
            }
        }
    }

    fn socket(&mut self, listener: &Listener) -> Option<&mut Queue> {
        let full = self.sockets.len() >= MAX_SOCKETS;
        if full && !self.sockets.contains_key(&listener.inode) {
            self.left_out += 1;
            return None;
        }
        let new = Queue {
            address: listener.address,
            queue: 0,
            queue_max: 0,
            limit: 0,
            syn_queue_max: 0,
            queue_sum: 0,
            looks: 0,
            full: 0,
            drops: (0, 0),
            first_drop_ns: None,
            owners: BTreeSet::new(),
            look: 0,
        };
        let queue = self
            .sockets
            .entry(listener.inode)
            .or_insert_with(|| new.clone());
        if queue.address != listener.address {
            // The number of a socket that is gone was given to another one.
            *queue = new;
        }
        Some(queue)
    }

    /// Ports that TCP listeners hold at the last census.
    pub fn ports(&self) -> BTreeSet<u16> {
        let now = self.sockets.values().filter(|q| q.tcp() && self.there(q));
        now.map(|q| q.address.local_port).collect()
    }

    fn there(&self, queue: &Queue) -> bool {
        queue.look == if queue.tcp() { self.census } else { self.walk }
    }

    /// The rows: those with overflows first, then the fullest. `refused` are the connects to Unix sockets
    /// that found the queue full, when the first was and how many; `inexact` says that drops may have had other reasons.
    pub fn finish(
        &self,
        start_ns: u64,
        rows: &Rows,
        refused: &HashMap<Vec<u8>, (u64, u64)>,
        inexact: bool,
        name: impl Fn(u32) -> Process,
    ) -> Vec<ListenQueue> {
        let mut refused = refused.clone();
        let accepted = rows.accepted();
        let mut out = Vec::new();
        // Of several sockets with one path (a restart), the one that is there has the refusals.
        let mut sockets: Vec<&Queue> = self.sockets.values().collect();
        sockets.sort_by_key(|queue| (!self.there(queue), queue.look));
        for queue in sockets {
            let address = from_key(&queue.address);
            let tcp = queue.tcp();
            let (first_ns, overflows) = match &address {
                Peer::Listener { on } if !tcp => match refused.remove(on) {
                    Some((first_ns, count)) => (Some(first_ns), count),
                    None => (None, 0),
                },
                _ => {
                    let dropped = queue.drops.1.wrapping_sub(queue.drops.0);
                    (queue.first_drop_ns, dropped.into())
                }
            };
            if overflows == 0 && !self.there(queue) {
                continue;
            }
            let (accepted, wait) = accepted.get(&address).cloned().unwrap_or_default();
            out.push(ListenQueue {
                address,
                tcp,
                owners: queue
                    .owners
                    .iter()
                    .take(MAX_OWNERS)
                    .map(|pid| name(*pid))
                    .collect(),
                queue: queue.queue.into(),
                queue_max: queue.queue_max.into(),
                limit: queue.limit.into(),
                syn_queue_max: queue.syn_queue_max.into(),
                queue_sum: queue.queue_sum,
                looks: queue.looks,
                full: queue.full,
                overflows,
                first_overflow_ns: first_ns.map(|at| at.saturating_sub(start_ns)),
                overflows_inexact: tcp && inexact && overflows > 0,
                accepted,
                wait,
            });
        }
        // Listeners that no walk showed, or that are in another place of the file tree.
        for (path, (first_ns, overflows)) in refused {
            out.push(ListenQueue {
                address: Peer::Listener { on: path },
                overflows,
                first_overflow_ns: Some(first_ns.saturating_sub(start_ns)),
                ..ListenQueue::default()
            });
        }
        let fill = |q: &ListenQueue| q.queue_max as f64 / (q.limit.max(1)) as f64;
        out.sort_by(|a, b| {
            b.overflows
                .cmp(&a.overflows)
                .then_with(|| fill(b).total_cmp(&fill(a)))
                .then_with(|| (!a.tcp, &a.address).cmp(&(!b.tcp, &b.address)))
        });
        out.truncate(MAX_TCP_ROWS);
        out
    }

    /// The follower of a window that begins now.
    pub fn successor(&self) -> Self {
        let sockets = self.sockets.iter().filter(|(_, q)| self.there(q));
        Self {
            sockets: sockets
                .map(|(inode, queue)| {
                    let fresh = Queue {
                        queue_max: queue.queue,
                        syn_queue_max: 0,
                        queue_sum: 0,
                        looks: 0,
                        full: 0,
                        drops: (queue.drops.1, queue.drops.1),
                        first_drop_ns: None,
                        ..queue.clone()
                    };
                    (*inode, fresh)
                })
                .collect(),
            left_out: 0,
            ..*self
        }
    }
}

fn seen(queue: &mut Queue, listener: &Listener) {
    queue.queue = listener.queue;
    queue.queue_sum += u64::from(listener.queue);
    queue.queue_max = queue.queue_max.max(listener.queue);
    queue.limit = listener.limit;
    queue.syn_queue_max = queue.syn_queue_max.max(listener.syn_queue);
    queue.looks += 1;
    // The kernel refuses when there are more than the limit (`sk_acceptq_is_full`, `unix_recvq_full`).
    queue.full += u64::from(listener.queue > listener.limit);
}
