//! Entry and return of the accounted system calls.
//!
//! One program serves every tracepoint with the same shape; which call it is comes from the record. The
//! entry notes the arguments; the return finds the descriptor that ended the wait, its peer, and charges.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use aya_log_ebpf::debug;
use probe_common::{
    config::WAIT_CLASS,
    op::{self, kind},
    part,
    peer::{flag as peer_flag, special},
    task::{Task, flag, state},
};

use crate::{
    charge::{self, Call},
    dns, established,
    maps::{config, found, op_of},
    mem,
    peer::{self, NO_SLOT, Peer},
    ready, request, task,
};

/// TCP_CLOSE (include/net/tcp_states.h); a Unix socket has it only when it is not connected.
const TCP_CLOSE: u8 = 7;

/// Entry of connect.
#[tracepoint]
pub fn on_enter_connect(ctx: TracePointContext) -> u32 {
    if let Some(task) = entered::<3>(&ctx) {
        peer::forget(task, task.args[0] as u32, task.args[0] as u32);
        established::connect_begins(task, task.args[0] as u32, task.op_start_ns);
    }
    0
}

/// Entry of accept and accept4.
#[tracepoint]
pub fn on_enter_accept(ctx: TracePointContext) -> u32 {
    if let Some(task) = entered::<3>(&ctx)
        // A request whose start we did not see ends at the latest when the next one is asked for.
        && task.flags & flag::IN_REQUEST != 0
        && task.request.fd < 0
    {
        request::finish(task, task.op_start_ns);
    }
    0
}

/// Entry of poll and ppoll.
#[tracepoint]
pub fn on_enter_poll(ctx: TracePointContext) -> u32 {
    if let Some(task) = entered::<3>(&ctx)
        && task.flags & (flag::SENT_LAST | flag::RESPONSE_ENDED) != 0
        && let Some(fd) = mem::user::<u32>(task.args[0])
        && is_request_fd(task, fd)
    {
        request::awaits_client(task, task.op_start_ns);
    }
    0
}

/// Entry of select and pselect6.
#[tracepoint]
pub fn on_enter_select(ctx: TracePointContext) -> u32 {
    if let Some(task) = entered::<4>(&ctx) {
        ready::only_in_select(task);
    }
    0
}

/// Entry of epoll_wait and its kin, and of the calls that write (but sendto).
#[tracepoint]
pub fn on_enter(ctx: TracePointContext) -> u32 {
    let _ = entered::<3>(&ctx);
    0
}

/// Entry of sendto, whose fifth argument is an address.
#[tracepoint]
pub fn on_enter_sendto(ctx: TracePointContext) -> u32 {
    let _ = entered::<5>(&ctx);
    0
}

/// Entry of the calls that read.
#[tracepoint]
pub fn on_enter_recv(ctx: TracePointContext) -> u32 {
    if let Some(task) = entered::<3>(&ctx)
        && is_request_fd(task, task.args[0] as u32)
    {
        request::awaits_client(task, task.op_start_ns);
    }
    0
}

/// Notes a call of the current thread with its first `N` arguments (the record of a call with fewer must
/// not be read beyond its end; the kernel refuses to attach a program that does).
#[inline(always)]
fn entered<const N: usize>(ctx: &TracePointContext) -> Option<&'static mut Task> {
    let task = task::current()?;
    let op = op_of(mem::field::<u32>(ctx, 8)) as u32;
    if op == 0 || op & WAIT_CLASS as u32 != 0 {
        return None;
    }
    let now = mem::now_ns();
    if task.state != state::RUNNING {
        task::settle(task, now);
    }
    task.op = op;
    task.op_start_ns = now;
    task.op_block_start_ns = now;
    task.op_blocked_ns = 0;
    task.args[0] = mem::field::<u64>(ctx, 16);
    task.args[1] = mem::field::<u64>(ctx, 24);
    task.args[2] = mem::field::<u64>(ctx, 32);
    if N > 3 {
        task.args[3] = mem::field::<u64>(ctx, 40);
    }
    if N > 4 {
        task.args[4] = mem::field::<u64>(ctx, 48);
    }
    Some(task)
}

