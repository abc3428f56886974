//! Who accepts a TCP connection: its owner from then on; and how long it had waited since it was established.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{
    loss,
    peer::special,
    tcp::{TcpSocket, TransitionKey, state},
};

use super::{Side, Work, transitions, with_work};
use crate::{
    maps::{TCP_SOCKETS, config, lost},
    mem,
    peer::sock_of_fd,
};

/// Return of accept and accept4.
#[tracepoint]
pub fn on_tcp_accept(ctx: TracePointContext) -> u32 {
    let fd = mem::field::<i64>(&ctx, 16);
    if fd >= 0 && mem::current_ids().1 != config!(own_tgid) {
        let sock = sock_of_fd(fd as u32);
        if sock != 0 {
            with_work(|work| {
                let _ = accepted(work, sock);
            });
        }
    }
    0
}

#[inline(always)]
fn accepted(work: &mut Work, sock: u64) -> Option<()> {
    let now = mem::now_ns();
    let tgid = mem::current_ids().1;
    let socket = &mut work.socket;
    mem::current_comm(&mut socket.comm);
    let (mut listener, mut dwell) = (special::UNKNOWN, transitions::UNTIMED);
    let mut over = false;
    match TCP_SOCKETS.get_ptr_mut(sock) {
        Some(row) => {
            // SAFETY: a live map value. A transition at the same time leaves these fields alone.
            let row = unsafe { &mut *row };
            if row.listener != 0 {
                listener = row.listener;
            }
            if row.established_ns != 0 {
                dwell = now.saturating_sub(row.established_ns);
            }
            row.listener = 0;
            row.established_ns = 0;
            row.tgid = tgid;
            row.comm = socket.comm;
            over = row.state == state::CLOSE as u32;
        }
        None => older(work, sock, tgid)?,
    }
    if over {
        let _ = TCP_SOCKETS.remove(sock);
    }
    let key = TransitionKey {
        peer: listener,
        tgid,
        old: state::ESTABLISHED,
        new: state::ACCEPTED,
        pad: 0,
    };
    transitions::add(&key, &work.socket.comm, now, dwell);
    Some(())
}

/// A connection that was established before we watched: which listener it came in on is not known any more.
#[inline(always)]
fn older(work: &mut Work, sock: u64, tgid: u32) -> Option<()> {
    work.read(sock)?;
    if !work.is_watched_tcp(sock) {
        return None;
    }
    let peer = work.name(sock, Side::Inbound);
    work.socket = TcpSocket {
        peer,
        tgid,
        state: work.field::<u8>(config!(offsets.skc_state))? as u32,
        comm: work.socket.comm,
        ..TcpSocket::ZERO
    };
    if TCP_SOCKETS.insert(sock, &work.socket, 0).is_err() {
        lost(loss::slot::TCP_SOCKETS_FULL);
    }
    Some(())
}
