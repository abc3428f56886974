//! Sums over the requests of one group.

use std::collections::{HashMap, hash_map::Entry};

use probe_common::{
    peer::{PeerKey, special},
    request::{NAME_LEN, PeerUse, Request, SPANS, flag},
};

use super::{
    Durations, Group, Histogram, MAX_PEERS, MAX_SLOWEST, Parts, Peer, PeerTime, RequestPeer,
    RequestSpan, RequestSummary, Use, new_histogram,
    peer::resolve,
    quick::QuickMap,
    served::GroupKey,
    threads::{fit, sum, uses},
    window::{add_histogram, record_n},
};
use crate::bounded::has_room;

/// What a group's requests did, while the window fills.
#[derive(Clone, Debug)]
pub(super) struct GroupSum {
    group: Group,
    peers: QuickMap<u64, PeerSum>,
    slowest: Vec<Request>,
}

#[derive(Clone, Debug)]
struct PeerSum {
    done: Use,
    open: Use,
    assumed_ns: u64,
    /// When the first request of [`Use::mostly`] began, CLOCK_MONOTONIC ns.
    mostly_since: Option<u64>,
    wait_per_request: Histogram,
}

impl Default for PeerSum {
    fn default() -> Self {
        Self {
            done: Use::default(),
            open: Use::default(),
            assumed_ns: 0,
            mostly_since: None,
            wait_per_request: new_histogram(),
        }
    }
}

/// The earlier of two moments, as far as they are known.
fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

impl PeerSum {
    /// Takes note of a request that waited mostly for this peer.
    fn mostly(&mut self, one: &Use, request: &Request) {
        let began = (one.mostly > 0).then_some(request.start_ns);
        self.mostly_since = earlier(self.mostly_since, began);
    }

    fn add(&mut self, other: &Self) {
        self.done.add(&other.done);
        self.open.add(&other.open);
        self.assumed_ns += other.assumed_ns;
        self.mostly_since = earlier(self.mostly_since, other.mostly_since);
        add_histogram(&mut self.wait_per_request, &other.wait_per_request);
    }
}

/// An incomplete request: what of it lies within the window.
pub(super) struct Incomplete<'a> {
    /// All of it.
    pub request: &'a Request,
    /// Its wall time within the window by part, ns.
    pub parts: Parts,
    /// What its peers' slots held when the window began.
    pub before: &'a [PeerUse],
    /// A wait that has not ended: the peer it is assumed to be for, and its length within the window, ns.
    pub assumed: Option<(u64, u64)>,
}

impl GroupSum {
    pub fn new(name: Vec<u8>, php_fpm: bool) -> Self {
        let group = Group {
            name,
            php_fpm,
            workers: 0,
            event_driven: 0,
            example_pid: 0,
            worker_parts: Parts::default(),
            requests: 0,
            fastcgi_requests: 0,
            incomplete: 0,
            empty_connections: 0,
            forked_requests: 0,
            wall: new_histogram(),
            wall_ns: 0,
            parts: Parts::default(),
            incomplete_parts: Parts::default(),
            connects: 0,
            polls: 0,
            peers: Vec::new(),
            slowest: Vec::new(),
        };
        Self {
            group,
            peers: QuickMap::default(),
            slowest: Vec::new(),
        }
    }

    /// Its name, and whether it is a PHP-FPM pool.
    pub fn key(&self) -> GroupKey {
        (self.group.name.clone(), self.group.php_fpm)
    }

    /// Adds the requests of another sum.
    pub fn add(&mut self, other: &Self) {
        let (g, o) = (&mut self.group, &other.group);
        g.requests += o.requests;
        g.fastcgi_requests += o.fastcgi_requests;
        g.incomplete += o.incomplete;
        g.empty_connections += o.empty_connections;
        g.forked_requests += o.forked_requests;
        add_histogram(&mut g.wall, &o.wall);
        g.wall_ns += o.wall_ns;
        add_parts(&mut g.parts, &o.parts);
        add_parts(&mut g.incomplete_parts, &o.incomplete_parts);
        g.connects += o.connects;
        g.polls += o.polls;
        for (peer, sum) in &other.peers {
            self.peer(*peer).add(sum);
        }
        for request in &other.slowest {
            self.keep_if_slow(request, wall_ns(request));
        }
    }

    /// Adds a worker and its time in the window.
    pub fn worker(&mut self, parts: &Parts, event_driven: bool) {
        self.group.workers += 1;
        self.group.event_driven += u32::from(event_driven);
        add_parts(&mut self.group.worker_parts, parts);
    }

