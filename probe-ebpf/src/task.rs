//! The thread table: who is followed, and the division of a thread's time.

use probe_common::{
    loss, part,
    request::{SPAN_MIN_NS, SPANS, Span},
    task::{Task, flag, state},
};

use crate::{
    maps::{FILTER, FILTER_SLOTS, TASKS, ZERO_TASK, config, lost, op_of},
    mem,
};

/// The row of a thread, if it is followed. Costs others one array access.
#[inline(always)]
pub fn followed(tid: u32) -> Option<&'static mut Task> {
    if config!(follow_all) == 0 {
        let slot = FILTER.get(tid & (FILTER_SLOTS - 1))?;
        if *slot == 0 {
            return None;
        }
    }
    let task = TASKS.get_ptr_mut(tid)?;
    // SAFETY: a row is only written by its own thread and by the scheduler about it; see `Task`.
    Some(unsafe { &mut *task })
}

/// The row of the current thread; makes one when everything is followed.
#[inline(always)]
pub fn current() -> Option<&'static mut Task> {
    let (tid, tgid) = mem::current_ids();
    match followed(tid) {
        Some(task) => {
            if task.flags & flag::IDENTIFIED == 0 {
                identify(task, tid, tgid);
            }
            Some(task)
        }
        None => {
            if config!(follow_all) == 0 || tgid == config!(own_tgid) {
                return None;
            }
            let task = follow(tid)?;
            identify(task, tid, tgid);
            // It is running now; what it did before is not known.
            task.state = state::RUNNING;
            task.since_ns = mem::now_ns();
            Some(task)
        }
    }
}

/// Adds a row for a thread.
#[inline(never)]
pub fn follow(tid: u32) -> Option<&'static mut Task> {
    let zero = ZERO_TASK.get(0)?;
    if TASKS.insert(tid, zero, 1 /* BPF_NOEXIST */).is_err() && TASKS.get_ptr(tid).is_none() {
        lost(loss::slot::TASKS_FULL);
        return None;
    }
    if let Some(slot) = FILTER.get_ptr_mut(tid & (FILTER_SLOTS - 1)) {
        // SAFETY: the slot is a u32 in a map value; every writer writes the same value.
        unsafe { slot.write(1) };
    }
    let task = TASKS.get_ptr_mut(tid)?;
    // SAFETY: as in `followed`.
    let task = unsafe { &mut *task };
    task.tid = tid;
    task.request.fd = -1;
    task.blocked_nr = -1;
    Some(task)
}

/// Fills in who the current thread is: called in its own context.
#[inline(never)]
pub fn identify(task: &mut Task, tid: u32, tgid: u32) {
    task.tid = tid;
    task.tgid = tgid;
    task.start_ticks = start_ticks(mem::current_task());
    mem::current_comm(&mut task.comm);
    task.flags |= flag::IDENTIFIED;
    if tid != tgid || shares_files() {
        task.flags |= flag::SHARES_FILES;
    } else {
        task.flags &= !flag::SHARES_FILES;
    }
    if task.state == state::UNKNOWN {
        task.state = state::RUNNING;
        task.since_ns = mem::now_ns();
    }
}

/// Does the current task share its descriptor table? Unknown counts as yes.
#[inline(always)]
fn shares_files() -> bool {
    let count = mem::kernel::<u64>(mem::current_task() + config!(offsets.task_files) as u64)
        .and_then(|files| mem::kernel::<u32>(files + config!(offsets.files_count) as u64));
    count != Some(1)
}

/// Start of a thread in ticks of 10 ms since boot, as in /proc/PID/stat; 0 when unknown.
#[inline(always)]
pub fn start_ticks(task: u64) -> u32 {
    match mem::kernel::<u64>(task + config!(offsets.task_start) as u64) {
        Some(ns) => (ns / 10_000_000) as u32,
        None => 0,
    }
}

/// Adds to one part of a thread's time.
#[inline(always)]
pub fn add(task: &mut Task, part: usize, ns: u64) {
    let part = mem::opaque(part);
    if part < part::COUNT {
        // SAFETY: the index was just checked.
        unsafe { *task.life.get_unchecked_mut(part) += ns };
    }
}

/// Charges the current thread's time on the CPU up to `now`. A thread that executes this runs, whatever the
/// row says.
#[inline(always)]
pub fn settle(task: &mut Task, now: u64) {
    if task.state == state::RUNNING {
        if now > task.since_ns {
            task.life[part::ON_CPU] += now - task.since_ns;
        }
    } else {
        unseen(task, now);
        task.state = state::RUNNING;
    }
    task.since_ns = now;
}

