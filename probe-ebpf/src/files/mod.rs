//! Files: who creates, writes, syncs and removes them, in which directory; on every file system, by every process.
//!
//! - [`opens`]: files that an open() really created.
//! - [`closes`]: how large such a file is when its process closes it.
//! - [`syncs`]: fsync() and fdatasync().
//! - [`unlinks`]: unlink().
//! - [`no_space`]: calls that are refused for want of space.
//! - [`paths`]: where a directory is, and what a path begins with.
//!
//! Sums by process and directory stand in one table; nothing goes to the ring but how far creations have come, at
//! most ten times a second.

pub mod closes;
pub mod no_space;
pub mod opens;
mod paths;
pub mod syncs;
pub mod unlinks;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel,
    macros::map,
    maps::{Array, HashMap},
};
use probe_common::{
    count::COMM_LEN,
    files::{DirId, DirKey, DirSum, FileCall, flag},
    hist, loss, table,
};

use crate::{
    maps::{atomic_add32, config, lost, made},
    mem,
};

/// What processes did in directories.
#[map]
static DIRECTORIES: HashMap<DirKey, DirSum> = HashMap::with_max_entries(1, 0);

/// An all-zero row for [`DIRECTORIES`], too large for the stack.
#[map]
static ZERO_DIRECTORY: Array<DirSum> = Array::with_max_entries(1, 0);

/// Calls under way whose return needs what was passed, by thread id.
#[map]
static FILE_CALLS: HashMap<u32, FileCall> = HashMap::with_max_entries(1, 0);

/// A directory that was found.
struct Place {
    /// Its `struct dentry`.
    dentry: u64,
    /// Bits of [`flag`].
    flags: u32,
    /// Which it is.
    key: DirKey,
}

/// The `struct dentry` of an open file.
#[inline(always)]
fn dentry_of(file: u64) -> Option<u64> {
    let at = config!(files.file_path) as u64 + config!(files.path_dentry) as u64;
    mem::kernel::<u64>(file + at)
}

/// The directory that a dentry lies in.
#[inline(always)]
fn parent_of(dentry: u64) -> Option<u64> {
    mem::kernel::<u64>(dentry + config!(files.dentry_parent) as u64)
}

/// The directory that a dentry is.
#[inline(always)]
fn place(dentry: u64, tgid: u32) -> Option<Place> {
    let inode = mem::kernel::<u64>(dentry + config!(files.dentry_inode) as u64)?;
    let links = mem::kernel::<u32>(inode + config!(files.inode_nlink) as u64)?;
    Some(Place {
        dentry,
        flags: if links == 0 { flag::DELETED } else { 0 },
        key: DirKey {
            inode: mem::kernel::<u64>(inode + config!(offsets.inode_ino) as u64)?,
            dev: device_of(inode)?,
            tgid,
        },
    })
}

/// The device number of an inode's super block.
#[inline(always)]
fn device_of(inode: u64) -> Option<u32> {
    let sb = mem::kernel::<u64>(inode + config!(files.inode_sb) as u64)?;
    mem::kernel::<u32>(sb + config!(files.sb_dev) as u64)
}

/// The row of a directory; `key` becomes that of "other directories" when there is no room.
#[inline(never)]
fn row_of(place: &mut Place) -> Option<*mut DirSum> {
    let flags = place.flags;
    let row = find(place)?;
    if flags != 0 {
        // SAFETY: a live map value; a word is written whole, and there is one flag.
        unsafe { (*row).flags = flags };
    }
    Some(row)
}

#[inline(always)]
fn find(place: &mut Place) -> Option<*mut DirSum> {
    if let Some(row) = DIRECTORIES.get_ptr_mut(&place.key) {
        return Some(row);
    }
    let zero = ZERO_DIRECTORY.get(0)?;
    let new = DIRECTORIES.insert(&place.key, zero, 1 /* BPF_NOEXIST */);
    if new.is_err() && DIRECTORIES.get_ptr(&place.key).is_none() {
        lost(loss::slot::DIRECTORIES_FULL);
        return other(place);
    }
    let row = DIRECTORIES.get_ptr_mut(&place.key)?;
    if new.is_ok() {
        made(table::slot::DIRECTORIES);
        // SAFETY: a live map value; another thread of the process would write the same name.
        process_name(unsafe { &mut (*row).comm });
        paths::remember(place.dentry, &place.key.directory());
    }
    Some(row)
}

/// The row for what finds no other.
#[inline(always)]
fn other(place: &mut Place) -> Option<*mut DirSum> {
    place.key = DirKey::ZERO;
    place.flags = 0;
    DIRECTORIES.get_ptr_mut(DirKey::ZERO)
}

/// The name of the current process, which is that of its first thread.
#[inline(always)]
fn process_name(comm: &mut [u8; COMM_LEN]) {
    let leader = mem::kernel::<u64>(mem::current_task() + config!(files.task_leader) as u64);
    let Some(leader) = leader else { return };
    let from = leader + config!(files.task_comm) as u64;
    // SAFETY: the helper checks the address, and writes as many bytes as there are.
    unsafe {
        bpf_probe_read_kernel(comm.as_mut_ptr().cast(), COMM_LEN as u32, from as *const _);
    }
}

/// Counts in a histogram that several threads write.
#[inline(always)]
fn record(hist: *mut [u32; hist::BUCKETS], bucket: u32) {
    let bucket = mem::opaque(bucket as usize);
    if bucket < hist::BUCKETS {
        // SAFETY: the index was just checked.
        atomic_add32(unsafe { hist.cast::<u32>().add(bucket) }, 1);
    }
}

/// The larger of a row's maximum and `n`. Of two threads at once, the larger may get lost.
#[inline(always)]
fn maximum(max: *mut u64, n: u64) {
    // SAFETY: an aligned word of a live map value.
    unsafe {
        if n > max.read_volatile() {
            max.write_volatile(n);
        }
    }
}

/// The directory that a path starts from: that of a descriptor, or the current one.
#[inline(always)]
fn base(fd: i32) -> Option<u64> {
    const AT_FDCWD: i32 = -100;
    if fd != AT_FDCWD {
        return dentry_of(crate::peer::file_of(fd as u32)?);
    }
    let fs = mem::kernel::<u64>(mem::current_task() + config!(files.task_fs) as u64)?;
    let at = config!(files.fs_pwd) as u64 + config!(files.path_dentry) as u64;
    mem::kernel::<u64>(fs + at)
}

/// Keeps a call until it returns.
#[inline(always)]
fn begins(path: u64, fd: i32, start_ns: u64) {
    let (tid, tgid) = mem::current_ids();
    if tgid == config!(own_tgid) {
        return;
    }
    let call = FileCall {
        start_ns,
        path,
        fd,
        pad: 0,
    };
    if FILE_CALLS.insert(tid, call, 0).is_err() {
        lost(loss::slot::FILE_CALLS_FULL);
    }
}

/// The call that returns.
#[inline(always)]
fn returned() -> Option<FileCall> {
    let (tid, _) = mem::current_ids();
    // SAFETY: copied out at once; only this thread writes its row.
    let call = *unsafe { FILE_CALLS.get(tid) }?;
    let _ = FILE_CALLS.remove(tid);
    Some(call)
}

/// The id of a directory by its dentry.
#[inline(always)]
fn id_of(dentry: u64) -> Option<DirId> {
    Some(place(dentry, 0)?.key.directory())
}
