//! Tables of sums in the kernel: reading them, and taking rows out that have ended or have not moved for a while.
//!
//! What runs for weeks meets more threads, addresses, names and directories than any table has rows. A row that is taken out
//! goes into a reading once more, with its last sums, among the retired; when its key is met again, the kernel side makes a
//! new row, which begins at 0. So nothing that was counted is lost, whatever is taken out, and when.
//!
//! A row is read and removed in one step where the kernel can (5.14). Up to then, a call that is added between the two steps is
//! lost; in any case one that the kernel side is adding at this very moment, as it already holds the place. Both take a
//! row that moves again in the microsecond in which it is taken out after having stood still; threads that have ended add
//! nothing.

use std::{
    collections::HashMap,
    hash::Hash,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{Ebpf, Pod, maps::Map};
use libc::c_long;
use probe_common::{
    request::event,
    table::{Made, TOLD_EVERY},
};

use crate::error::Error;

/// Rows asked for at once: one with sums of calls has a kilobyte.
const ROWS: usize = 256;
/// Of a table that is filled to a quarter, rows go that have not moved for so long, ns; of a fuller one, all that have not
/// moved since it was looked at before.
const STILL_NS: u64 = 60_000_000_000;

/// Commands of bpf(2) (include/uapi/linux/bpf.h): since 3.18, and for hash tables since 5.14 and 5.6.
const LOOKUP: c_long = 1;
const DELETE: c_long = 3;
const LOOKUP_AND_DELETE: c_long = 21;
const LOOKUP_BATCH: c_long = 24;
/// What the kernel returns for a command that a kind of map does not have (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// The part of `union bpf_attr` for one row.
#[repr(C)]
#[derive(Default)]
struct Row {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The `batch` part of `union bpf_attr`.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn bpf<T>(command: c_long, attr: &mut T) -> Result<(), i32> {
    // SAFETY: callers pass the attribute that the command takes, with pointers to room for what the kernel writes.
    match unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

/// The descriptor of a hash map, and how many rows it can have.
fn hash_map(ebpf: &Ebpf, name: &str) -> Result<(u32, usize), Error> {
    let (Some(Map::HashMap(map)) | Some(Map::LruHashMap(map))) = ebpf.map(name) else {
        return Err(Error::Kernel(format!("the object has no hash map {name}")));
    };
    let info = map.info();
    let info = info.map_err(|e| Error::Kernel(format!("map {name} cannot be looked at: {e}")))?;
    Ok((
        map.fd().as_fd().as_raw_fd() as u32,
        info.max_entries() as usize,
    ))
}

/// All rows of a hash map, in no order, each given to `each`. With few calls: walking it with one call for each key and one for
/// each value costs more than everything else that is done with it. Rows that come and go meanwhile may be missing.
pub fn for_each<K: Pod, V: Pod>(
    ebpf: &Ebpf,
    name: &str,
    mut each: impl FnMut(K, &V),
) -> Result<(), Error> {
    let (map_fd, _) = hash_map(ebpf, name)?;
    let (mut keys, mut values) = (Vec::<K>::new(), Vec::<V>::new());
    let mut room = ROWS;
    let mut position: Option<u32> = None;
    loop {
        keys.reserve(room);
        values.reserve(room);
        let mut next = 0u32;
        let mut attr = Batch {
            in_batch: position
                .as_ref()
                .map_or(0, |p| std::ptr::from_ref(p) as u64),
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd,
            elem_flags: 0,
            flags: 0,
        };
        // The kernel writes at most `room` keys and values, for which there is room, and a position.
        let errno = bpf(LOOKUP_BATCH, &mut attr).err().unwrap_or(0);
        match errno {
            0 | libc::ENOENT => {}
            // A bucket has more rows than there is room for.
            libc::ENOSPC if room < 1 << 20 => {
                room *= 2;
                continue;
            }
            libc::EINTR => continue,
            _ => {
                let e = std::io::Error::from_raw_os_error(errno);
                return Err(Error::Kernel(format!("map {name} cannot be read: {e}")));
            }
        }
        let n = (attr.count as usize).min(room);
        // SAFETY: the kernel wrote this many of each; every bit pattern is valid.
        unsafe {
            keys.set_len(n);
            values.set_len(n);
        }
        keys.drain(..).zip(&values).for_each(|(k, v)| each(k, v));
        values.clear();
        if errno == libc::ENOENT {
            return Ok(());
        }
        position = Some(next);
    }
}

/// A row of a hash map; `None` when there is none.
pub fn get<K: Pod, V: Pod>(ebpf: &Ebpf, name: &str, key: &K) -> Result<Option<V>, Error> {
    let (map_fd, _) = hash_map(ebpf, name)?;
    let mut value = std::mem::MaybeUninit::<V>::uninit();
    let mut attr = Row {
        map_fd,
        key: std::ptr::from_ref(key) as u64,
        value: value.as_mut_ptr() as u64,
        ..Row::default()
    };
    match bpf(LOOKUP, &mut attr) {
        // SAFETY: the kernel wrote a value, of which every bit pattern is valid.
        Ok(()) => Ok(Some(unsafe { value.assume_init() })),
        Err(libc::ENOENT) => Ok(None),
        Err(errno) => {
            let e = std::io::Error::from_raw_os_error(errno);
            Err(Error::Kernel(format!("map {name} cannot be read: {e}")))
        }
    }
}

/// Takes a row out of a hash map; `None` when there is none.
pub fn take<K: Pod, V: Pod>(ebpf: &Ebpf, name: &str, key: &K) -> Result<Option<V>, Error> {
    let (map_fd, _) = hash_map(ebpf, name)?;
    take_of(map_fd, name, key)
}

fn take_of<K: Pod, V: Pod>(map_fd: u32, name: &str, key: &K) -> Result<Option<V>, Error> {
    let mut value = std::mem::MaybeUninit::<V>::uninit();
    let mut attr = Row {
        map_fd,
        key: std::ptr::from_ref(key) as u64,
        value: value.as_mut_ptr() as u64,
        ..Row::default()
    };
    let mut taken = bpf(LOOKUP_AND_DELETE, &mut attr);
    if matches!(taken, Err(libc::EINVAL | ENOTSUPP | libc::EOPNOTSUPP)) {
        taken = bpf(LOOKUP, &mut attr).and_then(|()| bpf(DELETE, &mut Row { value: 0, ..attr }));
    }
    match taken {
        // SAFETY: the kernel wrote a value, of which every bit pattern is valid.
        Ok(()) => Ok(Some(unsafe { value.assume_init() })),
        Err(libc::ENOENT) => Ok(None),
        Err(errno) => {
            let e = std::io::Error::from_raw_os_error(errno);
            Err(Error::Kernel(format!("map {name} cannot be emptied: {e}")))
        }
    }
}

/// A record of the ring that says how many rows were made in a table, if it is one.
pub fn made(bytes: &[u8]) -> Option<Made> {
    let kind = bytes.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b));
    if kind != Some(event::MADE) || bytes.len() < size_of::<Made>() {
        return None;
    }
    // SAFETY: the length was just checked; every bit pattern is a valid record.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<Made>()) })
}

/// What of a table is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody adds to the row any more.
    Ended,
    /// It may go when it stands still.
    Alive,
    /// It must stay.
    Stays,
}

