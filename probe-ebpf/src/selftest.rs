//! Proves the offsets before anything relies on them: run once, by our own process, on a socket of its
//! own whose address it knows.
//!
//! User space runs it with BPF_PROG_TEST_RUN (raw tracepoint programs, 5.10), so it runs in the context of
//! the caller and is attached to nothing. What it finds goes to `SELFTEST`; user space compares.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use probe_common::config::ABSENT;

use crate::{
    maps::{SELFTEST, config, found},
    mem, peer,
};

/// Slots of `SELFTEST`.
pub mod slot {
    /// In: the descriptor to look up.
    pub const FD: u32 = 0;
    /// Out: its peer id.
    pub const PEER: u32 = 1;
    /// Out: process id as the kernel knows it.
    pub const TGID: u32 = 2;
    /// Out: the words at the top of the kernel stack, where the registers of the system call are saved.
    pub const STACK: u32 = 3;
    /// Out: start of the thread, ns since boot.
    pub const START: u32 = 4;
    /// In: where the number of the system call is on a kernel stack, bytes from its base.
    pub const STACK_OFFSET: u32 = 5;
    /// Out: its network namespace, a kernel pointer; 0 when it is no socket.
    pub const NET: u32 = 6;
}

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn on_selftest(_ctx: RawTracePointContext) -> i32 {
    let _ = try_selftest();
    0
}

#[inline(always)]
fn try_selftest() -> Option<()> {
    let fd = *SELFTEST.get(slot::FD)? as u32;
    let peer = found(0)?;
    peer::of_fd(fd, peer);
    set(slot::PEER, peer.id);
    // Behind a failed read stands no namespace, rather than the last one.
    set(slot::NET, 0);
    let sock = peer::sock_of_fd(fd);
    if config!(offsets.skc_net) != 0 && sock != 0 {
        let net = mem::kernel::<u64>(sock + config!(offsets.skc_net) as u64)?;
        set(slot::NET, net);
    }
    set(slot::TGID, mem::current_ids().1 as u64);
    if config!(offsets.task_start) != ABSENT {
        set(
            slot::START,
            mem::kernel::<u64>(mem::current_task() + config!(offsets.task_start) as u64)?,
        );
    }
    if config!(offsets.task_stack) != ABSENT {
        let offset = *SELFTEST.get(slot::STACK_OFFSET)?;
        let stack = mem::kernel::<u64>(mem::current_task() + config!(offsets.task_stack) as u64)?;
        set(slot::STACK, mem::kernel::<u64>(stack + offset)?);
    }
    Some(())
}

#[inline(always)]
fn set(slot: u32, value: u64) {
    if let Some(to) = SELFTEST.get_ptr_mut(slot) {
        // SAFETY: a live map value.
        unsafe { to.write(value) };
    }
}