    /// Names the worker to look at by hand.
    pub fn example(&mut self, pid: u32) {
        self.group.example_pid = pid;
    }

    /// A connection that closed without a byte of request.
    pub fn empty_connection(&mut self) {
        self.group.empty_connections += 1;
    }

    /// A request whose worker forked.
    pub fn forked(&mut self) {
        self.group.forked_requests += 1;
    }

    /// Adds a finished request.
    pub fn done(&mut self, request: &Request) {
        let wall = wall_ns(request);
        let g = &mut self.group;
        g.requests += 1;
        g.fastcgi_requests += u64::from(request.flags & flag::FASTCGI != 0);
        record_n(&mut g.wall, wall, 1);
        g.wall_ns += wall;
        add_parts(&mut g.parts, &fit(request.parts, wall));
        g.connects += u64::from(request.connects);
        g.polls += u64::from(request.polls);
        for used in uses(request) {
            let one = use_of(used, &PeerUse::ZERO, used.wait_ns, wall);
            let sum = self.peer(used.peer);
            sum.done.add(&one);
            sum.mostly(&one, request);
            record_n(&mut sum.wait_per_request, used.wait_ns, 1);
        }
        if request.other_peers_ns > 0 {
            let other = Use {
                requests: 1,
                mostly: u64::from(request.other_peers_ns > wall / 2),
                wait_ns: request.other_peers_ns,
                ..Use::default()
            };
            self.peer(special::OTHER).done.add(&other);
        }
        self.keep_if_slow(request, wall);
    }

    /// Adds a request that is still open, whose start was not seen, or that its worker's end cut off.
    pub fn incomplete(&mut self, piece: &Incomplete<'_>) {
        let wall = sum(&piece.parts);
        self.group.incomplete += 1;
        add_parts(&mut self.group.incomplete_parts, &piece.parts);
        let mut assumed = piece.assumed;
        // A wait that was under way when the window began is told whole when it ends.
        let mut left = wall;
        for used in uses(piece.request) {
            let before = piece
                .before
                .iter()
                .find(|b| b.peer == used.peer)
                .unwrap_or(&PeerUse::ZERO);
            let mut wait = used.wait_ns.saturating_sub(before.wait_ns);
            let mut longest = used.longest_ns;
            if let Some((_, ns)) = assumed.take_if(|(peer, _)| *peer == used.peer) {
                wait += ns;
                longest = longest.max(ns);
                self.peer(used.peer).assumed_ns += ns;
            }
            wait = wait.min(left);
            left -= wait;
            let mut one = use_of(used, before, wait, wall);
            one.longest_ns = longest;
            one.longest_sum_ns = longest.min(wait);
            let sum = self.peer(used.peer);
            sum.open.add(&one);
            sum.mostly(&one, piece.request);
        }
        // The request has no slot yet for the peer it hangs on.
        if let Some((peer, ns)) = assumed {
            let sum = self.peer(peer);
            sum.assumed_ns += ns;
            let one = Use {
                requests: 1,
                mostly: u64::from(ns > wall / 2),
                wait_ns: ns,
                longest_ns: ns,
                longest_sum_ns: ns,
                waits: 1,
                ..Use::default()
            };
            sum.open.add(&one);
            sum.mostly(&one, piece.request);
        }
        if piece.request.other_peers_ns > 0 {
            let wait_ns = piece.request.other_peers_ns.min(wall);
            self.peer(special::OTHER).open.add(&Use {
                requests: 1,
                wait_ns,
                ..Use::default()
            });
        }
        self.keep_if_slow(piece.request, wall_ns(piece.request));
    }

    /// The sums of a peer. When the table is full, the one waited for least goes into "other peers".
    fn peer(&mut self, id: u64) -> &mut PeerSum {
        if id != special::OTHER && !has_room(&self.peers, &id, MAX_PEERS) {
            let least = self
                .peers
                .iter()
                .filter(|(id, _)| **id != special::OTHER)
                .min_by_key(|(id, p)| (p.done.wait_ns + p.open.wait_ns, **id))
                .map(|(id, _)| *id);
            if let Some(gone) = least.and_then(|id| self.peers.remove(&id)) {
                let other = self.peers.entry(special::OTHER).or_default();
                other.add(&gone);
            }
        }
        self.peers.entry(id).or_default()
    }

