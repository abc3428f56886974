//! Handles: the single changes of which a transaction of the journal is made. The process that makes one is the
//! one charged; what the kernel writes back later, it changes itself (kworker).

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::HashMap,
    programs::TracePointContext,
};
use probe_common::{
    journal::{HandleSum, WorkKey},
    loss, table,
};

use super::{looked_up, process_name};
use crate::{
    maps::{atomic_add64, config, lost, made},
    mem,
};

/// Sums by device and process.
#[map]
static HANDLES: HashMap<WorkKey, HandleSum> = HashMap::with_max_entries(1, 0);

/// jbd2_handle_stats: a handle ends.
#[tracepoint]
pub fn on_handle(ctx: TracePointContext) -> u32 {
    let _ = ends(&ctx);
    0
}

#[inline(always)]
fn ends(ctx: &TracePointContext) -> Option<()> {
    let (_, tgid) = mem::current_ids();
    if tgid == config!(own_tgid) {
        return None;
    }
    let dev = looked_up::<u32>(ctx, config!(journal.handle_dev))?;
    let sync = looked_up::<i32>(ctx, config!(journal.handle_sync))?;
    let dirtied = looked_up::<i32>(ctx, config!(journal.handle_dirtied))?;
    let sum = sum(WorkKey { dev, tgid })?;
    // SAFETY: a live map value.
    unsafe {
        atomic_add64(&raw mut (*sum).handles, 1);
        if sync != 0 {
            atomic_add64(&raw mut (*sum).sync, 1);
        }
        if dirtied > 0 {
            atomic_add64(&raw mut (*sum).dirtied, dirtied as u64);
        }
    }
    Some(())
}

/// The row of a process, or the one for the others.
#[inline(always)]
fn sum(key: WorkKey) -> Option<*mut HandleSum> {
    if let Some(sum) = HANDLES.get_ptr_mut(key) {
        return Some(sum);
    }
    let others = WorkKey { tgid: 0, ..key };
    // First, so that there is room for it.
    let _ = HANDLES.insert(others, HandleSum::ZERO, 1 /* BPF_NOEXIST */);
    if HANDLES.insert(key, HandleSum::ZERO, 1).is_ok() {
        made(table::slot::HANDLES);
    }
    match HANDLES.get_ptr_mut(key) {
        Some(sum) => {
            // SAFETY: a live map value; whoever else made the row writes the same name.
            process_name(mem::current_task(), unsafe { &raw mut (*sum).comm });
            Some(sum)
        }
        None => {
            lost(loss::slot::JOURNAL_SUMS_FULL);
            HANDLES.get_ptr_mut(others)
        }
    }
}
