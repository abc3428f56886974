//! A question is sent.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_user, macros::tracepoint, programs::TracePointContext,
};
use probe_common::{
    dns::{
        Asked, AskedKey, ClaimKey, DUPLICATE_NS, Open, OpenKey, QuestionKey, RecentKey, WAITED_FOR,
        Waiting, asked_flag,
        message::{self, LOOKED_AT, ROOM, is},
        open_flag, slot,
    },
    loss,
    task::Task,
};

use super::{
    Call, DNS_ASKED, DNS_CALLS, DNS_CLAIMS, DNS_OPEN, DNS_RECENT, DNS_TOTALS, DNS_WAITING, Work,
    another, answers, call, messages, step, sums,
};
use crate::{
    maps::{atomic_add64, lost},
    mem,
    peer::Peer,
};

/// The return of a call that sends to a DNS server.
#[tracepoint]
pub fn on_dns_sent(ctx: TracePointContext) -> u32 {
    if sent(&ctx) == Some(true) {
        // SAFETY: the context is ours; nothing is left to be dropped.
        unsafe { DNS_CALLS.tail_call(&ctx, slot::SENT) };
    }
    0
}

/// True when there are more messages.
#[inline(always)]
fn sent(ctx: &TracePointContext) -> Option<bool> {
    let Call {
        task,
        peer,
        work,
        op,
        ret,
    } = call(ctx)?;
    if ret <= 0 {
        // What an earlier message met with is told to the next one.
        if answers::is_refusal(ret) {
            answers::refused(task, peer, work);
        }
        return None;
    }
    messages::next(work, task, peer.protocol, op, ret as u64, false);
    if mem::reload(&work.len) != 0 {
        match read(work) {
            is::QUESTION => {
                again(work, task);
                asked(work, task, peer);
                expect(work, task);
                step();
            }
            is::MALFORMED => lost(loss::slot::DNS_UNREADABLE),
            _ => {}
        }
    }
    Some(another(work))
}

/// Reads the message and takes it apart: one of [`is`].
#[inline(never)]
fn read(work: &mut Work) -> u32 {
    let mut len = mem::reload(&work.len);
    if len > LOOKED_AT {
        len = LOOKED_AT;
    }
    let to = work.scratch.message.as_mut_ptr();
    // SAFETY: the masked length is below the buffer's; the helper checks the source.
    let failed = unsafe {
        let len = mem::opaque(len as usize) as u32 & (ROOM as u32 - 1);
        bpf_probe_read_user(to.cast(), len, work.address as *const _)
    };
    if failed != 0 {
        return is::MALFORMED;
    }
    message::question(&mut work.scratch, len)
}

/// `Work::again`: a question like any other.
const FIRST: u32 = 0;
/// Asked again because there was no answer.
const RETRIED: u32 = 1;
/// Asked again because the answer was cut off.
const CONTINUED: u32 = 2;

/// Finds out whether this thread, or this socket, has asked it before.
#[inline(never)]
fn again(work: &mut Work, task: &Task) {
    let scratch = &work.scratch;
    let open = OpenKey {
        sock: work.sock,
        id: scratch.id as u64,
    };
    work.again = FIRST;
    if is_open(&open, work, 0) {
        work.again = RETRIED;
        return;
    }
    let key = AskedKey {
        name: scratch.hash,
        tid: task.tid,
        qtype: scratch.qtype,
    };
    let Some(asked) = DNS_ASKED.get_ptr(&key) else {
        return;
    };
    // SAFETY: a live map value; an LRU table may give its place to another row, whose words are as valid.
    let asked = unsafe { &*asked };
    let same = asked.open.id == open.id;
    let flags = asked.flags as u32;
    if same && flags & asked_flag::TRUNCATED != 0 {
        work.again = CONTINUED;
    } else if same && flags & asked_flag::REFUSED != 0 {
        work.again = RETRIED;
    } else {
        // With another id after a wait in vain, it is another lookup.
        let not = if same { 0 } else { open_flag::TIMED_OUT };
        let before = asked.open;
        if is_open(&before, work, not) {
            work.again = RETRIED;
        }
    }
}

/// Is the question still open under `key`, without these flags?
#[inline(always)]
fn is_open(key: &OpenKey, work: &Work, not: u32) -> bool {
    let Some(open) = DNS_OPEN.get_ptr(key) else {
        return false;
    };
    // SAFETY: as in `again`.
    let open = unsafe { &*open };
    open.name == work.scratch.hash
        && open.qtype == work.scratch.qtype as u64
        && open.flags & not == 0
}

