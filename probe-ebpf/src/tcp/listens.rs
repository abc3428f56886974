//! Who begins to listen, TCP and Unix, with the backlog asked for; and TCP listeners that end.
//!
//! The end of a Unix listener has no tracepoint: it shows only in connects that fail.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{
    count::COMM_LEN,
    loss,
    request::event,
    tcp::{Listening, TcpCall, TcpSocket},
};

use super::{IPPROTO_MPTCP, IPPROTO_TCP, called, returned, under_way};
use crate::{
    charge, lifecycle,
    maps::{IN_CALL, LISTEN_PORTS, TCP_SOCKETS, config, found, lost},
    mem, peer,
};

/// Entry of listen.
#[tracepoint]
pub fn on_tcp_listen(ctx: TracePointContext) -> u32 {
    let _ = begins(&ctx);
    0
}

#[inline(always)]
fn begins(ctx: &TracePointContext) -> Option<()> {
    let (tid, sock, protocol) = called(ctx)?;
    if protocol != 0 && protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP {
        return None;
    }
    let call = TcpCall {
        sock,
        argument: mem::field::<u64>(ctx, 24) as u32,
        protocol,
        ..TcpCall::ZERO
    };
    under_way(tid, call);
    Some(())
}

/// Return of listen.
#[tracepoint]
pub fn on_tcp_listen_return(ctx: TracePointContext) -> u32 {
    let _ = returns(&ctx);
    0
}

#[inline(always)]
fn returns(ctx: &TracePointContext) -> Option<()> {
    let (tid, tgid) = mem::current_ids();
    let call = returned(tid)?;
    if mem::field::<i64>(ctx, 16) != 0 {
        return None;
    }
    let peer = found(0)?;
    if peer::try_of_sock(call.sock, IN_CALL, peer).is_none() {
        lost(loss::slot::READ_FAILED);
        return None;
    }
    charge::register(&mut peer.id, IN_CALL);
    // A socket that was not bound has got its port only after the transition.
    if call.protocol != 0 {
        port(call.sock);
    }
    if let Some(row) = TCP_SOCKETS.get_ptr_mut(call.sock) {
        // SAFETY: a live map value; a word is written whole.
        unsafe { (*row).peer = peer.id };
    }
    let mut comm = [0; COMM_LEN];
    mem::current_comm(&mut comm);
    send(1, mem::now_ns(), peer.id, tgid, call.argument, comm);
    Some(())
}

/// Notes the port that a TCP socket listens on: it tells inbound connections from outbound ones, in every
/// namespace.
#[inline(always)]
pub fn port(sock: u64) {
    let port = mem::kernel::<u16>(sock + config!(offsets.skc_num) as u64).unwrap_or(0);
    if port != 0 {
        let _ = LISTEN_PORTS.insert(port as u32, 1, 0);
    }
}

/// A TCP listener was closed.
#[inline(always)]
pub fn ended(socket: &TcpSocket, now: u64) {
    send(0, now, socket.peer, socket.tgid, 0, socket.comm);
}

#[inline(always)]
fn send(begins: u32, now: u64, peer: u64, tgid: u32, backlog: u32, comm: [u8; COMM_LEN]) {
    let listening = Listening {
        event: event::LISTENING,
        begins,
        at_ns: now,
        peer,
        tgid,
        backlog,
        comm,
    };
    lifecycle::send((&raw const listening).cast(), size_of::<Listening>() as u64);
}
