//! How long sockets really stay in FIN_WAIT_2 and TIME_WAIT, where the kernel has kprobes.
//!
//! The kernel swaps a socket for a small timewait object, which no tracepoint shows (net/ipv4: tcp_minisocks.c,
//! inet_timewait_sock.c; alike from 5.10 to 7.2). These functions are called from other files, or through a pointer:
//!
//! | function | when |
//! |---|---|
//! | `inet_twsk_hashdance_schedule(tw, ...)` | the object begins; 6.10 and later, where the next one may be inlined in it (it is in Debian's 7.2) |
//! | `__inet_twsk_schedule(tw, timeo, rearm)` | `rearm` 0: the object begins; 1: its timer is set anew, also when a FIN made TIME_WAIT of FIN_WAIT_2 |
//! | `tw_timer_handler(timer)` | its timer has run out |
//! | `inet_twsk_deschedule_put(tw)` | it ends before: a new connection in its place, a reset |
//!
//! An object in FIN_WAIT_2 goes on with the stay of its socket: `tcp_time_wait` makes the object first, and then
//! closes the socket (FIN_WAIT2 -> CLOSE), which hands over when the stay began. A FIN_WAIT2 -> CLOSE without such
//! an object ends the stay.
//!
//! Of what was there before we watched, ends count without a time; that FIN_WAIT_2 became TIME_WAIT is not seen of it.

use aya_ebpf::{
    macros::{kprobe, map},
    maps::{Array, HashMap},
    programs::ProbeContext,
};
use probe_common::{
    loss,
    tcp::{TcpSocket, TimewaitSum, state},
};

use super::{
    transitions::{UNTIMED, count},
    watched_net,
};
use crate::{
    maps::{atomic_add64, config, lost},
    mem,
};

const FIN_WAIT2: u64 = state::FIN_WAIT2 as u64;
const TIME_WAIT: u64 = state::TIME_WAIT as u64;

/// A timewait object.
#[repr(C)]
#[derive(Clone, Copy)]
struct Timewait {
    /// When its state began, CLOCK_MONOTONIC ns; 0 when that was before we watched.
    since_ns: u64,
    /// [`state::FIN_WAIT2`] or [`state::TIME_WAIT`].
    substate: u64,
    /// Its begin was seen in `inet_twsk_hashdance_schedule`, and will be once more, unless that is inlined.
    again: u64,
}

/// Timewait objects by address. User space sets the size.
#[map]
static TIMEWAITS: HashMap<u64, Timewait> = HashMap::with_max_entries(1, 0);

/// Timewait objects in FIN_WAIT_2 whose socket is about to be closed, by [`connection`]: for microseconds. User space
/// sets the size.
#[map]
static HANDED_OVER: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// Stays in FIN_WAIT_2, and in TIME_WAIT.
#[map]
static TIMEWAIT_SUMS: Array<TimewaitSum> = Array::with_max_entries(2, 0);

/// A timewait object begins.
#[kprobe]
pub fn on_timewait_begins(ctx: ProbeContext) -> u32 {
    if let Some(tw) = ctx.arg::<u64>(0) {
        begins(tw, 1);
    }
    0
}

/// A timewait object begins, or its timer is set anew.
#[kprobe]
pub fn on_timewait_scheduled(ctx: ProbeContext) -> u32 {
    let _ = scheduled(&ctx);
    0
}

/// The timer of a timewait object has run out.
#[kprobe]
pub fn on_timewait_timer(ctx: ProbeContext) -> u32 {
    let _ = ctx
        .arg::<u64>(0)
        .and_then(|timer| ends(timer - config!(offsets.tw_timer) as u64));
    0
}

/// A timewait object is ended before its time.
#[kprobe]
pub fn on_timewait_descheduled(ctx: ProbeContext) -> u32 {
    let _ = ctx.arg::<u64>(0).and_then(ends);
    0
}

#[inline(always)]
fn scheduled(ctx: &ProbeContext) -> Option<()> {
    let tw = ctx.arg::<u64>(0)?;
    // A bool is passed in the low byte; the rest of the register may hold anything.
    if ctx.arg::<u64>(2)? & 0xff != 0 {
        return rearmed(tw);
    }
    if let Some(row) = TIMEWAITS.get_ptr_mut(tw) {
        // SAFETY: a live map value; the function that began the object is still at it.
        let again = unsafe { &mut (*row).again };
        if core::mem::take(again) != 0 {
            return None;
        }
    }
    begins(tw, 0);
    None
}