#[inline(always)]
fn is_request_fd(task: &Task, fd: u32) -> bool {
    task.flags & (flag::IN_REQUEST | flag::KEPT_OPEN) != 0 && task.request.fd == fd as i32
}

/// Return of connect.
#[tracepoint]
pub fn on_connect(ctx: TracePointContext) -> u32 {
    returned(&ctx, kind::CONNECT);
    0
}

/// Return of accept and accept4.
#[tracepoint]
pub fn on_accept(ctx: TracePointContext) -> u32 {
    returned(&ctx, kind::ACCEPT);
    0
}

/// Return of poll and ppoll.
#[tracepoint]
pub fn on_poll(ctx: TracePointContext) -> u32 {
    returned(&ctx, kind::POLL);
    0
}

/// Return of select and pselect6.
#[tracepoint]
pub fn on_select(ctx: TracePointContext) -> u32 {
    returned(&ctx, kind::SELECT);
    0
}

/// Return of epoll_wait and its kin.
#[tracepoint]
pub fn on_epoll(ctx: TracePointContext) -> u32 {
    returned(&ctx, kind::EPOLL);
    0
}

/// Return of the calls that read.
#[tracepoint]
pub fn on_recv(ctx: TracePointContext) -> u32 {
    returned(&ctx, kind::RECV);
    0
}

/// Return of the calls that write.
#[tracepoint]
pub fn on_send(ctx: TracePointContext) -> u32 {
    returned(&ctx, kind::SEND);
    0
}

/// Return of a call of a kind: one program for each kind, because the verifier explores every kind's
/// way of finding the peer in combination with everything behind it.
#[inline(always)]
fn returned(ctx: &TracePointContext, kind: u8) -> Option<()> {
    let task = task::current()?;
    let op = op_of(mem::field::<u32>(ctx, 8)) as u32;
    let ret = mem::field::<i64>(ctx, 16);
    let now = mem::now_ns();
    task::woken_unseen(task, now);
    let seen = task.op == op;
    task.op = 0;
    if !seen {
        // It was under way when watching began: its begin and its arguments are not known. An accept
        // still begins a request.
        if kind == kind::ACCEPT && ret >= 0 {
            request::accepted(task, ret as i32, now);
        }
        return None;
    }
    let peer = found(0)?;
    peer.fd = match kind {
        kind::POLL => ready::in_poll(task, ret, peer),
        kind::SELECT => ready::in_select(task, ret, peer),
        kind::EPOLL => ready::in_epoll(task, ret, peer),
        _ => task.args[0] as u32,
    };
    let fd = mem::reload(&peer.fd);
    if fd != ready::NONE {
        peer::of_task_fd(task, fd, peer);
    }
    if kind == kind::CONNECT && !peer.is_named() {
        let protocol = peer.protocol;
        peer::of_sockaddr(task.args[1], task.args[2] as u32, protocol, 0, peer);
    }
    if kind == kind::SEND && peer.flags & peer_flag::UNCONNECTED != 0 {
        datagram_address(task, op, fd, peer);
    }
    if config!(log) != 0 && peer.id == special::UNKNOWN {
        debug!(
            ctx,
            "tid {} operation {}: the peer of descriptor {} is unknown", task.tid, op, fd
        );
    }
    peer.blocked_ns = task.op_blocked_ns;
    charge_call(task, op, kind, ret, peer, now);
    dns::goes_on(ctx, kind, ret, peer);
    Some(())
}

