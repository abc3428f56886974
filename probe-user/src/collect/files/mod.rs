//! Files as the kernel side and statfs(2) show them: what a [`Reading`](super::Reading) says about them.

use aya::Ebpf;

pub use super::mounts::Device;
use super::{CallSum, mounts::Mount};
use crate::error::Error;

/// Everything about files in a reading.
#[derive(Clone, Debug, Default)]
pub struct FilesReading {
    /// Work on files since attach, by process and directory.
    pub directories: Vec<Directory>,
    /// Calls refused for want of space (ENOSPC, EDQUOT) since attach, by process, call and file system.
    pub refused: Vec<Refused>,
    /// How creations grew, since the last reading, in order: at most ten a second.
    pub steps: Vec<Step>,
    /// How full the file systems are: looks since the last reading, in order; one stands at each end of a watch.
    pub uses: Vec<Uses>,
    /// Mounted file systems, as last read.
    pub mounts: Vec<Mount>,
}

/// What one process did in one directory.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// Super block's device; 0:0 when it is not known (with `path` `None`: "other directories").
    pub device: Device,
    /// Inode of the directory.
    pub inode: u64,
    /// Path from the file system's root, any bytes; it begins with `...` when it was too deep to be kept whole. `None`
    /// when it is not known.
    pub path: Option<Vec<u8>>,
    /// The directory had been removed when it was last used.
    pub deleted: bool,
    /// Files created: open() with O_CREAT that really created one.
    pub created: u64,
    /// Of these: closed by the process that created them, so that their size is known.
    pub sized: u64,
    /// Sizes at that close: `total_ns`, `max_ns` and the buckets are bytes here, not ns.
    pub sizes: CallSum,
    /// fsync() and fdatasync() on files in it, and how long they took.
    pub syncs: CallSum,
    /// Files unlinked.
    pub unlinked: u64,
    /// Names of some files created last, any bytes, cut to 64.
    pub examples: Vec<Vec<u8>>,
    /// First and last creation, CLOCK_MONOTONIC ns; 0 when there was none.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
}

/// Calls of one process that were refused for want of space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// System call, as its tracepoint spells it.
    pub call: &'static str,
    /// ENOSPC or EDQUOT.
    pub errno: u32,
    /// The file system, where the call's descriptor tells it.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// Created since attach, everywhere.
    pub created: u64,
}

/// How full all file systems were at a moment.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// When, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// By super block; each once, however often it is mounted.
    pub file_systems: Vec<FsUse>,
    /// File systems that were not asked, because asking may hang (network, FUSE), and others that did not answer.
    pub not_asked: Vec<Device>,
}

/// How full a file system is (statvfs(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Follows files.
pub(super) struct FilesReader {}

impl FilesReader {
    /// Begins to follow.
    pub fn start(_: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// What came since the last call, without waiting.
    pub fn news(&mut self, _: &mut Option<Box<FilesReading>>) {}

    /// Decodes a record of the ring; false when it is none of ours.
    pub fn decode(_kind: u32, _bytes: &[u8], _into: &mut Option<Box<FilesReading>>) -> bool {
        false
    }

    /// Everything.
    pub fn read(&mut self, _: &mut Ebpf, _: &mut FilesReading) -> Result<(), Error> {
        Ok(())
    }
}
