//! DNS: what followed threads ask servers on port 53, and what becomes of it.
//!
//! The return of an accounted call goes on here when the other side is a DNS server, which its peer's id says: other
//! calls pay one comparison. It goes on by a tail call, so that the verifier takes these programs apart from those of
//! all calls, and a kernel that refuses one of these loses DNS alone.
//!
//! - [`messages`]: where the messages of a call lie in memory.
//! - [`asks`]: a question is sent.
//! - [`answers`]: an answer is received, or a refusal in its place.
//! - [`waits`]: a wait ends without either.
//! - [`sums`]: the rows by process, server, name and type.
//!
//! Not seen: io_uring, encrypted DNS, and lookups that another process does on behalf of this one (nscd, systemd-resolved
//! over its Unix socket). A resolver that asks several servers at once with one id over one socket (musl) has all but
//! the last counted as retried. What is asked and answered on different sockets by a relay is its own business.

mod answers;
mod asks;
mod messages;
mod sums;
mod waits;

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, ProgramArray},
    programs::TracePointContext,
};
use probe_common::{
    dns::{
        Asked, AskedKey, ClaimKey, OPEN_ROWS, Open, OpenKey, RecentKey, Step, Totals, Waiting,
        message::Scratch, slot,
    },
    loss,
    op::kind,
    peer::is_dns,
    request::event,
    task::Task,
};

use crate::{
    lifecycle,
    maps::{FOUND, atomic_add64, config, lost, op_of},
    mem,
    peer::{self, Peer},
    task,
};

/// Messages of one call that are looked at.
const MAX_MESSAGES: u32 = 16;
/// Between two records of how far it has come.
const STEP_NS: u64 = 100_000_000;

/// The programs that follow a call, by [`slot`]; user space fills it in.
#[map]
static DNS_CALLS: ProgramArray = ProgramArray::with_max_entries(4, 0);

/// What one call needs; too large for the stack. One for each CPU: no program here is entered from an interrupt.
#[map]
static DNS_WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// Questions without an answer.
#[map]
static DNS_OPEN: LruHashMap<OpenKey, Open> = LruHashMap::with_max_entries(1, 0);

/// How a thread asked a question last.
#[map]
static DNS_ASKED: LruHashMap<AskedKey, Asked> = LruHashMap::with_max_entries(1, 0);

/// When anybody asked a question last.
#[map]
static DNS_RECENT: LruHashMap<RecentKey, u64> = LruHashMap::with_max_entries(1, 0);

/// Who was first to ask again. A row means something for an instant only.
#[map]
static DNS_CLAIMS: LruHashMap<ClaimKey, u32> = LruHashMap::with_max_entries(1, 0);

/// What a thread may be waiting for, by thread id.
#[map]
static DNS_WAITING: LruHashMap<u32, Waiting> = LruHashMap::with_max_entries(1, 0);

#[map]
static DNS_TOTALS: Array<Totals> = Array::with_max_entries(1, 0);

/// See [`DNS_WORK`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Work {
    /// The message.
    scratch: Scratch,
    /// Its parts' way through the tables.
    sums: sums::Work,
    /// The socket.
    sock: u64,
    /// Where the message lies.
    address: u64,
    /// A stream: where the bytes lie that were not looked at yet.
    at: u64,
    /// A stream: how many they are, in this buffer.
    left: u64,
    /// A stream: how many there are in further buffers.
    further: u64,
    /// A stream: the next `struct iovec`.
    iov: u64,
    /// A stream: how many there are.
    iovs: u64,
    /// Length of the message as far as it is in one piece; 0 when there is none.
    len: u32,
    /// Messages looked at.
    step: u32,
    /// 1: there are more.
    more: u32,
    /// The question is asked again, or for other reasons not a new one.
    again: u32,
}