/// What was found out goes through `peer` (map memory), not through registers: the verifier forgets it
/// there, and explores what follows once instead of once for every way that led here.
#[inline(always)]
fn charge_call(task: &mut Task, op: u32, kind: u8, ret: i64, peer: &mut Peer, now: u64) {
    let blocked = task.op_blocked_ns;
    let mine = is_request_fd(task, peer.fd);
    if mine && peer.state == TCP_CLOSE {
        // Its local port is gone, by which it would be known as inbound.
        peer.id = special::CLIENT;
    }
    let waits_for_next = task.flags & flag::KEPT_OPEN != 0;
    peer.part = match (mine, waits_for_next) {
        (true, true) => part::IDLE,
        (true, false) => part::CLIENT,
        // A time-out on several descriptors: within a request one of them was waited for, else it is an
        // event loop that looks after itself.
        (false, _) if peer.id == special::SEVERAL && task.flags & flag::IN_REQUEST == 0 => {
            part::IDLE
        }
        (false, _) => part_of(kind, peer),
    } as u32;
    peer.slot = NO_SLOT;
    let call = Call {
        op,
        peer: peer.id,
        duration: now - task.op_start_ns,
        blocked,
        ret,
    };
    charge::call(task, &call);

    let part = mem::reload(&peer.part) as usize;
    if config!(ledger) != 0 && task.flags & flag::IN_REQUEST != 0 {
        in_request(task, kind, &call, peer, part, now);
    }
    if blocked != 0 {
        task::add(task, part, blocked);
        task.last_peer = if part == part::CLIENT {
            special::CLIENT
        } else {
            peer.id
        };
        let (start, slot) = (task.op_block_start_ns, mem::reload(&peer.slot) as u8);
        task::span(task, start, blocked, slot, part, op);
        task.op_blocked_ns = 0;
    }
    if ret < 0 {
        return;
    }
    match kind {
        kind::ACCEPT => request::accepted(task, ret as i32, now),
        kind::RECV if ret > 0 => {
            // Only read and recvfrom pass the buffer itself.
            let buffer = if op == op::READ || op == op::RECVFROM {
                task.args[1]
            } else {
                0
            };
            let fd = mem::reload(&peer.fd);
            if is_request_fd(task, fd)
                || (peer.flags & peer_flag::INBOUND != 0
                    && task.request.fd < 0
                    && request::adopts(task, fd, buffer, ret as u32, now))
            {
                request::received(task, buffer, ret as u32, now);
            }
        }
        kind::SEND if ret > 0 && is_request_fd(task, mem::reload(&peer.fd)) => {
            let plain = op == op::WRITE || op == op::SENDTO;
            request::sent(task, task.args[1], if plain { ret as u64 } else { 0 });
        }
        _ => {}
    }
}

/// The part of a thread's time that a wait on this peer belongs to.
#[inline(always)]
fn part_of(kind: u8, peer: &Peer) -> usize {
    if kind == kind::ACCEPT || peer.flags & peer_flag::LISTENER != 0 {
        return part::IDLE;
    }
    match peer.id {
        // poll(NULL, 0, ms) and the like.
        special::NONE => part::SLEEP,
        special::FILE => part::DISK,
        special::PIPE | special::LOCAL => part::LOCAL,
        special::UNKNOWN => part::UNEXPLAINED,
        _ if peer.flags & peer_flag::INBOUND != 0 => part::CLIENT,
        _ => part::NETWORK,
    }
}

