//! System calls by their own name, so that a case knows exactly which one it makes (libc's `select`
//! is `pselect6` underneath, its `fork` is `clone`). Results are the kernel's: a value, or the errno.

mod addr;
mod file;
mod socket;
mod wait;

use std::time::Duration;

pub use addr::Addr;
pub use file::*;
pub use socket::*;
pub use wait::*;

/// What a system call returned: a value, or the errno.
pub type Result<T = i64> = std::result::Result<T, i32>;

/// Makes a call whose arguments are numbers or pointers as numbers.
fn call(nr: i64, args: [usize; 6]) -> Result {
    // SAFETY: private to this module; every caller passes pointers to live memory of the right size.
    let r = unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if r < 0 {
        // SAFETY: errno of this thread.
        return Err(unsafe { *libc::__errno_location() });
    }
    Ok(r)
}

fn at<T>(value: &mut T) -> usize {
    std::ptr::from_mut(value) as usize
}

/// CLOCK_MONOTONIC, ns: the clock of the kernel side.
pub fn now_ns() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread, ns.
pub fn thread_cpu_ns() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(id, &raw mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Time the calling thread waited for a CPU so far, ns, by the scheduler's own account; `None` where
/// the kernel keeps none.
///
/// True only of a thread that [stays on one CPU](stay_on). From 6.12 on a thread that goes to sleep
/// can stay on its queue for a while (delayed dequeue), and when the load balancer moves it to another CPU in
/// this state, `enqueue_task` notes it as waiting (`sched_info_enqueue`, kernel/sched/core.c): the rest of its
/// sleep is then counted as waiting for a CPU. Seen on 6.12: 16.7 ms counted for a wake-up that got its CPU
/// after 39 us.
pub fn run_queue_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The CPU that the calling thread is on now.
pub fn this_cpu() -> usize {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::sched_getcpu() as usize }
}

/// The calling thread, and what it makes from now on, runs on this CPU only.
pub fn stay_on(cpu: usize) {
    // SAFETY: a set of bits, for which all zero is "no CPU".
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel has no more CPUs than the set has bits, and the index is checked.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: reads the set; 0 is the calling thread.
    let r = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(r, 0, "sched_setaffinity to CPU {cpu}");
}

/// The calling thread gets its CPU before all ordinary ones, and those of a lower priority, for as long as it wants
/// (SCHED_FIFO).
pub fn go_first(priority: i32) {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: reads one parameter; 0 is the calling thread.
    let r = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) };
    assert_eq!(r, 0, "sched_setscheduler(SCHED_FIFO)");
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Switches O_NONBLOCK.
pub fn set_nonblocking(fd: i32, on: bool) -> Result<()> {
    let flags = call(
        libc::SYS_fcntl,
        [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0],
    )?;
    let bit = i64::from(libc::O_NONBLOCK);
    let flags = if on { flags | bit } else { flags & !bit };
    let args = [fd as usize, libc::F_SETFL as usize, flags as usize, 0, 0, 0];
    call(libc::SYS_fcntl, args).map(drop)
}

/// Switches close-on-exec off.
pub fn keep_on_exec(fd: i32) -> Result<()> {
    call(
        libc::SYS_fcntl,
        [fd as usize, libc::F_SETFD as usize, 0, 0, 0, 0],
    )
    .map(drop)
}

/// read(2).
pub fn read(fd: i32, buf: &mut [u8]) -> Result {
    let args = [fd as usize, buf.as_mut_ptr() as usize, buf.len(), 0, 0, 0];
    call(libc::SYS_read, args)
}

/// write(2).
pub fn write(fd: i32, buf: &[u8]) -> Result {
    call(
        libc::SYS_write,
        [fd as usize, buf.as_ptr() as usize, buf.len(), 0, 0, 0],
    )
}

/// close(2).
pub fn close(fd: i32) -> Result<()> {
    call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]).map(drop)
}

/// close_range(2).
pub fn close_range(first: i32, last: i32) -> Result<()> {
    let args = [first as usize, last as usize, 0, 0, 0, 0];
    call(libc::SYS_close_range, args).map(drop)
}

/// dup(2).
pub fn dup(fd: i32) -> Result<i32> {
    Ok(call(libc::SYS_dup, [fd as usize, 0, 0, 0, 0, 0])? as i32)
}

/// dup2(2).
pub fn dup2(fd: i32, to: i32) -> Result<i32> {
    Ok(call(libc::SYS_dup2, [fd as usize, to as usize, 0, 0, 0, 0])? as i32)
}

/// dup3(2), close-on-exec.
pub fn dup3(fd: i32, to: i32) -> Result<i32> {
    let flags = libc::O_CLOEXEC as usize;
    Ok(call(libc::SYS_dup3, [fd as usize, to as usize, flags, 0, 0, 0])? as i32)
}

/// fcntl(F_DUPFD): the first free descriptor from `lowest` on.
pub fn dup_from(fd: i32, lowest: i32) -> Result<i32> {
    let command = libc::F_DUPFD as usize;
    Ok(call(
        libc::SYS_fcntl,
        [fd as usize, command, lowest as usize, 0, 0, 0],
    )? as i32)
}

/// nanosleep(2).
pub fn nanosleep(time: Duration) -> Result<()> {
    let mut t = timespec(time);
    call(libc::SYS_nanosleep, [at(&mut t), 0, 0, 0, 0, 0]).map(drop)
}

/// futex(FUTEX_WAIT) until the word is no longer `value`.
pub fn futex_wait(word: &std::sync::atomic::AtomicU32, value: u32) -> Result<()> {
    let addr = std::ptr::from_ref(word) as usize;
    let args = [addr, libc::FUTEX_WAIT as usize, value as usize, 0, 0, 0];
    call(libc::SYS_futex, args).map(drop)
}

/// futex(FUTEX_WAKE) of every waiter.
pub fn futex_wake(word: &std::sync::atomic::AtomicU32) -> Result<()> {
    let addr = std::ptr::from_ref(word) as usize;
    let args = [addr, libc::FUTEX_WAKE as usize, i32::MAX as usize, 0, 0, 0];
    call(libc::SYS_futex, args).map(drop)
}

/// Names the calling thread (any bytes; the kernel keeps 15).
pub fn set_comm(name: &[u8]) {
    let mut bytes = [0u8; 16];
    let n = name.len().min(15);
    bytes[..n].copy_from_slice(&name[..n]);
    // SAFETY: PR_SET_NAME reads at most 16 bytes up to a NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// The calling thread's id.
pub fn gettid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() as u32 }
}

/// Keeps a CPU busy for this much of the thread's own CPU time.
pub fn burn(cpu: Duration) {
    let end = thread_cpu_ns() + cpu.as_nanos() as u64;
    let mut x = 1u64;
    while thread_cpu_ns() < end {
        for _ in 0..1000 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}
