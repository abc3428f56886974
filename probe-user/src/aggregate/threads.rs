//! Where a thread's time went, up to a moment: its sums, and the state under way.
//!
//! The kernel side charges a stretch of time when it ends. A reading taken in the middle of one must add
//! it, or a worker that hangs through the whole window would have no time at all.

use probe_common::{
    op::{self, kind},
    part,
    peer::special,
    request::{self, PEERS, PeerUse, Request},
    task::{Task, flag, state},
};

use super::Parts;
use crate::attach::class_of_nr;

/// A thread's time up to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// By part, ns: what was charged and what is under way.
    pub life: Parts,
    /// Of it under way, and charged to a peer by assumption: which, and how long, ns.
    pub assumed: Option<(u64, u64)>,
    /// What it is blocked on: part, peer, and how long already, ns.
    pub blocked: Option<(usize, Option<u64>, u64)>,
}

/// A thread's time up to `at_ns`.
pub(super) fn moment(task: &Task, at_ns: u64) -> Moment {
    let mut now = Moment {
        life: task.life,
        assumed: None,
        blocked: None,
    };
    // A row that its thread has not been seen with yet tells nothing.
    if task.since_ns == 0 {
        return now;
    }
    let since = at_ns.saturating_sub(task.since_ns);
    let (op_part, op_peer) = charge_of_op(task);
    // Blocked in the operation under way, but awake again in between.
    let mut in_op = task.op_blocked_ns;
    let blocked = task.state == state::BLOCKED;
    if blocked && task.uninterruptible == 0 && task.op != 0 {
        in_op += since;
        now.blocked = Some((op_part, op_peer, since));
    } else {
        let part = match task.state {
            state::RUNNING => part::ON_CPU,
            state::RUNNABLE => part::RUN_QUEUE,
            state::BLOCKED if task.uninterruptible != 0 => part::DISK,
            state::BLOCKED => class_of_nr(task.blocked_nr.into()).unwrap_or(part::UNEXPLAINED),
            _ => part::UNEXPLAINED,
        };
        now.life[part] += since;
        now.blocked = blocked.then_some((part, None, since));
    }
    now.life[op_part] += in_op;
    now.assumed = op_peer
        .filter(|peer| *peer >= special::FIRST_HASH && in_op > 0)
        .map(|p| (p, in_op));
    now
}

/// What blocking in the accounted operation under way will be charged to. The kernel side learns the
/// peer when the call returns; until then the request's own exchanges are the best witness.
fn charge_of_op(task: &Task) -> (usize, Option<u64>) {
    let in_request = task.flags & flag::IN_REQUEST != 0;
    let kind = op::OPS
        .get(task.op as usize)
        .map_or(kind::NONE, |op| op.kind);
    if kind == kind::ACCEPT {
        return (part::IDLE, None);
    }
    let looks_around = matches!(kind, kind::POLL | kind::SELECT | kind::EPOLL);
    if looks_around && (task.flags & flag::EVENT_DRIVEN != 0 || !in_request) {
        // Between requests a worker, and always an event loop, waits for whatever comes next.
        return (part::IDLE, None);
    }
    if in_request {
        let fd = task.args[0] as u32 as i32;
        let on_its_own =
            matches!(kind, kind::RECV | kind::SEND) && fd == task.request.fd && fd >= 0;
        if on_its_own
            || task.flags & flag::ANSWERED != 0
            || task.request.flags & (request::flag::GOT_DATA | request::flag::PARTIAL) == 0
        {
            return (part::CLIENT, Some(special::CLIENT));
        }
        if let Some(peer) = awaited(&task.request) {
            return (part::NETWORK, Some(peer));
        }
    }
    match task.last_peer {
        special::CLIENT => (part::CLIENT, Some(special::CLIENT)),
        peer if peer >= special::FIRST_HASH => (part::NETWORK, Some(peer)),
        _ => (part::UNEXPLAINED, None),
    }
}

/// The peer that owes an answer: asked last, and not heard of since.
fn awaited(request: &Request) -> Option<u64> {
    /// [`PeerUse::direction`]: the last transfer was a send.
    const SENT: u32 = 1;
    uses(request)
        .iter()
        .filter(|u| u.peer >= special::FIRST_HASH && (u.unanswered > 0 || u.direction == SENT))
        .max_by_key(|u| u.exchange_start)
        .map(|u| u.peer)
}

/// The slots of [`Request::peers`] in use.
pub(super) fn uses(request: &Request) -> &[PeerUse] {
    &request.peers[..(request.npeers as usize).min(PEERS)]
}

/// `now - before` by part, for two states of the same thread's time.
///
/// What was under way at `before` was charged by assumption, and may since have been charged elsewhere:
/// a part that seems to have shrunk is 0, and the others give up as much, so that the sum stays exact.
pub(super) fn difference(now: &Parts, before: &Parts) -> Parts {
    let total = sum(now).saturating_sub(sum(before));
    fit(
        std::array::from_fn(|i| now[i].saturating_sub(before[i])),
        total,
    )
}

/// Makes parts sum to `total`: what is missing is unexplained, what is too much is taken from the
/// largest part.
pub(super) fn fit(mut parts: Parts, total: u64) -> Parts {
    let mut excess = match sum(&parts).checked_sub(total) {
        Some(excess) => excess,
        None => {
            parts[part::UNEXPLAINED] += total - sum(&parts);
            0
        }
    };
    while excess > 0 {
        let Some(largest) = parts.iter_mut().max() else {
            break;
        };
        let taken = excess.min(*largest);
        *largest -= taken;
        excess -= taken;
    }
    parts
}

