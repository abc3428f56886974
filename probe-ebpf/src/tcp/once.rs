//! Each transition is handled once, although the kernel leaves a program out in the middle of itself (decision 0010).
//!
//! Since 6.1 `__bpf_trace_run` (kernel/trace/bpf_trace.c) does not run a program on a CPU where that program is under way.
//! A close() changes states with interrupts on; what arrives meanwhile is handled in a soft interrupt, in the middle of
//! it, and changes other sockets' states. So there are three programs on the tracepoint, which the kernel runs in the
//! order in which they were attached:
//!
//! | program | does |
//! |---|---|
//! | first | marks the socket, then does the work |
//! | second | takes the mark away; where there is none, the first was left out, and it does the work |
//! | third | takes away a mark that is still there, because the second was left out |
//!
//! One of them at most is under way below an interrupt, so one of the three at most is left out for what happens in it,
//! and the interrupt leaves the marks as it found them.

use aya_ebpf::{macros::map, maps::PerCpuArray};

/// Sockets whose transition is being handled on this CPU.
#[repr(C)]
#[derive(Clone, Copy)]
struct Marks {
    /// The latest.
    top: u64,
    /// The one before: of the task that the interrupt came upon. Soft interrupts do not interrupt each other, so two are enough.
    below: u64,
}

#[map]
static MARKS: PerCpuArray<Marks> = PerCpuArray::with_max_entries(1, 0);

/// The first program begins.
#[inline(always)]
pub fn mark(sock: u64) {
    let Some(marks) = MARKS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own row. An interrupt in between leaves it as it found it, but for what lies below both:
    // that is nobody's.
    unsafe {
        let top = (&raw const (*marks).top).read_volatile();
        (&raw mut (*marks).below).write_volatile(top);
        (&raw mut (*marks).top).write_volatile(sock);
    }
}

/// Takes a mark away. False when there is none: the first program was left out. Two transitions at once are never
/// of one socket, which is locked meanwhile.
#[inline(always)]
pub fn take(sock: u64) -> bool {
    let Some(marks) = MARKS.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: as in `mark`.
    unsafe {
        if (&raw const (*marks).top).read_volatile() != sock {
            return false;
        }
        let below = (&raw const (*marks).below).read_volatile();
        (&raw mut (*marks).top).write_volatile(below);
        (&raw mut (*marks).below).write_volatile(0);
    }
    true
}
