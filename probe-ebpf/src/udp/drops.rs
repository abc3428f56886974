//! Datagrams that find their socket full, from udp:udp_fail_queue_rcv_skb.
//!
//! A raw tracepoint: no record is made, and classic ones are skipped beside each other (decision 0004). It runs in
//! the softirq that receives, which does not nest on a CPU; several CPUs may fill one socket at once. So everything
//! counted is added atomically, and at a million drops a second a drop costs some lookups and no record.

use aya_ebpf::macros::map;
use aya_ebpf::{macros::raw_tracepoint, maps::HashMap, programs::RawTracePointContext};
use probe_common::{
    config::ABSENT,
    loss,
    peer::kind,
    request::event,
    udp::{UdpAddress, UdpDrops, UdpKey, UdpStep},
};

use super::{IPPROTO_UDP, addresses};
use crate::{
    lifecycle,
    maps::{atomic_add64, config, lost},
    mem,
    sched::arg,
    tcp::{census::inode, watched},
};

/// Of each socket, at most one record for the ring in this long, ns.
const TELL_EVERY_NS: u64 = 100_000_000;
/// Why (include/uapi/asm-generic/errno-base.h, errno.h; `__udp_enqueue_schedule_skb` in net/ipv4/udp.c).
const ENOMEM: i32 = -12;
const ENOBUFS: i32 = -105;

/// Sockets that dropped something. User space sets the size, and makes the row of the others (key 0).
#[map]
pub static UDP_DROPS: HashMap<UdpKey, UdpDrops> = HashMap::with_max_entries(1, 0);

#[raw_tracepoint(tracepoint = "udp_fail_queue_rcv_skb")]
pub fn on_udp_drop(ctx: RawTracePointContext) -> i32 {
    let _ = try_drop(&ctx);
    0
}

#[inline(always)]
fn try_drop(ctx: &RawTracePointContext) -> Option<()> {
    // (rc, sk), and on newer kernels the datagram.
    let (rc, sock) = (arg(ctx, 0) as i32, arg(ctx, 1));
    if watched(sock)? != IPPROTO_UDP {
        return None;
    }
    let mut key = UdpKey {
        sock,
        inode: inode(sock).unwrap_or(0),
    };
    let now = mem::now_ns();
    let row = row(&mut key, now)?;
    // SAFETY: a live map value; what several CPUs write is added atomically, or is the same whoever writes it.
    let row = unsafe { &mut *row };
    let counter = match rc {
        ENOMEM => &raw mut row.buffer_full,
        ENOBUFS => &raw mut row.memory,
        _ => &raw mut row.other,
    };
    atomic_add64(counter, 1);
    let skb = match config!(udp.record_family) {
        ABSENT => 0,
        _ => arg(ctx, 2),
    };
    if skb != 0
        && let Some(size) = mem::kernel::<u32>(skb + config!(udp.skb_truesize) as u64)
    {
        atomic_add64(&raw mut row.truesize_bytes, size as u64);
    }
    row.last_ns = now;
    // Two CPUs may find it due at once: a record more.
    if now.wrapping_sub(row.told_ns) >= TELL_EVERY_NS {
        row.told_ns = now;
        if key.sock != 0 {
            let _ = describe(sock, row);
        }
        tell(&key, row, skb, now);
    }
    Some(())
}

/// The row of a socket, or that of the others: the key says which.
#[inline(always)]
fn row(key: &mut UdpKey, now: u64) -> Option<*mut UdpDrops> {
    if let Some(row) = UDP_DROPS.get_ptr_mut(*key) {
        return Some(row);
    }
    let mut new = UdpDrops::ZERO;
    new.born_ns = now;
    // Of several CPUs at once, one makes it.
    let _ = UDP_DROPS.insert(*key, new, 1 /* BPF_NOEXIST */);
    if let Some(row) = UDP_DROPS.get_ptr_mut(*key) {
        return Some(row);
    }
    lost(loss::slot::UDP_SOCKETS_FULL);
    *key = UdpKey::ZERO;
    UDP_DROPS.get_ptr_mut(*key)
}

/// Writes down what is known of the socket.
#[inline(always)]
fn describe(sock: u64, row: &mut UdpDrops) -> Option<()> {
    addresses(sock, &mut row.local, &mut row.remote)?;
    row.uid = mem::kernel(sock + config!(udp.sk_uid) as u64)?;
    row.rcvbuf_bytes = mem::kernel(sock + config!(udp.sk_rcvbuf) as u64)?;
    row.queued_bytes = mem::kernel(sock + config!(udp.sk_rmem_alloc) as u64)?;
    Some(())
}

#[inline(always)]
fn tell(key: &UdpKey, row: &UdpDrops, skb: u64, now: u64) {
    let mut step = UdpStep::ZERO;
    step.event = event::UDP_DROPS;
    step.key = *key;
    step.born_ns = row.born_ns;
    step.at_ns = now;
    step.total = row.buffer_full + row.memory + row.other;
    if skb != 0 && sender(skb, &mut step.sender).is_none() {
        lost(loss::slot::READ_FAILED);
        step.sender = UdpAddress::ZERO;
    }
    lifecycle::send((&raw const step).cast(), size_of::<UdpStep>() as u64);
}

/// Who sent a datagram: from its headers, which the kernel has checked.
#[inline(always)]
fn sender(skb: u64, to: &mut UdpAddress) -> Option<()> {
    let head = mem::kernel::<u64>(skb + config!(udp.skb_head) as u64)?;
    let ip = head + mem::kernel::<u16>(skb + config!(udp.skb_network_header) as u64)? as u64;
    let udp = head + mem::kernel::<u16>(skb + config!(udp.skb_transport_header) as u64)? as u64;
    if mem::kernel::<u8>(ip)? >> 4 == 4 {
        to.kind = kind::INET as u16;
        to.ip[0] = mem::kernel::<u32>(ip + 12)? as u64;
    } else {
        to.kind = kind::INET6 as u16;
        to.ip = mem::kernel::<[u64; 2]>(ip + 8)?;
    }
    to.port = mem::kernel::<u16>(udp)?.swap_bytes();
    Some(())
}
