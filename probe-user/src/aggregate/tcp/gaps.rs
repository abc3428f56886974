//! Stretches of time in which connects to an address failed because nobody listened.
//!
//! A gap begins where the listener ended, when that was seen (TCP only), else with the first failed connect.
//! It ends with listen() on the address, else with the first connect that succeeds.
//!
//! A listener that ends resets what waits in its queue (net/ipv4/inet_connection_sock.c, `inet_csk_listen_stop`). Whoever
//! sleeps in connect() gets ECONNRESET then: it failed in the gap. By itself that shows no gap, as another listener may
//! share the address (SO_REUSEPORT).

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use probe_common::{
    peer::PeerKey,
    tcp::{CensusKey, Connect, Listening},
};

use super::{
    Gap, MAX_TCP_ROWS, Process,
    states::{Who, local_of, name},
};
use crate::{
    aggregate::{
        Peer,
        lives::fitting,
        peer::{from_key, resolve},
    },
    bounded::has_room,
};

/// A connect may return so long after the listen() that came too late for it, ns: it was refused before, and
/// the thread had to wait for a CPU. Shorter than any restart that could be mistaken for it.
const LATE_NS: u64 = 20_000_000;
/// What a connect returns that was established, but not accepted before the listener went.
const RESET: u32 = libc::ECONNRESET as u32;
/// Processes that were refused, told apart in one gap.
const MAX_REFUSED: usize = 256;
/// The same, as they are listed.
const SHOWN_REFUSED: usize = 8;
/// Addresses of listeners and of this machine that are kept.
const MAX_ADDRESSES: usize = 4096;

/// A gap under way or over.
#[derive(Clone, Debug)]
struct Open {
    id: u64,
    start_ns: u64,
    start_seen: bool,
    end_ns: Option<u64>,
    failed: HashMap<u32, u64>,
    refused: HashMap<Who, u64>,
    back: Option<Process>,
    served_before: bool,
}

/// What is known of a listening address.
#[derive(Clone, Copy, Debug)]
struct Served {
    /// Since when it is known to be listened on, CLOCK_MONOTONIC ns.
    since_ns: u64,
    /// When its listener ended, if none came since.
    ended_ns: Option<u64>,
}

/// Follows the gaps of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    gaps: Vec<Open>,
    /// The last gap of each address, by peer id.
    last: HashMap<u64, usize>,
    listeners: HashMap<PeerKey, Served>,
    /// Addresses of this machine, as the sockets have them.
    local: HashSet<IpAddr>,
    /// Failed connects that found no place among the gaps.
    pub left_out: u64,
}

/// One record, for sorting by time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    Connect(&'a Connect),
    Listening(&'a Listening),
}

impl Event<'_> {
    /// When; at the same moment, listening begins first.
    pub fn order(&self) -> (u64, bool) {
        match self {
            Self::Connect(c) => (c.at_ns, true),
            Self::Listening(l) => (l.at_ns, false),
        }
    }
}

