//! FIN_WAIT_2: single sockets followed from census to census, because no tracepoint shows how long they stay.
//!
//! A socket is known by its addresses and ports. It is the same stay as long as the kernel socket is the
//! same, or became a timewait object in between (its process closed it, or its timer went on). Where it
//! began is known from its timer, when it has one, else it lies between the census before and the first that
//! shows it. Its end lies between the last census that shows it and the next one. So a stay is known to
//! about the pace of the census.
//!
//! What is shorter than that pace is seen by one census or by none. How many such stays there were is what
//! the transitions count beyond the longer ones; how long they were on average follows from how many of them
//! a census met (Little's law: number present = rate x time). 20 of 1,000 a second present means 20 ms.

use std::collections::HashMap;

use probe_common::tcp::{CensusKey, FinWait2, Holder, column};

use super::{States, states::whose, time_wait::jiffies_ns};
use crate::{aggregate::Durations, bounded::has_room, collect::tcp::Census};

/// Where the kernel hands a socket over to a timewait object at once, s (TCP_TIMEWAIT_LEN): a longer
/// tcp_fin_timeout is cut in two. The socket waits `timeout - 60` (net/ipv4/tcp.c, `__tcp_close`, and
/// tcp_input.c, `tcp_rcv_state_process`), then the timewait object as long again (tcp_timer.c,
/// `tcp_keepalive_timer`).
const TIMEWAIT_S: u64 = 60;
/// tcp_fin_timeout where the setting cannot be read, s: the kernel's default.
const FIN_TIMEOUT_S: u32 = 60;
/// Peers told apart; the stays at further ones are in the sum only.
const MAX_PEERS: usize = 4096;

/// One socket: addresses and both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    remote: [u64; 2],
    local: [u64; 2],
    ports: (u16, u16),
}

impl Id {
    fn of(socket: &FinWait2) -> Self {
        Self {
            remote: socket.key.remote,
            local: socket.key.local,
            ports: (socket.local_port, socket.remote_port),
        }
    }
}

/// A socket in FIN_WAIT_2.
#[derive(Clone, Copy, Debug)]
struct Stay {
    socket: FinWait2,
    entered_ns: u64,
    /// Its begin is known, to the pace of the census or better.
    dated: bool,
    /// It began between two censuses, the second of which showed it first.
    caught: bool,
    /// It began in the window.
    new: bool,
    /// Censuses that showed it.
    seen: u64,
}

/// What became known of the stays at one peer, or at all.
#[derive(Clone, Debug, Default)]
pub(super) struct Stays {
    /// Ends of stays of more than one census.
    pub left: u64,
    /// How long these were.
    pub durations: Durations,
    /// Stays that one census showed, and neither its neighbours.
    single: u64,
    /// Stays that began in the window and that more than one census showed.
    long: u64,
    /// Stays that began in the window, as far as a census showed them.
    pub begun: u64,
    /// The most present at once.
    pub peak: u64,
    /// Of `begun`: those that only the last census showed, so that it is not known whether they are short.
    open: u64,
}

impl Stays {
    /// How many left and how long they stayed, where `entered` of them came in. `None`: nobody counted; then
    /// those that a single census showed left as well, but how long they stayed is not known.
    pub fn finish(&self, entered: Option<u64>, pace: Pace) -> (u64, Durations) {
        let mut durations = self.durations.clone();
        let Some(entered) = entered else {
            return (self.left + self.single, durations);
        };
        let short = entered
            .saturating_sub(self.long + self.open)
            .max(self.single);
        if let Some(ns) = (self.single * pace.ns).checked_div(short)
            && pace.looks > 0
        {
            durations.record_n(ns, short);
        }
        (self.left + short, durations)
    }
}

/// How often it was looked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Censuses with one before and one after them.
    pub looks: u64,
    /// Time between two, ns on average.
    pub ns: u64,
}

/// Follows the sockets.
#[derive(Clone, Debug, Default)]
pub(super) struct FinWait2Fold {
    present: HashMap<Id, Stay>,
    /// The census before: when, whether it listed all, and whether one was before it.
    before: Option<Before>,
    all: Stays,
    by_peer: HashMap<CensusKey, Stays>,
    looks: u64,
    looks_ns: u64,
    pub left_out: u64,
}

#[derive(Clone, Copy, Debug)]
struct Before {
    at_ns: u64,
    complete: bool,
    followed: bool,
}

/// What else the age of a socket rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    pub hz: u32,
    pub fin_timeout_s: Option<u32>,
}

/// What is in FIN_WAIT_2 towards one peer at the last census.
#[derive(Clone, Debug, Default)]
pub(super) struct Present {
    pub age: Durations,
    pub oldest_ns: u64,
    /// Sockets and one of their descriptors by process id.
    pub holders: HashMap<u32, (u64, i32)>,
}

