//! A wait for an answer ends without one: its time is lost.
//!
//! That is known of a thread that waits in poll, select or a receive for its question's own socket. An event loop
//! waits for many things at once, and what of its time a question took is not to be told.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{
    dns::{WAITED_FOR, open_flag},
    task::Task,
};

use super::{Call, DNS_OPEN, DNS_WAITING, Work, call, sums};
use crate::{mem, peer::Peer};

/// The return of a poll or select of a DNS socket alone, without anything ready.
#[tracepoint]
pub fn on_dns_waited(ctx: TracePointContext) -> u32 {
    if let Some(Call {
        task,
        peer,
        work,
        ret,
        ..
    }) = call(&ctx)
    {
        ended(task, peer, work, ret);
    }
    0
}

/// A call of this thread that waited for a DNS socket returns `ret`: a time-out, or a signal came.
#[inline(never)]
pub fn ended(task: &Task, peer: &Peer, work: &mut Work, ret: i64) {
    const EINTR: u32 = 4;
    // A look without a wait, as before and after each question.
    if peer.blocked_ns == 0 {
        return;
    }
    let Some(waiting) = DNS_WAITING.get_ptr_mut(task.tid) else {
        return;
    };
    // SAFETY: a live map value that only its thread writes.
    let waiting = unsafe { &mut *waiting };
    let ns = mem::now_ns().saturating_sub(task.op_start_ns) + waiting.interrupted_ns;
    if mem::errno_of(ret) == EINTR {
        waiting.interrupted_ns = ns;
        return;
    }
    waiting.interrupted_ns = 0;
    // The wait is one, however many questions it was for: the first one asked of those not waited for before has it.
    let mut told = NOBODY;
    let mut i = 0;
    while i < WAITED_FOR {
        let at = mem::opaque(waiting.next as usize + i) & (WAITED_FOR - 1);
        i += 1;
        // SAFETY: the index was just masked.
        let key = unsafe { *waiting.questions.get_unchecked(at) };
        if key.sock != work.sock || key.sock == 0 {
            continue;
        }
        let Some(open) = DNS_OPEN.get_ptr_mut(&key) else {
            continue;
        };
        // SAFETY: a live map value; an LRU table may give its place to another row, whose words are as valid.
        let open = unsafe { &mut *open };
        let fresh = open.flags & open_flag::TIMED_OUT == 0;
        open.flags |= open_flag::TIMED_OUT;
        if told == NOBODY || told == AGAIN && fresh {
            work.sums.key = open.row;
            told = if fresh { FRESH } else { AGAIN };
        }
    }
    if told != NOBODY {
        sums::add_timeout(&mut work.sums.key, ns);
    }
}

/// No question was waited for.
const NOBODY: u32 = 0;
/// One that had been waited for before.
const AGAIN: u32 = 1;
/// One that had not.
const FRESH: u32 = 2;
