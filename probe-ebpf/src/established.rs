//! How long a TCP connect takes until the connection is established, blocking or not.
//!
//! connect() enters the socket in a table; [`crate::tcp::transitions`] says when it leaves SYN_SENT. On
//! loopback that happens inside connect() itself, so the entry is made before.

use probe_common::{
    loss,
    task::Task,
    tcp::state::{CLOSE, ESTABLISHED},
};

use crate::{
    charge,
    maps::{CONNECTING, Connecting, IN_INTERRUPT, IN_NESTED, found, lost},
    mem, peer,
};

const IPPROTO_TCP: u8 = 6;

/// A connect() begins on `fd`.
#[inline(always)]
pub fn connect_begins(task: &Task, fd: u32, now: u64) {
    let Some(peer) = found(0) else { return };
    peer::of_fd(fd, peer);
    // A second connect() on a socket under way asks how it is going; it does not begin anew.
    if peer.sock == 0 || peer.protocol != IPPROTO_TCP || peer.state != CLOSE {
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

/// A TCP socket leaves SYN_SENT, at a depth of [`crate::tcp::at_depth`]. A function of its own, so that what it keeps on the stack is not added to what
/// its caller needs for other calls: together they may have 512 bytes.
#[inline(never)]
pub fn connect_ends(sock: u64, new: u32, depth: u32) {
    let _ = try_connect_ends(sock, new, depth);
}

#[inline(always)]
fn try_connect_ends(sock: u64, new: u32, depth: u32) -> Option<()> {
    // SAFETY: copied out at once; the row may be replaced by another CPU.
    let entry = unsafe { CONNECTING.get(sock) }.copied()?;
    let _ = CONNECTING.remove(sock);
    if new != ESTABLISHED as u32 {
        return Some(());
    }
    let now = mem::now_ns();
    let (scratch, found_at) = if depth == 0 {
        (IN_INTERRUPT, 2)
    } else {
        (IN_NESTED, 3)
    };
    let peer = found(found_at)?;
    peer::try_of_sock(sock, scratch, peer)?;
    charge::established(
        entry.tid,
        entry.tgid,
        entry.start_ticks,
        peer.id,
        now - entry.start_ns,
        scratch,
    );
    Some(())
}
