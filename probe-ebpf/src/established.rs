//! How long a TCP connect takes until the connection is established, blocking or not.
//!
//! connect() enters the socket in a table; sock:inet_sock_set_state says when it leaves SYN_SENT. On
//! loopback that happens inside connect() itself, so the entry is made before.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use probe_common::{loss, task::Task};

use crate::{
    charge,
    maps::{CONNECTING, Connecting, IN_INTERRUPT, LISTEN_PORTS, config, found, lost},
    mem, peer,
    sched::arg,
};

const TCP_ESTABLISHED: u32 = 1;
const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u32 = 10;
const IPPROTO_TCP: u8 = 6;

/// A connect() begins on `fd`.
#[inline(always)]
pub fn connect_begins(task: &Task, fd: u32, now: u64) {
    let Some(peer) = found(0) else { return };
    peer::of_fd(fd, peer);
    // A second connect() on a socket under way asks how it is going; it does not begin anew.
    if peer.sock == 0 || peer.protocol != IPPROTO_TCP || peer.state != TCP_CLOSE {
        return;
    }
    let entry = Connecting {
        start_ns: now,
        tid: task.tid,
        tgid: task.tgid,
        start_ticks: task.start_ticks,
        pad: 0,
    };
    if CONNECTING.insert(peer.sock, entry, 0).is_err() {
        lost(loss::slot::CONNECTING_FULL);
    }
}

/// A raw tracepoint, like the scheduler's: it runs in interrupts, where a classic one may be skipped.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn on_tcp_state(ctx: RawTracePointContext) -> i32 {
    let _ = try_tcp_state(&ctx);
    0
}

#[inline(always)]
fn try_tcp_state(ctx: &RawTracePointContext) -> Option<()> {
    // (sk, oldstate, newstate)
    let sock = arg(ctx, 0);
    let new = arg(ctx, 2) as u32;
    if new == TCP_LISTEN {
        let port = mem::kernel::<u16>(sock + config!(offsets.skc_num) as u64)?;
        let _ = LISTEN_PORTS.insert(port as u32, 1, 0);
        return Some(());
    }
    if arg(ctx, 1) as u32 != TCP_SYN_SENT {
        return Some(());
    }
    // SAFETY: copied out at once; the row may be replaced by another CPU.
    let entry = unsafe { CONNECTING.get(sock) }.copied()?;
    let _ = CONNECTING.remove(sock);
    if new != TCP_ESTABLISHED {
        return Some(());
    }
    let now = mem::now_ns();
    let peer = found(2)?;
    peer::try_of_sock(sock, IN_INTERRUPT, peer)?;
    charge::established(
        entry.tid,
        entry.tgid,
        entry.start_ticks,
        peer.id,
        now - entry.start_ns,
    );
    Some(())
}
