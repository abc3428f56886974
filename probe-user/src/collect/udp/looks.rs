//! What the thread in the network namespace looks at: all sockets once a second, ten times a second while one of them
//! is getting full; and who holds those that drop.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{self, MapData};
use probe_common::udp::{UdpDrops, UdpKey};

use super::{
    Census, DropStep, Holder, Settings, SocketDrops, SocketState, census::Taker, counters,
    owners::Walker, proc_net, unseen::Unseen,
};
use crate::collect::{
    pace::Pace,
    watcher::{Teller, Work},
};

/// A census is wanted this often.
const EVERY: Duration = Duration::from_secs(1);
/// And this often while a socket drops, or is more than half full.
const EVERY_WHEN_BUSY: Duration = Duration::from_millis(100);
/// Settings change by hand; how much memory is used changes all the time, but only its order of magnitude matters.
const SETTINGS_EVERY: Duration = Duration::from_secs(5);
/// Censuses may take this part of one CPU, and so may walks; when one takes longer than 10 ms, they are further apart
/// than a second.
const SHARE: u32 = 100;
/// Who holds a socket is asked again after so long, when it still drops: it may have been inherited or passed on.
const HELD_FOR: Duration = Duration::from_secs(10);

/// Sockets of which it is kept when they were asked about; more, and all are asked about again.
const MAX_ASKED: usize = 16_384;

/// For a row that must not be there yet.
const BPF_NOEXIST: u64 = 1;

/// The kernel's table of drops, for the thread.
pub type Table = maps::HashMap<MapData, UdpKey, UdpDrops>;

/// What the tracepoint has shown.
pub struct Traced {
    /// The kernel's table.
    pub table: Table,
    /// Drops for want of room in rows that were taken out of it.
    pub taken_out: Arc<AtomicU64>,
}

/// What it finds out.
pub enum News {
    Census(Box<Census>),
    Settings(Settings),
    Holders(Vec<Holder>),
    /// Drops that no tracepoint showed.
    Unseen(Vec<(SocketDrops, DropStep)>),
}

/// What the thread works with.
pub struct Looks {
    taker: Option<Taker>,
    walker: Walker,
    drops: Traced,
    tell: Teller<News>,
    censuses: Pace,
    walks: Pace,
    settings: Instant,
    /// Drops of the sockets at the last census.
    before: HashMap<(u64, u64), u64>,
    unseen: Unseen,
    /// Something has dropped, and its holder may not be known.
    dropped: bool,
    /// When the holders of a socket were looked for, and what it had dropped by then.
    asked: HashMap<UdpKey, (Instant, u64)>,
}

impl Looks {
    pub fn new(taker: Option<Taker>, walker: Walker, drops: Traced, tell: Teller<News>) -> Self {
        Self {
            taker,
            walker,
            drops,
            tell,
            censuses: Pace::new(EVERY, SHARE),
            walks: Pace::new(EVERY, SHARE),
            settings: Instant::now(),
            before: HashMap::new(),
            unseen: Unseen::default(),
            dropped: false,
            asked: HashMap::new(),
        }
    }

    fn census(&mut self) {
        let mut busy = None;
        self.censuses.spend(|| {
            let census = match &mut self.taker {
                Some(taker) => taker.take(self.tell.stop()),
                None => proc_net::census(),
            };
            match census {
                Ok(census) => {
                    busy = Some(census.sockets.iter().any(|s| is_busy(s, &self.before)));
                    self.before = census
                        .sockets
                        .iter()
                        .map(|s| ((s.sock, s.inode), s.drops))
                        .collect();
                    let unseen = self.unseen.census(&census, || traced(&self.drops));
                    for (row, _) in &unseen {
                        // The walk over descriptors looks for what is in the table.
                        let key = UdpKey {
                            sock: row.sock,
                            inode: row.inode,
                        };
                        let empty = UdpDrops {
                            born_ns: row.born_ns,
                            ..UdpDrops::ZERO
                        };
                        let _ = self.drops.table.insert(key, empty, BPF_NOEXIST);
                        self.dropped = true;
                    }
                    if !unseen.is_empty() {
                        self.tell.say(News::Unseen(unseen));
                    }
                    self.tell.say(News::Census(Box::new(census)));
                }
                Err(e) => log::debug!("census of UDP sockets: {e}"),
            }
        });
        self.censuses.every = match busy {
            Some(true) => EVERY_WHEN_BUSY,
            _ => EVERY,
        };
    }