/// The return of a call goes on to its program, and never comes back, when the peer is a DNS server. What the program
/// needs stands in the thread's row and in [`FOUND`].
#[inline(always)]
pub fn goes_on(ctx: &TracePointContext, kind: u8, ret: i64, peer: &Peer) {
    if config!(dns.on) == 0 || !is_dns(peer.id) {
        return;
    }
    let slot = match kind {
        kind::SEND => slot::SENT,
        kind::RECV => slot::RECEIVED,
        kind::POLL | kind::SELECT if ret <= 0 => slot::WAITED,
        _ => return,
    };
    if let Some(work) = DNS_WORK.get_ptr_mut(0) {
        // SAFETY: the row belongs to this CPU, and tracepoint programs do not migrate.
        unsafe { (&raw mut (*work).step).write_volatile(0) };
        // SAFETY: the context is ours; nothing is left to be dropped.
        unsafe { DNS_CALLS.tail_call(ctx, slot) };
    }
}

/// A call that goes on here.
struct Call {
    task: &'static mut Task,
    peer: &'static mut Peer,
    work: &'static mut Work,
    op: u32,
    ret: i64,
}

/// What the program before left.
#[inline(always)]
fn call(ctx: &TracePointContext) -> Option<Call> {
    let (tid, _) = mem::current_ids();
    let task = task::followed(tid)?;
    let (peer, work) = (FOUND.get_ptr_mut(0)?, DNS_WORK.get_ptr_mut(0)?);
    // SAFETY: the rows belong to this CPU, and tracepoint programs do not migrate.
    let (peer, work) = unsafe { (&mut *peer, &mut *work) };
    if mem::reload(&work.step) == 0 {
        // A peer that was remembered comes without its socket.
        work.sock = match peer.sock {
            0 => peer::sock_of_fd(peer.fd),
            sock => sock,
        };
    }
    Some(Call {
        task,
        peer,
        work,
        op: op_of(mem::field::<u32>(ctx, 8)) as u32,
        ret: mem::field::<i64>(ctx, 16),
    })
}

/// Counts the message just looked at. True when the program is to run once more, for the next one.
#[inline(always)]
fn another(work: &mut Work) -> bool {
    let step = mem::reload(&work.step) + 1;
    work.step = step;
    if mem::reload(&work.more) == 0 {
        return false;
    }
    if step >= MAX_MESSAGES {
        lost(loss::slot::DNS_UNREADABLE);
        return false;
    }
    true
}

/// A question has no longer to be answered. False when it was somebody else who ended it.
#[inline(always)]
fn end(key: &OpenKey) -> bool {
    if DNS_OPEN.remove(key).is_err() {
        return false;
    }
    if let Some(totals) = DNS_TOTALS.get_ptr_mut(0) {
        // SAFETY: a live map value.
        atomic_add64(unsafe { &raw mut (*totals).ended }, 1);
    }
    true
}

/// Have questions been pushed out of their table? It may do so a little before it is full.
#[inline(always)]
fn pushed_out() -> bool {
    let Some(totals) = DNS_TOTALS.get(0) else {
        return false;
    };
    totals.opened.wrapping_sub(totals.ended) > (OPEN_ROWS - OPEN_ROWS / 8) as u64
}

/// Sends how far it has come, when it is time.
#[inline(always)]
fn step() {
    let Some(totals) = DNS_TOTALS.get_ptr_mut(0) else {
        return;
    };
    let now = mem::now_ns();
    // SAFETY: a live map value; words are read and written whole. Two CPUs at once may send one record each.
    let (due, asked, answered) = unsafe {
        (
            (&raw const (*totals).next_step_ns).read_volatile(),
            (&raw const (*totals).asked).read_volatile(),
            (&raw const (*totals).answered).read_volatile(),
        )
    };
    if now < due {
        return;
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*totals).next_step_ns).write_volatile(now + STEP_NS) };
    let record = Step {
        event: event::DNS,
        pad: 0,
        at_ns: now,
        asked,
        answered,
    };
    lifecycle::send((&raw const record).cast(), size_of::<Step>() as u64);
}
