//! Transitions of TCP sockets, from sock:inet_sock_set_state: how many, how long the state left had lasted, whose.
//!
//! Whose: never that of the process that an interrupt came upon. Where the kernel changes the state (5.10 to
//! 6.18; net/ipv4: tcp.c, tcp_input.c, tcp_ipv4.c, tcp_minisocks.c, inet_connection_sock.c):
//!
//! | from -> to | by | owner |
//! |---|---|---|
//! | CLOSE -> SYN_SENT | `tcp_v4_connect`, `tcp_v6_connect` | current: connect() or sendto(MSG_FASTOPEN) |
//! | CLOSE -> LISTEN | `inet_csk_listen_start` | current: listen() |
//! | LISTEN -> CLOSE | `__tcp_close`, `tcp_disconnect` | current: close(), shutdown(), exit |
//! | ESTABLISHED, SYN_RECV -> FIN_WAIT1 | `tcp_close_state` | current: close(), shutdown(), exit |
//! | CLOSE_WAIT -> LAST_ACK | `tcp_close_state` | current, likewise |
//! | LISTEN -> SYN_RECV | `inet_csk_clone_lock`: the new socket, as a copy of the listener | nobody yet |
//! | SYN_RECV -> ESTABLISHED | `tcp_rcv_state_process` | nobody yet: nobody has accepted it |
//! | SYN_SENT -> ESTABLISHED | `tcp_finish_connect` | remembered |
//! | ESTABLISHED -> CLOSE_WAIT; FIN_WAIT1 -> FIN_WAIT2, CLOSING | `tcp_fin`, `tcp_rcv_state_process` | remembered |
//! | any -> CLOSE | `tcp_done` (reset, time-out, timewait object), `tcp_disconnect`, `__tcp_close` | remembered |
//!
//! One exception: a shutdown() before the connection was established (TCP Fast Open, crossed SYNs) is carried out
//! by `tcp_rcv_state_process`; such a socket has an owner already, and keeps it.
//!
//! FIN_WAIT2 -> CLOSE within microseconds is `tcp_time_wait`: a small object takes the socket's place, and the
//! connection stays in FIN_WAIT_2 or TIME_WAIT. The tracepoint does not tell it from an end, so it is counted
//! and never timed; how long these states last comes from the census, or from [`timewait`].

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use probe_common::{
    count::COMM_LEN,
    hist, loss,
    peer::{kind, special},
    request::event,
    table,
    tcp::{TcpSocket, Transition, TransitionKey, TransitionSum, state},
};

use super::{AF_INET, Side, Work, at_depth, connects, listens, once, timewait, work_at};
use crate::{
    established, lifecycle,
    maps::{
        TCP_SOCKETS, TRANSITIONS, ZERO_TRANSITION, atomic_add32, atomic_add64, config, lost, made,
    },
    mem,
    sched::arg,
};

const ESTABLISHED: u32 = state::ESTABLISHED as u32;
const SYN_SENT: u32 = state::SYN_SENT as u32;
const SYN_RECV: u32 = state::SYN_RECV as u32;
const FIN_WAIT1: u32 = state::FIN_WAIT1 as u32;
const FIN_WAIT2: u32 = state::FIN_WAIT2 as u32;
const CLOSE: u32 = state::CLOSE as u32;
const LAST_ACK: u32 = state::LAST_ACK as u32;
const LISTEN: u32 = state::LISTEN as u32;

/// In place of a time that is not known.
pub const UNTIMED: u64 = u64::MAX;

/// A raw tracepoint, like the scheduler's: it runs in interrupts, where a classic one may be skipped. (sk, oldstate,
/// newstate); nothing when they are the same: `tcp_close_state`, for a close() behind a shutdown(), sets the state that
/// there is.
#[inline(always)]
fn arguments(ctx: &RawTracePointContext) -> Option<(u64, u32, u32)> {
    let (sock, old, new) = (arg(ctx, 0), arg(ctx, 1) as u32, arg(ctx, 2) as u32);
    (old != new).then_some((sock, old, new))
}

/// The first program on the tracepoint, see [`once`].
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn on_tcp_state(ctx: RawTracePointContext) -> i32 {
    if let Some((sock, old, new)) = arguments(&ctx) {
        once::mark(sock);
        changes(sock, old, new);
    }
    0
}

/// The second: does what the first was left out for.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn on_tcp_state_again(ctx: RawTracePointContext) -> i32 {
    if let Some((sock, old, new)) = arguments(&ctx)
        && !once::take(sock)
    {
        changes(sock, old, new);
    }
    0
}

