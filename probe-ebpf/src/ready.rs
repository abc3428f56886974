//! The descriptor that ended a wait on several: what poll, select and epoll_wait found ready.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use probe_common::{loss, peer::special, task::Task};

use crate::{
    epoll,
    maps::{SETS, found, lost},
    mem,
    peer::{self, Peer},
};

/// Descriptors of one poll that are looked at.
const MAX_POLLED: u32 = 63;
/// Words of 64 descriptors of one select that are looked at (FD_SETSIZE is 1024).
const MAX_SELECT_WORDS: u32 = 16;

/// No single descriptor ended the wait.
pub const NONE: u32 = u32::MAX;

/// The descriptor that ended a poll. Where none did (time-out, signal), the answer is the peer that all
/// polled sockets share, if they do.
#[inline(always)]
pub fn in_poll(task: &Task, ret: i64, peer: &mut Peer) -> u32 {
    let (array, n) = (task.args[0], task.args[1] as u32);
    if n == 0 {
        return NONE;
    }
    if ret <= 0 {
        return if n == 1 {
            mem::user::<u32>(array).unwrap_or(NONE)
        } else {
            shared_peer(array, n, peer)
        };
    }
    let Some(set) = pollfds(array, n) else {
        peer.set_special(special::UNKNOWN);
        return NONE;
    };
    let mut i = 0;
    while i < MAX_POLLED {
        if i >= n {
            break;
        }
        // struct pollfd: int fd; short events; short revents.
        let entry = set[i as usize];
        if entry >> 48 != 0 {
            return entry as u32;
        }
        i += 1;
    }
    lost(loss::slot::POLL_SET_TOO_LARGE);
    peer.set_special(special::UNKNOWN);
    NONE
}

/// Copies the first entries of an array of pollfd.
#[inline(always)]
fn pollfds(array: u64, n: u32) -> Option<&'static [u64; 128]> {
    let n = if n > MAX_POLLED { MAX_POLLED } else { n };
    copy_set(array, 0, n * 8)
}

/// Copies `len` (up to 512) bytes of user memory to word `at` (up to 32) of the scratch sets.
#[inline(always)]
fn copy_set(from: u64, at: usize, len: u32) -> Option<&'static [u64; 128]> {
    let sets = SETS.get_ptr_mut(0)?;
    // SAFETY: the row belongs to this CPU, and tracepoint programs do not migrate.
    let sets = unsafe { &mut *sets };
    let len = mem::opaque(len as usize) as u32 & 511;
    // SAFETY: at most 32 words and 511 bytes into 1,024; the helper checks the source.
    let failed = unsafe {
        let to = sets.as_mut_ptr().add(at).cast();
        bpf_probe_read_user(to, len, from as *const _)
    };
    if failed != 0 {
        lost(loss::slot::READ_FAILED);
        return None;
    }
    Some(sets)
}

/// A descriptor that stands for all sockets of a poll set, if they lead to one address; local
/// descriptors (wake-up pipes) do not count. Otherwise `peer` says "several".
#[inline(never)]
fn shared_peer(array: u64, n: u32, peer: &mut Peer) -> u32 {
    const LOOKED_AT: u32 = 8;
    let (Some(one), Some(set)) = (found(1), pollfds(array, n)) else {
        return NONE;
    };
    peer.fd = NONE;
    let mut i = 0;
    while i < LOOKED_AT {
        if i >= n {
            break;
        }
        let entry = set[i as usize] as u32;
        peer::of_fd(entry, one);
        if one.id >= special::FIRST_HASH && !is_socketpair(one) {
            if peer.fd != NONE && one.id != peer.id {
                peer.set_special(special::SEVERAL);
                return NONE;
            }
            peer.fd = entry;
            peer.id = one.id;
        }
        i += 1;
    }
    if n > LOOKED_AT {
        // The rest was not looked at.
        peer.set_special(special::SEVERAL);
        return NONE;
    }
    if peer.fd == NONE {
        // Only local descriptors.
        peer.set_special(special::LOCAL);
    }
    peer.fd
}

/// A Unix socket whose other end has no name: libraries wake their own poll with one.
#[inline(always)]
fn is_socketpair(peer: &Peer) -> bool {
    peer.sock != 0 && peer.unnamed != 0
}

