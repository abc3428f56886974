//! The kernel side of stallscope: one object, whose programs share the thread table.
//!
//! - [`calls`]: entry and return of the accounted system calls.
//! - [`ready`]: the descriptor that ended a wait on several.
//! - [`sched`]: what a followed thread does in between: on a CPU, waiting for one, or blocked.
//! - [`lifecycle`]: fork, exec and exit keep the thread table true.
//! - [`request`]: accept to close is one request; its ledger goes out on the ring.
//! - [`peer`]: who is behind a descriptor, read out of the socket itself.
//! - [`established`]: how long a connect takes to be established.
//! - [`epoll`]: which descriptor an epoll registration stands for.
//! - [`tcp`]: transitions, failed connects, listeners and accepts of a network namespace.
//! - [`dns`]: questions to DNS servers, and what becomes of them.
//! - [`journal`]: commits of the ext4 journal, fsync, and tasks in uninterruptible sleep.
//! - [`udp`]: sockets that drop datagrams, and their queues.
//! - [`files`]: files created, synced, unlinked, and calls refused for want of space.
//! - [`count`]: the lean counter behind `stallscope count`.
//! - [`selftest`]: proves the offsets on a descriptor of our own before anything relies on them.
#![no_std]
#![no_main]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unstable_features,
        reason = "atomic addition is one BPF instruction, written in assembly"
    ),
    feature(asm_experimental_arch)
)]
#![allow(
    missing_docs,
    reason = "the maps and programs are found by name, not by Rust callers"
)]

mod calls;
mod charge;
mod count;
mod dns;
mod epoll;
mod established;
mod files;
mod journal;
mod lifecycle;
mod maps;
mod mem;
mod peer;
mod ready;
mod request;
mod sched;
mod selftest;
mod task;
mod tcp;
mod udp;

/// Tracing helpers are for GPL-compatible programs only; this file's licences are dual.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: indices are masked. A loop stays visible to the verifier, which would refuse it.
    loop {}
}
