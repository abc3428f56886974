//! unlink() that succeeds, by directory.
//!
//! When it returns, the name is gone, and with it the way to the directory. A name without a `/` lies in the current
//! directory or in that of the descriptor, which is exact. A longer path is counted by the text of its directory
//! part; user space looks for the directory.

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::{Array, HashMap},
    programs::TracePointContext,
};
use probe_common::{
    files::{DirId, FileCall, UnlinkKey, Unlinked},
    loss, table,
};

use super::{DirKey, base, begins, id_of, paths, place, process_name, returned, row_of};
use crate::{
    files::DIRECTORIES,
    maps::{atomic_add64, lost, made},
    mem,
};

const AT_FDCWD: i32 = -100;
/// unlinkat() removes a directory (include/uapi/linux/fcntl.h).
const AT_REMOVEDIR: u64 = 0x200;

/// Unlinked by a path of several components.
#[map]
static UNLINKED: HashMap<UnlinkKey, Unlinked> = HashMap::with_max_entries(1, 0);

/// An all-zero row for [`UNLINKED`], too large for the stack.
#[map]
static ZERO_UNLINKED: Array<Unlinked> = Array::with_max_entries(1, 0);

/// Entry of unlink(path).
#[tracepoint]
pub fn on_file_unlink(ctx: TracePointContext) -> u32 {
    begins(mem::field::<u64>(&ctx, 16), AT_FDCWD, 0);
    0
}

/// Entry of unlinkat(dirfd, path, flags).
#[tracepoint]
pub fn on_file_unlinkat(ctx: TracePointContext) -> u32 {
    if mem::field::<u64>(&ctx, 32) & AT_REMOVEDIR == 0 {
        begins(
            mem::field::<u64>(&ctx, 24),
            mem::field::<u64>(&ctx, 16) as i32,
            0,
        );
    }
    0
}

/// Return of both.
#[tracepoint]
pub fn on_file_unlink_return(ctx: TracePointContext) -> u32 {
    if let Some(call) = returned()
        && mem::field::<i64>(&ctx, 16) == 0
        && removed(&call).is_none()
    {
        other();
    }
    0
}

#[inline(always)]
fn removed(call: &FileCall) -> Option<()> {
    let tgid = mem::current_ids().1;
    let passed = paths::read(call.path)?;
    if passed.len == 0 {
        let row = row_of(&mut place(base(call.fd)?, tgid)?)?;
        // SAFETY: a live map value, whose word is added to atomically.
        atomic_add64(unsafe { &raw mut (*row).unlinked }, 1);
        return Some(());
    }
    let key = UnlinkKey {
        hash: passed.hash,
        base: if passed.text[0] == b'/' {
            DirId::ZERO
        } else {
            id_of(base(call.fd)?)?
        },
        tgid,
        pad: 0,
    };
    if UNLINKED.get_ptr(&key).is_none() {
        let zero = ZERO_UNLINKED.get(0)?;
        let new = UNLINKED.insert(&key, zero, 1 /* BPF_NOEXIST */);
        if let Some(row) = UNLINKED.get_ptr_mut(&key)
            && new.is_ok()
        {
            made(table::slot::UNLINKED);
            // SAFETY: a live map value; this thread has made it.
            let row = unsafe { &mut *row };
            process_name(&mut row.comm);
            row.text = passed.text;
            row.len = passed.len;
        }
    }
    match UNLINKED.get_ptr_mut(&key) {
        // SAFETY: a live map value, whose word is added to atomically.
        Some(row) => atomic_add64(unsafe { &raw mut (*row).count }, 1),
        None => {
            lost(loss::slot::DIRECTORIES_FULL);
            other();
        }
    }
    Some(())
}

/// Counts one whose directory is not known.
#[inline(always)]
fn other() {
    if let Some(row) = DIRECTORIES.get_ptr_mut(DirKey::ZERO) {
        // SAFETY: a live map value, whose word is added to atomically.
        atomic_add64(unsafe { &raw mut (*row).unlinked }, 1);
    }
}
