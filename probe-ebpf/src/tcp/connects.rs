//! Connects that fail, of every process, and the first one that works again; TCP, UDP and Unix sockets.
//!
//! A failure is known in one of two places. connect() itself returns it; or a TCP socket leaves SYN_SENT for CLOSE
//! with an error set, which a blocking connect() returns, and a non-blocking one has left to the program's next
//! look at the socket. On loopback the second happens inside connect(), which returns EINPROGRESS all the same.
//! The transition reports it in every case and marks the call under way, so that its return does not.
//!
//! Operations of io_uring are no system calls: of theirs, those are seen that pass SYN_SENT.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{
    count::COMM_LEN,
    loss,
    peer::special,
    request::event,
    tcp::{Connect, TcpCall, TcpSocket, TransitionKey, state},
};

use super::{AF_INET, AF_INET6, AF_UNIX, IPPROTO_MPTCP, IPPROTO_TCP, called, returned, under_way};
use crate::{
    charge, lifecycle,
    maps::{
        FAILING, FAILING_ROWS, IN_CALL, TCP_CALLS, TRANSITIONS, atomic_add64, config, found, lost,
    },
    mem,
    peer::of_sockaddr,
};

/// Errors that are none: interrupted, or under way, or already done (include/uapi/asm-generic/errno.h).
const EINTR: u32 = 4;
const EISCONN: u32 = 106;
const EALREADY: u32 = 114;
const EINPROGRESS: u32 = 115;
/// What connect() returns when an earlier failure has been read by SO_ERROR already.
const ECONNABORTED: u32 = 103;

/// Entry of connect.
#[tracepoint]
pub fn on_tcp_connect(ctx: TracePointContext) -> u32 {
    let _ = begins(&ctx);
    0
}

#[inline(always)]
fn begins(ctx: &TracePointContext) -> Option<()> {
    let (tid, sock, protocol) = called(ctx)?;
    let error = mem::kernel::<u32>(sock + config!(offsets.sk_err) as u64)?;
    let call = TcpCall {
        sock,
        address: mem::field::<u64>(ctx, 24),
        argument: mem::field::<u64>(ctx, 32) as u32,
        protocol,
        pending: (is_tcp(protocol) && error != 0) as u32,
        reported: 0,
    };
    under_way(tid, call);
    Some(())
}

#[inline(always)]
fn is_tcp(protocol: u32) -> bool {
    protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP
}

/// Return of connect.
#[tracepoint]
pub fn on_tcp_connect_return(ctx: TracePointContext) -> u32 {
    let _ = returns(&ctx);
    0
}

#[inline(always)]
fn returns(ctx: &TracePointContext) -> Option<()> {
    let (tid, tgid) = mem::current_ids();
    let call = returned(tid)?;
    let errno = mem::errno_of(mem::field::<i64>(ctx, 16));
    let tcp = is_tcp(call.protocol);
    // TCP's successes are transitions.
    let uninteresting = errno == 0 && (tcp || nothing_fails())
        || errno == EINTR
        || errno == EISCONN
        || errno == EALREADY
        || errno == EINPROGRESS;
    let told_before = call.reported != 0 || call.pending != 0 || tcp && errno == ECONNABORTED;
    if uninteresting || errno != 0 && told_before {
        return None;
    }
    let peer = found(0)?;
    peer.id = special::UNKNOWN;
    match mem::user::<u16>(call.address) {
        // It takes a connection apart.
        Some(family) if family != AF_UNIX && family != AF_INET && family != AF_INET6 => {
            return None;
        }
        Some(_) => of_sockaddr(call.address, call.argument, call.protocol as u8, 0, peer),
        None => lost(loss::slot::READ_FAILED),
    }
    charge::register(&mut peer.id, IN_CALL);
    let mut comm = [0; COMM_LEN];
    mem::current_comm(&mut comm);
    let now = mem::now_ns();
    if errno == 0 {
        works(peer.id, tgid, tid, &comm, now);
    } else {
        fails(peer.id, errno, tgid, tid, &comm, now);
    }
    Some(())
}

/// A TCP socket leaves SYN_SENT.
#[inline(always)]
pub fn leaves_syn_sent(sock: u64, new: u32, socket: &TcpSocket, now: u64) {
    let (tgid, tid) = (socket.tgid, socket.tid);
    if new == state::ESTABLISHED as u32 {
        if !nothing_fails() {
            works(socket.peer, tgid, tid, &socket.comm, now);
        }
        return;
    }
    // close() before the answer, and a connect() that finds no port, leave no error behind.
    let error = mem::kernel::<u32>(sock + config!(offsets.sk_err) as u64).unwrap_or(0);
    if error == 0 {
        return;
    }
    if let Some(call) = TCP_CALLS.get_ptr_mut(tid) {
        // SAFETY: a live map value; its thread is in the call, or asleep in it.
        let call = unsafe { &mut *call };
        if call.sock == sock || call.protocol == IPPROTO_MPTCP {
            call.reported = 1;
        }
    }
    fails(socket.peer, error, tgid, tid, &socket.comm, now);
}

#[inline(always)]
fn nothing_fails() -> bool {
    FAILING_ROWS.get(0).is_none_or(|rows| *rows == 0)
}

#[inline(always)]
fn fails(peer: u64, errno: u32, tgid: u32, tid: u32, comm: &[u8; COMM_LEN], now: u64) {
    if peer >= special::FIRST_HASH && FAILING.get_ptr(peer).is_none() {
        if FAILING.insert(peer, now, 1 /* BPF_NOEXIST */).is_ok() {
            count_rows(1);
        } else if FAILING.get_ptr(peer).is_none() {
            lost(loss::slot::FAILING_FULL);
        }
    }
    let established = TransitionKey {
        peer,
        tgid,
        old: state::SYN_SENT,
        new: state::ESTABLISHED,
        pad: 0,
    };
    let last_ok_ns = match TRANSITIONS.get_ptr(established) {
        // SAFETY: a live map value; a word is read whole.
        Some(sum) => unsafe { (&raw const (*sum).last_ns).read_volatile() },
        None => 0,
    };
    send(peer, errno, tgid, tid, comm, now, last_ok_ns);
}

/// A connect succeeds while some address fails: perhaps this one.
#[inline(always)]
fn works(peer: u64, tgid: u32, tid: u32, comm: &[u8; COMM_LEN], now: u64) {
    // Of several at once, one takes the row away.
    if FAILING.remove(peer).is_ok() {
        count_rows(-1);
        send(peer, 0, tgid, tid, comm, now, 0);
    }
}

#[inline(always)]
fn count_rows(by: i64) {
    if let Some(rows) = FAILING_ROWS.get_ptr_mut(0) {
        atomic_add64(rows, by as u64);
    }
}

#[inline(always)]
fn send(peer: u64, errno: u32, tgid: u32, tid: u32, comm: &[u8; COMM_LEN], now: u64, ok: u64) {
    let connect = Connect {
        event: event::CONNECT,
        errno,
        at_ns: now,
        peer,
        last_ok_ns: ok,
        tgid,
        tid,
        comm: *comm,
    };
    lifecycle::send((&raw const connect).cast(), size_of::<Connect>() as u64);
}
