//! The request ledger: accept to close is one request of a prefork worker, whatever language it runs.
//!
//! A request's parts are the thread's lifetime sums at its end less those at its start, so they add up to
//! its wall time exactly. On a connection that is kept open, the next request begins with the read that
//! brings a FastCGI BEGIN_REQUEST or an HTTP method after a response was sent.

use core::mem::offset_of;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use probe_common::{
    fastcgi, part,
    request::{PEERS, PeerUse, Request, SPANS, Span, event, flag as request_flag},
    task::{Task, flag},
};

use crate::{
    lifecycle::send,
    maps::{FASTCGI, config},
    mem, task,
};

/// A connection was accepted as `fd`.
#[inline(always)]
pub fn accepted(task: &mut Task, fd: i32, now: u64) {
    task.flags |= flag::ACCEPTS;
    if task.flags & (flag::IN_REQUEST | flag::KEPT_OPEN) != 0 {
        // A second connection before the first was closed: requests overlap.
        task.flags |= flag::EVENT_DRIVEN;
        task.flags &= !(flag::IN_REQUEST | flag::KEPT_OPEN);
    }
    if task.flags & flag::EVENT_DRIVEN == 0 {
        task.fastcgi = fastcgi::Reader::ZERO;
        task.request.script_len = 0;
        task.request.uri_len = 0;
        begin(task, fd, now);
    }
}

/// A request begins now.
#[inline(always)]
pub fn begin(task: &mut Task, fd: i32, now: u64) {
    task::settle(task, now);
    task.life_at_start = task.life;
    task.flags &= !(flag::KEPT_OPEN | flag::RESPONSE_ENDED | flag::SENT_LAST | flag::ANSWERED);
    task.flags |= flag::IN_REQUEST;
    let r = &mut task.request;
    r.flags = 0;
    r.fd = fd;
    r.start_ns = now;
    r.end_ns = 0;
    r.longest_ns = 0;
    r.longest_peer = 0;
    r.other_peers_ns = 0;
    r.connects = 0;
    r.polls = 0;
    r.npeers = 0;
    r.nspans = 0;
    r.spans_lost = 0;
}

/// The open request ends, now or when the client had its answer.
#[inline(never)]
pub fn finish(task: &mut Task, now: u64) {
    task::settle(task, now);
    let answered = task.flags & flag::ANSWERED != 0;
    let end = if answered { task.answered_ns } else { now };
    let mut i = 0;
    while i < part::COUNT {
        let total = if answered {
            task.life_answered[i]
        } else {
            task.life[i]
        };
        task.request.parts[i] = total - task.life_at_start[i];
        i += 1;
    }
    task.flags &= !(flag::IN_REQUEST | flag::ANSWERED | flag::SENT_LAST | flag::RESPONSE_ENDED);
    task.requests += 1;
    let r = &mut task.request;
    if config!(fastcgi) == 0 {
        r.script_len = 0;
        r.uri_len = 0;
    }
    r.event = event::REQUEST;
    r.tgid = task.tgid;
    r.tid = task.tid;
    r.start_ticks = task.start_ticks;
    r.end_ns = end;
    r.comm = task.comm;
    // Fast requests, of which there are many, have few peers and no spans: the record ends behind what is
    // used.
    let mut len =
        offset_of!(Request, peers) as u64 + limited(r.npeers, PEERS) * size_of::<PeerUse>() as u64;
    if r.nspans != 0 {
        len =
            offset_of!(Request, spans) as u64 + limited(r.nspans, SPANS) * size_of::<Span>() as u64;
    }
    send((&raw const *r).cast(), len);
}

/// A number of table slots in use, as the verifier wants to see it bounded.
#[inline(always)]
fn limited(n: u32, slots: usize) -> u64 {
    let n = mem::opaque(n as usize);
    if n > slots { slots as u64 } else { n as u64 }
}

/// Waiting on the request's own connection begins: after a send, this may be the end of the request.
#[inline(always)]
pub fn awaits_client(task: &mut Task, now: u64) {
    if task.flags & flag::RESPONSE_ENDED != 0 {
        finish(task, now);
        task.flags |= flag::KEPT_OPEN;
    } else if task.flags & (flag::SENT_LAST | flag::ANSWERED) == flag::SENT_LAST {
        task::settle(task, now);
        task.life_answered = task.life;
        task.answered_ns = now;
        task.flags |= flag::ANSWERED;
    }
}

