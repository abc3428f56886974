//! The maps, and the read-only configuration that user space fills in before loading.
//!
//! Sizes are what an idle default needs; user space sets the real ones at load time.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use probe_common::{
    config::Config,
    count::{CountKey, WaitSum},
    fastcgi, loss,
    peer::{EpollKey, PeerKey},
    request::event,
    stat::{Stat, StatKey},
    table::{self, Made},
    task::Task,
    tcp::{TcpCall, TcpSocket, TransitionKey, TransitionSum},
};

use crate::{lifecycle, peer::Peer};

/// Slots of [`FILTER`]; a power of two.
pub const FILTER_SLOTS: u32 = 1 << 16;

/// Who opened a connection that is not established yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connecting {
    pub start_ns: u64,
    pub tid: u32,
    pub tgid: u32,
    pub start_ticks: u32,
    pub pad: u32,
}

#[unsafe(no_mangle)]
static CONFIG: Config = Config::ZERO;

/// Reads one field of [`CONFIG`]. Volatile, so that the compiler cannot fold the zeros it sees at build
/// time; the verifier folds the values that user space put there.
macro_rules! config {
    ($($field:ident).+) => {
        // SAFETY: CONFIG is a valid static and is never written.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::maps::config_ptr()).$($field).+) }
    };
}
pub(crate) use config;

#[inline(always)]
pub fn config_ptr() -> *const Config {
    &raw const CONFIG
}

/// What a system call number means, see [`Config::ops`].
#[inline(always)]
pub fn op_of(nr: u32) -> u8 {
    if nr as usize >= probe_common::config::MAX_NR {
        return 0;
    }
    // SAFETY: nr is below the array's length.
    unsafe { core::ptr::read_volatile((&raw const CONFIG.ops).cast::<u8>().add(nr as usize)) }
}

/// Followed threads by tid.
#[map]
pub static TASKS: HashMap<u32, Task> = HashMap::with_max_entries(4096, 0);

/// One byte of meaning in each slot: 1 when a followed thread's tid has these low 16 bits. Other threads
/// are let go after one inlined array access, without a hash.
#[map]
pub static FILTER: Array<u32> = Array::with_max_entries(FILTER_SLOTS, 0);

/// An all-zero row for [`TASKS`], too large for the stack.
#[map]
pub static ZERO_TASK: Array<Task> = Array::with_max_entries(1, 0);

#[map]
pub static STATS: HashMap<StatKey, Stat> = HashMap::with_max_entries(4096, 0);

/// An all-zero row for [`STATS`], too large for the stack.
#[map]
pub static ZERO_STAT: Array<Stat> = Array::with_max_entries(1, 0);

#[map]
pub static PEERS: HashMap<u64, PeerKey> = HashMap::with_max_entries(4096, 0);

/// The address being put together; too large for the stack. Slot [`IN_CALL`] for system calls, slot
/// [`IN_INTERRUPT`] for what may run in the middle of one.
#[map]
pub static SCRATCH: PerCpuArray<PeerKey> = PerCpuArray::with_max_entries(4, 0);

/// Slot of [`SCRATCH`].
pub const IN_CALL: u32 = 0;
/// Slot of [`SCRATCH`].
pub const IN_INTERRUPT: u32 = 1;
/// Slot of [`SCRATCH`], for the walk over descriptors.
pub const IN_WALK: u32 = 2;
/// Slot of [`SCRATCH`], for the interrupt that comes in the middle of what uses [`IN_INTERRUPT`].
pub const IN_NESTED: u32 = 3;

/// Peers looked up: 0 the answer for the current call, 1 one to compare it with, 2 and 3 for interrupts, as
/// [`IN_INTERRUPT`] and [`IN_NESTED`]. They live in a map
/// because the verifier does not follow values through it: on the stack, every constant that an id can
/// be would make a verifier state of its own.
#[map]
pub static FOUND: PerCpuArray<Peer> = PerCpuArray::with_max_entries(4, 0);

/// What reading FastCGI parameters needs beside the row; too large for the stack.
#[map]
pub static FASTCGI: PerCpuArray<fastcgi::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// A copy of the descriptor sets that a poll or select passed: one read of user memory instead of many,
/// and words that the verifier knows nothing about. 512 bytes are used; the rest keeps a masked length
/// inside.
#[map]
pub static SETS: PerCpuArray<[u64; 128]> = PerCpuArray::with_max_entries(1, 0);

/// Where an unconnected UDP socket (by inode number) last sent to.
#[map]
pub static UDP_SENT_TO: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

/// TCP ports that someone listens on: tells inbound connections from outbound ones.
#[map]
pub static LISTEN_PORTS: HashMap<u32, u32> = HashMap::with_max_entries(4096, 0);

/// Connections being opened, by kernel socket.
#[map]
pub static CONNECTING: LruHashMap<u64, Connecting> = LruHashMap::with_max_entries(4096, 0);