/// The third: takes away the mark that the second was left out for.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn on_tcp_state_done(ctx: RawTracePointContext) -> i32 {
    if let Some((sock, ..)) = arguments(&ctx) {
        once::take(sock);
    }
    0
}

#[inline(never)]
fn changes(sock: u64, old: u32, new: u32) {
    if new == LISTEN {
        listens::port(sock);
    }
    at_depth(|depth| {
        if config!(established) != 0 && old == SYN_SENT {
            established::connect_ends(sock, new, depth);
        }
        if config!(tcp_states) != 0 {
            work_at(depth, |work| {
                let _ = transition(work, sock, old, new);
            });
        }
    });
}

#[inline(always)]
fn transition(work: &mut Work, sock: u64, old: u32, new: u32) -> Option<()> {
    let now = mem::now_ns();
    let passive = old == LISTEN && new == SYN_RECV;
    let known = TCP_SOCKETS.get_ptr_mut(sock);
    // SAFETY: a live map value; two CPUs change a socket's state one after the other.
    if known.is_some_and(|row| ![old, CLOSE].contains(unsafe { &(*row).state })) {
        lost(loss::slot::TRANSITION_UNSEEN);
    }
    // A socket that begins has no past: what stands under its address is another's, whose end was not seen.
    let row = if old == CLOSE || passive { None } else { known };
    match row {
        // SAFETY: a live map value; two CPUs change a socket's state one after the other.
        Some(row) => work.socket = unsafe { *row },
        None => {
            work.read(sock)?;
            if !work.is_watched_tcp(sock) {
                return None;
            }
            work.socket = TcpSocket::ZERO;
        }
    }
    if row.is_some() && (config!(tcp_events) != 0 || work.socket.peer == 0) {
        work.read(sock)?;
    }
    if passive {
        work.socket.listener = work.listener(sock);
    } else if work.socket.peer == 0 {
        let side = if new == SYN_SENT || old == SYN_SENT {
            Side::Outbound
        } else if old == LISTEN || new == LISTEN {
            Side::Listener
        } else if work.socket.listener != 0 {
            Side::Inbound
        } else {
            work.side(sock)
        };
        work.socket.peer = work.name(sock, side);
    }
    if config!(exact_timewait) != 0 && old == FIN_WAIT2 && new == CLOSE {
        timewait::fin_wait2_closed(sock, &work.socket);
    }
    let socket = &mut work.socket;
    let by_current = new == SYN_SENT
        || new == LISTEN
        || new == FIN_WAIT1
        || new == LAST_ACK
        || old == LISTEN && new == CLOSE;
    let (tid, tgid) = mem::current_ids();
    // Our own walk over descriptors holds each for a moment. One that is closed just then is closed by us.
    let by_current =
        by_current && (socket.early == 0 || old != ESTABLISHED) && tgid != config!(own_tgid);
    if by_current {
        socket.tid = tid;
        socket.tgid = tgid;
        mem::current_comm(&mut socket.comm);
    }
    if old == SYN_RECV && new == ESTABLISHED {
        socket.early = (socket.tgid != 0) as u32;
        if socket.listener != 0 {
            socket.established_ns = now;
        }
    }
    let swapped = old == FIN_WAIT2 && new == CLOSE;
    let dwell = if socket.since_ns != 0 && socket.state == old && !swapped {
        now.saturating_sub(socket.since_ns)
    } else {
        UNTIMED
    };
    socket.since_ns = now;
    socket.state = new;
    remember(sock, row, socket, by_current);

    let key = TransitionKey {
        peer: if passive {
            socket.listener
        } else {
            socket.peer
        },
        tgid: socket.tgid,
        old: old as u8,
        new: new as u8,
        pad: 0,
    };
    add(&key, &socket.comm, now, dwell);
    if config!(listens) != 0 && old == LISTEN && new == CLOSE {
        listens::ended(socket, now);
    }
    if config!(connects) != 0 && old == SYN_SENT {
        connects::leaves_syn_sent(sock, new, socket, now);
    }
    if config!(tcp_events) != 0 {
        send(work, sock, old, new, dwell)?;
    }
    Some(())
}

