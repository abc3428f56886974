//! How large a file is when the process that created it closes it.
//!
//! The size is taken when the descriptor goes with which it was created, and nobody else has the file: not through a
//! duplicate, a child or a mapping. Otherwise it is not known. A process that ends without a close leaves its size
//! unknown too.

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::{Array, LruHashMap},
    programs::TracePointContext,
};
use probe_common::{
    files::{DirKey, OpenFile, OpenKey, size_bucket},
    loss,
};

use super::{DIRECTORIES, maximum, record};
use crate::{
    maps::{atomic_add64, config, lost},
    mem, peer,
};

/// Rows that [`CREATORS`] has when files are watched; a power of two.
const SLOTS: u32 = 1 << 16;
/// Descriptors that one close_range() is looked at for. The verifier follows each, and a process seldom closes what it has
/// just written in this way: with 256, this program alone was a fifth of all that is verified at the start.
const RANGE: u32 = 32;

/// 1 where a process with these low 16 bits of its id has created a file: a close() of others costs one array access.
#[map]
static CREATORS: Array<u32> = Array::with_max_entries(1, 0);

/// Files open with those who created them. What is never closed is pushed out by others.
#[map]
static OPEN_FILES: LruHashMap<OpenKey, OpenFile> = LruHashMap::with_max_entries(1, 0);

/// A file was created.
#[inline(always)]
pub fn opened(file: u64, tgid: u32, fd: u32, dir: DirKey) -> Option<()> {
    if let Some(slot) = CREATORS.get_ptr_mut(tgid & (SLOTS - 1)) {
        // SAFETY: a live map value; a word is written whole.
        unsafe { slot.write_volatile(1) };
    }
    let inode = mem::kernel::<u64>(file + config!(offsets.file_inode) as u64)?;
    let open = OpenFile {
        dir,
        file,
        count: mem::kernel::<u64>(file + config!(files.file_count) as u64)?,
        inode: mem::kernel::<u64>(inode + config!(offsets.inode_ino) as u64)?,
    };
    if OPEN_FILES.insert(OpenKey { tgid, fd }, open, 0).is_err() {
        lost(loss::slot::OPEN_FILES_FULL);
    }
    Some(())
}

/// Entry of close.
#[tracepoint]
pub fn on_file_close(ctx: TracePointContext) -> u32 {
    if let Some(tgid) = creator() {
        closes(tgid, mem::field::<u64>(&ctx, 16) as u32);
    }
    0
}

/// Entry of close_range(first, last, flags), and of dup2 and dup3, which close the descriptor that they replace.
#[tracepoint]
pub fn on_file_close_other(ctx: TracePointContext) -> u32 {
    let Some(tgid) = creator() else { return 0 };
    let first = mem::field::<u64>(&ctx, 16) as u32;
    let second = mem::field::<u64>(&ctx, 24) as u32;
    if mem::field::<u32>(&ctx, 8) != config!(close_range_nr) {
        if first != second {
            closes(tgid, second);
        }
        return 0;
    }
    let mut i = 0;
    while i < RANGE {
        let fd = first.wrapping_add(i);
        if fd > second || fd < first {
            break;
        }
        closes(tgid, fd);
        i += 1;
    }
    0
}

/// The current process, if it has created a file.
#[inline(always)]
fn creator() -> Option<u32> {
    let (_, tgid) = mem::current_ids();
    match *CREATORS.get(tgid & (SLOTS - 1))? {
        0 => None,
        _ => Some(tgid),
    }
}

#[inline(never)]
fn closes(tgid: u32, fd: u32) {
    let _ = try_closes(OpenKey { tgid, fd });
}

#[inline(always)]
fn try_closes(key: OpenKey) -> Option<()> {
    // SAFETY: copied out at once; a row is made before its descriptor is known to anybody.
    let open = *unsafe { OPEN_FILES.get(&key) }?;
    let _ = OPEN_FILES.remove(&key);
    let file = peer::file_of(key.fd)?;
    let inode = mem::kernel::<u64>(file + config!(offsets.file_inode) as u64)?;
    let number = mem::kernel::<u64>(inode + config!(offsets.inode_ino) as u64)?;
    let count = mem::kernel::<u64>(file + config!(files.file_count) as u64)?;
    if file != open.file || number != open.inode || count != open.count {
        return None;
    }
    let size = mem::kernel::<u64>(inode + config!(files.inode_size) as u64)?;
    let row = DIRECTORIES.get_ptr_mut(&open.dir)?;
    // SAFETY: a live map value, whose words are added to atomically.
    unsafe {
        atomic_add64(&raw mut (*row).sized, 1);
        atomic_add64(&raw mut (*row).size_total, size);
        maximum(&raw mut (*row).size_max, size);
        record(&raw mut (*row).sizes, size_bucket(size));
    }
    Some(())
}
