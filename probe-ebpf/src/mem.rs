//! Reads of kernel and user memory, and of tracepoint arguments.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_kernel, bpf_probe_read_user, generated},
    programs::TracePointContext,
};

/// Nanoseconds of CLOCK_MONOTONIC.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { generated::bpf_ktime_get_ns() }
}

/// Reads kernel memory; `None` when it cannot be read.
#[inline(always)]
pub fn kernel<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// Reads user memory of the current process; `None` when it cannot be read (not mapped, or not in
/// memory: a tracepoint program may not fault it in).
#[inline(always)]
pub fn user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// A tracepoint field at an offset that is fixed at build time, by a direct load.
///
/// User space has compared the offset with the running kernel's `format` file before attaching.
#[inline(always)]
pub fn field<T: Copy>(ctx: &TracePointContext, offset: usize) -> T {
    // SAFETY: the verifier and the attach-time check of the kernel bound the access to the record.
    unsafe {
        ctx.as_ptr()
            .cast::<u8>()
            .add(offset)
            .cast::<T>()
            .read_volatile()
    }
}

/// Thread id (low half) and process id (high half) of the current task.
#[inline(always)]
pub fn current_ids() -> (u32, u32) {
    let both = aya_ebpf::helpers::bpf_get_current_pid_tgid();
    (both as u32, (both >> 32) as u32)
}

/// Address of the current `task_struct`.
#[inline(always)]
pub fn current_task() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { generated::bpf_get_current_task() }
}

/// Writes the current task's name into `comm`.
#[inline(always)]
pub fn current_comm(comm: &mut [u8; 16]) {
    // SAFETY: the buffer is 16 bytes, as the size says.
    unsafe { generated::bpf_get_current_comm(comm.as_mut_ptr().cast(), 16) };
}

/// A number whose value the compiler forgets. It would remove a bounds check that it can prove
/// superfluous, but the verifier cannot follow the proof and needs to see the check.
#[inline(always)]
pub fn opaque(n: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut n = n;
        // SAFETY: no instruction at all; the register keeps its value.
        unsafe { core::arch::asm!("/* {n} */", n = inout(reg) n, options(nomem, nostack)) };
        n
    }
    #[cfg(not(target_arch = "bpf"))]
    n
}

/// Reads a number back from memory, so that neither the compiler nor the verifier knows it any more.
#[inline(always)]
pub fn reload(n: &u32) -> u32 {
    // SAFETY: a valid reference.
    unsafe { core::ptr::from_ref(n).read_volatile() }
}

/// The errno that a call returned, 0 when it succeeded. The tracepoint sees ERESTARTSYS and its kin (512 to
/// 516, include/linux/errno.h) before they become EINTR or a restart.
#[inline(always)]
pub fn errno_of(ret: i64) -> u32 {
    const EINTR: u32 = 4;
    match ret {
        -516..=-512 => EINTR,
        -4095..0 => -ret as u32,
        _ => 0,
    }
}