    fn keep_if_slow(&mut self, request: &Request, wall: u64) {
        // Nearly all are not.
        if self.slowest.len() >= MAX_SLOWEST
            && self
                .slowest
                .last()
                .is_some_and(|kept| wall_ns(kept) >= wall)
        {
            return;
        }
        let at = self.slowest.partition_point(|kept| wall_ns(kept) >= wall);
        if at < MAX_SLOWEST {
            self.slowest.insert(at, *request);
            self.slowest.truncate(MAX_SLOWEST);
        }
    }

    /// The group of the window.
    pub fn finish(mut self, start_ns: u64, peers: &HashMap<u64, PeerKey>) -> Group {
        let mut by_peer: HashMap<Peer, PeerSum> = HashMap::new();
        for (id, sum) in self.peers {
            match by_peer.entry(resolve(id, peers)) {
                // Two ids may be one peer: a socket that is connected to it and one that is not.
                Entry::Occupied(mut known) => known.get_mut().add(&sum),
                Entry::Vacant(new) => {
                    new.insert(sum);
                }
            }
        }
        let time = |(peer, sum): (Peer, PeerSum)| PeerTime {
            peer,
            done: sum.done,
            open: sum.open,
            assumed_ns: sum.assumed_ns,
            mostly_since_ns: sum.mostly_since.map(|at| at.saturating_sub(start_ns)),
            wait_per_request: sum.wait_per_request,
            exchange: Durations::default(),
        };
        self.group.peers = by_peer.into_iter().map(time).collect();
        self.group.peers.sort_by(|a, b| {
            b.wait_ns()
                .cmp(&a.wait_ns())
                .then_with(|| a.peer.cmp(&b.peer))
        });
        self.group.slowest = self
            .slowest
            .iter()
            .map(|r| summary(r, start_ns, peers))
            .collect();
        self.group
    }
}

fn use_of(used: &PeerUse, before: &PeerUse, wait_ns: u64, wall: u64) -> Use {
    let since = |now: u32, then: u32| u64::from(now.saturating_sub(then));
    Use {
        requests: 1,
        mostly: u64::from(wait_ns > wall / 2),
        wait_ns,
        longest_ns: used.longest_ns,
        longest_sum_ns: used.longest_ns.min(wait_ns),
        waits: since(used.waits, before.waits),
        connects: since(used.connects, before.connects),
        exchanges: since(used.exchanges, before.exchanges),
        overlapped: since(used.overlapped, before.overlapped),
    }
}

/// Adds each part to its sum.
pub(super) fn add_parts(to: &mut Parts, more: &Parts) {
    for (sum, part) in to.iter_mut().zip(more) {
        *sum += part;
    }
}

/// Wall time of a request, ns.
pub(super) fn wall_ns(request: &Request) -> u64 {
    request.end_ns.saturating_sub(request.start_ns)
}

/// A request as the window keeps it.
pub(super) fn summary(
    request: &Request,
    window_start_ns: u64,
    peers: &HashMap<u64, PeerKey>,
) -> RequestSummary {
    let wall = wall_ns(request);
    let cut = |name: &[u8; NAME_LEN], len: u16| name[..usize::from(len).min(NAME_LEN)].to_vec();
    let used = uses(request);
    let mut by_peer: Vec<RequestPeer> = used
        .iter()
        .map(|u| RequestPeer {
            peer: resolve(u.peer, peers),
            wait_ns: u.wait_ns,
            connects: u.connects,
            exchanges: u.exchanges,
        })
        .collect();
    by_peer.sort_by_key(|p| std::cmp::Reverse(p.wait_ns));
    let spans = request.spans[..(request.nspans as usize).min(SPANS)]
        .iter()
        .map(|span| RequestSpan {
            start_ns: u64::from(span.start_us) * 1000,
            length_ns: u64::from(span.length_us) * 1000,
            part: usize::from(span.part).min(probe_common::part::UNEXPLAINED),
            peer: used
                .get(usize::from(span.peer))
                .map(|u| resolve(u.peer, peers)),
        })
        .collect();
    RequestSummary {
        pid: request.tgid,
        start_ns: request.start_ns as i64 - window_start_ns as i64,
        wall_ns: wall,
        unfinished: request.flags & flag::UNFINISHED != 0,
        partial: request.flags & flag::PARTIAL != 0,
        parts: fit(request.parts, wall),
        script: cut(&request.script, request.script_len),
        uri: cut(&request.uri, request.uri_len),
        connects: request.connects,
        peers: by_peer,
        spans,
        spans_lost: request.spans_lost,
    }
}
