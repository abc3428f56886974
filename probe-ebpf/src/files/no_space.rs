//! Calls that are refused for want of space or inodes (ENOSPC), or beyond a quota (EDQUOT).
//!
//! An ordinary return costs one comparison. What was passed is read from the registers that the call saved on the
//! kernel stack; where they were not found, the count is exact all the same, without a place.

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::{Array, HashMap},
    programs::TracePointContext,
};
use probe_common::{
    config::ABSENT,
    files::{REFUSED_LEN, Refused, RefusedKey},
    loss,
};

use super::{base, device_of, id_of, paths, process_name};
use crate::{
    maps::{SELFTEST, atomic_add64, config, lost},
    mem, peer, selftest,
};

const ENOSPC: i64 = 28;
const EDQUOT: i64 = 122;
const AT_FDCWD: i32 = -100;

/// What a call is passed.
#[derive(Clone, Copy)]
pub enum Shape {
    /// A descriptor, first.
    Fd,
    /// A path as this argument, from the current directory.
    Path(u32),
    /// A path as this argument, with the descriptor of a directory right before it.
    At(u32),
}

/// Refused calls.
#[map]
static REFUSED: HashMap<RefusedKey, Refused> = HashMap::with_max_entries(1, 0);

/// An all-zero row for [`REFUSED`], too large for the stack.
#[map]
static ZERO_REFUSED: Array<Refused> = Array::with_max_entries(1, 0);

/// Return of write and its kin, fallocate, ftruncate, fsync, fdatasync.
#[tracepoint]
pub fn on_no_space_fd(ctx: TracePointContext) -> u32 {
    returns(&ctx, Shape::Fd);
    0
}

/// Return of mkdir, mknod, truncate.
#[tracepoint]
pub fn on_no_space_path(ctx: TracePointContext) -> u32 {
    returns(&ctx, Shape::Path(0));
    0
}

/// Return of symlink, link, rename, whose second path is the new one.
#[tracepoint]
pub fn on_no_space_second(ctx: TracePointContext) -> u32 {
    returns(&ctx, Shape::Path(1));
    0
}

/// Return of mkdirat, mknodat.
#[tracepoint]
pub fn on_no_space_at(ctx: TracePointContext) -> u32 {
    returns(&ctx, Shape::At(1));
    0
}

/// Return of symlinkat.
#[tracepoint]
pub fn on_no_space_symlinkat(ctx: TracePointContext) -> u32 {
    returns(&ctx, Shape::At(2));
    0
}

/// Return of linkat, renameat, renameat2, whose second path is the new one.
#[tracepoint]
pub fn on_no_space_second_at(ctx: TracePointContext) -> u32 {
    returns(&ctx, Shape::At(3));
    0
}

/// A call of that shape returns.
#[inline(always)]
pub fn returns(ctx: &TracePointContext, shape: Shape) {
    let ret = mem::field::<i64>(ctx, 16);
    if ret != -ENOSPC && ret != -EDQUOT {
        return;
    }
    let (index, kind) = match shape {
        Shape::Fd => (0, FD),
        Shape::Path(index) => (index, PATH),
        Shape::At(index) => (index, AT),
    };
    refused(mem::field::<u32>(ctx, 8), -ret as u32, index, kind);
}

const FD: u32 = 0;
const PATH: u32 = 1;
const AT: u32 = 2;

#[inline(never)]
fn refused(nr: u32, errno: u32, index: u32, kind: u32) {
    let tgid = mem::current_ids().1;
    if tgid == config!(own_tgid) {
        return;
    }
    let mut key = RefusedKey {
        hash: 0,
        tgid,
        nr,
        errno,
        dev: 0,
    };
    let mut path = None;
    if kind == FD {
        key.dev = device_of_fd(index).unwrap_or(0);
    } else if let Some(address) = argument(index)
        && let Some(passed) = paths::read(address)
    {
        key.hash = passed.hash;
        if passed.text[0] != b'/' {
            let fd = match kind {
                AT => argument(index - 1).unwrap_or(0) as i32,
                _ => AT_FDCWD,
            };
            if let Some(id) = base(fd).and_then(id_of) {
                key.dev = id.dev;
                key.hash ^= id.inode;
            }
        }
        path = Some(passed);
    }
    count(&key, path);
}

#[inline(always)]
fn count(key: &RefusedKey, path: Option<&'static mut paths::Passed>) {
    let now = mem::now_ns();
    if REFUSED.get_ptr(key).is_none()
        && let Some(zero) = ZERO_REFUSED.get(0)
    {
        let made = REFUSED.insert(key, zero, 1 /* BPF_NOEXIST */);
        if let Some(row) = REFUSED.get_ptr_mut(key)
            && made.is_ok()
        {
            // SAFETY: a live map value; this thread has made it.
            let row = unsafe { &mut *row };
            row.first_ns = now;
            process_name(&mut row.comm);
            if let Some(passed) = path {
                row.path.copy_from_slice(&passed.text[..REFUSED_LEN]);
                row.path[REFUSED_LEN - 1] = 0;
            }
        }
    }
    let row = REFUSED.get_ptr_mut(key).or_else(|| {
        lost(loss::slot::DIRECTORIES_FULL);
        REFUSED.get_ptr_mut(RefusedKey::ZERO)
    });
    if let Some(row) = row {
        // SAFETY: a live map value; words are added to atomically, or written whole.
        unsafe {
            atomic_add64(&raw mut (*row).count, 1);
            (&raw mut (*row).last_ns).write_volatile(now);
        }
    }
}

#[inline(always)]
fn device_of_fd(index: u32) -> Option<u32> {
    let file = peer::file_of(argument(index)? as u32)?;
    device_of(mem::kernel::<u64>(
        file + config!(offsets.file_inode) as u64,
    )?)
}

/// An argument of the system call that the current thread is in: the registers lie at the top of its kernel stack,
/// where the self-test has found the call's number (`orig_ax`, arch/x86/include/asm/ptrace.h).
#[inline(always)]
fn argument(index: u32) -> Option<u64> {
    /// Words before `orig_ax` at which di, si, dx and r10 lie.
    const BEFORE: [u8; 4] = [1, 2, 3, 8];
    let number = *SELFTEST.get(selftest::slot::STACK_OFFSET)?;
    if number == 0 || config!(offsets.task_stack) == ABSENT {
        return None;
    }
    let stack = mem::kernel::<u64>(mem::current_task() + config!(offsets.task_stack) as u64)?;
    let before = BEFORE[index as usize & 3] as u64 * 8;
    mem::kernel::<u64>(stack + number - before)
}
