//! Files that an open() really created.
//!
//! The entry sees whether a file may be created at all; the return of an ordinary open() costs a look at one array.
//! Whether it was created stands in the file's mode (FMODE_CREATED, set by the file system or the VFS), so neither
//! O_EXCL nor a look at what was there before is needed. Files without a name (O_TMPFILE) do not count.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str,
    macros::{map, tracepoint},
    maps::Array,
    programs::TracePointContext,
};
use probe_common::{
    files::{Created, DirSum, EXAMPLE_LEN, EXAMPLES},
    loss,
    request::event,
};

use super::{closes, dentry_of, no_space, parent_of, place, row_of};
use crate::{
    lifecycle,
    maps::{atomic_add64, config, lost},
    mem, peer,
};

/// The file was created by the open (include/linux/fs.h).
const FMODE_CREATED: u32 = 0x10_0000;
/// Flag of open() (include/uapi/asm-generic/fcntl.h).
const O_CREAT: u64 = 0o100;
/// How far creations have come is told this often.
const STEP_NS: u64 = 100_000_000;

/// Rows that [`OPENING`] has when files are watched; a power of two.
const SLOTS: u32 = 1 << 16;
/// In place of a thread id: several threads share the slot.
const SEVERAL: u32 = u32::MAX;

/// Threads that are in an open() that may create a file, by the low half of their ids. Where two meet in a slot,
/// every open() of theirs is looked at from then on.
#[map]
static OPENING: Array<u32> = Array::with_max_entries(1, 0);

/// How many files were created, and when that was told last, CLOCK_MONOTONIC ns.
#[map]
static CREATED: Array<u64> = Array::with_max_entries(2, 0);

/// Entry of openat(dirfd, path, flags, mode).
#[tracepoint]
pub fn on_file_openat(ctx: TracePointContext) -> u32 {
    if mem::field::<u64>(&ctx, 32) & O_CREAT != 0 {
        may_create();
    }
    0
}

/// Entry of open(path, flags, mode).
#[tracepoint]
pub fn on_file_open(ctx: TracePointContext) -> u32 {
    if mem::field::<u64>(&ctx, 24) & O_CREAT != 0 {
        may_create();
    }
    0
}

/// Entry of creat(path, mode).
#[tracepoint]
pub fn on_file_creat(_ctx: TracePointContext) -> u32 {
    may_create();
    0
}

/// Entry of openat2(dirfd, path, how, size): `struct open_how` begins with the flags.
#[tracepoint]
pub fn on_file_openat2(ctx: TracePointContext) -> u32 {
    let how = mem::field::<u64>(&ctx, 32);
    // Not in memory: it may be anything.
    if mem::user::<u64>(how).is_none_or(|flags| flags & O_CREAT != 0) {
        may_create();
    }
    0
}

#[inline(always)]
fn may_create() {
    let (tid, _) = mem::current_ids();
    if let Some(slot) = OPENING.get_ptr_mut(tid & (SLOTS - 1)) {
        // SAFETY: a live map value; a word is read and written whole.
        unsafe {
            let other = slot.read_volatile();
            if other != tid {
                slot.write_volatile(if other == 0 { tid } else { SEVERAL });
            }
        }
    }
}

/// Return of openat and openat2.
#[tracepoint]
pub fn on_file_openat_return(ctx: TracePointContext) -> u32 {
    returns(&ctx, no_space::Shape::At(1));
    0
}

/// Return of open and creat.
#[tracepoint]
pub fn on_file_open_return(ctx: TracePointContext) -> u32 {
    returns(&ctx, no_space::Shape::Path(0));
    0
}

#[inline(always)]
fn returns(ctx: &TracePointContext, shape: no_space::Shape) {
    let (tid, tgid) = mem::current_ids();
    let Some(slot) = OPENING.get_ptr_mut(tid & (SLOTS - 1)) else {
        return;
    };
    // SAFETY: a live map value; a word is read and written whole.
    match unsafe { slot.read_volatile() } {
        0 => return,
        SEVERAL => {}
        // SAFETY: as above.
        only if only == tid => unsafe { slot.write_volatile(0) },
        _ => return,
    }
    let ret = mem::field::<i64>(ctx, 16);
    if tgid == config!(own_tgid) {
        return;
    }
    if ret < 0 {
        no_space::returns(ctx, shape);
        return;
    }
    let fd = ret as u32;
    let Some(file) = peer::file_of(fd) else {
        // Another thread has closed it already.
        return;
    };
    match mem::kernel::<u32>(file + config!(files.file_mode) as u64) {
        Some(mode) if mode & FMODE_CREATED == 0 => {}
        Some(_) => created(file, fd, tgid),
        None => lost(loss::slot::READ_FAILED),
    }
}

#[inline(never)]
fn created(file: u64, fd: u32, tgid: u32) {
    let now = mem::now_ns();
    if try_created(file, fd, tgid, now).is_none() {
        lost(loss::slot::READ_FAILED);
    }
    step(now);
}

#[inline(always)]
fn try_created(file: u64, fd: u32, tgid: u32, now: u64) -> Option<()> {
    let dentry = dentry_of(file)?;
    let mut place = place(parent_of(dentry)?, tgid)?;
    let row = row_of(&mut place)?;
    // SAFETY: a live map value, whose words are read and written whole.
    unsafe {
        if (&raw const (*row).first_ns).read_volatile() == 0 {
            (&raw mut (*row).first_ns).write_volatile(now);
        }
        (&raw mut (*row).last_ns).write_volatile(now);
        atomic_add64(&raw mut (*row).created, 1);
        example(row, dentry)?;
    }
    closes::opened(file, tgid, fd, place.key)
}

/// Keeps the name of a file. Two threads that create at the same moment may write to the same place.
#[inline(always)]
unsafe fn example(row: *mut DirSum, dentry: u64) -> Option<()> {
    let name = config!(files.dentry_name) as u64 + config!(files.qstr_name) as u64;
    let name = mem::kernel::<u64>(dentry + name)?;
    // SAFETY: the row is a live map value, as the caller says; the index is below the length.
    unsafe {
        let n = (&raw const (*row).created).read_volatile() as usize;
        let index = mem::opaque(n) & (EXAMPLES - 1);
        let to = (&raw mut (*row).examples)
            .cast::<u8>()
            .add(index * EXAMPLE_LEN);
        bpf_probe_read_kernel_str(to.cast(), EXAMPLE_LEN as u32, name as *const _);
    }
    Some(())
}

/// Counts a creation, and tells how far they have come now and then.
#[inline(always)]
fn step(now: u64) {
    let (Some(count), Some(told)) = (CREATED.get_ptr_mut(0), CREATED.get_ptr_mut(1)) else {
        return;
    };
    atomic_add64(count, 1);
    // SAFETY: live map values; words are read and written whole. Two CPUs at once may both tell.
    unsafe {
        if now.saturating_sub(told.read_volatile()) < STEP_NS {
            return;
        }
        told.write_volatile(now);
        let created = Created {
            event: event::FILES,
            pad: 0,
            at_ns: now,
            created: count.read_volatile(),
        };
        lifecycle::send((&raw const created).cast(), size_of::<Created>() as u64);
    }
}
