//! An answer is received, or a refusal in its place.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{
    dns::{
        AskedKey, Open, OpenKey, WAITED_FOR, asked_flag,
        message::{HEADER, header},
        slot,
    },
    loss,
    task::Task,
};

use super::{
    Call, DNS_ASKED, DNS_CALLS, DNS_OPEN, DNS_TOTALS, DNS_WAITING, Work, another, call, end,
    messages, pushed_out, step, sums, waits,
};
use crate::{
    maps::{atomic_add64, lost},
    mem,
    peer::Peer,
};

const IPPROTO_TCP: u8 = 6;
const EINTR: u32 = 4;
const EAGAIN: u32 = 11;
const ENETUNREACH: u32 = 101;
const ECONNRESET: u32 = 104;
const ECONNREFUSED: u32 = 111;
const EHOSTUNREACH: u32 = 113;

/// The return of a call that receives from a DNS server.
#[tracepoint]
pub fn on_dns_received(ctx: TracePointContext) -> u32 {
    if received(&ctx) == Some(true) {
        // SAFETY: the context is ours; nothing is left to be dropped.
        unsafe { DNS_CALLS.tail_call(&ctx, slot::RECEIVED) };
    }
    0
}

/// An error that a router or the server's kernel told.
#[inline(always)]
pub fn is_refusal(ret: i64) -> bool {
    matches!(
        mem::errno_of(ret),
        ECONNREFUSED | EHOSTUNREACH | ENETUNREACH | ECONNRESET
    )
}

/// True when there are more messages.
#[inline(always)]
fn received(ctx: &TracePointContext) -> Option<bool> {
    let Call {
        task,
        peer,
        work,
        op,
        ret,
    } = call(ctx)?;
    if ret <= 0 {
        if is_refusal(ret) || ret == 0 && peer.protocol == IPPROTO_TCP {
            refused(task, peer, work);
        } else if matches!(mem::errno_of(ret), EAGAIN | EINTR) {
            waits::ended(task, peer, work, ret);
        }
        return None;
    }
    messages::next(work, task, peer.protocol, op, ret as u64, true);
    if mem::reload(&work.len) >= HEADER as u32 {
        answered(work);
        step();
    }
    Some(another(work))
}

/// Adds an answer to the row of its question.
#[inline(never)]
fn answered(work: &mut Work) -> Option<()> {
    let head = header(&mem::user::<[u8; HEADER]>(work.address)?);
    if !head.answer {
        return None;
    }
    let key = OpenKey {
        sock: work.sock,
        id: head.id as u64,
    };
    let Some(open) = DNS_OPEN.get_ptr(&key) else {
        // Asked before we came, answered before, or never asked at all; unless it was pushed out.
        if pushed_out() {
            lost(loss::slot::DNS_QUESTIONS_FULL);
        }
        return None;
    };
    // SAFETY: a live map value; an LRU table may give its place to another row, which removing then finds out.
    let Open {
        row,
        name,
        asked_ns,
        tid,
        qtype,
        ..
    } = unsafe { *open };
    if !end(&key) {
        return None;
    }
    let totals = DNS_TOTALS.get_ptr_mut(0)?;
    // SAFETY: a live map value.
    atomic_add64(unsafe { &raw mut (*totals).answered }, 1);
    if head.truncated {
        let by = AskedKey {
            name,
            tid,
            qtype: qtype as u32,
        };
        if let Some(asked) = DNS_ASKED.get_ptr_mut(&by) {
            // SAFETY: a live map value; a word is written whole.
            unsafe { (*asked).flags = asked_flag::TRUNCATED as u64 };
        }
    }
    let sum = sums::row(&row)?;
    let rcode = mem::opaque(head.rcode as usize) & 15;
    // SAFETY: a live map value, and an index that was just masked.
    unsafe {
        atomic_add64(&raw mut (*sum).answered, 1);
        atomic_add64((&raw mut (*sum).rcodes).cast::<u64>().add(rcode), 1);
        atomic_add64(&raw mut (*sum).truncated, head.truncated as u64);
        let empty = head.rcode == 0 && head.answers == 0 && !head.truncated;
        atomic_add64(&raw mut (*sum).empty, empty as u64);
    }
    sums::add_latency(sum, mem::now_ns().saturating_sub(asked_ns));
    Some(())
}

/// What this thread asked over this socket is not going to be answered.
#[inline(never)]
pub fn refused(task: &Task, peer: &Peer, work: &mut Work) {
    let Some(waiting) = DNS_WAITING.get_ptr_mut(task.tid) else {
        return;
    };
    // SAFETY: a live map value that only its thread writes.
    let waiting = unsafe { &mut *waiting };
    waiting.interrupted_ns = 0;
    let mut i = 0;
    while i < WAITED_FOR {
        let key = waiting.questions[i];
        i += 1;
        if key.sock != work.sock || key.sock == 0 {
            continue;
        }
        let Some(open) = DNS_OPEN.get_ptr(&key) else {
            continue;
        };
        // SAFETY: as in `answered`.
        let open = unsafe { &*open };
        if open.row.server != peer.id && open.row.name != 0 {
            continue;
        }
        work.sums.key = open.row;
        let by = AskedKey {
            name: open.name,
            tid: open.tid,
            qtype: open.qtype as u32,
        };
        if !end(&key) {
            continue;
        }
        if let Some(asked) = DNS_ASKED.get_ptr_mut(&by) {
            // SAFETY: a live map value; a word is written whole.
            unsafe { (*asked).flags = asked_flag::REFUSED as u64 };
        }
        if let Some(sum) = sums::row(&work.sums.key) {
            // SAFETY: a live map value.
            atomic_add64(unsafe { &raw mut (*sum).refused }, 1);
        }
    }
}