/// A function of its own, so that its caller's stack stays small.
#[inline(never)]
fn begins(tw: u64, again: u64) {
    let _ = try_begins(tw, again);
}

#[inline(always)]
fn try_begins(tw: u64, again: u64) -> Option<()> {
    let substate = watched_substate(tw)?;
    begun(substate);
    let timewait = Timewait {
        since_ns: mem::now_ns(),
        substate,
        again,
    };
    if TIMEWAITS.insert(tw, timewait, 0).is_err() {
        lost(loss::slot::TIMEWAITS_FULL);
    }
    if substate == FIN_WAIT2
        && config!(tcp_states) != 0
        && HANDED_OVER.insert(connection(tw)?, tw, 0).is_err()
    {
        lost(loss::slot::TIMEWAITS_FULL);
    }
    None
}

#[inline(always)]
fn rearmed(tw: u64) -> Option<()> {
    let substate = watched_substate(tw)?;
    let now = mem::now_ns();
    let row = TIMEWAITS.get_ptr_mut(tw)?;
    // SAFETY: a live map value; the kernel handles one segment for an object after the other.
    let before = unsafe { *row };
    if before.substate == substate {
        return None;
    }
    let timewait = Timewait {
        since_ns: now,
        substate,
        again: 0,
    };
    // SAFETY: as above.
    unsafe { *row = timewait };
    ended(before.substate, before.since_ns, now);
    begun(substate);
    None
}

#[inline(always)]
fn ends(tw: u64) -> Option<()> {
    let substate = watched_substate(tw)?;
    // SAFETY: copied out at once.
    let known = unsafe { TIMEWAITS.get(tw) }.copied();
    let _ = TIMEWAITS.remove(tw);
    let known = known.unwrap_or(Timewait {
        since_ns: 0,
        substate,
        again: 0,
    });
    ended(known.substate, known.since_ns, mem::now_ns());
    Some(())
}

/// A socket in FIN_WAIT_2 is closed. A function of its own, so that its caller's stack stays small.
#[inline(never)]
pub fn fin_wait2_closed(sock: u64, socket: &TcpSocket) {
    let _ = try_fin_wait2_closed(sock, socket);
}

#[inline(always)]
fn try_fin_wait2_closed(sock: u64, socket: &TcpSocket) -> Option<()> {
    let since_ns = match socket.state as u64 {
        FIN_WAIT2 => socket.since_ns,
        _ => 0,
    };
    let connection = connection(sock)?;
    // SAFETY: copied out at once.
    let Some(tw) = unsafe { HANDED_OVER.get(connection) }.copied() else {
        ended(FIN_WAIT2, since_ns, mem::now_ns());
        return None;
    };
    let _ = HANDED_OVER.remove(connection);
    let row = TIMEWAITS.get_ptr_mut(tw)?;
    // SAFETY: a live map value; words are read and written whole.
    unsafe {
        if (*row).substate == FIN_WAIT2 {
            (*row).since_ns = since_ns;
        }
    }
    None
}

/// The state that a timewait object of the watched namespace stands for.
#[inline(always)]
fn watched_substate(tw: u64) -> Option<u64> {
    let net = watched_net()?;
    if mem::kernel::<u64>(tw + config!(offsets.skc_net) as u64)? != net {
        return None;
    }
    Some(mem::kernel::<u8>(tw + config!(offsets.tw_substate) as u64)? as u64)
}

/// What a socket and its timewait object have in common: the hash of addresses and ports, and the other side's port.
#[inline(always)]
fn connection(sock: u64) -> Option<u64> {
    let hash = mem::kernel::<u32>(sock + config!(offsets.skc_hash) as u64)?;
    let port = mem::kernel::<u16>(sock + config!(offsets.skc_dport) as u64)?;
    Some(hash as u64 | (port as u64) << 32)
}

#[inline(always)]
fn sum(substate: u64) -> Option<*mut TimewaitSum> {
    TIMEWAIT_SUMS.get_ptr_mut((substate == TIME_WAIT) as u32)
}

#[inline(always)]
fn begun(substate: u64) {
    if let Some(sum) = sum(substate) {
        // SAFETY: a live map value.
        atomic_add64(unsafe { &raw mut (*sum).begun }, 1);
    }
}

#[inline(always)]
fn ended(substate: u64, since_ns: u64, now: u64) {
    let dwell = match since_ns {
        0 => UNTIMED,
        since_ns => now.saturating_sub(since_ns),
    };
    if let Some(sum) = sum(substate) {
        // SAFETY: a live map value.
        count(unsafe { &raw mut (*sum).left }, now, dwell);
    }
}