/// A call returns, so the thread runs. If its row says otherwise, the kernel left out the switch that brought
/// it back: what has passed since it was woken was a wait for a CPU, and if no wake-up was seen either, the
/// call's wait. Arithmetic instead of branches, which would double what the verifier explores behind them.
#[inline(always)]
pub fn woken_unseen(task: &mut Task, now: u64) {
    let other = mem::opaque((task.state ^ state::RUNNING) as usize) as u64;
    // 1 when `other` is not 0.
    let unseen = mem::opaque((0u64.wrapping_sub(other) >> 63) as usize) as u64;
    let wait = now.wrapping_sub(task.since_ns) * unseen;
    // 1 when the row says "runnable", of the four states the one whose low bits are 10.
    let woken = mem::opaque((task.state >> 1 & !task.state & 1) as usize) as u64;
    task.life[part::RUN_QUEUE] += wait * woken;
    task.op_blocked_ns += wait * (1 - woken);
    task.since_ns += wait;
    task.state = state::RUNNING;
}

/// The thread turns out to be in a state that no event announced. Kernels do leave out a switch now and
/// then (24 of 18,380 on 6.18 under load, also for ftrace), and a row that user space made may be late.
/// The time is not dropped, and the case is counted: what was known to be blocked was blocked, and inside
/// an accounted call the thread was blocked or waited for a CPU; else the time is unexplained.
#[inline(always)]
pub fn unseen(task: &mut Task, now: u64) {
    if task.state == state::UNKNOWN || now <= task.since_ns {
        return;
    }
    lost(loss::slot::SWITCH_UNSEEN);
    if task.state == state::RUNNING && task.op != 0 {
        task.uninterruptible = 0;
        task.state = state::BLOCKED;
    }
    if task.state == state::BLOCKED {
        unblocked(task, now);
        return;
    }
    let part = if task.op != 0 {
        part::RUN_QUEUE
    } else {
        part::UNEXPLAINED
    };
    add(task, part, now - task.since_ns);
}

/// The thread leaves its CPU.
#[inline(always)]
pub fn off_cpu(task: &mut Task, blocked: bool, uninterruptible: bool, now: u64) {
    if task.state != state::RUNNING {
        unseen(task, now);
    } else if now > task.since_ns {
        task.life[part::ON_CPU] += now - task.since_ns;
    }
    task.since_ns = now;
    task.state = if blocked {
        state::BLOCKED
    } else {
        state::RUNNABLE
    };
    task.uninterruptible = uninterruptible as u32;
}

/// The thread may run again, or runs again without a wake-up that we saw.
#[inline(always)]
pub fn unblocked(task: &mut Task, now: u64) {
    let since = task.since_ns;
    if since == 0 || now <= since {
        return;
    }
    let ns = now - since;
    if task.uninterruptible == 0 && task.op != 0 {
        // Charged to the peer when the call returns and says which descriptor woke it.
        if task.op_blocked_ns == 0 {
            task.op_block_start_ns = since;
        }
        task.op_blocked_ns += ns;
        return;
    }
    let part = if task.uninterruptible != 0 {
        part::DISK
    } else {
        class_of(task.blocked_nr)
    };
    add(task, part, ns);
    span(task, since, ns, 255, part, 0);
}

/// The part that blocking in a system call which is not accounted belongs to.
#[inline(always)]
fn class_of(nr: i32) -> usize {
    if nr < 0 {
        return part::UNEXPLAINED;
    }
    let op = op_of(nr as u32);
    if op & probe_common::config::WAIT_CLASS == 0 {
        return part::UNEXPLAINED;
    }
    (op & !probe_common::config::WAIT_CLASS) as usize
}

/// Keeps one wait for the time line of the open request.
#[inline(always)]
pub fn span(task: &mut Task, start: u64, ns: u64, peer: u8, part: usize, op: u32) {
    if ns < SPAN_MIN_NS || task.flags & flag::IN_REQUEST == 0 || start < task.request.start_ns {
        return;
    }
    let request = &mut task.request;
    let n = mem::opaque(request.nspans as usize);
    if n >= SPANS {
        request.spans_lost += 1;
        return;
    }
    // SAFETY: the index was just checked.
    let span = unsafe { request.spans.get_unchecked_mut(n) };
    *span = Span {
        start_us: ((start - request.start_ns) / 1000) as u32,
        length_us: (ns / 1000) as u32,
        peer,
        part: part as u8,
        op: op as u16,
    };
    request.nspans = n as u32 + 1;
}
