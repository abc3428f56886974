//! Counts every TCP socket of a network namespace: the iterator `iter/tcp`, run once for each socket while
//! user space reads its file. The kernel walks listeners first, then all others.
//!
//! Loads go straight through the pointers that the iterator hands out, which the verifier knows the types
//! of; offsets are constants to it. This adds some 30 ns to the 250 that the kernel's own walk takes for a
//! socket in TIME_WAIT.
//!
//! What is written out goes into a buffer of 32 KiB. When that is full, the kernel hands it over and runs
//! the program again for the same socket: whatever is written is therefore written first, and nothing is
//! counted unless that went well.

use aya_ebpf::{
    helpers::generated::{bpf_jiffies64, bpf_seq_write, bpf_skc_to_tcp_timewait_sock},
    macros::map,
    maps::Array,
};
use probe_common::{
    peer::{PeerKey, flag, kind},
    tcp::{
        CENSUS_PROBES, CENSUS_ROWS, COHORTS, CensusKey, CensusRow, CensusTotals, FinWait2,
        Listener, PORT_WORDS, column, record, state,
    },
};

use super::{AF_INET, AF_INET6, IPPROTO_TCP};
use crate::{maps::config, mem};

/// User space reads and writes these maps in place.
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// Sockets in FIN_WAIT_2 that a census writes out, at most: 80 bytes each.
const FIN_WAIT2_LISTED: u64 = 8192;

/// Sockets by address: an open-addressed table of [`CensusRow`]s. User space sets the size.
#[map]
pub static CENSUS: Array<CensusRow> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The rest of a census. User space clears it and sets the epoch before each.
#[map]
pub static CENSUS_TOTALS: Array<CensusTotals> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Ports of listeners, a bit each, never cleared: an inbound connection outlives its listener.
#[map]
pub static CENSUS_PORTS: Array<[u64; PORT_WORDS]> = Array::with_max_entries(1, 0);

/// What is known of the socket at hand. In a map, because the verifier does not follow values through it: on the
/// stack, each combination of kind, direction and column would be verified on its own.
#[map]
static AT_HAND: Array<AtHand> = Array::with_max_entries(1, 0);

#[repr(C)]
#[derive(Clone, Copy)]
struct AtHand {
    key: CensusKey,
    column: u32,
    pad: u32,
}

/// Context of an iterator over sockets (`struct bpf_iter__tcp`, net/ipv4/tcp_ipv4.c).
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    sk: *const u8,
    uid: u64,
}

/// `struct bpf_iter_meta` (include/linux/bpf.h).
#[repr(C)]
pub struct Meta {
    seq: *mut u8,
    session_id: u64,
    seq_num: u64,
}

/// A field behind a pointer whose type the verifier knows; it refuses the program for any other.
#[inline(always)]
pub fn load<T: Copy>(from: *const u8, offset: u32) -> T {
    // SAFETY: the verifier checks the access against the type; the kernel handles a fault.
    unsafe { from.add(offset as usize).cast::<T>().read_volatile() }
}

