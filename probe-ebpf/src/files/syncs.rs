//! fsync() and fdatasync(), by the directory of the file; a directory that is synced itself counts as its own.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{files::FileCall, hist, loss};

use super::{begins, dentry_of, maximum, parent_of, place, record, returned, row_of};
use crate::{
    maps::{atomic_add64, config, lost},
    mem, peer,
};

/// Kinds of files in an inode's mode (inode(7)).
const S_IFMT: u16 = 0xf000;
const S_IFREG: u16 = 0x8000;
const S_IFDIR: u16 = 0x4000;

/// Entry of fsync and fdatasync.
#[tracepoint]
pub fn on_file_sync(ctx: TracePointContext) -> u32 {
    begins(0, mem::field::<u64>(&ctx, 16) as i32, mem::now_ns());
    0
}

/// Return of fsync and fdatasync.
#[tracepoint]
pub fn on_file_sync_return(_ctx: TracePointContext) -> u32 {
    if let Some(call) = returned()
        // Not open, or closed meanwhile.
        && let Some(file) = peer::file_of(call.fd as u32)
        && synced(file, &call).is_none()
    {
        lost(loss::slot::READ_FAILED);
    }
    0
}

#[inline(always)]
fn synced(file: u64, call: &FileCall) -> Option<()> {
    let took = mem::now_ns().saturating_sub(call.start_ns);
    let inode = mem::kernel::<u64>(file + config!(offsets.file_inode) as u64)?;
    let dentry = dentry_of(file)?;
    let dir = match mem::kernel::<u16>(inode + config!(offsets.inode_mode) as u64)? & S_IFMT {
        S_IFREG => parent_of(dentry)?,
        S_IFDIR => dentry,
        _ => return Some(()),
    };
    let row = row_of(&mut place(dir, mem::current_ids().1)?)?;
    // SAFETY: a live map value, whose words are added to atomically.
    unsafe {
        atomic_add64(&raw mut (*row).syncs, 1);
        atomic_add64(&raw mut (*row).sync_total_ns, took);
        maximum(&raw mut (*row).sync_max_ns, took);
        record(&raw mut (*row).sync_hist, hist::bucket(took));
    }
    Some(())
}