/// Keeps what is known of a socket for its next transition.
#[inline(always)]
fn remember(sock: u64, row: Option<*mut TcpSocket>, socket: &TcpSocket, by_current: bool) {
    let Some(row) = row else {
        if socket.state == CLOSE {
            return;
        }
        if TCP_SOCKETS.insert(sock, socket, 0).is_err() {
            lost(loss::slot::TCP_SOCKETS_FULL);
        }
        return;
    };
    // SAFETY: a live map value. accept() may enter the owner meanwhile, so what stays is not written.
    let row = unsafe { &mut *row };
    // One that is reset in the queue is handed out by accept() all the same. Where the listener goes instead, the row stays until
    // another socket has the address.
    if socket.state == CLOSE && (row.listener == 0 || row.established_ns == 0) {
        // From 5.11 to 6.6 it stays where an interrupt came upon a change of the same part of the table (EBUSY, `htab_lock_bucket`).
        row.state = CLOSE;
        let _ = TCP_SOCKETS.remove(sock);
        return;
    }
    row.since_ns = socket.since_ns;
    row.state = socket.state;
    if socket.state == ESTABLISHED {
        row.established_ns = socket.established_ns;
        row.early = socket.early;
    }
    if row.peer == 0 {
        row.peer = socket.peer;
    }
    if by_current {
        row.tid = socket.tid;
        row.tgid = socket.tgid;
        row.comm = socket.comm;
    }
}

/// Adds one to the sums.
#[inline(never)]
pub fn add(key: &TransitionKey, comm: &[u8; COMM_LEN], now: u64, dwell: u64) {
    let _ = try_add(key, comm, now, dwell);
}

#[inline(always)]
fn try_add(key: &TransitionKey, comm: &[u8; COMM_LEN], now: u64, dwell: u64) -> Option<()> {
    let sum = match TRANSITIONS.get_ptr_mut(key) {
        Some(sum) => sum,
        None => {
            let zero = ZERO_TRANSITION.get(0)?;
            if TRANSITIONS.insert(key, zero, 1 /* BPF_NOEXIST */).is_ok() {
                made(table::slot::TRANSITIONS);
            }
            match TRANSITIONS.get_ptr_mut(key) {
                Some(sum) => {
                    if key.tgid != 0 {
                        // SAFETY: a live map value; whoever else made the row writes the same name.
                        unsafe { (*sum).comm = *comm };
                    }
                    sum
                }
                None => {
                    lost(loss::slot::TRANSITIONS_FULL);
                    // User space has made a row for each pair.
                    TRANSITIONS.get_ptr_mut(TransitionKey {
                        peer: special::OTHER,
                        tgid: 0,
                        ..*key
                    })?
                }
            }
        }
    };
    count(sum, now, dwell);
    Some(())
}

/// Adds one to a sum in a map. Several CPUs may do so at once: every change is atomic but the maximum's, which may
/// miss one of two simultaneous values, never invent one.
#[inline(always)]
pub fn count(sum: *mut TransitionSum, now: u64, dwell: u64) {
    // SAFETY: a live map value.
    unsafe {
        atomic_add64(&raw mut (*sum).count, 1);
        (&raw mut (*sum).last_ns).write_volatile(now);
        if dwell == UNTIMED {
            return;
        }
        atomic_add64(&raw mut (*sum).timed, 1);
        atomic_add64(&raw mut (*sum).total_ns, dwell);
        if dwell > (*sum).max_ns {
            (*sum).max_ns = dwell;
        }
        let bucket = mem::opaque(hist::bucket(dwell) as usize);
        if bucket < hist::BUCKETS {
            atomic_add32((&raw mut (*sum).hist).cast::<u32>().add(bucket), 1);
        }
    }
}

/// A record for `tcp --events`.
#[inline(always)]
fn send(work: &mut Work, sock: u64, old: u32, new: u32, dwell: u64) -> Option<()> {
    let local_port = work.local_port(sock)?;
    let remote_port = work.field::<u16>(config!(offsets.skc_dport))?.swap_bytes();
    let v4 = work.field::<u16>(config!(offsets.skc_family))? == AF_INET;
    let (local, remote) = if v4 {
        let local = work.field::<u32>(config!(offsets.skc_rcv_saddr))?;
        let remote = work.field::<u32>(config!(offsets.skc_daddr))?;
        ([local as u64, 0], [remote as u64, 0])
    } else {
        (
            work.field::<[u64; 2]>(config!(offsets.skc_v6_rcv_saddr))?,
            work.field::<[u64; 2]>(config!(offsets.skc_v6_daddr))?,
        )
    };
    let Work { event, socket, .. } = work;
    event.event = event::TRANSITION;
    event.tgid = socket.tgid;
    event.at_ns = socket.since_ns;
    event.sock = sock;
    event.dwell_ns = dwell;
    event.local = local;
    event.remote = remote;
    event.local_port = local_port;
    event.remote_port = remote_port;
    event.old = old as u8;
    event.new = new as u8;
    event.kind = if v4 { kind::INET } else { kind::INET6 };
    event.pad = 0;
    event.comm = socket.comm;
    lifecycle::send((&raw const *event).cast(), size_of::<Transition>() as u64);
    Some(())
}