/// Hands bytes to whoever reads the iterator's file. False when there is no room for them: the program is
/// then run again for the same object.
#[inline(always)]
pub fn write<T>(meta: *const Meta, what: &T) -> bool {
    // SAFETY: the verifier knows the type of an iterator's `meta` and refuses any other; the length is that
    // of the value.
    unsafe {
        let seq = (&raw const (*meta).seq).read_volatile();
        bpf_seq_write(
            seq.cast(),
            core::ptr::from_ref(what).cast(),
            size_of::<T>() as u32,
        ) == 0
    }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn on_census(ctx: *const Context) -> u32 {
    let _ = try_census(ctx);
    0
}

#[inline(always)]
fn try_census(ctx: *const Context) -> Option<()> {
    // SAFETY: the context has this layout on every kernel that has the iterator.
    let (meta, sk) = unsafe {
        (
            (&raw const (*ctx).meta).read_volatile(),
            (&raw const (*ctx).sk).read_volatile(),
        )
    };
    // SAFETY: one thread at a time reads the iterator's file, so nobody else has the row.
    let totals = unsafe { &mut *CENSUS_TOTALS.get_ptr_mut(0)? };
    if totals.jiffies == 0 {
        // SAFETY: the helper takes nothing.
        totals.jiffies = unsafe { bpf_jiffies64() };
    }
    // The last call comes without a socket.
    if sk.is_null() {
        return None;
    }
    // SAFETY: as for the totals.
    let at_hand = unsafe { &mut *AT_HAND.get_ptr_mut(0)? };
    let key = &mut at_hand.key;
    *key = CensusKey::ZERO;
    let state: u8 = load(sk, config!(offsets.skc_state));
    let num: u16 = load(sk, config!(offsets.skc_num));
    let dport = load::<u16>(sk, config!(offsets.skc_dport)).swap_bytes();
    if !addresses(sk, state, key) {
        totals.unreadable += 1;
        return None;
    }
    // SAFETY: as for the totals.
    let ports = unsafe { &mut *CENSUS_PORTS.get_ptr_mut(0)? };
    let word = mem::opaque(num as usize >> 6 & (PORT_WORDS - 1));
    if word >= PORT_WORDS {
        return None;
    }
    // SAFETY: the index was just checked.
    let word = unsafe { ports.get_unchecked_mut(word) };
    let bit = 1 << (num & 63);

    let mut column = state as usize;
    match state {
        state::TIME_WAIT => {
            let (substate, expires) = timewait(sk)?;
            if substate == state::FIN_WAIT2 {
                column = column::FIN_WAIT2_TIMEWAIT;
                direct(key, num, dport, *word & bit != 0);
                if !list(meta, totals, sk, column, expires, num, dport, key) {
                    return None;
                }
            } else {
                direct(key, num, dport, *word & bit != 0);
                let cohort = expires >> config!(cohort_shift) & (COHORTS as u64 - 1);
                let cohort = mem::opaque(cohort as usize);
                if cohort >= COHORTS {
                    return None;
                }
                // SAFETY: the index was just checked.
                unsafe { *totals.time_wait.get_unchecked_mut(cohort) += 1 };
            }
        }
        state::FIN_WAIT2 => {
            // A plain number, so that no pointer that may be NULL is followed.
            let socket = mem::kernel::<u64>(sk as u64 + config!(offsets.sk_socket) as u64)?;
            if socket == 0 {
                column = column::FIN_WAIT2_ORPHAN;
            }
            direct(key, num, dport, *word & bit != 0);
            if !list(meta, totals, sk, column, 0, num, dport, key) {
                return None;
            }
        }
        state::LISTEN => {
            *word |= bit;
            key.flags = flag::LISTENER;
            key.port = num;
            if !listener(meta, sk as u64, num, key) {
                return None;
            }
        }
        state::NEW_SYN_RECV => {
            column = state::SYN_RECV as usize;
            direct(key, num, dport, *word & bit != 0);
        }
        _ => direct(key, num, dport, *word & bit != 0),
    }
    at_hand.column = column as u32;
    let column = mem::opaque(mem::reload(&at_hand.column) as usize & (column::COUNT - 1));
    if column >= column::COUNT {
        return None;
    }
    // SAFETY: the index was just checked.
    unsafe { *totals.counts.get_unchecked_mut(column) += 1 };
    match row(&at_hand.key, totals.epoch) {
        // SAFETY: as above; nobody else has the row.
        Some(row) => unsafe { *(*row).counts.get_unchecked_mut(column) += 1 },
        // SAFETY: as above.
        None => unsafe { *totals.other.get_unchecked_mut(column) += 1 },
    }
    None
}

/// Who connected to whom: an inbound connection is known by its local port, an outbound one by the
/// other side's.
#[inline(always)]
fn direct(key: &mut CensusKey, num: u16, dport: u16, inbound: bool) {
    (key.flags, key.port) = if inbound {
        (flag::INBOUND, num)
    } else {
        (0, dport)
    };
}

/// Both addresses; an IPv4 connection in IPv6 clothes (::ffff:a.b.c.d) is an IPv4 one. False for another
/// family.
#[inline(always)]
fn addresses(sk: *const u8, state: u8, key: &mut CensusKey) -> bool {
    const MAPPED: u64 = 0xffff_0000;
    match load::<u16>(sk, config!(offsets.skc_family)) {
        AF_INET => {
            key.kind = kind::INET;
            key.remote[0] = load::<u32>(sk, config!(offsets.skc_daddr)) as u64;
            key.local[0] = load::<u32>(sk, config!(offsets.skc_rcv_saddr)) as u64;
        }
        AF_INET6 => {
            let (daddr, saddr) = (
                config!(offsets.skc_v6_daddr),
                config!(offsets.skc_v6_rcv_saddr),
            );
            let remote = [load::<u64>(sk, daddr), load::<u64>(sk, daddr + 8)];
            let local = [load::<u64>(sk, saddr), load::<u64>(sk, saddr + 8)];
            let tells = if state == state::LISTEN {
                local
            } else {
                remote
            };
            if tells[0] == 0 && tells[1] & 0xffff_ffff == MAPPED {
                key.kind = kind::INET;
                key.remote[0] = remote[1] >> 32;
                key.local[0] = local[1] >> 32;
            } else {
                key.kind = kind::INET6;
                key.remote = remote;
                key.local = local;
            }
        }
        _ => return false,
    }
    true
}

/// What a timewait object stands for, and when its timer runs out.
#[inline(always)]
fn timewait(sk: *const u8) -> Option<(u8, u64)> {
    let substate = config!(offsets.tw_substate);
    let expires = config!(offsets.tw_timer) + config!(offsets.timer_expires);
    // SAFETY: the helper checks what the socket is.
    let tw = unsafe { bpf_skc_to_tcp_timewait_sock(sk as *mut _) };
    if !tw.is_null() {
        // The first member of its type is the `struct inet_timewait_sock` that the offsets are of.
        let tw = tw.cast_const().cast();
        return Some((load(tw, substate), load(tw, expires)));
    }
    // Not one of the kernel's own two protocols (MPTCP): the same object, read the slow way.
    Some((
        mem::kernel::<u8>(sk as u64 + substate as u64)?,
        mem::kernel::<u64>(sk as u64 + expires as u64)?,
    ))
}

/// Writes a socket in FIN_WAIT_2 out. False when it is to be called again.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "all that is known of the socket")]
fn list(
    meta: *const Meta,
    totals: &mut CensusTotals,
    sk: *const u8,
    column: usize,
    expires: u64,
    local_port: u16,
    remote_port: u16,
    key: &CensusKey,
) -> bool {
    let listed = totals.counts[column::FIN_WAIT2_HELD]
        + totals.counts[column::FIN_WAIT2_ORPHAN]
        + totals.counts[column::FIN_WAIT2_TIMEWAIT];
    if listed >= FIN_WAIT2_LISTED {
        totals.fin_wait2_left_out += 1;
        return true;
    }
    let mut out = FinWait2::ZERO;
    out.record = record::FIN_WAIT2;
    out.column = column as u32;
    out.sock = sk as u64;
    if column == column::FIN_WAIT2_HELD {
        out.inode = inode(sk as u64).unwrap_or(0);
    }
    out.expires = expires;
    out.local_port = local_port;
    out.remote_port = remote_port;
    out.key = *key;
    write(meta, &out)
}

/// Inode number of a socket's descriptor.
#[inline(always)]
pub fn inode(sk: u64) -> Option<u64> {
    match mem::kernel::<u64>(sk + config!(offsets.sk_socket) as u64)? {
        0 => None,
        socket => mem::kernel::<u64>(
            socket + config!(offsets.socket_inode) as u64 + config!(offsets.inode_ino) as u64,
        ),
    }
}

/// Writes a listener out. False when it is to be called again.
#[inline(always)]
fn listener(meta: *const Meta, sk: u64, num: u16, key: &CensusKey) -> bool {
    let mut out = Listener::ZERO;
    out.record = record::LISTENER;
    out.fd = -1;
    out.inode = inode(sk).unwrap_or(0);
    queues(sk, &mut out);
    let address: &mut PeerKey = &mut out.address;
    address.kind = key.kind;
    address.protocol = IPPROTO_TCP as u8;
    address.flags = flag::LISTENER;
    address.len = if key.kind == kind::INET { 4 } else { 16 };
    address.addr[0] = key.local[0];
    address.addr[1] = key.local[1];
    address.local_port = num;
    write(meta, &out)
}

/// The queues of a listening TCP socket; what cannot be read stays 0.
#[inline(always)]
pub fn queues(sk: u64, out: &mut Listener) {
    let read = |offset: u32| mem::kernel::<u32>(sk + offset as u64).unwrap_or(0);
    out.queue = read(config!(offsets.sk_ack_backlog));
    out.limit = read(config!(offsets.sk_max_ack_backlog));
    out.drops = read(config!(offsets.sk_drops));
    out.syn_queue = read(config!(offsets.icsk_accept_queue) + config!(offsets.reqsk_qlen));
}

/// The row of a key in this census: its own, or one that the census has not used yet.
#[inline(always)]
fn row(key: &CensusKey, epoch: u64) -> Option<*mut CensusRow> {
    // Multiply and add with odd constants, then the high bits: addresses differ in few places.
    let head = key.port as u64 | (key.kind as u64) << 16 | (key.flags as u64) << 24;
    let hash = key.remote[0]
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(key.remote[1].wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_add(key.local[0].wrapping_mul(0x1656_67b1_9e37_79f9))
        .wrapping_add(key.local[1].wrapping_mul(0x27d4_eb2f_1656_67c5))
        .wrapping_add(head.wrapping_mul(0xff51_afd7_ed55_8ccd));
    let first = ((hash ^ hash >> 29).wrapping_mul(0xc4ce_b9fe_1a85_ec53) >> 32) as u32;
    let mut i = 0;
    while i < CENSUS_PROBES as u32 {
        let row = CENSUS.get_ptr_mut(first.wrapping_add(i) & (CENSUS_ROWS as u32 - 1))?;
        // SAFETY: one thread at a time takes a census, so nobody else has the row.
        unsafe {
            if (*row).epoch != epoch {
                (*row).key = *key;
                (*row).counts = [0; column::COUNT];
                (*row).epoch = epoch;
                return Some(row);
            }
            if (*row).key == *key {
                return Some(row);
            }
        }
        i += 1;
    }
    None
}
