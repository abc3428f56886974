//! Listening sockets: how full their queues were, who holds them, and what they refused.

use std::collections::{BTreeSet, HashMap};

use probe_common::{
    peer::{PeerKey, kind},
    tcp::Listener,
};

use super::{ListenQueue, MAX_TCP_ROWS, Process, flows::Rows};
use crate::{
    aggregate::{Peer, peer::from_key},
    bounded::has_room,
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
    /// Drops for whatever reason (sk_drops) at the last look; 0 for a socket that has begun since.
    drops: u32,
    /// Drops in the window for want of room in the accept queue.
    overflows: Overflows,
    owners: BTreeSet<u32>,
    /// The look that showed it last.
    look: u64,
}

/// Handshakes that one socket dropped because its accept queue was full.
#[derive(Clone, Copy, Debug, Default)]
struct Overflows {
    count: u64,
    /// The census that showed the first, CLOCK_MONOTONIC ns.
    first_ns: Option<u64>,
    /// Several sockets dropped between two censuses, not all of it for want of room: each was given its part.
    inexact: bool,
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
    /// ListenOverflows of the namespace at the last census; `None` before the first.
    overflows: Option<u64>,
    /// Overflows of the last interval that no socket had a drop for.
    unassigned: u64,
    pub left_out: u64,
}

impl Queues {
    /// Takes in the TCP listeners of a census.
    pub fn census(&mut self, census: &Census) {
        self.census += 1;
        // A socket that the first census shows has dropped before the window; a later one is new.
        let first = self.census == 1;
        let mut dropped: Vec<(u64, u64)> = Vec::new();
        for listener in &census.listeners {
            let look = self.census;
            if let Some(queue) = self.socket(listener) {
                let drops = u64::from(listener.drops.wrapping_sub(queue.drops));
                if drops > 0 && !first {
                    dropped.push((listener.inode, drops));
                }
                queue.drops = listener.drops;
                queue.look = look;
                seen(queue, listener);
            }
        }
        self.assign(census, &dropped);
    }

    /// Tells whose the overflows since the last census are. The kernel counts them for the whole namespace, and for each socket
    /// its drops of all kinds: besides these a segment that comes for a handshake whose queue is full, which is one overflow and
    /// two drops (`tcp_v4_syn_recv_sock`, `tcp_v4_rcv`: discard_and_relse), and others that have nothing to do with the queue. Where
    /// one socket dropped, as mostly in a second, all are its own.
    fn assign(&mut self, census: &Census, dropped: &[(u64, u64)]) {
        let Some(now) = census.counters.listen_overflows else {
            return;
        };
        let Some(before) = self.overflows.replace(now) else {
            return;
        };
        let grown = now.saturating_sub(before);
        // The counter is read right after the sockets: what came in between shows in their drops next time.
        let all = grown + std::mem::take(&mut self.unassigned);
        let drops: u64 = dropped.iter().map(|(_, drops)| drops).sum();
        let mut given = 0;
        for &(inode, of_socket) in dropped {
            let part = if all >= drops {
                of_socket
            } else {
                (all as f64 * of_socket as f64 / drops as f64).round() as u64
            };
            let part = part.min(all - given);
            given += part;
            if let Some(queue) = self.sockets.get_mut(&inode).filter(|_| part > 0) {
                queue.overflows.count += part;
                queue.overflows.first_ns.get_or_insert(census.at_ns);
                queue.overflows.inexact |= dropped.len() > 1 && all < drops;
            }
        }
        self.unassigned = (all - given).min(grown);
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
        if !has_room(&self.sockets, &listener.inode, MAX_SOCKETS) {
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
            drops: 0,
            overflows: Overflows::default(),
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
    /// that found the queue full, when the first was and how many.
    pub fn finish(
        &self,
        start_ns: u64,
        rows: &Rows,
        refused: &HashMap<Vec<u8>, (u64, u64)>,
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
                _ => (queue.overflows.first_ns, queue.overflows.count),
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
                overflows_inexact: queue.overflows.inexact,
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
                        overflows: Overflows::default(),
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
