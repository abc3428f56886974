//! fork, exec and exit keep the thread table true.

use aya_ebpf::{
    helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use aya_log_ebpf::info;
use probe_common::{
    loss,
    request::{Exit, event, flag as request_flag},
    task::{flag, state},
};

use crate::{
    maps::{EVENTS, EVENTS_BYTES, TASKS, config, lost},
    mem, peer, request,
    sched::{arg, tid_of},
    task,
};

/// A thread that is followed makes another one: that one is followed from its first instant.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn on_fork(ctx: RawTracePointContext) -> i32 {
    let _ = try_fork(&ctx);
    0
}

#[inline(always)]
fn try_fork(ctx: &RawTracePointContext) -> Option<()> {
    let child_task = arg(ctx, 1);
    let (parent, _) = mem::current_ids();
    let parent = task::followed(parent)?;
    if parent.flags & flag::IN_REQUEST != 0 {
        parent.request.flags |= request_flag::FORKED;
    }
    // The descriptor table: a thread's is its process's, and CLONE_FILES shares it even between processes.
    let files = mem::kernel::<u64>(child_task + config!(offsets.task_files) as u64)?;
    let shared =
        mem::kernel::<u64>(mem::current_task() + config!(offsets.task_files) as u64)? == files;
    let task = task::follow(tid_of(child_task)?)?;
    if shared {
        parent.flags |= flag::SHARES_FILES;
        task.flags |= flag::SHARES_FILES;
    }
    task.tgid = mem::kernel::<u32>(child_task + config!(offsets.task_tgid) as u64)?;
    task.start_ticks = task::start_ticks(child_task);
    task.comm = parent.comm;
    task.flags |= flag::IDENTIFIED;
    task.state = state::RUNNABLE;
    task.since_ns = mem::now_ns();
    if config!(log) != 0 {
        info!(
            ctx,
            "tid {} forked by tid {}: followed", task.tid, parent.tid
        );
    }
    Some(())
}

/// A new program in the same process: its name changes, its past stays.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn on_exec(_ctx: RawTracePointContext) -> i32 {
    let (tid, tgid) = mem::current_ids();
    if let Some(task) = task::followed(tid) {
        task::identify(task, tid, tgid);
        // Descriptors marked close-on-exec are gone, and a table that was shared is no longer.
        peer::forget(task, 0, u32::MAX);
    }
    0
}

/// A thread ends: what it had goes out on the ring, and its row is removed, so that a new thread with the
/// same id starts afresh.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn on_exit(ctx: RawTracePointContext) -> i32 {
    let _ = try_exit(&ctx);
    0
}

#[inline(always)]
fn try_exit(ctx: &RawTracePointContext) -> Option<()> {
    let (tid, tgid) = mem::current_ids();
    let task = task::followed(tid)?;
    if task.flags & flag::IDENTIFIED == 0 {
        task::identify(task, tid, tgid);
    }
    let now = mem::now_ns();
    task::settle(task, now);
    if task.flags & flag::IN_REQUEST != 0 {
        task.request.flags |= request_flag::EXITED;
        request::finish(task, now);
    }
    let exit = Exit {
        event: event::EXIT,
        tgid: task.tgid,
        tid,
        start_ticks: task.start_ticks,
        end_ns: now,
        comm: task.comm,
        life: task.life,
    };
    send((&raw const exit).cast(), size_of::<Exit>() as u64);
    let _ = TASKS.remove(tid);
    if config!(log) != 0 {
        info!(ctx, "tid {} ended", tid);
    }
    Some(())
}

/// Puts a record on the ring. The reader empties it on a timer, and is woken only where a quarter of it fills meanwhile:
/// a wake-up for each event would cost the traced process more than everything else (measured: 0.13 M/s instead of
/// 5 M/s). False, and counted, when the ring is full.
#[inline(always)]
pub fn send(record: *const core::ffi::c_void, len: u64) -> bool {
    const BPF_RB_AVAIL_DATA: u64 = 0;
    const BPF_RB_NO_WAKEUP: u64 = 1;
    const BPF_RB_FORCE_WAKEUP: u64 = 2;
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the ring is a valid map.
    let waiting = unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) };
    // The record's header, and what rounds it up.
    let then = waiting + ((len + 15) & !7);
    // Two CPUs that write at once may pass a quarter together, and neither sees it: there are three more.
    let quarter = EVENTS_BYTES.trailing_zeros() - 2;
    let flags = if waiting >> quarter == then >> quarter {
        BPF_RB_NO_WAKEUP
    } else {
        BPF_RB_FORCE_WAKEUP
    };
    // SAFETY: `record` is valid for `len` bytes; the verifier checks it again.
    let failed = unsafe { bpf_ringbuf_output(ring, record.cast_mut(), len, flags) };
    if failed != 0 {
        lost(loss::slot::RING_FULL);
    }
    failed == 0
}

/// Puts a record on the ring that is not to wait for its turn: the reader is woken.
#[inline(always)]
pub fn wake(record: *const core::ffi::c_void, len: u64) {
    const BPF_RB_FORCE_WAKEUP: u64 = 2;
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: `record` is valid for `len` bytes; the verifier checks it again.
    let failed = unsafe { bpf_ringbuf_output(ring, record.cast_mut(), len, BPF_RB_FORCE_WAKEUP) };
    if failed != 0 {
        lost(loss::slot::RING_FULL);
    }
}
