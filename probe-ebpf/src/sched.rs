//! The scheduler's tracepoints: they split the time of a followed thread completely.
//!
//! Raw tracepoints, because the kernel skips a program on a classic one while another program is active on
//! that CPU (`bpf_prog_active`, kernel/trace/bpf_trace.c): a wake-up by an interrupt that came in the middle
//! of a program would be lost, and with it the border between blocked and waiting for a CPU. They also cost
//! less: no record is built. In sched_switch the current task is still the one that leaves.

use aya_ebpf::{EbpfContext, macros::raw_tracepoint, programs::RawTracePointContext};
use probe_common::{
    loss, part,
    task::{Task, state},
};

use crate::{
    maps::{SELFTEST, config, lost},
    mem, selftest,
    task::{followed, off_cpu, unblocked, unseen},
};

/// TASK_UNINTERRUPTIBLE (include/linux/sched.h): what ps calls D.
const UNINTERRUPTIBLE: u32 = 2;

/// An argument of a raw tracepoint, by a direct load.
#[inline(always)]
pub fn arg(ctx: &RawTracePointContext, n: usize) -> u64 {
    // SAFETY: the verifier bounds the access to the arguments.
    unsafe { ctx.as_ptr().cast::<u64>().add(n).read_volatile() }
}

/// The thread id of a `task_struct`.
#[inline(always)]
pub fn tid_of(task: u64) -> Option<u32> {
    mem::kernel::<u32>(task + config!(offsets.task_pid) as u64)
}

#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn on_switch(ctx: RawTracePointContext) -> i32 {
    let _ = try_switch(&ctx);
    0
}

#[inline(always)]
fn try_switch(ctx: &RawTracePointContext) -> Option<()> {
    // (preempt, prev, next, ...); 5.18.0 alone has the state of prev in the second place.
    let current = mem::current_task();
    if arg(ctx, 1) != current {
        lost(loss::slot::READ_FAILED);
        return None;
    }
    let next = arg(ctx, 2);
    let (prev, _) = mem::current_ids();
    // Tid 0 is each CPU's idle task.
    if prev != 0
        && let Some(task) = followed(prev)
    {
        let preempted = arg(ctx, 0) & 0xff != 0;
        let state = mem::kernel::<u32>(current + config!(offsets.task_state) as u64)?;
        let blocked = !preempted && state != 0;
        off_cpu(task, blocked, state & UNINTERRUPTIBLE != 0, mem::now_ns());
        // Not before: when the end of its last sleep was left out, that sleep has just been charged, by its own call.
        if blocked && task.op == 0 {
            task.blocked_nr = blocked_nr();
        }
    }
    let next = tid_of(next)?;
    if next != 0
        && let Some(task) = followed(next)
    {
        on_cpu(task, mem::now_ns());
    }
    Some(())
}

#[inline(always)]
fn on_cpu(task: &mut Task, now: u64) {
    match task.state {
        state::BLOCKED => unblocked(task, now),
        state::RUNNABLE => {
            if now > task.since_ns {
                task.life[part::RUN_QUEUE] += now - task.since_ns;
            }
        }
        _ => unseen(task, now),
    }
    task.state = state::RUNNING;
    task.since_ns = now;
}

#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub fn on_wakeup(ctx: RawTracePointContext) -> i32 {
    let _ = try_wakeup(&ctx);
    0
}

#[inline(always)]
fn try_wakeup(ctx: &RawTracePointContext) -> Option<()> {
    let task = followed(tid_of(arg(ctx, 0))?)?;
    // A wake-up of a task that has not yet gone to sleep leaves it running.
    if task.state == state::BLOCKED {
        let now = mem::now_ns();
        unblocked(task, now);
        task.state = state::RUNNABLE;
        task.since_ns = now;
    }
    Some(())
}

/// The system call that the current task blocks in, from the registers saved at the top of its kernel
/// stack; -1 when it is in none (a page fault) or when that cannot be told on this kernel.
#[inline(always)]
fn blocked_nr() -> i32 {
    if config!(blocked_nr) == 0 {
        return -1;
    }
    // Found by the self-test; 0 when it was not.
    let Some(offset) = SELFTEST.get(selftest::slot::STACK_OFFSET) else {
        return -1;
    };
    if *offset == 0 {
        return -1;
    }
    let task = mem::current_task();
    let Some(stack) = mem::kernel::<u64>(task + config!(offsets.task_stack) as u64) else {
        return -1;
    };
    match mem::kernel::<u64>(stack + *offset) {
        Some(nr) => nr as i32,
        None => -1,
    }
}
