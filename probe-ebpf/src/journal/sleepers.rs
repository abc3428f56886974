//! Tasks in uninterruptible sleep (ps: D), of every process: how long, and with which stack.
//!
//! A sleep is from the switch that leaves the CPU to the wake-up: waiting for a CPU afterwards is no sleep. Every switch
//! and every wake-up of the node comes by here, so both let go of the rest after one read and one array access.
//! The stack is taken when the task falls asleep. At the wake-up, only bpf_get_task_stack could, which leaves out
//! the functions that make a task sleep (`__sched`: rwsem_down_write_slowpath, io_schedule, ...).

use aya_ebpf::{
    EbpfContext,
    bindings::{bpf_map_def, bpf_map_type::BPF_MAP_TYPE_STACK_TRACE},
    helpers::generated::bpf_get_stackid,
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::RawTracePointContext,
};
use probe_common::{
    count::COMM_LEN,
    journal::{ASLEEP_SLOTS, NO_STACK, SLEEP_MIN_NS, STACK_DEPTH, SleepKey, SleepSum, Sleeper},
    loss, table,
};

use super::{add, process_name};
use crate::{
    maps::{config, lost, made},
    mem,
    sched::{arg, tid_of},
};

/// Bits of a task's state (include/linux/sched.h, the same from 5.10 to 6.18): uninterruptible, and "does not add to the
/// load", which idle kernel threads have beside it.
const UNINTERRUPTIBLE: u32 = 2;
const NOLOAD: u32 = 0x400;

/// Compares stacks by their hash alone (include/uapi/linux/bpf.h). A stack's number stays its own: without
/// BPF_F_REUSE_STACKID, another stack that wants its place is refused.
const BPF_F_FAST_STACK_CMP: u64 = 1 << 9;

/// What bpf_get_stackid returns where another stack has the place (-EEXIST).
const TAKEN: i64 = -17;
/// So many places are tried for a stack: with two hundred stacks in the table, one in 70,000 finds none.
const PLACES: u64 = 3;

/// In [`ASLEEP`]: several tasks with these low bits have slept at once.
const SEVERAL: u32 = u32::MAX;

/// By the low bits of a thread id: the thread that sleeps, 0, or [`SEVERAL`]. Waking any other costs no hash.
#[map]
static ASLEEP: Array<u32> = Array::with_max_entries(1, 0);

/// Who sleeps, by thread id.
#[map]
static SLEEPERS: HashMap<u32, Sleeper> = HashMap::with_max_entries(1, 0);

/// Sums by process and stack. User space has made the row for those that find no place.
#[map]
static SLEEPS: HashMap<SleepKey, SleepSum> = HashMap::with_max_entries(1, 0);

/// An all-zero row for [`SLEEPS`], too large for the stack.
#[map]
static ZERO_SLEEP: Array<SleepSum> = Array::with_max_entries(1, 0);

/// A map definition that the kernel and the loader only read.
#[repr(transparent)]
struct StackMap(bpf_map_def);

// SAFETY: nothing writes it.
unsafe impl Sync for StackMap {}

/// Stacks by number. Not aya's type, whose rows hold 127 frames.
#[unsafe(link_section = "maps")]
#[unsafe(export_name = "STACKS")]
static STACKS: StackMap = StackMap(bpf_map_def {
    type_: BPF_MAP_TYPE_STACK_TRACE,
    key_size: size_of::<u32>() as u32,
    value_size: size_of::<[u64; STACK_DEPTH]>() as u32,
    max_entries: 1,
    map_flags: 0,
    id: 0,
    pinning: 0,
});

/// sched_switch.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn on_sleep(ctx: RawTracePointContext) -> i32 {
    // (preempt, prev, next, ...): a task that is preempted on its way to sleep does not sleep yet.
    if arg(&ctx, 0) & 0xff == 0 {
        let _ = falls_asleep(&ctx);
    }
    0
}

