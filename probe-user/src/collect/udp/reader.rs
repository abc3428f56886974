//! Follows UDP sockets: the table of drops, the ring, and the thread that takes censuses.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    os::fd::AsFd as _,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};
use probe_common::{
    request::event,
    udp::{UdpDrops, UdpKey, UdpStep},
};

use super::{
    DropStep, Holder, Reasons, Settings, SocketDrops, UdpReading,
    census::{NONE, Taker, address},
    looks::{self, Looks, News, Traced},
    owners::Walker,
};
use crate::{
    attach::{Iterators, netns::Netns},
    collect::{
        monotonic_ns,
        table::{Fate, Table},
        watcher::{Answer, Watcher, io_error},
    },
    error::Error,
};

/// The kernel's table.
const TABLE: &str = "UDP_DROPS";
/// Holders that are kept: a server that forks for each request may leave behind any number.
const MAX_HOLDERS: usize = 16_384;
/// Steps are compared with so many before them: two CPUs that send one at once do so within microseconds.
const LOOK_BACK: usize = 16;

/// Follows UDP sockets.
pub struct UdpReader {
    thread: Watcher<News>,
    settings: Settings,
    /// By socket, process and descriptor: a later walk may find others.
    holders: HashMap<(u64, u64, u32, u32), Holder>,
    /// Drops that no tracepoint showed.
    unseen: HashMap<UdpKey, SocketDrops>,
    /// Who sent what was dropped last.
    senders: HashMap<(u64, u64), SocketAddr>,
    /// Steps of the reading under way that were looked at.
    seen: usize,
    table: Table<UdpKey>,
    /// Drops for want of room in rows that were taken out of the table.
    taken_out: Arc<AtomicU64>,
}

impl UdpReader {
    /// Begins to follow.
    ///
    /// # Errors
    /// A map cannot be used, or there can be no more threads.
    pub fn start(
        ebpf: &mut Ebpf,
        iterators: &mut Iterators,
        netns: Option<Netns>,
    ) -> Result<Self, Error> {
        let mut table = table(ebpf)?;
        // What finds no other place is added up here; the kernel side counts that it did.
        table
            .insert(UdpKey::ZERO, UdpDrops::ZERO, 0)
            .map_err(map_error)?;
        let taker = iterators
            .take("on_udp_socket")
            .map(|link| Taker::new(ebpf, link))
            .transpose()
            .map_err(io_error("the table of the census"))?;
        let walker = iterators
            .take("on_udp_descriptor")
            .map_or(Walker::Proc, Walker::Iterator);
        let taken_out = Arc::new(AtomicU64::new(0));
        let drops = Traced {
            table,
            taken_out: Arc::clone(&taken_out),
        };
        let thread = Watcher::start("udp-census", netns, |tell| {
            Looks::new(taker, walker, drops, tell)
        })?;
        Ok(Self {
            thread,
            settings: Settings::default(),
            holders: HashMap::new(),
            unseen: HashMap::new(),
            senders: HashMap::new(),
            seen: 0,
            table: Table::new(TABLE, None),
            taken_out,
        })
    }

    /// What came since the last call, without waiting.
    pub fn news(&mut self, into: &mut Option<Box<UdpReading>>) {
        for news in self.thread.news() {
            let reading = into.get_or_insert_default();
            match news {
                News::Census(census) => reading.censuses.push(*census),
                News::Settings(settings) => self.settings = settings,
                News::Unseen(rows) => {
                    for (row, step) in rows {
                        let key = UdpKey {
                            sock: row.sock,
                            inode: row.inode,
                        };
                        self.unseen.insert(key, row);
                        reading.steps.push(step);
                    }
                }
                News::Holders(holders) => {
                    for holder in holders {
                        let key = (holder.sock, holder.inode, holder.pid, holder.fd);
                        if self.holders.len() < MAX_HOLDERS {
                            self.holders.insert(key, holder);
                        }
                    }
                }
            }
        }
        let Some(reading) = into else {
            self.seen = 0;
            return;
        };
        reading.settings = self.settings;
        // A new reading has begun.
        self.seen = self.seen.min(reading.steps.len());
        if reading.steps.len() > self.seen {
            self.thread.nudge();
        }
        self.seen = reading.steps.len();
    }

    /// Has a census taken now.
    pub fn ask(&self) -> Answer {
        self.thread.ask()
    }