    /// Looks for holders, of sockets whose holders are not known, or were looked for so long ago.
    fn walk(&mut self, old: Duration) {
        self.dropped = false;
        self.walks.spend(|| {
            let now = Instant::now();
            let wanted = wanted(&self.drops.table, |key, drops| {
                let asked = self.asked.get(key);
                asked.is_none_or(|(at, before)| now - *at >= old && drops != *before)
            });
            if wanted.is_empty() {
                return;
            }
            let keys = wanted.keys().copied().collect();
            match self.walker.walk(&keys, self.tell.stop()) {
                Ok(holders) => {
                    if self.asked.len() >= MAX_ASKED {
                        self.asked.clear();
                    }
                    let asked = wanted.into_iter().map(|(key, n)| (key, (now, n)));
                    self.asked.extend(asked);
                    self.tell.say(News::Holders(holders));
                }
                Err(e) => log::debug!("walk over descriptors: {e}"),
            }
        });
    }
}

/// Does it drop, or is it more than half full?
fn is_busy(socket: &SocketState, before: &HashMap<(u64, u64), u64>) -> bool {
    let dropped = before
        .get(&(socket.sock, socket.inode))
        .is_some_and(|before| socket.drops != *before);
    dropped
        || socket
            .rcvbuf_bytes
            .is_some_and(|limit| socket.queued_bytes * 2 > limit)
}

/// What the tracepoint has shown: dropped for want of room, by all sockets; dropped at all, by each.
fn traced(drops: &Traced) -> (u64, HashMap<UdpKey, u64>) {
    let rows = drops.table.iter().filter_map(Result::ok);
    let mut full = drops.taken_out.load(Ordering::Relaxed);
    let each = rows.map(|(key, row)| {
        full += row.buffer_full;
        (key, row.buffer_full + row.memory + row.other)
    });
    let each = each.collect();
    (full, each)
}

/// Sockets whose holders are to be looked for, and what they have dropped.
fn wanted(table: &Table, wants: impl Fn(&UdpKey, u64) -> bool) -> HashMap<UdpKey, u64> {
    let rows = table.iter().filter_map(Result::ok);
    let rows = rows.map(|(key, row)| (key, row.buffer_full + row.memory + row.other));
    // Without an inode nobody holds it, or the row stands for many.
    rows.filter(|(key, drops)| key.inode != 0 && wants(key, *drops))
        .collect()
}

impl Work for Looks {
    fn due(&mut self) -> Instant {
        let now = Instant::now();
        if now >= self.settings {
            self.tell.say(News::Settings(counters::settings()));
            self.settings = now + SETTINGS_EVERY;
        }
        if self.censuses.is_due() {
            self.census();
        }
        if self.dropped && self.walks.is_due() {
            self.walk(HELD_FOR);
        }
        let next = self.settings.min(self.censuses.next());
        match self.dropped {
            true => next.min(self.walks.next()),
            false => next,
        }
    }

    fn asked(&mut self) {
        // Settings say how much memory is used now.
        self.tell.say(News::Settings(counters::settings()));
        if self.censuses.may_be_asked() {
            self.census();
        }
        if self.walks.may_be_asked() {
            self.walk(Duration::ZERO);
        }
    }

    fn nudged(&mut self) {
        self.dropped = true;
        self.censuses.every = EVERY_WHEN_BUSY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(queued_bytes: u64, limit: Option<u64>, drops: u64) -> SocketState {
        SocketState {
            sock: 1,
            inode: 2,
            local: "127.0.0.1:53".parse().unwrap(),
            remote: None,
            rcvbuf_bytes: limit,
            queued_bytes,
            queued: None,
            drops,
            uid: 0,
        }
    }

    #[test]
    fn a_socket_that_drops_or_is_half_full_is_busy() {
        let before = HashMap::from([((1, 2), 5)]);
        assert!(!is_busy(&socket(50, Some(100), 5), &before));
        assert!(is_busy(&socket(51, Some(100), 5), &before));
        assert!(is_busy(&socket(0, Some(100), 6), &before));
        // Dropped before we came.
        assert!(!is_busy(&socket(0, Some(100), 6), &HashMap::new()));
        assert!(!is_busy(&socket(51, None, 5), &before));
    }
}
