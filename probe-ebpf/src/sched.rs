//! The scheduler's tracepoints: they split the time of a followed thread completely.
//!
//! Classic tracepoints are used because their fields have names; the raw arguments of sched_switch were
//! reordered between kernels (5.18). In sched_switch the current task is still the one that leaves.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{
    part,
    task::{Task, state},
};

use crate::{
    maps::{SELFTEST, config},
    mem, selftest,
    task::{followed, off_cpu, unblocked},
};

/// prev_state bits that mean "blocked": TASK_REPORT and the idle bit above it
/// (include/linux/sched.h); a preempted task reports 0 or the bit above these.
const BLOCKED_STATES: u64 = 0xff;
/// TASK_UNINTERRUPTIBLE: what ps calls D.
const UNINTERRUPTIBLE: u64 = 2;

#[tracepoint]
pub fn on_switch(ctx: TracePointContext) -> u32 {
    try_switch(&ctx);
    0
}

#[inline(always)]
fn try_switch(ctx: &TracePointContext) -> Option<()> {
    let (prev, prev_state, next);
    if config!(switch_usual) != 0 {
        prev = mem::field::<u32>(ctx, 24);
        prev_state = mem::field::<u64>(ctx, 32);
        next = mem::field::<u32>(ctx, 56);
    } else {
        prev = mem::field_at::<u32>(ctx, config!(fields.switch_prev_pid))?;
        prev_state = mem::field_at::<u64>(ctx, config!(fields.switch_prev_state))?;
        next = mem::field_at::<u32>(ctx, config!(fields.switch_next_pid))?;
    }
    // Tid 0 is each CPU's idle task.
    if prev != 0
        && let Some(task) = followed(prev)
    {
        let blocked = prev_state & BLOCKED_STATES != 0;
        if blocked && task.op == 0 {
            task.blocked_nr = blocked_nr();
        }
        off_cpu(task, blocked, prev_state & UNINTERRUPTIBLE != 0, mem::now_ns());
    }
    if next != 0
        && let Some(task) = followed(next)
    {
        on_cpu(task, mem::now_ns());
    }
    Some(())
}

#[inline(always)]
fn on_cpu(task: &mut Task, now: u64) {
    if task.state == state::BLOCKED {
        unblocked(task, now);
    } else if task.state == state::RUNNABLE && now > task.since_ns {
        task.life[part::RUN_QUEUE] += now - task.since_ns;
    }
    task.state = state::RUNNING;
    task.since_ns = now;
}

#[tracepoint]
pub fn on_wakeup(ctx: TracePointContext) -> u32 {
    try_wakeup(&ctx);
    0
}

#[inline(always)]
fn try_wakeup(ctx: &TracePointContext) -> Option<()> {
    let tid = mem::field_at::<u32>(ctx, config!(fields.wakeup_pid))?;
    let task = followed(tid)?;
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
    let Some(offset) = SELFTEST.get(selftest::slot::STACK_OFFSET) else { return -1 };
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