    /// Decodes a record of the ring; false when it is none of ours.
    pub fn decode(kind: u32, bytes: &[u8], into: &mut Option<Box<UdpReading>>) -> bool {
        if kind != event::UDP_DROPS || bytes.len() < size_of::<UdpStep>() {
            return false;
        }
        // SAFETY: the length was just checked; every bit pattern is a valid record.
        let step = unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<UdpStep>()) };
        let steps = &mut into.get_or_insert_default().steps;
        // Of two CPUs that found one due at once, the second may have counted less.
        let last = steps.iter().rev().take(LOOK_BACK);
        let mut of_row = last.filter(|s| (s.sock, s.born_ns) == (step.key.sock, step.born_ns));
        if of_row.next().is_none_or(|last| last.total < step.total) {
            steps.push(DropStep {
                sock: step.key.sock,
                born_ns: step.born_ns,
                at_ns: step.at_ns,
                total: step.total,
                sender: address(&step.sender),
            });
        }
        true
    }

    /// Everything but what [`UdpReader::ask`] asked for.
    pub fn read(&mut self, ebpf: &mut Ebpf, reading: &mut UdpReading) -> Result<(), Error> {
        for step in &reading.steps {
            if let Some(sender) = step.sender {
                self.senders.insert((step.sock, step.born_ns), sender);
            }
        }
        reading.settings = self.settings;
        let fate = |key: &UdpKey| match *key == UdpKey::ZERO {
            true => Fate::Stays,
            false => Fate::Alive,
        };
        let mark = |row: &UdpDrops| row.buffer_full + row.memory + row.other;
        let now_ns = monotonic_ns();
        let found = self
            .table
            .look(ebpf, now_ns, true, mark, fate, |_, row| *row)?;
        for (key, row) in &found.retired {
            self.taken_out.fetch_add(row.buffer_full, Ordering::Relaxed);
            reading.retired.push(self.drops(key, row));
            self.unseen.remove(key);
        }
        let rows = found.rows;
        let of = rows.iter().map(|(key, row)| (key.sock, row.born_ns));
        let alive: HashSet<(u64, u64)> = of.collect();
        self.senders.retain(|row, _| alive.contains(row));
        // Where the table was full, they have no row in it.
        let mut beside = self.unseen.clone();
        for (key, _) in &rows {
            beside.remove(key);
        }
        let dropping = rows.iter().map(|(key, _)| key.sock);
        let dropping: HashSet<u64> = dropping.chain(beside.keys().map(|key| key.sock)).collect();
        self.holders.retain(|(sock, ..), _| dropping.contains(sock));
        reading.holders = self.holders.values().cloned().collect();
        reading.drops = rows
            .iter()
            .map(|(key, row)| self.drops(key, row))
            .chain(beside.into_values())
            .filter(|drops| drops.reasons.total() > 0)
            .collect();
        Ok(())
    }

    fn drops(&self, key: &UdpKey, row: &UdpDrops) -> SocketDrops {
        let Some(unseen) = self.unseen.get(key) else {
            return self.traced(key, row);
        };
        let mut drops = match row.last_ns {
            0 => unseen.clone(),
            _ => self.traced(key, row),
        };
        drops.born_ns = row.born_ns;
        drops.last_ns = row.last_ns.max(unseen.last_ns);
        drops.reasons = Reasons {
            buffer_full: row.buffer_full + unseen.reasons.buffer_full,
            memory: row.memory,
            other: row.other + unseen.reasons.other,
        };
        drops
    }

    fn traced(&self, key: &UdpKey, row: &UdpDrops) -> SocketDrops {
        let remote = address(&row.remote);
        SocketDrops {
            sock: key.sock,
            born_ns: row.born_ns,
            last_ns: row.last_ns,
            reasons: Reasons {
                buffer_full: row.buffer_full,
                memory: row.memory,
                other: row.other,
            },
            truesize_bytes: (row.truesize_bytes > 0).then_some(row.truesize_bytes),
            local: address(&row.local).unwrap_or(NONE),
            sender: remote.or_else(|| self.senders.get(&(key.sock, row.born_ns)).copied()),
            rcvbuf_bytes: row.rcvbuf_bytes.into(),
            queued_bytes: row.queued_bytes.into(),
            inode: key.inode,
            uid: row.uid,
        }
    }
}

/// The table of drops once more, for writing and for another thread.
fn table(ebpf: &Ebpf) -> Result<looks::Table, Error> {
    let map = match ebpf.map(TABLE).ok_or_else(missing)? {
        Map::HashMap(data) => data,
        _ => return Err(missing()),
    };
    // Asked for by its id, the kernel gives it to CAP_SYS_ADMIN only.
    let again = map.fd().as_fd().try_clone_to_owned();
    let again = MapData::from_fd(again.map_err(no_descriptor)?).map_err(map_error)?;
    looks::Table::try_from(Map::HashMap(again)).map_err(map_error)
}

fn missing() -> Error {
    Error::Kernel(format!("the object has no map {TABLE}"))
}

fn no_descriptor(source: io::Error) -> Error {
    Error::Io {
        what: "a second descriptor for the table of UDP drops".to_owned(),
        source,
    }
}

fn map_error(e: MapError) -> Error {
    Error::Kernel(format!("the table of UDP drops: {e}"))
}
