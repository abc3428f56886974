//! Adds a finished call to the sums by (thread, operation, peer), and to the open request.

use probe_common::{
    hist, loss,
    op::derived,
    peer::special,
    request::{PEERS, PeerUse},
    stat::{ERR_SLOTS, Stat, StatKey},
    table,
    task::Task,
};

use crate::{
    maps::{
        IN_CALL, PEERS as PEER_NAMES, SCRATCH, STATS, ZERO_STAT, atomic_add32, atomic_add64, lost,
        made,
    },
    mem,
    peer::{NO_SLOT, Peer},
};

/// The row for a thread, operation and peer, made when it is not there. The address in [`SCRATCH`] is
/// registered with a new row: a peer is only ever met together with its first row.
#[inline(always)]
fn row(
    tid: u32,
    tgid: u32,
    start_ticks: u32,
    op: u32,
    peer: u64,
    scratch: u32,
) -> Option<*mut Stat> {
    let mut key = StatKey {
        tid,
        start_ticks,
        tgid,
        op,
        peer,
    };
    if let Some(stat) = STATS.get_ptr_mut(&key) {
        return Some(stat);
    }
    if !register(&mut key.peer, scratch)
        && let Some(stat) = STATS.get_ptr_mut(&key)
    {
        return Some(stat);
    }
    let zero = ZERO_STAT.get(0)?;
    if STATS.insert(&key, zero, 1 /* BPF_NOEXIST */).is_ok() {
        made(table::slot::STATS);
    } else if STATS.get_ptr(&key).is_none() {
        lost(loss::slot::STATS_FULL);
        return None;
    }
    STATS.get_ptr_mut(&key)
}

/// Makes sure that user space can name a peer. False when the table is full: the id becomes "other".
#[inline(never)]
pub fn register(peer: &mut u64, scratch: u32) -> bool {
    if *peer < special::FIRST_HASH || PEER_NAMES.get_ptr(&*peer).is_some() {
        return true;
    }
    let Some(key) = SCRATCH.get(scratch) else {
        return true;
    };
    // A remembered peer that found no place in the table when it was met: another address is here now.
    if probe_common::peer::id(key) != *peer {
        *peer = special::OTHER;
        return false;
    }
    if PEER_NAMES.insert(&*peer, key, 0).is_err() {
        lost(loss::slot::PEERS_FULL);
        *peer = special::OTHER;
        return false;
    }
    made(table::slot::PEERS);
    true
}

/// A finished call.
pub struct Call {
    pub op: u32,
    pub peer: u64,
    pub duration: u64,
    pub blocked: u64,
    /// What it returned: below 0 an errno.
    pub ret: i64,
}

/// Adds a call of the current thread: its row has one writer, so nothing is atomic.
#[inline(always)]
pub fn call(task: &Task, call: &Call) {
    let Some(stat) = row(
        task.tid,
        task.tgid,
        task.start_ticks,
        call.op,
        call.peer,
        IN_CALL,
    ) else {
        return;
    };
    // SAFETY: a live map value; only this thread writes it.
    let stat = unsafe { &mut *stat };
    stat.count += 1;
    stat.total_ns += call.duration;
    stat.blocked_ns += call.blocked;
    if call.duration > stat.max_ns {
        stat.max_ns = call.duration;
    }
    record(&mut stat.hist, call.duration);
    if call.ret < 0 {
        error(stat, mem::errno_of(call.ret));
    }
}

/// Adds a duration to a histogram with one writer.
#[inline(always)]
pub fn record(hist: &mut [u32; hist::BUCKETS], duration: u64) {
    let bucket = mem::opaque(hist::bucket(duration) as usize);
    if bucket < hist::BUCKETS {
        // SAFETY: the index was just checked.
        unsafe { *hist.get_unchecked_mut(bucket) += 1 };
    }
}

#[inline(always)]
fn error(stat: &mut Stat, errno: u32) {
    let mut i = 0;
    while i < ERR_SLOTS {
        // SAFETY: the index is below the array's length.
        let slot = unsafe { stat.errors.get_unchecked_mut(i) };
        if slot.errno == errno || slot.errno == 0 {
            slot.errno = errno;
            slot.count += 1;
            return;
        }
        i += 1;
    }
    stat.other_errors += 1;
}

/// Adds a connection that was established, from interrupt context: two may finish at once on two CPUs.
#[inline(always)]
pub fn established(tid: u32, tgid: u32, start_ticks: u32, peer: u64, duration: u64, scratch: u32) {
    let Some(stat) = row(tid, tgid, start_ticks, derived::ESTABLISHED, peer, scratch) else {
        return;
    };
    // SAFETY: a live map value; shared, so every change is atomic but the maximum's (which may miss one
    // of two simultaneous values, never invent one).
    unsafe {
        atomic_add64(&raw mut (*stat).count, 1);
        atomic_add64(&raw mut (*stat).total_ns, duration);
        if duration > (*stat).max_ns {
            (*stat).max_ns = duration;
        }
        let bucket = mem::opaque(hist::bucket(duration) as usize);
        if bucket < hist::BUCKETS {
            let slot = (&raw mut (*stat).hist).cast::<u32>().add(bucket);
            atomic_add32(slot, 1);
        }
    }
}

/// Finds the slot of a peer in the open request, or makes it; the answer goes to `peer.slot`.
#[inline(never)]
pub fn find_slot(task: &mut Task, peer: &mut Peer) {
    let mut i = 0;
    while i < PEERS {
        // SAFETY: the index is below the array's length.
        let slot = unsafe { task.request.peers.get_unchecked_mut(i) };
        if i as u32 >= task.request.npeers {
            *slot = PeerUse::ZERO;
            slot.peer = peer.id;
            task.request.npeers = i as u32 + 1;
            peer.slot = i as u32;
            return;
        }
        if slot.peer == peer.id {
            peer.slot = i as u32;
            return;
        }
        i += 1;
    }
    peer.slot = NO_SLOT;
    lost(loss::slot::REQUEST_PEERS_FULL);
}

/// Ends the exchange under way with a peer and adds its duration to the sums.
#[inline(always)]
pub fn end_exchange(tid: u32, tgid: u32, start_ticks: u32, slot: &mut PeerUse) {
    let (start, last) = (slot.exchange_start, slot.exchange_last);
    slot.exchange_start = 0;
    slot.exchange_last = 0;
    if start == 0 || last <= start {
        return;
    }
    let duration = last - start;
    let Some(stat) = row(
        tid,
        tgid,
        start_ticks,
        derived::EXCHANGE,
        slot.peer,
        IN_CALL,
    ) else {
        return;
    };
    // SAFETY: a live map value; only this thread writes it.
    let stat = unsafe { &mut *stat };
    stat.count += 1;
    stat.total_ns += duration;
    if duration > stat.max_ns {
        stat.max_ns = duration;
    }
    record(&mut stat.hist, duration);
}
