//! Looks at every UDP socket of a network namespace: the iterator `iter/udp`, as in [`crate::tcp::census`].

use aya_ebpf::{macros::map, maps::Array};
use probe_common::{
    config::ABSENT,
    udp::{LISTED, UdpSocket, UdpTotals, record},
};

use super::{IPPROTO_UDP, addresses};
use crate::{
    maps::config,
    tcp::census::{Meta, inode, load, write},
};

/// User space reads and writes this map in place.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// What is only counted.
#[map]
static UDP_CENSUS: Array<UdpTotals> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Context of an iterator over UDP sockets (`struct bpf_iter__udp`, net/ipv4/udp.c).
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    sk: *const u8,
    uid: u64,
    bucket: u64,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/udp")]
pub extern "C" fn on_udp_socket(ctx: *const Context) -> u32 {
    let _ = try_socket(ctx);
    0
}

#[inline(always)]
fn try_socket(ctx: *const Context) -> Option<()> {
    // SAFETY: the context has this layout on every kernel that has the iterator.
    let (meta, sk) = unsafe {
        (
            (&raw const (*ctx).meta).read_volatile(),
            (&raw const (*ctx).sk).read_volatile(),
        )
    };
    // The last call comes without a socket.
    if sk.is_null() || load::<u16>(sk, config!(offsets.sk_protocol)) as u32 != IPPROTO_UDP {
        return None;
    }
    // SAFETY: one thread at a time reads the iterator's file, so nobody else has the row.
    let totals = unsafe { &mut *UDP_CENSUS.get_ptr_mut(0)? };
    let queue_length = config!(offsets.skb_head_qlen);
    let queued = load::<u32>(sk, config!(offsets.sk_receive_queue) + queue_length)
        + load::<u32>(sk, config!(udp.reader_queue) + queue_length);
    let charged = load::<i32>(sk, config!(udp.sk_rmem_alloc));
    let read = load::<i32>(sk, config!(udp.forward_deficit));
    // Both change while we look.
    let queued_bytes = (charged - read).max(0) as u32;
    let drops = match config!(udp.drop_counters) {
        ABSENT => load::<u32>(sk, config!(offsets.sk_drops)),
        counters => {
            load::<u32>(sk, counters + config!(udp.drops0))
                + load::<u32>(sk, counters + config!(udp.drops1))
        }
    };
    if drops != 0 || queued != 0 || queued_bytes != 0 {
        if totals.listed >= LISTED {
            totals.left_out += 1;
        } else {
            let mut out = UdpSocket::ZERO;
            out.record = record::SOCKET;
            out.key.sock = sk as u64;
            out.key.inode = inode(sk as u64).unwrap_or(0);
            addresses(sk as u64, &mut out.local, &mut out.remote)?;
            out.rcvbuf_bytes = load(sk, config!(udp.sk_rcvbuf));
            out.queued_bytes = queued_bytes;
            out.queued = queued;
            out.drops = drops;
            out.uid = load(sk, config!(udp.sk_uid));
            // Without room it is run again for this socket.
            if !write(meta, &out) {
                return None;
            }
            totals.listed += 1;
        }
    }
    totals.total += 1;
    None
}