impl FinWait2Fold {
    /// Takes in a census. `gap` is true when too much time passed since the one before to say anything
    /// about what happened in between.
    pub fn push(&mut self, census: &Census, gap: bool, timers: Timers) {
        self.left_out = self.left_out.max(census.fin_wait2_left_out);
        self.peak(census);
        let complete = census.fin_wait2_left_out == 0;
        let before = self.before.filter(|b| b.complete && complete && !gap);
        let mut present = HashMap::with_capacity(census.fin_wait2.len());
        for socket in &census.fin_wait2 {
            let id = Id::of(socket);
            let known = self.present.get(&id).filter(|stay| continues(stay, socket));
            let stay = match known {
                Some(stay) => goes_on(stay, socket, census, timers),
                None => first_seen(socket, census, before, timers),
            };
            if stay.new && stay.seen <= 2 {
                self.count(&stay, |stays| match stay.seen {
                    1 => stays.begun += 1,
                    _ => stays.long += 1,
                });
            }
            present.insert(id, stay);
        }
        if let Some(before) = before {
            let (last, next) = (before.at_ns, census.at_ns.max(before.at_ns));
            for (id, stay) in std::mem::take(&mut self.present) {
                let now = present.get(&id);
                if now.is_none_or(|now: &Stay| !continues(&stay, &now.socket)) {
                    self.count(&stay, |stays| left(stays, &stay, last, next));
                }
            }
            if before.followed {
                self.looks += 1;
                self.looks_ns += census.at_ns.saturating_sub(before.at_ns);
            }
        }
        self.present = present;
        self.before = Some(Before {
            at_ns: census.at_ns,
            complete,
            followed: before.is_some(),
        });
    }

    /// Adds to the sums that a stay belongs to.
    fn count(&mut self, stay: &Stay, add: impl Fn(&mut Stays)) {
        add(&mut self.all);
        if let Some(stays) = self.of_peer(whose(&stay.socket.key)) {
            add(stays);
        }
    }

    fn of_peer(&mut self, key: CensusKey) -> Option<&mut Stays> {
        has_room(&self.by_peer, &key, MAX_PEERS).then(|| self.by_peer.entry(key).or_default())
    }

    fn peak(&mut self, census: &Census) {
        let mut now: HashMap<CensusKey, u64> = HashMap::new();
        for (key, counts) in &census.rows {
            let n = States::of_row(counts).fin_wait_2;
            if n > 0 {
                *now.entry(whose(key)).or_default() += n;
            }
        }
        for (key, n) in now {
            if let Some(stays) = self.of_peer(key) {
                stays.peak = n.max(stays.peak);
            }
        }
    }

    /// How often it was looked.
    pub fn pace(&self) -> Pace {
        Pace {
            looks: self.looks,
            ns: self.looks_ns.checked_div(self.looks).unwrap_or(0),
        }
    }

    /// What became of all stays.
    pub fn all(&self) -> Stays {
        Stays {
            open: self.open().count() as u64,
            ..self.all.clone()
        }
    }

    /// The same for each peer towards which any socket was in FIN_WAIT_2.
    pub fn by_peer(&self) -> HashMap<CensusKey, Stays> {
        let mut by_peer = self.by_peer.clone();
        for stay in self.open() {
            if let Some(stays) = by_peer.get_mut(&whose(&stay.socket.key)) {
                stays.open += 1;
            }
        }
        by_peer
    }

    fn open(&self) -> impl Iterator<Item = &Stay> {
        self.present.values().filter(|s| s.new && s.seen == 1)
    }

    /// What is there at the last census, by peer, with who holds it.
    pub fn present(&self, holders: &[Holder]) -> HashMap<CensusKey, Present> {
        let now_ns = self.before.map_or(0, |b| b.at_ns);
        let mut by_sock: HashMap<u64, Vec<&Holder>> = HashMap::new();
        for holder in holders {
            by_sock.entry(holder.sock).or_default().push(holder);
        }
        let mut out: HashMap<CensusKey, Present> = HashMap::new();
        for stay in self.present.values() {
            let present = out.entry(whose(&stay.socket.key)).or_default();
            let age = now_ns.saturating_sub(stay.entered_ns);
            present.age.record(age);
            present.oldest_ns = present.oldest_ns.max(age);
            if stay.socket.column as usize == column::FIN_WAIT2_HELD {
                for holder in by_sock.get(&stay.socket.sock).into_iter().flatten() {
                    let sum = present.holders.entry(holder.tgid).or_insert((0, holder.fd));
                    *sum = (sum.0 + 1, sum.1.min(holder.fd));
                }
            }
        }
        out
    }