/// How a row stood when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Stood {
    mark: u64,
    since_ns: u64,
    look: u64,
}

/// A table of which rows are taken out.
pub struct Table<K> {
    name: &'static str,
    /// Its place in [`probe_common::table::slot`]; `None` where the kernel side does not count.
    slot: Option<u32>,
    stood: HashMap<K, Stood>,
    looks: u64,
    /// Rows that were left when it was looked at last, and rows made by then, as far as they were told of.
    left: u64,
    made: u64,
    made_then: u64,
    /// Rows that it can have; 0 before the first look.
    room: u64,
    /// How much room others need.
    pressed: Going,
}

/// What a look at a table found.
pub struct Look<K, S> {
    /// Rows that stay.
    pub rows: Vec<(K, S)>,
    /// Rows that were taken out, with their last sums.
    pub retired: Vec<(K, S)>,
}

impl<K: Pod + Eq + Hash> Table<K> {
    pub fn new(name: &'static str, slot: Option<u32>) -> Self {
        Self {
            name,
            slot,
            stood: HashMap::new(),
            looks: 0,
            left: 0,
            made: 0,
            made_then: 0,
            room: 0,
            pressed: Going::None,
        }
    }

    /// The kernel side says that so many rows were made.
    pub fn told(&mut self, made: &Made) {
        if self.slot == Some(made.table) {
            self.made = self.made.max(made.rows);
        }
    }

    /// Is it more than half full, with new rows since it was looked at?
    pub fn is_crowded(&self) -> bool {
        let Some(slot) = self.slot else { return false };
        let step = TOLD_EVERY[slot as usize];
        let new = self.made - self.made_then;
        // Without a look, its size is not known: it has sixteen steps at least.
        let room = self.room.max(16 * step);
        new >= 2 * step && self.left + new >= room / 2
    }

    /// Another table, which has so many rows and room for so many, cannot be emptied before this one is: the next look takes
    /// out as if this one were as full.
    pub fn press(&mut self, (rows, room): (usize, usize)) {
        self.pressed = Going::of(rows, room);
    }

