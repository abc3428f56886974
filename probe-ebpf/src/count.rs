//! The lean counter behind `stallscope count`: one program on the return of a call, one map access.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{
    count::{COMM_LEN, CountKey, WaitSum},
    loss,
};

use crate::{
    charge,
    maps::{COUNTS, WAIT_STARTS, WAITS, ZERO_WAIT, config, lost},
    mem, task,
};

/// Is the current thread counted?
#[inline(always)]
fn counted(tid: u32, tgid: u32) -> bool {
    if config!(count_filter) != 0 {
        task::followed(tid).is_some()
    } else {
        tgid != config!(own_tgid)
    }
}

/// Return of a counted call.
#[tracepoint]
pub fn on_count(ctx: TracePointContext) -> u32 {
    let (tid, tgid) = mem::current_ids();
    if !counted(tid, tgid) {
        return 0;
    }
    let ret = mem::field::<i64>(&ctx, 16);
    let errno = mem::errno_of(ret);
    add(mem::field::<u32>(&ctx, 8), errno);
    0
}

/// Entry of a call that never returns (exit, exit_group).
#[tracepoint]
pub fn on_count_entry(ctx: TracePointContext) -> u32 {
    let (tid, tgid) = mem::current_ids();
    if counted(tid, tgid) {
        add(mem::field::<u32>(&ctx, 8), 0);
    }
    0
}

#[inline(always)]
fn add(nr: u32, errno: u32) {
    let mut key = CountKey {
        comm: [0; COMM_LEN],
        nr,
        errno,
    };
    mem::current_comm(&mut key.comm);
    if let Some(count) = COUNTS.get_ptr_mut(&key) {
        // SAFETY: a live per-CPU value; programs on one CPU do not interrupt each other here.
        unsafe { *count += 1 };
    } else if COUNTS.insert(&key, 1, 1 /* BPF_NOEXIST */).is_err() {
        // Another CPU may have made the row in between.
        match COUNTS.get_ptr_mut(&key) {
            // SAFETY: as above.
            Some(count) => unsafe { *count += 1 },
            None => lost(loss::slot::COUNTS_FULL),
        }
    }
}

/// Entry of a call that is timed (`count --wait`).
#[tracepoint]
pub fn on_wait_entry(ctx: TracePointContext) -> u32 {
    let _ = ctx;
    let (tid, tgid) = mem::current_ids();
    if counted(tid, tgid) && WAIT_STARTS.insert(tid, mem::now_ns(), 0).is_err() {
        lost(loss::slot::COUNTS_FULL);
    }
    0
}

/// Return of a call that is counted and timed.
#[tracepoint]
pub fn on_wait_return(ctx: TracePointContext) -> u32 {
    try_wait_return(&ctx);
    0
}

#[inline(always)]
fn try_wait_return(ctx: &TracePointContext) -> Option<()> {
    let (tid, tgid) = mem::current_ids();
    if !counted(tid, tgid) {
        return None;
    }
    let ret = mem::field::<i64>(ctx, 16);
    let errno = mem::errno_of(ret);
    let nr = mem::field::<u32>(ctx, 8);
    add(nr, errno);
    // SAFETY: copied out at once.
    let start = unsafe { WAIT_STARTS.get(tid) }.copied()?;
    let _ = WAIT_STARTS.remove(tid);
    let duration = mem::now_ns() - start;
    let mut key = CountKey {
        comm: [0; COMM_LEN],
        nr,
        errno: 0,
    };
    mem::current_comm(&mut key.comm);
    let sum = match WAITS.get_ptr_mut(&key) {
        Some(sum) => sum,
        None => {
            let zero: &WaitSum = ZERO_WAIT.get(0)?;
            let _ = WAITS.insert(&key, zero, 1 /* BPF_NOEXIST */);
            match WAITS.get_ptr_mut(&key) {
                Some(sum) => sum,
                None => {
                    lost(loss::slot::COUNTS_FULL);
                    return None;
                }
            }
        }
    };
    // SAFETY: a live per-CPU value; programs on one CPU do not interrupt each other here.
    let sum = unsafe { &mut *sum };
    sum.count += 1;
    sum.total_ns += duration;
    if duration > sum.max_ns {
        sum.max_ns = duration;
    }
    charge::record(&mut sum.hist, duration);
    Some(())
}