/// Adds a call to the open request.
#[inline(always)]
fn in_request(task: &mut Task, kind: u8, call: &Call, peer: &mut Peer, part: usize, now: u64) {
    match kind {
        kind::POLL | kind::SELECT | kind::EPOLL => task.request.polls += 1,
        kind::CONNECT => task.request.connects += 1,
        _ => {}
    }
    if part != part::NETWORK {
        return;
    }
    charge::find_slot(task, peer);
    let index = mem::opaque(mem::reload(&peer.slot) as usize);
    if index >= probe_common::request::PEERS {
        task.request.other_peers_ns += call.blocked;
        return;
    }
    let (tid, tgid, start_ticks) = (task.tid, task.tgid, task.start_ticks);
    let start = task.op_start_ns;
    // SAFETY: the index was just checked.
    let slot = unsafe { task.request.peers.get_unchecked_mut(index) };
    if call.blocked != 0 {
        slot.wait_ns += call.blocked;
        slot.waits += 1;
        if call.blocked > slot.longest_ns {
            slot.longest_ns = call.blocked;
        }
        if call.blocked > task.request.longest_ns {
            task.request.longest_ns = call.blocked;
            task.request.longest_peer = peer.id;
        }
    }
    match kind {
        kind::CONNECT => {
            slot.connects += 1;
            if slot.unanswered > 0 {
                slot.overlapped += 1;
            }
            slot.unanswered += 1;
            charge::end_exchange(tid, tgid, start_ticks, slot);
            slot.exchange_start = start;
            slot.direction = 1;
        }
        kind::SEND if call.ret > 0 => {
            if slot.direction != 1 || slot.exchange_start == 0 {
                charge::end_exchange(tid, tgid, start_ticks, slot);
                slot.exchange_start = start;
                slot.direction = 1;
            }
        }
        kind::RECV if call.ret > 0 => {
            if slot.direction == 1 {
                slot.exchanges += 1;
                slot.direction = 2;
            }
            if slot.unanswered > 0 {
                slot.unanswered -= 1;
            }
            slot.exchange_last = now;
        }
        _ => {}
    }
}

/// A datagram socket without a fixed peer: the address is in the call's own arguments.
#[inline(always)]
fn datagram_address(task: &Task, op: u32, fd: u32, peer: &mut Peer) {
    let protocol = peer.protocol;
    let from = peer::served_port(peer);
    match op {
        op::SENDTO if task.args[4] != 0 => {
            peer::of_sockaddr(task.args[4], 28, protocol, from, peer);
            peer.flags = peer_flag::UNCONNECTED;
            peer::sent_to(fd, peer.id);
        }
        // What is sent to the first of several addresses stands for all.
        op::SENDMSG | op::SENDMMSG => {
            // struct msghdr begins with the address and its length (sys/socket.h), struct mmsghdr with one.
            if let Some(name) = mem::user::<u64>(task.args[1])
                && name != 0
            {
                peer::of_sockaddr(name, 28, protocol, from, peer);
                peer.flags = peer_flag::UNCONNECTED;
                peer::sent_to(fd, peer.id);
            }
        }
        _ => {}
    }
}

/// close(), which ends a request when it closes its connection.
#[tracepoint]
pub fn on_close(ctx: TracePointContext) -> u32 {
    if let Some(task) = task::current() {
        let fd = mem::field::<u64>(&ctx, 16) as u32;
        closed(task, fd, fd);
    }
    0
}

/// close_range(first, last, flags), and dup2 and dup3, which close the descriptor that they replace.
#[tracepoint]
pub fn on_close_other(ctx: TracePointContext) -> u32 {
    if let Some(task) = task::current() {
        let (first, second) = (
            mem::field::<u64>(&ctx, 16) as u32,
            mem::field::<u64>(&ctx, 24) as u32,
        );
        if mem::field::<u32>(&ctx, 8) != config!(close_range_nr) {
            if first != second {
                closed(task, second, second);
            }
        } else {
            closed(task, first, second);
        }
    }
    0
}

#[inline(always)]
fn closed(task: &mut Task, first: u32, last: u32) {
    peer::forget(task, first, last);
    let fd = task.request.fd;
    if fd < 0 || (fd as u32) < first || fd as u32 > last {
        return;
    }
    if task.flags & flag::IN_REQUEST != 0 {
        request::finish(task, mem::now_ns());
    }
    task.flags &= !flag::KEPT_OPEN;
    task.request.fd = -1;
}