/// `n` bytes at `buffer` were received on the request's own connection.
#[inline(always)]
pub fn received(task: &mut Task, buffer: u64, n: u32, now: u64) {
    let began = read_names(task, buffer, n);
    if task.flags & flag::KEPT_OPEN != 0 {
        if !began {
            // The rest of the last request: FastCGI's empty STDIN record arrives behind the answer.
            return;
        }
        let fd = task.request.fd;
        begin(task, fd, now);
    } else if task.flags & flag::ANSWERED != 0 {
        if starts_request(buffer, n) {
            let fd = task.request.fd;
            finish(task, now);
            begin(task, fd, now);
        } else {
            // The client sent more of the same request (a body after 100-continue).
            task.flags &= !flag::ANSWERED;
        }
    }
    task.flags &= !flag::SENT_LAST;
    task.request.flags |= request_flag::GOT_DATA;
    if began {
        task.request.flags |= request_flag::FASTCGI;
    }
}

/// `n` bytes at `buffer` were received on an inbound connection that we did not see accepted. A worker
/// that kept its connection open since before we came is recognised by the next FastCGI request on it:
/// true when that begins here, and the bytes are still to be taken in.
#[inline(always)]
pub fn adopts(task: &mut Task, fd: u32, buffer: u64, n: u32, now: u64) -> bool {
    const BEGIN_REQUEST: [u8; 2] = [1, 1];
    if task.flags & flag::EVENT_DRIVEN != 0
        || n < 8
        || mem::user::<[u8; 2]>(buffer) != Some(BEGIN_REQUEST)
    {
        return false;
    }
    if task.flags & flag::IN_REQUEST != 0 {
        finish(task, now);
    }
    task.request.fd = fd as i32;
    task.flags |= flag::KEPT_OPEN;
    task.fastcgi = fastcgi::Reader::ZERO;
    true
}

/// Do these bytes begin a new request?
#[inline(always)]
fn starts_request(buffer: u64, n: u32) -> bool {
    if n < 8 {
        return false;
    }
    let Some(head) = mem::user::<[u8; 8]>(buffer) else {
        return false;
    };
    fastcgi::starts_http_request(&head)
}

/// `n` bytes at `buffer` were sent on the request's own connection.
#[inline(always)]
pub fn sent(task: &mut Task, buffer: u64, n: u64) {
    task.flags |= flag::SENT_LAST;
    task.flags &= !flag::ANSWERED;
    if task.request.flags & request_flag::FASTCGI != 0
        && n >= 16
        && let Some(tail) = mem::user::<[u8; 16]>(buffer + n - 16)
        && fastcgi::ends_response(&tail)
    {
        task.flags |= flag::RESPONSE_ENDED;
    }
}

/// User memory behind a read that just returned.
struct Received {
    buffer: u64,
}

impl fastcgi::Source for Received {
    #[inline(always)]
    unsafe fn read<const MASK: u32>(&self, offset: u32, into: *mut u8, len: u32) -> bool {
        let len = mem::opaque(len as usize) as u32 & MASK;
        // SAFETY: the caller's promise for `into`; the helper checks the source.
        unsafe {
            bpf_probe_read_user(into.cast(), len, (self.buffer + offset as u64) as *const _) == 0
        }
    }
}

/// Looks for script and URI in the FastCGI records of what was received. True when a request begins here.
#[inline(always)]
fn read_names(task: &mut Task, buffer: u64, n: u32) -> bool {
    if buffer == 0 {
        // A scattered read, whose buffers are not looked at: the framing is lost up to the next request.
        task.fastcgi.flags |= fastcgi::flag::LOST;
        return false;
    }
    let Some(scratch) = FASTCGI.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the row belongs to this CPU, and tracepoint programs do not migrate.
    let scratch = unsafe { &mut *scratch };
    let saw = fastcgi::feed(
        &mut task.fastcgi,
        &mut task.request,
        scratch,
        n,
        &Received { buffer },
    );
    saw & fastcgi::saw::BEGIN != 0
}
