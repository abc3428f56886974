//! The recorder's directory: only files of its own names are ever touched in it, and nothing is written over.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, fstatvfs, renameat_with},
    process::geteuid,
};

use crate::error::Error;

/// The ring.
pub const RING: &str = "ring.rec";
/// The ring of a run that was killed: the newest one.
pub const BEFORE_RESTART: &str = "before-restart.rec";
/// What a file ends in while it is being written.
const PART: &str = ".part";
/// What an incident's files begin with, and end in.
const INCIDENT: &str = "incident-";
const ENDINGS: [&str; 3] = ["json", "html", "rec"];
/// Names that are remembered, so that none is taken twice; the oldest are forgotten.
const NAMES: usize = 4096;
/// So much of the file system stays free for others: a twentieth ...
const FREE_SHARE: u64 = 20;
/// ... but not more than this, bytes.
const FREE_MOST: u64 = 1 << 30;

/// The directory; nobody else has it as long as this lives.
pub struct Directory {
    path: PathBuf,
    /// Carries the lock.
    handle: File,
}

impl Directory {
    /// Opens it; makes it where it is missing. What a run that was killed left is put in order.
    ///
    /// # Errors
    /// It cannot be made or read, another run has it, or others may write to it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let error = |source| Error::Io {
            what: format!("cannot save to {shown}"),
            source,
        };
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(error)?;
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(path)
            .map_err(error)?;
        let meta = handle.metadata().map_err(error)?;
        let euid = geteuid().as_raw();
        if meta.uid() != euid || meta.mode() & 0o022 != 0 {
            return Err(Error::Usage(format!(
                "cannot save to {shown}: others may write to it (owner {}, mode {:o}); name a directory of uid {euid} with \
                 mode 700",
                meta.uid(),
                meta.mode() & 0o7777
            )));
        }
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Usage(format!(
                    "cannot save to {shown}: another stallscope saves there; name another directory by --dir"
                )));
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        let directory = Self {
            path: path.to_owned(),
            handle,
        };
        directory.put_in_order().map_err(error)?;
        Ok(directory)
    }

    /// Where a file of this name is.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The stems of incidents that are there.
    pub fn names(&self) -> Names {
        let stems = self.own_files().unwrap_or_default();
        let stems = stems.iter().filter_map(|file| stem(&file.name));
        Names(stems.map(str::to_owned).collect())
    }

    /// The ring of a run that was killed becomes [`BEFORE_RESTART`], and what was half written goes.
    fn put_in_order(&self) -> io::Result<()> {
        for file in self.own_files()? {
            if file.name.ends_with(PART) {
                fs::remove_file(self.at(&file.name))?;
            }
        }
        if self.own_files()?.iter().any(|file| file.name == RING) {
            fs::rename(self.at(RING), self.at(BEFORE_RESTART))?;
        }
        Ok(())
    }

    /// Files with names of ours. Whatever else is there (links, directories, others' files) is left alone.
    fn own_files(&self) -> io::Result<Vec<Own>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let ours = name == RING || name == BEFORE_RESTART || stem(&name).is_some();
            // Of the entry itself, not of what it may point to.
            if let (true, Ok(meta)) = (ours, entry.metadata())
                && meta.is_file()
            {
                let bytes = meta.len();
                files.push(Own { name, bytes });
            }
        }
        files.sort();
        Ok(files)
    }

    /// Bytes that may still be written on the file system.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn free(&self) -> io::Result<u64> {
        let now = fstatvfs(&self.handle)?;
        let bytes = |blocks: u64| blocks.saturating_mul(now.f_frsize);
        let stays = (bytes(now.f_blocks) / FREE_SHARE).min(FREE_MOST);
        Ok(bytes(now.f_bavail).saturating_sub(stays))
    }

    /// Makes room for so many bytes among `max_bytes`, of which the ring may take `ring_bytes`: removes the oldest incidents,
    /// but those with a stem in `spared`.
    ///
    /// # Errors
    /// There is no room, on the file system or beside what is spared.
    pub fn make_room(
        &self,
        bytes: u64,
        max_bytes: u64,
        ring_bytes: u64,
        spared: &[&str],
    ) -> io::Result<()> {
        let full = || {
            let text = "the disk is too full: a twentieth of it stays free, at most 1 GB";
            io::Error::new(io::ErrorKind::StorageFull, text)
        };
        let mut files = self.own_files()?;
        files.retain(|file| file.name != RING);
        // It is older than whatever this run saves, and not asked for by anybody.
        files.sort_by_key(|file| (file.name != BEFORE_RESTART, file.name.clone()));
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        total += ring_bytes + bytes;
        let mut gone: Option<String> = None;
        for file in files {
            let stem = stem(&file.name).unwrap_or(BEFORE_RESTART);
            // All files of an incident go together.
            let begun = gone.as_deref() == Some(stem);
            if !begun && total <= max_bytes {
                break;
            }
            if spared.contains(&stem) {
                continue;
            }
            fs::remove_file(self.at(&file.name))?;
            total -= file.bytes;
            gone = Some(stem.to_owned());
        }
        if total > max_bytes {
            return Err(io::Error::other("it is more than --max-size allows"));
        }
        if self.free()? < bytes {
            return Err(full());
        }
        Ok(())
    }

    /// Writes a file, under another name until it is whole.
    ///
    /// # Errors
    /// It cannot be written, or there is one of this name.
    pub fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let part = self.at(&format!("{name}{PART}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        let done = fill(&mut file)
            .and_then(|()| file.flush())
            .and_then(|()| rename(&part, &self.at(name)));
        if done.is_err() {
            let _ = fs::remove_file(&part);
        }
        done
    }

    /// Removes a file of ours; none is no error.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.at(name));
    }
}

/// Gives a file its name, unless that is taken.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            // Not every file system knows how; the directory is ours alone.
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        done => done.map_err(io::Error::from),
    }
}

/// A file of ours.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Own {
    name: String,
    bytes: u64,
}

/// The incident that a file belongs to, whole or half written.
fn stem(name: &str) -> Option<&str> {
    let (stem, ending) = name.strip_suffix(PART).unwrap_or(name).rsplit_once('.')?;
    let rest = stem.strip_prefix(INCIDENT)?.as_bytes();
    // 20231114-221320-W01, and perhaps -2.
    let known = |(n, byte): (usize, &u8)| match n {
        8 | 15 => *byte == b'-',
        0..15 => byte.is_ascii_digit(),
        _ => byte.is_ascii_alphanumeric() || *byte == b'-',
    };
    let ours = rest.len() > 16 && rest.iter().enumerate().all(known);
    (ours && ENDINGS.contains(&ending)).then_some(stem)
}

/// Names that are taken.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// This name, or the next one that is free: two findings of a second, or a clock that was set back.
    pub fn free(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        for n in 2.. {
            if self.0.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}-{n}");
        }
        while self.0.len() > NAMES {
            self.0.pop_first();
        }
        name
    }
}

#[cfg(test)]
mod tests;