/// If exactly one descriptor is in the first two sets of a select, leaves its number plus one in
/// `args[4]`; else 0. The sum stands in the row, not in registers, so that every step begins in the same
/// verifier state.
#[inline(always)]
pub fn only_in_select(task: &mut Task) {
    task.args[4] = 0;
    let words = set_words(task.args[0]);
    let (Some(sets), Some(_)) = (
        set_of(task.args[1], 0, words),
        set_of(task.args[2], 16, words),
    ) else {
        return;
    };
    let mut word = 0;
    while word < MAX_SELECT_WORDS {
        if word >= words {
            break;
        }
        let both = sets[word as usize] | sets[word as usize + 16];
        if both != 0 {
            if both & (both - 1) != 0 || task.args[4] != 0 {
                task.args[4] = 0;
                return;
            }
            task.args[4] = word as u64 * 64 + lowest_bit(both) as u64 + 1;
        }
        word += 1;
    }
}

/// Words of an fd_set that hold descriptors below `nfds`.
#[inline(always)]
fn set_words(nfds: u64) -> u32 {
    let words = (nfds as u32).wrapping_add(63) >> 6;
    if words > MAX_SELECT_WORDS {
        MAX_SELECT_WORDS
    } else {
        words
    }
}

/// Copies an fd_set to word `at` of the scratch sets; one that is not given is empty.
#[inline(always)]
fn set_of(set: u64, at: usize, words: u32) -> Option<&'static [u64; 128]> {
    if set == 0 {
        let sets = SETS.get_ptr_mut(0)?;
        // SAFETY: the row belongs to this CPU, and tracepoint programs do not migrate.
        let sets = unsafe { &mut *sets };
        let mut i = 0;
        while i < MAX_SELECT_WORDS as usize {
            sets[at + i] = 0;
            i += 1;
        }
        return Some(sets);
    }
    copy_set(set, at, words * 8)
}

/// Position of the lowest bit that is set, by a de Bruijn sequence: a cascade of comparisons would make
/// the verifier explore every path.
#[inline(always)]
fn lowest_bit(bits: u64) -> u32 {
    let lowest = bits & bits.wrapping_neg();
    let index = lowest.wrapping_mul(0x03f7_9d71_b4cb_0a89) >> 58;
    LOWEST[index as usize] as u32
}

static LOWEST: [u8; 64] = {
    let mut table = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        table[(0x03f7_9d71_b4cb_0a89u64.wrapping_mul(1 << bit) >> 58) as usize] = bit;
        bit += 1;
    }
    table
};

/// The descriptor that ended a select.
#[inline(always)]
pub fn in_select(task: &Task, ret: i64, peer: &mut Peer) -> u32 {
    let nfds = task.args[0];
    if nfds == 0 {
        return NONE;
    }
    if ret <= 0 {
        // The sets are empty now; the entry remembered a descriptor that was alone in them.
        if task.args[4] == 0 {
            peer.set_special(special::SEVERAL);
            return NONE;
        }
        return task.args[4] as u32 - 1;
    }
    let words = set_words(nfds);
    // Ready to read, ready to write, exceptional: the first one that has a descriptor counts.
    if let Some(fd) = first_in_set(task.args[1], words) {
        return fd;
    }
    if let Some(fd) = first_in_set(task.args[2], words) {
        return fd;
    }
    if let Some(fd) = first_in_set(task.args[3], words) {
        return fd;
    }
    lost(loss::slot::POLL_SET_TOO_LARGE);
    peer.set_special(special::UNKNOWN);
    NONE
}

/// The lowest descriptor in an fd_set.
#[inline(always)]
fn first_in_set(set: u64, words: u32) -> Option<u32> {
    if set == 0 {
        return None;
    }
    let sets = copy_set(set, 0, words * 8)?;
    let mut word = 0;
    while word < MAX_SELECT_WORDS {
        if word >= words {
            break;
        }
        let bits = sets[word as usize];
        if bits != 0 {
            return Some(word * 64 + lowest_bit(bits));
        }
        word += 1;
    }
    None
}

/// The descriptor behind the first event of an epoll_wait.
#[inline(always)]
pub fn in_epoll(task: &Task, ret: i64, peer: &mut Peer) -> u32 {
    if ret <= 0 {
        peer.set_special(special::SEVERAL);
        return NONE;
    }
    match epoll::first_ready(task.tgid, task.args[0] as u32, task.args[1]) {
        Some(fd) => fd,
        None => {
            peer.set_special(special::UNKNOWN);
            NONE
        }
    }
}