#[inline(always)]
fn falls_asleep(ctx: &RawTracePointContext) -> Option<()> {
    // The current task is still the one that leaves.
    let task = mem::current_task();
    let state = mem::kernel::<u32>(task + config!(offsets.task_state) as u64)?;
    if state & (UNINTERRUPTIBLE | NOLOAD) != UNINTERRUPTIBLE {
        return None;
    }
    let (tid, tgid) = mem::current_ids();
    if tgid == config!(own_tgid) {
        return None;
    }
    let stack = stack(ctx);
    let mut sleeper = Sleeper {
        since_ns: mem::now_ns(),
        switches: switches(task)?,
        tgid,
        stack: if stack < 0 { NO_STACK } else { stack as i32 },
        comm: [0; COMM_LEN],
    };
    mem::current_comm(&mut sleeper.comm);
    if SLEEPERS.insert(tid, sleeper, 0).is_err() {
        lost(loss::slot::SLEEPERS_FULL);
        return None;
    }
    let slot = ASLEEP.get_ptr_mut(tid & (ASLEEP_SLOTS - 1))?;
    // SAFETY: a live map value; a word is read and written whole.
    unsafe {
        let other = slot.read_volatile();
        if other != tid {
            slot.write_volatile(if other == 0 { tid } else { SEVERAL });
        }
    }
    Some(())
}

/// The number of the current stack, or an error. Its place in the table follows from its frames, and another one may have it:
/// then without its innermost frames, which are the same in every stack that comes here (this program, and what calls it), and
/// lead to another place.
#[inline(always)]
fn stack(ctx: &RawTracePointContext) -> i64 {
    let mut number = TAKEN;
    for skip in 0..PLACES {
        // SAFETY: a valid context and map.
        number = unsafe {
            bpf_get_stackid(
                ctx.as_ptr().cast(),
                (&raw const STACKS).cast_mut().cast(),
                BPF_F_FAST_STACK_CMP | skip,
            )
        };
        if number != TAKEN {
            break;
        }
    }
    number
}

/// How often a task has left its CPU of its own accord; the switch that is reported counts already.
#[inline(always)]
fn switches(task: u64) -> Option<u64> {
    mem::kernel::<u64>(task + config!(journal.task_nvcsw) as u64)
}

/// sched_wakeup: comes after the switch, as the kernel wakes nobody who has not left the CPU.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub fn on_wake(ctx: RawTracePointContext) -> i32 {
    let _ = wakes(&ctx);
    0
}

#[inline(always)]
fn wakes(ctx: &RawTracePointContext) -> Option<()> {
    let task = arg(ctx, 0);
    let tid = tid_of(task)?;
    let slot = ASLEEP.get_ptr_mut(tid & (ASLEEP_SLOTS - 1))?;
    // SAFETY: a live map value; a word is read whole.
    let asleep = unsafe { slot.read_volatile() };
    if asleep != tid && asleep != SEVERAL {
        return None;
    }
    // SAFETY: a live map value; a task that is being woken does not fall asleep.
    let Sleeper {
        since_ns,
        switches: switches_then,
        tgid,
        stack,
        ..
    } = unsafe { *SLEEPERS.get_ptr(tid)? };
    let _ = SLEEPERS.remove(tid);
    if asleep == tid {
        // SAFETY: a live map value; a word is written whole.
        unsafe { slot.write_volatile(0) };
    }
    if switches(task)? != switches_then {
        // Its wake-up was not reported, and this is another one's.
        lost(loss::slot::SLEEP_UNSEEN);
        return None;
    }
    let ns = mem::now_ns().saturating_sub(since_ns);
    if ns < SLEEP_MIN_NS {
        return None;
    }
    if stack == NO_STACK {
        lost(loss::slot::STACKS_FULL);
    }
    let sum = sum(task, SleepKey { tgid, stack })?;
    // SAFETY: a live map value.
    add(unsafe { &raw mut (*sum).sleeps }, ns);
    Some(())
}

#[inline(always)]
fn sum(task: u64, key: SleepKey) -> Option<*mut SleepSum> {
    if let Some(sum) = SLEEPS.get_ptr_mut(key) {
        return Some(sum);
    }
    if SLEEPS
        .insert(key, ZERO_SLEEP.get(0)?, 1 /* BPF_NOEXIST */)
        .is_ok()
    {
        made(table::slot::SLEEPS);
    }
    match SLEEPS.get_ptr_mut(key) {
        Some(sum) => {
            // SAFETY: a live map value; whoever else made the row writes the same name.
            process_name(task, unsafe { &raw mut (*sum).comm });
            Some(sum)
        }
        None => {
            lost(loss::slot::JOURNAL_SUMS_FULL);
            SLEEPS.get_ptr_mut(SleepKey {
                tgid: 0,
                stack: NO_STACK,
            })
        }
    }
}
