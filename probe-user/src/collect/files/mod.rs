//! Files as the kernel side and statfs(2) show them: what a [`Reading`](super::Reading) says about them.

mod asker;
pub(super) mod place;
mod rows;

use std::collections::{HashMap, HashSet};

use aya::Ebpf;
use probe_common::{files, request::event, table::Made};
use serde::{Deserialize, Serialize};

pub use super::mounts::Device;
use super::{
    CallSum,
    mounts::Mount,
    recording::known::{self, Word},
};
use crate::error::Error;
use asker::{Asker, News};
use place::{Found, Text};
use rows::{RefusedRow, Tables};

/// Everything about files in a reading.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FilesReading {
    /// Work on files since attach, by process and directory.
    pub directories: Vec<Directory>,
    /// Rows of `directories` that were taken out since the last reading, as in [`super::Reading::retired`].
    pub retired: Vec<Directory>,
    /// Calls refused for want of space (ENOSPC, EDQUOT) since attach, by process, call and file system.
    pub refused: Vec<Refused>,
    /// Rows of `refused` that were taken out since the last reading, likewise.
    pub refused_retired: Vec<Refused>,
    /// How creations grew, since the last reading, in order: at most ten a second.
    pub steps: Vec<Step>,
    /// How full the file systems are: looks since the last reading, in order; one stands at each end of a watch.
    pub uses: Vec<Uses>,
    /// Mounted file systems, as last read.
    pub mounts: Vec<Mount>,
}

/// What one process did in one directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Directory {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// Super block's device; 0:0 when it is not known (with `path` `None`: "other directories").
    pub device: Device,
    /// Inode of the directory; 0 when it is known by its path only.
    pub inode: u64,
    /// Path from the file system's root, any bytes; it begins with `...` when it was too deep to be kept whole. `None`
    /// when it is not known.
    pub path: Option<Vec<u8>>,
    /// 0, or of files that were unlinked by a path: which one, as a hash. Such a row stands beside that of its directory.
    pub by_path: u64,
    /// The directory had been removed when it was last used.
    pub deleted: bool,
    /// Files created: open() with O_CREAT that really created one.
    pub created: u64,
    /// Of these: closed by the process that created them, so that their size is known.
    pub sized: u64,
    /// Sizes at that close: `total_ns` and `max_ns` are bytes here, and a bucket begins at
    /// [`probe_common::files::size_of_bucket`] bytes.
    pub sizes: CallSum,
    /// fsync() and fdatasync() on files in it and on itself, and how long they took.
    pub syncs: CallSum,
    /// Names of files unlinked. Where a path of several components was passed, its directory was looked for
    /// afterwards: exact as long as it is still there and its process too, else by the text of the path.
    pub unlinked: u64,
    /// Names of some files created last, any bytes, cut to 64.
    pub examples: Vec<Vec<u8>>,
    /// First and last creation, CLOCK_MONOTONIC ns; 0 when there was none.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
}

/// Calls of one process that were refused for want of space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// System call, as its tracepoint spells it.
    #[serde(with = "known::call")]
    pub call: Word,
    /// ENOSPC or EDQUOT.
    pub errno: u32,
    /// The file system, where the call's descriptor or path tells it.
    pub device: Option<Device>,
    /// What the call was asked to create, any bytes, cut; empty where it is a write.
    pub path: Vec<u8>,
    /// How many.
    pub count: u64,
    /// First and last, CLOCK_MONOTONIC ns.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
}

/// How far creations had come at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// Created since attach, everywhere.
    pub created: u64,
}

/// How full all file systems were at a moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Uses {
    /// When, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// By super block; each once, however often it is mounted.
    pub file_systems: Vec<FsUse>,
    /// File systems that were not asked, because asking may hang (network, FUSE), and others that did not answer.
    pub not_asked: Vec<Device>,
}

/// How full a file system is (statvfs(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsUse {
    /// Super block's device.
    pub device: Device,
    /// Size, bytes.
    pub total_bytes: u64,
    /// Free, bytes.
    pub free_bytes: u64,
    /// Free for users without privileges, bytes.
    pub available_bytes: u64,
    /// Inodes; 0 where the file system has no fixed number (btrfs).
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// Everything about files in the kernel side's maps, and a thread that asks the file systems.
pub(super) struct FilesReader {
    asker: Asker,
    mounts: Vec<Mount>,
    /// As many as the kernel side's tables have rows, at most.
    places: HashMap<Text, Option<Found>>,
    tables: Tables,
}

