//! Who is behind a peer id: what the kernel side has told so far, of those that anything names still.
//!
//! The kernel's table of addresses is a letter box: what was read stays known here, and an id that nothing in the kernel
//! leads to any more is taken out there. It is put in again when its address is met again.

use std::collections::{HashMap, HashSet};

use aya::Ebpf;
use probe_common::{
    peer::{PeerKey, flag, special},
    table::{Made, slot},
};

use super::{Reading, table};
use crate::error::Error;

/// The kernel's table.
const TABLE: &str = "PEERS";
/// Rows that it has.
const ROOM: u64 = 4096;
/// Addresses that are kept, beside those that the last reading of everything named: a socket may lead to its own for hours
/// without a word.
const MAX: usize = 8192;

/// The addresses.
#[derive(Default)]
pub struct Names {
    known: HashMap<u64, Name>,
    /// Readings of everything so far.
    round: u32,
    /// Rows made in the kernel's table, as far as they were told of, and how many when it was emptied last.
    made: u64,
    made_then: u64,
    /// Rows that were left then.
    left: u64,
}

struct Name {
    key: PeerKey,
    /// In which round it was named last ...
    used: u32,
    /// ... and in which a reading told it last.
    told: u32,
}

impl Names {
    /// The kernel side says that so many rows were made.
    pub fn told(&mut self, made: &Made) {
        if made.table == slot::PEERS {
            self.made = self.made.max(made.rows);
        }
    }

    /// Rows of the kernel's table, and how many it can have.
    pub fn fill(&self) -> (usize, usize) {
        let rows = self.left + (self.made - self.made_then);
        (rows as usize, ROOM as usize)
    }

    /// Is the kernel's table filled to a quarter?
    pub fn are_many(&self) -> bool {
        let (rows, room) = self.fill();
        rows >= room / 4
    }

    /// The same, with new rows since it was emptied.
    pub fn are_more(&self) -> bool {
        self.made > self.made_then && self.are_many()
    }

    /// Are there so many that the sums that name them have to go?
    pub fn are_crowded(&self) -> bool {
        let (rows, room) = self.fill();
        self.made > self.made_then && rows >= room / 2
    }

    /// Is it the address of a client?
    pub fn is_client(&self, id: u64) -> bool {
        let key = self.known.get(&id).map(|name| &name.key);
        key.is_some_and(|key| key.flags & flag::INBOUND != 0 && key.len > 0)
    }

    /// Adds the addresses behind `ids` to a reading: of everything those of all, else those that were not told since the last
    /// of everything. What begins there knows them all, as long as it hears what comes after.
    pub fn tell(
        &mut self,
        ebpf: &Ebpf,
        ids: &mut dyn Iterator<Item = u64>,
        reading: &mut HashMap<u64, PeerKey>,
        all: bool,
    ) -> Result<(), Error> {
        if all {
            self.round = self.round.wrapping_add(1);
        }
        let round = self.round;
        for id in ids.filter(|id| *id >= special::FIRST_HASH) {
            let name = match self.known.get_mut(&id) {
                Some(name) => name,
                None => {
                    let Some(key) = table::get::<u64, PeerKey>(ebpf, TABLE, &id)? else {
                        continue;
                    };
                    self.known.entry(id).or_insert(Name {
                        key,
                        used: round,
                        told: round.wrapping_sub(1),
                    })
                }
            };
            name.used = round;
            if name.told != round {
                name.told = round;
                reading.insert(id, name.key);
            }
        }
        if all {
            self.forget();
        }
        Ok(())
    }

    /// Forgets those that were named longest ago, where there are too many: half of the room, so that it is done seldom.
    fn forget(&mut self) {
        let unused = |name: &Name| self.round.wrapping_sub(name.used);
        let mut ages: Vec<u32> = self
            .known
            .values()
            .map(unused)
            .filter(|age| *age > 0)
            .collect();
        if ages.len() <= MAX {
            return;
        }
        ages.sort_unstable();
        let (round, oldest) = (self.round, ages[MAX / 2]);
        self.known
            .retain(|_, name| round.wrapping_sub(name.used) < oldest.max(1));
        self.known.shrink_to(2 * self.known.len());
    }

    /// Takes out of the kernel's table what is not `used` there. What has not been read is read: the record that names it may
    /// be under way.
    pub fn empty(&mut self, ebpf: &Ebpf, used: &HashSet<u64>) -> Result<(), Error> {
        self.made_then = self.made;
        let mut unused = Vec::new();
        let mut left = 0;
        table::for_each(ebpf, TABLE, |id: u64, key: &PeerKey| {
            if used.contains(&id) {
                left += 1;
                return;
            }
            unused.push(id);
            self.known.entry(id).or_insert(Name {
                key: *key,
                used: self.round,
                told: self.round.wrapping_sub(1),
            });
        })?;
        for id in unused {
            table::take::<u64, PeerKey>(ebpf, TABLE, &id)?;
        }
        self.left = left;
        Ok(())
    }
}

/// Peer ids that a reading names.
pub fn named(reading: &Reading) -> impl Iterator<Item = u64> + '_ {
    let rows = reading.stats.iter().chain(&reading.retired);
    let tasks = reading.tasks.iter();
    rows.map(|(key, _)| key.peer)
        .chain(tasks.flat_map(super::collector::leads_to))
        .chain(
            reading
                .requests
                .iter()
                .flat_map(super::collector::used_peers),
        )
        .chain(reading.tcp.iter().flat_map(|tcp| tcp.named_peers()))
        .chain(reading.dns.iter().flat_map(|dns| dns.named_peers()))
}
