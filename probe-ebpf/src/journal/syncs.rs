//! fsync and its kin on ext4: from entry to return, which is what the caller waits. In data=ordered mode most of it may
//! lie before the commit.

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::{Array, HashMap},
    programs::TracePointContext,
};
use probe_common::{
    journal::{SyncSum, Syncing, WorkKey},
    loss, table,
};

use super::{add, looked_up, process_name};
use crate::{
    maps::{atomic_add64, config, lost, made},
    mem,
};

/// Those under way, by thread id.
#[map]
static SYNCING: HashMap<u32, Syncing> = HashMap::with_max_entries(1, 0);

/// Sums by device and process.
#[map]
static SYNCS: HashMap<WorkKey, SyncSum> = HashMap::with_max_entries(1, 0);

/// An all-zero row for [`SYNCS`], too large for the stack.
#[map]
static ZERO_SYNC: Array<SyncSum> = Array::with_max_entries(1, 0);

/// ext4_sync_file_enter.
#[tracepoint]
pub fn on_sync_begin(ctx: TracePointContext) -> u32 {
    let _ = begins(&ctx);
    0
}

#[inline(always)]
fn begins(ctx: &TracePointContext) -> Option<()> {
    let (tid, tgid) = mem::current_ids();
    if tgid == config!(own_tgid) {
        return None;
    }
    let syncing = Syncing {
        since_ns: mem::now_ns(),
        dev: looked_up::<u32>(ctx, config!(journal.sync_dev))?,
        tgid,
    };
    if SYNCING.insert(tid, syncing, 0).is_err() {
        lost(loss::slot::JOURNAL_SUMS_FULL);
    }
    Some(())
}

/// ext4_sync_file_exit.
#[tracepoint]
pub fn on_sync_end(ctx: TracePointContext) -> u32 {
    let _ = ends(&ctx);
    0
}

#[inline(always)]
fn ends(ctx: &TracePointContext) -> Option<()> {
    let (tid, _) = mem::current_ids();
    // SAFETY: this thread's row, which nobody else removes.
    let Syncing {
        since_ns,
        dev,
        tgid,
    } = unsafe { *SYNCING.get_ptr(tid)? };
    let _ = SYNCING.remove(tid);
    let failed = looked_up::<i32>(ctx, config!(journal.sync_ret))? < 0;
    let sum = sum(WorkKey { dev, tgid })?;
    // SAFETY: a live map value.
    let calls = unsafe { &raw mut (*sum).calls };
    add(calls, mem::now_ns() - since_ns);
    if failed {
        // SAFETY: a live map value.
        atomic_add64(unsafe { &raw mut (*calls).failed }, 1);
    }
    Some(())
}

/// The row of a process, or the one for the others.
#[inline(always)]
fn sum(key: WorkKey) -> Option<*mut SyncSum> {
    if let Some(sum) = SYNCS.get_ptr_mut(key) {
        return Some(sum);
    }
    let zero = ZERO_SYNC.get(0)?;
    let others = WorkKey { tgid: 0, ..key };
    // First, so that there is room for it.
    let _ = SYNCS.insert(others, zero, 1 /* BPF_NOEXIST */);
    if SYNCS.insert(key, zero, 1).is_ok() {
        made(table::slot::SYNCS);
    }
    match SYNCS.get_ptr_mut(key) {
        Some(sum) => {
            // SAFETY: a live map value; whoever else made the row writes the same name.
            process_name(mem::current_task(), unsafe { &raw mut (*sum).comm });
            Some(sum)
        }
        None => {
            lost(loss::slot::JOURNAL_SUMS_FULL);
            SYNCS.get_ptr_mut(others)
        }
    }
}