    /// Looks at all rows, and takes out what may go. `mark` is something that grows with every change of a row; `fate` says
    /// what may become of it; `sum` makes of it what a reading has, for the retired alone when the others are not `wanted`.
    pub fn look<V: Pod, S>(
        &mut self,
        ebpf: &Ebpf,
        now_ns: u64,
        wanted: bool,
        mark: impl Fn(&V) -> u64,
        mut fate: impl FnMut(&K) -> Fate,
        mut sum: impl FnMut(&K, &V) -> S,
    ) -> Result<Look<K, S>, Error> {
        let (map_fd, room) = hash_map(ebpf, self.name)?;
        self.room = room as u64;
        self.looks += 1;
        self.made_then = self.made;
        let mut rows = Vec::with_capacity(self.left as usize);
        let (stood, look) = (&mut self.stood, self.looks);
        for_each(ebpf, self.name, |key: K, value: &V| {
            let mark = mark(value);
            let row = stood.entry(key).or_insert(Stood {
                mark: mark.wrapping_add(1),
                since_ns: now_ns,
                look,
            });
            let moved = row.mark != mark;
            if moved {
                (row.mark, row.since_ns) = (mark, now_ns);
            }
            row.look = look;
            let still_ns = (!moved).then(|| now_ns.saturating_sub(row.since_ns));
            rows.push((key, still_ns, wanted.then(|| sum(&key, value))));
        })?;
        // A row that is gone was not taken out by us.
        stood.retain(|_, row| row.look == look);
        stood.shrink_to(2 * stood.len());
        let going = Going::of(rows.len(), room).harder(self.pressed);
        self.pressed = Going::None;
        let mut found = Look {
            rows: Vec::with_capacity(rows.len()),
            retired: Vec::new(),
        };
        for (key, still_ns, kept) in rows {
            let goes = match fate(&key) {
                Fate::Ended => true,
                Fate::Alive => going.goes(still_ns),
                Fate::Stays => false,
            };
            if goes && let Some(value) = take_of::<K, V>(map_fd, self.name, &key)? {
                stood.remove(&key);
                found.retired.push((key, sum(&key, &value)));
            } else if let Some(kept) = kept {
                found.rows.push((key, kept));
            }
        }
        self.left = stood.len() as u64;
        Ok(found)
    }

    /// The keys of the rows that were left by the last look.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.stood.keys()
    }
}

/// Which rows of those who live go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    /// There is room enough.
    None,
    /// Those that have stood still for so long, ns.
    Still(u64),
    /// All: better than to have no room for others.
    All,
}

impl Going {
    fn of(rows: usize, room: usize) -> Self {
        match rows {
            n if n >= room / 4 * 3 => Self::All,
            n if n >= room / 2 => Self::Still(0),
            n if n >= room / 4 => Self::Still(STILL_NS),
            _ => Self::None,
        }
    }

    /// Of two, the one by which more go.
    fn harder(self, other: Self) -> Self {
        let rank = |going: &Self| match going {
            Self::None => 0,
            Self::Still(1..) => 1,
            Self::Still(0) => 2,
            Self::All => 3,
        };
        match rank(&self) < rank(&other) {
            true => other,
            false => self,
        }
    }

    /// `still_ns` is `None` for a row that has moved since it was looked at last.
    fn goes(self, still_ns: Option<u64>) -> bool {
        match self {
            Self::None => false,
            Self::Still(limit_ns) => still_ns.is_some_and(|ns| ns >= limit_ns),
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_a_table_the_less_patience() {
        let kept = |rows| {
            let going = Going::of(rows, 4096);
            [None, Some(0), Some(STILL_NS)].map(|still_ns| !going.goes(still_ns))
        };
        assert_eq!(kept(1023), [true, true, true]);
        assert_eq!(kept(1024), [true, true, false]);
        assert_eq!(kept(2048), [true, false, false]);
        assert_eq!(kept(3072), [false, false, false]);
        let harder = |rows| Going::of(rows, 4096).harder(Going::of(2048, 4096));
        assert_eq!(harder(1024), Going::Still(0));
        assert_eq!(harder(3072), Going::All);
    }

    #[test]
    fn a_table_is_crowded_when_new_rows_fill_its_second_half() {
        let made = |table, rows| Made {
            table,
            rows,
            ..Made::ZERO
        };
        let mut table: Table<u64> = Table::new("STATS", Some(0));
        let step = TOLD_EVERY[0];
        table.told(&made(1, 100 * step));
        assert!(!table.is_crowded(), "another table");
        table.told(&made(0, 7 * step));
        assert!(!table.is_crowded());
        table.told(&made(0, 8 * step));
        assert!(table.is_crowded());
        // As after a look that left three quarters of it.
        (table.left, table.made_then, table.room) = (3072, 8 * step, 4096);
        assert!(!table.is_crowded(), "nothing is new");
        table.told(&made(0, 10 * step));
        assert!(table.is_crowded());
    }
}