#[map]
pub static EPOLL: LruHashMap<EpollKey, u32> = LruHashMap::with_max_entries(8192, 0);

/// Size of [`EVENTS`]; a power of two.
pub const EVENTS_BYTES: u32 = 1 << 21;

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

#[map]
pub static LOSSES: Array<u64> = Array::with_max_entries(loss::slot::COUNT, 0);

#[map]
pub static COUNTS: PerCpuHashMap<CountKey, u64> = PerCpuHashMap::with_max_entries(2048, 0);

/// When a call that `count --wait` times was entered, by tid.
#[map]
pub static WAIT_STARTS: HashMap<u32, u64> = HashMap::with_max_entries(16384, 0);

#[map]
pub static WAITS: PerCpuHashMap<CountKey, WaitSum> = PerCpuHashMap::with_max_entries(256, 0);

/// An all-zero row for [`WAITS`], too large for the stack.
#[map]
pub static ZERO_WAIT: Array<WaitSum> = Array::with_max_entries(1, 0);

/// The network namespace whose sockets are watched: the kernel's `struct net`; 0 before user space has said so.
#[map]
pub static NETNS: Array<u64> = Array::with_max_entries(1, 0);

/// TCP sockets between two transitions, by address.
#[map]
pub static TCP_SOCKETS: HashMap<u64, TcpSocket> = HashMap::with_max_entries(1, 0);

/// Sums of transitions.
#[map]
pub static TRANSITIONS: HashMap<TransitionKey, TransitionSum> = HashMap::with_max_entries(1, 0);

/// An all-zero row for [`TRANSITIONS`], too large for the stack.
#[map]
pub static ZERO_TRANSITION: Array<TransitionSum> = Array::with_max_entries(1, 0);

/// Calls of connect() and listen() under way, by thread id.
#[map]
pub static TCP_CALLS: HashMap<u32, TcpCall> = HashMap::with_max_entries(1, 0);

/// Addresses (by peer id) to which a connect failed, and none has succeeded since.
#[map]
pub static FAILING: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// How many rows [`FAILING`] has: while it has none, a success costs one array access.
#[map]
pub static FAILING_ROWS: Array<u64> = Array::with_max_entries(1, 0);

/// What [`crate::selftest`] found: see there.
#[map]
pub static SELFTEST: Array<u64> = Array::with_max_entries(16, 0);

/// Rows made in the tables of [`table::slot`].
#[map]
static MADE: Array<u64> = Array::with_max_entries(table::slot::COUNT, 0);

/// A row was made in a table, which happens seldom. Of two CPUs at once, both may tell or neither: the next ones do.
#[inline(never)]
pub fn made(table: u32) {
    let Some(counter) = MADE.get_ptr_mut(table) else {
        return;
    };
    atomic_add64(counter, 1);
    // SAFETY: a live map value; a word is read whole.
    let rows = unsafe { counter.read_volatile() };
    let every = if table < table::slot::COUNT {
        // SAFETY: the index was just checked.
        unsafe { *table::TOLD_EVERY.get_unchecked(table as usize) }
    } else {
        return;
    };
    if rows & (every - 1) == 0 {
        let record = Made {
            event: event::MADE,
            table,
            rows,
        };
        lifecycle::wake((&raw const record).cast(), size_of::<Made>() as u64);
    }
}

/// Adds one to a loss counter (see [`loss::slot`]).
#[inline(always)]
pub fn lost(slot: u32) {
    if let Some(counter) = LOSSES.get_ptr_mut(slot) {
        atomic_add64(counter, 1);
    }
}

/// Adds without a race. Written as the one instruction that every kernel since 4.x has: the atomics of
/// `core` would need one that returns the old value, which came with 5.12.
#[inline(always)]
pub fn atomic_add64(to: *mut u64, n: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: `to` points to an aligned u64 in a map value; the verifier checks it.
    unsafe {
        core::arch::asm!("lock *(u64 *)({to} + 0) += {n}", to = in(reg) to, n = in(reg) n);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (to, n);
}

/// [`atomic_add64`] for a u32.
#[inline(always)]
pub fn atomic_add32(to: *mut u32, n: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: `to` points to an aligned u32 in a map value; the verifier checks it.
    unsafe {
        core::arch::asm!("lock *(u32 *)({to} + 0) += {n}", to = in(reg) to, n = in(reg) n);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (to, n);
}

/// Slot `index` of [`FOUND`], emptied.
#[inline(always)]
pub fn found(index: u32) -> Option<&'static mut Peer> {
    let peer = FOUND.get_ptr_mut(index)?;
    // SAFETY: the row belongs to this CPU, and tracepoint programs do not migrate; callers use each index
    // once at a time.
    let peer = unsafe { &mut *peer };
    peer.set_special(probe_common::peer::special::NONE);
    Some(peer)
}