    /// The follower of a window that begins now: sockets keep their age.
    pub fn successor(&self) -> Self {
        let present = self.present.iter().map(|(id, stay)| {
            let old = Stay {
                new: false,
                ..*stay
            };
            (*id, old)
        });
        Self {
            present: present.collect(),
            before: self.before,
            ..Self::default()
        }
    }
}

/// The stay goes on: the same kernel socket, or the timewait object that came in its place.
fn continues(stay: &Stay, now: &FinWait2) -> bool {
    let timewait = |socket: &FinWait2| socket.column as usize == column::FIN_WAIT2_TIMEWAIT;
    Id::of(&stay.socket) == Id::of(now)
        && (stay.socket.sock == now.sock || !timewait(&stay.socket) && timewait(now))
}

/// The stay that another census shows.
fn goes_on(stay: &Stay, now: &FinWait2, census: &Census, timers: Timers) -> Stay {
    let mut next = Stay {
        socket: *now,
        seen: stay.seen + 1,
        ..*stay
    };
    // A whole socket does not tell when its timer runs out; the timewait object in its place does.
    let was_orphan = stay.socket.column as usize == column::FIN_WAIT2_ORPHAN;
    if was_orphan
        && !stay.dated
        && let Some(age) = age_by_timer(now, census.jiffies, timers)
    {
        next.entered_ns = stay.entered_ns.min(census.at_ns.saturating_sub(age));
        next.dated = true;
    }
    next
}

/// A socket that no census showed before.
fn first_seen(socket: &FinWait2, census: &Census, before: Option<Before>, timers: Timers) -> Stay {
    let by_timer =
        age_by_timer(socket, census.jiffies, timers).map(|age| census.at_ns.saturating_sub(age));
    let (entered_ns, dated) = match (by_timer, before) {
        // It cannot have begun before the census that did not show it.
        (Some(ns), Some(before)) => (ns.clamp(before.at_ns.min(census.at_ns), census.at_ns), true),
        (Some(ns), None) => (ns, true),
        (None, Some(before)) => (before.at_ns.midpoint(census.at_ns), true),
        (None, None) => (census.at_ns, false),
    };
    Stay {
        socket: *socket,
        entered_ns,
        dated,
        caught: before.is_some(),
        new: before.is_some(),
        seen: 1,
    }
}

/// The stay ended between the census that showed it last and the next one.
fn left(stays: &mut Stays, stay: &Stay, last_ns: u64, next_ns: u64) {
    if stay.caught && stay.seen == 1 {
        stays.single += 1;
        return;
    }
    stays.left += 1;
    // Of one that nobody saw begin, and that has no timer, the time that we saw it is a lower bound. What a
    // single look tells must at least be longer than what it leaves open.
    let known = last_ns.saturating_sub(stay.entered_ns);
    if stay.seen > 1 || stay.dated && known >= next_ns - last_ns {
        let end_ns = last_ns.midpoint(next_ns);
        stays
            .durations
            .record(end_ns.saturating_sub(stay.entered_ns));
    }
}

/// How long an orphan stays in FIN_WAIT_2 when the other side says nothing, s, for a tcp_fin_timeout: the same
/// up to 60, and twice what goes beyond 60 above.
pub fn orphan_lifetime_s(fin_timeout_s: u32) -> u64 {
    let timeout = u64::from(fin_timeout_s);
    match timeout.saturating_sub(TIMEWAIT_S) {
        0 => timeout,
        beyond => 2 * beyond,
    }
}

/// How long a socket has been in FIN_WAIT_2, ns, from when its timer runs out; `None` when it has none.
fn age_by_timer(socket: &FinWait2, jiffies: u64, timers: Timers) -> Option<u64> {
    if socket.expires == 0 || timers.hz == 0 {
        return None;
    }
    let timeout = u64::from(timers.fin_timeout_s.unwrap_or(FIN_TIMEOUT_S));
    let beyond = timeout.saturating_sub(TIMEWAIT_S);
    // From the beginning of the stay to the end of the timer that runs now.
    let whole_s = match socket.column as usize {
        column::FIN_WAIT2_TIMEWAIT if beyond > 0 => 2 * beyond,
        column::FIN_WAIT2_ORPHAN if beyond > 0 => beyond,
        column::FIN_WAIT2_TIMEWAIT | column::FIN_WAIT2_ORPHAN => timeout,
        _ => return None,
    };
    let left = i128::from(socket.expires) - i128::from(jiffies);
    let age = i128::from(whole_s) * 1_000_000_000 - jiffies_ns(left, timers.hz);
    // setsockopt(TCP_LINGER2) and a slow round trip make other timers than the setting: then it is new.
    Some(u64::try_from(age).unwrap_or(0))
}