impl Gaps {
    /// Someone listens on these addresses.
    pub fn served<'a>(&mut self, addresses: impl Iterator<Item = &'a PeerKey>, at_ns: u64) {
        for address in addresses {
            if let Some(served) = self.listens(address, at_ns) {
                served.ended_ns = served.ended_ns.filter(|ended| *ended > at_ns);
            }
        }
    }

    /// Addresses of this machine.
    pub fn local<'a>(&mut self, keys: impl Iterator<Item = &'a CensusKey>) {
        for key in keys {
            if self.local.len() < MAX_ADDRESSES {
                self.local.extend(local_of(key));
            }
        }
    }

    fn listens(&mut self, address: &PeerKey, at_ns: u64) -> Option<&mut Served> {
        if !has_room(&self.listeners, address, MAX_ADDRESSES) {
            self.forget();
            if !has_room(&self.listeners, address, MAX_ADDRESSES) {
                return None;
            }
        }
        Some(self.listeners.entry(*address).or_insert(Served {
            since_ns: at_ns,
            ended_ns: None,
        }))
    }

    /// Forgets the half of the listeners that ended longest ago: who listens for a moment on a port of its own must not take the
    /// places of those that come back.
    fn forget(&mut self) {
        let ended = self.listeners.values().filter_map(|s| s.ended_ns);
        let mut ended: Vec<u64> = ended.collect();
        ended.sort_unstable();
        if let Some(&last) = ended.get(ended.len() / 2) {
            self.listeners
                .retain(|_, served| served.ended_ns.is_none_or(|ns| ns > last));
        }
    }

    /// Takes in a record; in the order of time.
    pub fn push(&mut self, event: Event<'_>, peers: &HashMap<u64, PeerKey>) {
        match event {
            Event::Connect(connect) if connect.errno == 0 => {
                if let Some(gap) = self.open(connect.peer) {
                    gap.end_ns = Some(connect.at_ns);
                }
            }
            Event::Connect(connect) if nobody_there(connect.errno) => self.failure(connect, peers),
            Event::Connect(connect) if connect.errno == RESET => {
                if self.listener_ended(connect, peers) {
                    self.failure(connect, peers);
                }
            }
            Event::Connect(_) => {}
            Event::Listening(listening) => {
                if let Some(address) = peers.get(&listening.peer) {
                    self.listening(listening, address, peers);
                }
            }
        }
    }

    fn open(&mut self, id: u64) -> Option<&mut Open> {
        let gap = self.gaps.get_mut(*self.last.get(&id)?)?;
        gap.end_ns.is_none().then_some(gap)
    }

    /// The listener's end was seen, and the connect returned in the gap that began with it.
    fn listener_ended(&self, connect: &Connect, peers: &HashMap<u64, PeerKey>) -> bool {
        match self.last.get(&connect.peer).map(|&at| &self.gaps[at]) {
            Some(gap) if belongs(gap, connect.at_ns) => gap.start_seen,
            _ => self.served_until(connect, peers).1.is_some(),
        }
    }

    fn failure(&mut self, connect: &Connect, peers: &HashMap<u64, PeerKey>) {
        let at = match self.last.get(&connect.peer) {
            Some(&at) if belongs(&self.gaps[at], connect.at_ns) => at,
            _ if self.gaps.len() >= MAX_TCP_ROWS => {
                self.left_out += 1;
                return;
            }
            _ => {
                let gap = self.begin(connect, peers);
                self.gaps.push(gap);
                self.last.insert(connect.peer, self.gaps.len() - 1);
                self.gaps.len() - 1
            }
        };
        let gap = &mut self.gaps[at];
        *gap.failed.entry(connect.errno).or_default() += 1;
        let who = Who::connected(connect);
        if has_room(&gap.refused, &who, MAX_REFUSED) {
            *gap.refused.entry(who).or_default() += 1;
        }
    }

    /// Whether a listener was known for the address of a connect, and when it ended, if none came since.
    fn served_until(
        &self,
        connect: &Connect,
        peers: &HashMap<u64, PeerKey>,
    ) -> (bool, Option<u64>) {
        let wanted = peers.get(&connect.peer);
        let listeners = self.listeners.iter().filter(|(address, served)| {
            served.since_ns <= connect.at_ns && wanted.is_some_and(|w| self.serves(address, w))
        });
        let (mut known, mut ended) = (false, None);
        for (_, served) in listeners {
            known = true;
            ended = ended.max(served.ended_ns.filter(|ns| *ns <= connect.at_ns));
        }
        (known, ended)
    }

    fn begin(&self, connect: &Connect, peers: &HashMap<u64, PeerKey>) -> Open {
        let (known, ended) = self.served_until(connect, peers);
        Open {
            id: connect.peer,
            start_ns: ended.unwrap_or(connect.at_ns),
            start_seen: ended.is_some(),
            end_ns: None,
            failed: HashMap::new(),
            refused: HashMap::new(),
            back: None,
            served_before: known || connect.last_ok_ns != 0,
        }
    }

    fn listening(
        &mut self,
        listening: &Listening,
        address: &PeerKey,
        peers: &HashMap<u64, PeerKey>,
    ) {
        let at_ns = listening.at_ns;
        let Some(served) = self.listens(address, at_ns) else {
            return;
        };
        if listening.begins == 0 {
            served.ended_ns = Some(at_ns);
            return;
        }
        served.ended_ns = None;
        let ends: Vec<usize> = (0..self.gaps.len())
            .filter(|&at| {
                let gap = &self.gaps[at];
                let wanted = peers.get(&gap.id);
                // A connect may succeed before the call of listen() has returned.
                let just_now =
                    gap.back.is_none() && gap.end_ns.is_some_and(|ns| ns + LATE_NS >= at_ns);
                (gap.end_ns.is_none() || just_now)
                    && wanted.is_some_and(|w| self.serves(address, w))
            })
            .collect();
        for at in ends {
            self.gaps[at].end_ns.get_or_insert(at_ns);
            self.gaps[at].back = Some(Process {
                pid: listening.tgid,
                comm: name(&listening.comm),
            });
        }
    }

    /// True when a connect to `wanted` reaches a listener on `address`.
    fn serves(&self, address: &PeerKey, wanted: &PeerKey) -> bool {
        match (host(address), host(wanted)) {
            (Some(on), Some(to)) => {
                // 0.0.0.0 never serves ::1, which clients of `localhost` may try first; [::] serves both.
                let any = on.is_unspecified()
                    && (on.is_ipv6() || to.is_ipv4())
                    && (to.is_loopback() || to.is_unspecified() || self.local.contains(&to));
                address.protocol == wanted.protocol
                    && address.local_port == wanted.port
                    && (on == to || any)
            }
            (None, None) => address.kind == wanted.kind && path(address) == path(wanted),
            _ => false,
        }
    }

    /// The gaps, in order of time.
    pub fn finish(&self, start_ns: u64, peers: &HashMap<u64, PeerKey>) -> Vec<Gap> {
        let shown = |gap: &&Open| gap.failed.keys().copied().any(nobody_there);
        let mut gaps: Vec<&Open> = self.gaps.iter().filter(shown).collect();
        gaps.sort_by_key(|gap| (gap.start_ns, gap.id));
        gaps.into_iter()
            .map(|gap| Gap {
                peer: resolve(gap.id, peers),
                start_ns: gap.start_ns.saturating_sub(start_ns),
                start_seen: gap.start_seen,
                end_ns: gap.end_ns.map(|ns| ns.saturating_sub(start_ns)),
                failed: most_first(&gap.failed, usize::MAX),
                refused: most_first(&gap.refused, SHOWN_REFUSED)
                    .into_iter()
                    .map(|(who, count)| (who.into(), count))
                    .collect(),
                back: gap.back.clone(),
                served_before: gap.served_before,
            })
            .collect()
    }

    /// The follower of a window that begins now: what lasts goes on.
    pub fn successor(&self) -> Self {
        let gaps: Vec<Open> = self
            .gaps
            .iter()
            .filter(|g| g.end_ns.is_none())
            .cloned()
            .collect();
        Self {
            last: gaps.iter().enumerate().map(|(at, g)| (g.id, at)).collect(),
            gaps,
            listeners: fitting(&self.listeners),
            local: self.local.clone(),
            left_out: 0,
        }
    }
}

fn nobody_there(errno: u32) -> bool {
    [libc::ECONNREFUSED, libc::ENOENT]
        .map(|e| e as u32)
        .contains(&errno)
}

/// A failure at `at_ns` belongs to the last gap of its address.
fn belongs(gap: &Open, at_ns: u64) -> bool {
    gap.end_ns.is_none_or(|end| at_ns <= end + LATE_NS)
}

fn host(key: &PeerKey) -> Option<IpAddr> {
    let plain = PeerKey { flags: 0, ..*key };
    match from_key(&plain) {
        Peer::Inet { address, .. } => Some(address),
        _ => None,
    }
}

/// A Unix path without the closing NUL that it may have.
fn path(key: &PeerKey) -> &[u8] {
    match key.address() {
        [0, ..] => key.address(),
        [path @ .., 0] => path,
        path => path,
    }
}

fn most_first<T: Clone + Ord>(counts: &HashMap<T, u64>, shown: usize) -> Vec<(T, u64)> {
    let mut list: Vec<(T, u64)> = counts.iter().map(|(k, n)| (k.clone(), *n)).collect();
    list.sort_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
    list.truncate(shown);
    list
}
