//! Files: who creates, writes, syncs and removes them, and where.
//!
//! Everything is added up in the kernel by process and directory ([`DirKey`], [`DirSum`]). A directory is known by
//! its super block and inode; its path within the file system is read once ([`DirPath`]).

pub mod path;

use crate::{count::COMM_LEN, hist, shared};

/// Names of files that a row remembers.
pub const EXAMPLES: usize = 4;
/// Bytes kept of such a name, with its closing NUL.
pub const EXAMPLE_LEN: usize = 64;
/// Bytes kept of a directory's path, where its last component may run over the first 512.
pub const PATH_LEN: usize = 768;
/// Bytes kept of a path that was passed to a call, with its closing NUL.
pub const TEXT_LEN: usize = 512;
/// Bytes kept of what a refused call was to create, with its closing NUL.
pub const REFUSED_LEN: usize = 256;

/// Bits of [`DirSum::flags`].
pub mod flag {
    /// The directory had been removed when it was last used.
    pub const DELETED: u32 = 1;
}

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`]: offsets in bytes.
    pub struct FilesConfig {
        /// 1: files are watched.
        pub on: u32,
        /// file.f_mode
        pub file_mode: u32,
        /// file.f_path
        pub file_path: u32,
        /// file.f_ref (6.13), before that file.f_count
        pub file_count: u32,
        /// path.dentry
        pub path_dentry: u32,
        /// dentry.d_parent
        pub dentry_parent: u32,
        /// dentry.d_inode
        pub dentry_inode: u32,
        /// dentry.d_name
        pub dentry_name: u32,
        /// qstr.name
        pub qstr_name: u32,
        /// inode.i_sb
        pub inode_sb: u32,
        /// inode.i_size
        pub inode_size: u32,
        /// inode.i_nlink
        pub inode_nlink: u32,
        /// super_block.s_dev
        pub sb_dev: u32,
        /// task_struct.fs
        pub task_fs: u32,
        /// fs_struct.pwd
        pub fs_pwd: u32,
        /// task_struct.group_leader
        pub task_leader: u32,
        /// task_struct.comm
        pub task_comm: u32,
    }

    /// A directory.
    pub struct DirId {
        /// Inode.
        pub inode: u64,
        /// Device number of its super block, as the kernel has it.
        pub dev: u32,
        /// Nothing.
        pub pad: u32,
    }

    /// Who does something where: key of the map `DIRECTORIES`. All zero: other directories.
    pub struct DirKey {
        /// Inode of the directory.
        pub inode: u64,
        /// Device number of its super block, as the kernel has it.
        pub dev: u32,
        /// Process id.
        pub tgid: u32,
    }

    /// What a process did in a directory. Its threads write it at once: counts are added atomically.
    pub struct DirSum {
        /// Files created.
        pub created: u64,
        /// Of these: closed by the process, with nobody else holding them open.
        pub sized: u64,
        /// Sum of their sizes then, bytes.
        pub size_total: u64,
        /// The largest, bytes.
        pub size_max: u64,
        /// fsync() and fdatasync() on files in the directory, or on itself.
        pub syncs: u64,
        /// Sum of their durations, ns.
        pub sync_total_ns: u64,
        /// The longest, ns.
        pub sync_max_ns: u64,
        /// Files unlinked.
        pub unlinked: u64,
        /// First creation, CLOCK_MONOTONIC ns.
        pub first_ns: u64,
        /// Last creation, CLOCK_MONOTONIC ns.
        pub last_ns: u64,
        /// Bits of [`flag`].
        pub flags: u32,
        /// Nothing.
        pub pad: u32,
        /// Name of the process, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// Names of the files created last, each ended by a NUL.
        pub examples: [[u8; EXAMPLE_LEN]; EXAMPLES],
        /// Files by size: see [`size_bucket`].
        pub sizes: [u32; hist::BUCKETS],
        /// Syncs by duration, see [`hist`].
        pub sync_hist: [u32; hist::BUCKETS],
    }

    /// Where a directory is in its file system: value of the map `DIR_PATHS`, by [`DirId`].
    pub struct DirPath {
        /// Bytes used.
        pub len: u32,
        /// 1: the root of the file system was reached.
        pub whole: u32,
        /// Its components from the directory itself upwards, each ended by a NUL.
        pub text: [u8; PATH_LEN],
    }

    /// A descriptor: key of the map `OPEN_FILES`.
    pub struct OpenKey {
        /// Process id.
        pub tgid: u32,
        /// Descriptor.
        pub fd: u32,
    }

    /// A file that its process created, and has open.
    pub struct OpenFile {
        /// Where it was counted.
        pub dir: DirKey,
        /// The kernel's `struct file`.
        pub file: u64,
        /// Its reference count right after it was opened, when nobody else had it.
        pub count: u64,
        /// Inode number.
        pub inode: u64,
    }

    /// A call under way, by thread id.
    pub struct FileCall {
        /// When it was entered, CLOCK_MONOTONIC ns.
        pub start_ns: u64,
        /// The path that was passed: a user pointer.
        pub path: u64,
        /// The descriptor that was passed; that of a directory, or AT_FDCWD, where there is a path.
        pub fd: i32,
        /// Nothing.
        pub pad: u32,
    }

    /// Files unlinked by a path of several components: key of the map `UNLINKED`.
    pub struct UnlinkKey {
        /// Hash of the directory part of the path.
        pub hash: u64,
        /// The directory that the path starts from; all zero when the path is absolute.
        pub base: DirId,
        /// Process id.
        pub tgid: u32,
        /// Nothing.
        pub pad: u32,
    }

    /// How many.
    pub struct Unlinked {
        /// Files unlinked.
        pub count: u64,
        /// Name of the process, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// Bytes of `text` that are the directory part, with its last `/`.
        pub len: u32,
        /// Nothing.
        pub pad: u32,
        /// The path that was passed first, ended by a NUL.
        pub text: [u8; TEXT_LEN],
    }

    /// Calls refused for want of space: key of the map `REFUSED`. All zero: other calls.
    pub struct RefusedKey {
        /// Hash of the directory part of the path; 0 where a descriptor was passed.
        pub hash: u64,
        /// Process id.
        pub tgid: u32,
        /// System call number.
        pub nr: u32,
        /// ENOSPC or EDQUOT.
        pub errno: u32,
        /// Super block's device, as the kernel has it: of the descriptor that was passed. For a relative path, of
        /// the directory that it starts from; for an absolute one, 0.
        pub dev: u32,
    }

    /// How many.
    pub struct Refused {
        /// Calls.
        pub count: u64,
        /// First one, CLOCK_MONOTONIC ns.
        pub first_ns: u64,
        /// Last one, CLOCK_MONOTONIC ns.
        pub last_ns: u64,
        /// Name of the process, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// What the first one was to create, ended by a NUL.
        pub path: [u8; REFUSED_LEN],
    }

    /// How far creations had come, on the ring.
    pub struct Created {
        /// [`crate::request::event::FILES`].
        pub event: u32,
        /// Nothing.
        pub pad: u32,
        /// When, CLOCK_MONOTONIC ns.
        pub at_ns: u64,
        /// Created since attach, everywhere.
        pub created: u64,
    }
}

impl DirKey {
    /// Which directory it is.
    pub const fn directory(&self) -> DirId {
        DirId {
            inode: self.inode,
            dev: self.dev,
            pad: 0,
        }
    }
}

/// Which bucket of [`hist`] a size falls in: one byte counts as 1.024 µs, so that small files are told apart. The
/// last bucket takes everything from 128 MiB on.
#[inline(always)]
pub const fn size_bucket(bytes: u64) -> u32 {
    if bytes >= 1 << 53 {
        return hist::BUCKETS as u32 - 1;
    }
    hist::bucket(bytes << hist::UNIT_SHIFT)
}

/// The smallest size in bytes that falls in `bucket`.
pub const fn size_of_bucket(bucket: u32) -> u64 {
    hist::lower_ns(bucket) >> hist::UNIT_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_into_their_buckets() {
        for bucket in 0..hist::BUCKETS as u32 - 1 {
            assert_eq!(size_bucket(size_of_bucket(bucket)), bucket);
            assert_eq!(size_bucket(size_of_bucket(bucket + 1) - 1), bucket);
        }
        assert_eq!(size_bucket(u64::MAX), hist::BUCKETS as u32 - 1);
        assert_eq!(size_bucket(0), 0);
    }
}