/// Adds a question to its row.
#[inline(never)]
fn asked(work: &mut Work, task: &Task, peer: &Peer) {
    let now = task.op_start_ns;
    let (name, qtype) = (work.scratch.hash, work.scratch.qtype);
    let duplicate = recently(name, qtype, now) && work.again == FIRST;
    work.sums.key = QuestionKey {
        name,
        server: peer.id,
        tgid: task.tgid,
        qtype,
    };
    let Some(row) = sums::row_for(&mut work.sums.key, &work.scratch.name) else {
        return;
    };
    // SAFETY: a live map value; additions are atomic, and one of two at once is as good as the other for the rest.
    unsafe {
        atomic_add64(&raw mut (*row).asked, 1);
        atomic_add64(&raw mut (*row).retried, (work.again == RETRIED) as u64);
        atomic_add64(&raw mut (*row).duplicates, duplicate as u64);
        if (*row).first_ns == 0 {
            (*row).first_ns = now;
        }
        (*row).last_ns = now;
    }
    if let Some(totals) = DNS_TOTALS.get_ptr_mut(0) {
        // SAFETY: a live map value.
        atomic_add64(unsafe { &raw mut (*totals).asked }, 1);
    }
}

/// Has anybody asked this less than a second before? Of several that ask at once, exactly one is told no.
#[inline(always)]
fn recently(name: u64, qtype: u32, now: u64) -> bool {
    let recent = RecentKey {
        name,
        qtype: qtype as u64,
    };
    let Some(last) = DNS_RECENT.get_ptr_mut(&recent) else {
        return DNS_RECENT
            .insert(&recent, now, 1 /* BPF_NOEXIST */)
            .is_err();
    };
    // SAFETY: a live map value; a word is read and written whole.
    let asked_ns = unsafe { last.read_volatile() };
    if now > asked_ns {
        // SAFETY: as above.
        unsafe { last.write_volatile(now) };
    }
    if now < asked_ns + DUPLICATE_NS {
        return true;
    }
    let claim = ClaimKey { recent, asked_ns };
    DNS_CLAIMS.insert(&claim, 0, 1 /* BPF_NOEXIST */).is_err()
}

/// Notes that an answer is awaited.
#[inline(never)]
fn expect(work: &mut Work, task: &Task) {
    let scratch = &work.scratch;
    let key = OpenKey {
        sock: work.sock,
        id: scratch.id as u64,
    };
    let open = Open {
        row: work.sums.key,
        name: scratch.hash,
        asked_ns: task.op_start_ns,
        tid: task.tid,
        flags: 0,
        qtype: scratch.qtype as u64,
    };
    if DNS_OPEN.get_ptr(&key).is_none()
        && let Some(totals) = DNS_TOTALS.get_ptr_mut(0)
    {
        // SAFETY: a live map value.
        atomic_add64(unsafe { &raw mut (*totals).opened }, 1);
    }
    // LRU tables make room for themselves.
    let _ = DNS_OPEN.insert(&key, &open, 0);
    let asked = Asked {
        open: key,
        flags: 0,
    };
    let by = AskedKey {
        name: scratch.hash,
        tid: task.tid,
        qtype: scratch.qtype,
    };
    let _ = DNS_ASKED.insert(&by, &asked, 0);
    wait_for(&key, task.tid);
}

/// Notes that this thread asked it.
#[inline(always)]
fn wait_for(key: &OpenKey, tid: u32) {
    let waiting = match DNS_WAITING.get_ptr_mut(tid) {
        Some(waiting) => waiting,
        None => {
            let _ = DNS_WAITING.insert(tid, Waiting::ZERO, 0);
            match DNS_WAITING.get_ptr_mut(tid) {
                Some(waiting) => waiting,
                None => return,
            }
        }
    };
    // SAFETY: a live map value that only its thread writes.
    let waiting = unsafe { &mut *waiting };
    waiting.interrupted_ns = 0;
    let mut i = 0;
    while i < WAITED_FOR {
        if waiting.questions[i].sock == key.sock && waiting.questions[i].id == key.id {
            return;
        }
        i += 1;
    }
    let next = mem::opaque(waiting.next as usize) & (WAITED_FOR - 1);
    waiting.next = next as u64 + 1;
    // SAFETY: the index was just masked.
    unsafe { *waiting.questions.get_unchecked_mut(next) = *key };
}
