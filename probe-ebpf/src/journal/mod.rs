//! The ext4 journal, fsync, and tasks in uninterruptible sleep, of every process.
//!
//! - [`commits`]: how long commits take, by device and phase.
//! - [`syncs`]: how long callers of fsync are held up, which is more than the commit.
//! - [`handles`]: who changes the journal.
//! - [`sleepers`]: who sleeps uninterruptibly, and with which stack.
//!
//! All but the last are classic tracepoints: they run in the context of a process, never in the middle of another
//! program, so that none is skipped (decision 0004).

mod commits;
mod handles;
mod sleepers;
mod syncs;

use aya_ebpf::{EbpfContext, helpers::generated, programs::TracePointContext};
use probe_common::{count::COMM_LEN, hist, journal::TimeSum};

use crate::{
    maps::{atomic_add32, atomic_add64, config},
    mem,
};

/// A field of a classic tracepoint's record at an offset that was looked up at load. The verifier allows direct loads
/// at offsets in the instruction only, so it is read like any memory.
#[inline(always)]
fn looked_up<T>(ctx: &TracePointContext, offset: u32) -> Option<T> {
    mem::kernel::<T>(ctx.as_ptr() as u64 + offset as u64)
}

/// Adds one duration. Several CPUs may do so at once: every change is atomic but the maximum's, which may miss one of
/// two simultaneous values, never invent one.
#[inline(always)]
fn add(sum: *mut TimeSum, ns: u64) {
    // SAFETY: a live map value.
    unsafe {
        atomic_add64(&raw mut (*sum).count, 1);
        atomic_add64(&raw mut (*sum).total_ns, ns);
        if ns > (*sum).max_ns {
            (*sum).max_ns = ns;
        }
        let bucket = mem::opaque(hist::bucket(ns) as usize);
        if bucket < hist::BUCKETS {
            atomic_add32((&raw mut (*sum).hist).cast::<u32>().add(bucket), 1);
        }
    }
}

/// Writes the name of a task's process: that of its first thread.
#[inline(always)]
fn process_name(task: u64, comm: *mut [u8; COMM_LEN]) {
    let Some(leader) = mem::kernel::<u64>(task + config!(journal.task_leader) as u64) else {
        return;
    };
    let from = leader + config!(journal.task_comm) as u64;
    // SAFETY: `comm` is a live map value of this length; the helper checks the address that it reads.
    unsafe { generated::bpf_probe_read_kernel(comm.cast(), COMM_LEN as u32, from as *const _) };
}