/// All parts together, ns.
pub(super) fn sum(parts: &Parts) -> u64 {
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::fixture::{MS, task};

    fn life_at(task: &Task, at_ns: u64) -> Parts {
        moment(task, at_ns).life
    }

    #[test]
    fn a_hang_counts_as_waiting_for_the_peer_that_owes_the_answer() {
        let mut t = task(1, 1);
        t.flags |= flag::IN_REQUEST;
        t.request.flags = request::flag::GOT_DATA;
        (t.state, t.since_ns, t.op, t.last_peer) = (state::BLOCKED, 100 * MS, op::POLL, 77);
        t.request.npeers = 2;
        t.request.peers[0] = PeerUse {
            peer: 33,
            direction: 2,
            exchange_start: 9,
            ..PeerUse::ZERO
        };
        t.request.peers[1] = PeerUse {
            peer: 44,
            direction: 1,
            exchange_start: 5,
            ..PeerUse::ZERO
        };
        let now = moment(&t, 400 * MS);
        assert_eq!(now.life[part::NETWORK], 300 * MS);
        assert_eq!(now.assumed, Some((44, 300 * MS)));
        assert_eq!(now.blocked, Some((part::NETWORK, Some(44), 300 * MS)));
        // Nobody owes one: the last wait's peer.
        t.request.npeers = 1;
        assert_eq!(moment(&t, 400 * MS).assumed, Some((77, 300 * MS)));
        // Nor was there one.
        t.last_peer = 0;
        assert_eq!(life_at(&t, 400 * MS)[part::UNEXPLAINED], 300 * MS);
    }

    #[test]
    fn waiting_for_a_cpu_is_no_ones_fault_but_the_cpus() {
        let mut t = task(1, 1);
        (t.state, t.since_ns, t.op, t.op_blocked_ns) =
            (state::RUNNABLE, 100 * MS, op::POLL, 5 * MS);
        t.flags |= flag::IN_REQUEST;
        t.request.flags = request::flag::GOT_DATA;
        t.last_peer = 77;
        let now = moment(&t, 130 * MS);
        assert_eq!(
            (now.life[part::RUN_QUEUE], now.life[part::NETWORK]),
            (30 * MS, 5 * MS)
        );
        assert_eq!(now.assumed, Some((77, 5 * MS)));
        assert_eq!(now.blocked, None);
    }

    #[test]
    fn a_read_from_the_requests_own_connection_waits_for_the_client() {
        let mut t = task(1, 1);
        t.flags |= flag::IN_REQUEST;
        t.request.flags = request::flag::GOT_DATA;
        (t.state, t.since_ns, t.op, t.last_peer) = (state::BLOCKED, 100 * MS, op::READ, 77);
        (t.request.fd, t.args[0]) = (4, 4);
        assert_eq!(life_at(&t, 130 * MS)[part::CLIENT], 30 * MS);
        t.args[0] = 5;
        assert_eq!(life_at(&t, 130 * MS)[part::NETWORK], 30 * MS);
    }

    #[test]
    fn between_requests_a_worker_is_idle_and_a_disk_wait_is_a_disk_wait() {
        let mut t = task(1, 1);
        (t.state, t.since_ns, t.op) = (state::BLOCKED, 100 * MS, op::ACCEPT);
        assert_eq!(life_at(&t, 130 * MS)[part::IDLE], 30 * MS);
        (t.op, t.last_peer) = (op::EPOLL_WAIT, 99);
        assert_eq!(life_at(&t, 130 * MS)[part::IDLE], 30 * MS);
        t.uninterruptible = 1;
        assert_eq!(life_at(&t, 130 * MS)[part::DISK], 30 * MS);
        (t.uninterruptible, t.op, t.blocked_nr) = (0, 0, libc::SYS_flock as i32);
        assert_eq!(life_at(&t, 130 * MS)[part::LOCK], 30 * MS);
    }

    #[test]
    fn a_row_that_was_never_seen_running_tells_nothing() {
        let mut t = task(1, 1);
        (t.state, t.since_ns) = (state::UNKNOWN, 0);
        let nothing = Moment {
            life: [0; part::COUNT],
            assumed: None,
            blocked: None,
        };
        assert_eq!(moment(&t, 130 * MS), nothing);
    }

    #[test]
    fn a_wrong_assumption_is_corrected_and_the_sum_stays_exact() {
        let mut before = [0; part::COUNT];
        before[part::NETWORK] = 50;
        before[part::ON_CPU] = 10;
        let mut now = [0; part::COUNT];
        // The 50 turned out to be the client's, and 40 more came.
        now[part::CLIENT] = 90;
        now[part::ON_CPU] = 20;
        let d = difference(&now, &before);
        assert_eq!(sum(&d), 50);
        assert_eq!(
            (d[part::CLIENT], d[part::ON_CPU], d[part::NETWORK]),
            (40, 10, 0)
        );
    }

    #[test]
    fn parts_are_made_to_fit_the_wall_time() {
        let mut parts = [0; part::COUNT];
        parts[part::ON_CPU] = 30;
        assert_eq!(fit(parts, 40)[part::UNEXPLAINED], 10);
        assert_eq!(fit(parts, 10)[part::ON_CPU], 10);
        assert_eq!(sum(&fit([u64::MAX / 16; part::COUNT], 5)), 5);
    }
}