impl FilesReader {
    /// Begins to follow.
    ///
    /// # Errors
    /// A map is missing, or there can be no more threads.
    pub fn start(ebpf: &mut Ebpf, lasting: bool) -> Result<Self, Error> {
        rows::make_other_rows(ebpf)?;
        Ok(Self {
            asker: Asker::start(lasting)?,
            mounts: Vec::new(),
            places: HashMap::new(),
            tables: Tables::default(),
        })
    }

    /// What came since the last call, without waiting.
    pub fn news(&mut self, into: &mut Option<Box<FilesReading>>) {
        for news in self.asker.news() {
            let reading = into.get_or_insert_default();
            match news {
                News::Uses(uses) => reading.uses.push(uses),
                News::Mounts(mounts) => self.mounts = mounts,
                News::Found(text, found) => {
                    self.places.entry(text).or_insert(found);
                }
            }
        }
        if let Some(reading) = into {
            reading.mounts.clone_from(&self.mounts);
        }
    }

    /// Decodes a record of the ring; false when it is none of ours.
    pub fn decode(kind: u32, bytes: &[u8], into: &mut Option<Box<FilesReading>>) -> bool {
        if kind != event::FILES || bytes.len() < size_of::<files::Created>() {
            return false;
        }
        // SAFETY: the length was just checked; every bit pattern is a valid record.
        let created = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<files::Created>()) };
        into.get_or_insert_default().steps.push(Step {
            at_ns: created.at_ns,
            created: created.created,
        });
        true
    }

    /// The kernel side says that so many rows were made.
    pub fn told(&mut self, made: &Made) {
        self.tables.told(made);
    }

    /// Is there to be made room in the tables?
    pub fn is_crowded(&self) -> bool {
        self.tables.are_crowded()
    }

    /// Takes rows out of the tables.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn make_room(&mut self, ebpf: &Ebpf, into: &mut FilesReading) -> Result<(), Error> {
        into.retired.extend(self.tables.make_room(ebpf)?);
        Ok(())
    }

    /// Everything, with a fresh look at the file systems.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn read(&mut self, ebpf: &Ebpf, reading: &mut FilesReading) -> Result<(), Error> {
        let mut found = self.tables.look(ebpf)?;
        let unlinked = found.unlinked.rows.iter().chain(&found.unlinked.retired);
        let texts = unlinked.map(|(_, row)| &row.directory);
        let refused = found.refused.rows.iter().chain(&found.refused.retired);
        let texts = texts.chain(refused.filter_map(|(_, row)| row.directory.as_ref()));
        let texts: HashSet<Text> = texts.cloned().collect();
        self.places.retain(|text, _| texts.contains(text));
        let unknown = texts.iter().filter(|text| !self.places.contains_key(text));
        self.asker
            .ask(unknown.cloned().collect(), self.tables.creators());
        let mut news = Some(Box::new(std::mem::take(reading)));
        self.news(&mut news);
        *reading = *news.unwrap_or_default();

        let rows = found.directories.rows.into_iter();
        reading.directories = rows.map(|(_, row)| row).collect();
        let rows = found.directories.retired.into_iter();
        reading.retired.extend(rows.map(|(_, row)| row));
        let removed = [
            (found.unlinked.retired, &mut reading.retired),
            (found.unlinked.rows, &mut reading.directories),
        ];
        for (rows, list) in removed {
            for (key, row) in rows {
                // What is not found in time stays so: its sums would move from one directory to another.
                let place = self.places.entry(row.directory.clone()).or_insert(None);
                let unlinked = self.tables.unlinked(&key, &row, place);
                list.push(unlinked);
            }
        }
        let list = |rows: &mut Vec<_>| rows.drain(..).map(|(_, row)| self.place(row)).collect();
        reading.refused = list(&mut found.refused.rows);
        reading.refused_retired = list(&mut found.refused.retired);
        Ok(())
    }

    /// A refused call, with its file system where its path tells it.
    fn place(&self, row: RefusedRow) -> Refused {
        let RefusedRow {
            mut refused,
            directory,
        } = row;
        if refused.device.is_none()
            && let Some(Some(found)) = directory.and_then(|text| self.places.get(&text))
        {
            refused.device = Some(found.device);
        }
        refused
    }
}
