//! Readings in, a window out.

use probe_common::{
    loss,
    op::{self, derived},
    part,
    peer::special,
    request::{Exit, PeerUse, Request, event, flag as request_flag},
    stat::{ErrCount, Stat, StatKey},
    task::{Task, flag, state},
};

use super::{fixture::*, *};
use crate::collect::{CallSum, Process, Reading};

/// A worker that hangs in poll in a request since `since` ns after [`START`], having asked api 5.
fn hanging(pid: u32, since: u64) -> Task {
    let mut t = task(pid, pid);
    t.flags |= flag::IN_REQUEST;
    (t.state, t.op, t.since_ns) = (state::BLOCKED, op::POLL, START + since);
    t.request.flags = request_flag::GOT_DATA;
    t.request.start_ns = START + since;
    t.life[part::IDLE] = since;
    t.life_at_start = t.life;
    t.request.npeers = 1;
    t.request.connects = 1;
    t.request.peers[0] = PeerUse {
        peer: api_id(5),
        connects: 1,
        unanswered: 1,
        exchange_start: START + since,
        ..PeerUse::ZERO
    };
    t
}

fn stat(key: (u32, u32, u64), count: u64, each_ns: u64) -> (StatKey, CallSum) {
    let (pid, op, peer) = key;
    let mut s = Stat {
        count,
        total_ns: count * each_ns,
        max_ns: each_ns,
        ..Stat::ZERO
    };
    s.hist[probe_common::hist::bucket(each_ns) as usize] = count as u32;
    s.errors[0] = ErrCount {
        errno: 115,
        count: count as u32,
    };
    (
        StatKey {
            tid: pid,
            start_ticks: pid,
            tgid: pid,
            op,
            peer,
        },
        CallSum::from(&s),
    )
}

#[test]
fn parts_of_finished_requests_sum_to_wall_time_exactly() {
    let w = window_of(412, INCIDENT_A);
    let g = &w.groups[0];
    assert_eq!(
        (g.name.as_slice(), g.php_fpm, g.requests, g.workers),
        (&b"www"[..], true, 412, 9)
    );
    assert_eq!(sum(&g.parts), g.wall_ns);
    assert_eq!(g.parts[part::NETWORK], 412 * 24 * 371 * MS);
    assert_eq!(
        (g.connects, g.polls, g.wall.len()),
        (412 * 24, 412 * 48, 412)
    );
    assert_eq!(g.peers[0].peer, api_peer(5));
    assert_eq!(g.peers[0].done.wait_ns, g.parts[part::NETWORK]);
    assert_eq!(g.peers[0].done.mostly, 412);
    assert_eq!(g.slowest.len(), MAX_SLOWEST);
    assert_eq!(g.slowest[0].uri, b"/catalog.php?cat=excavators");
    // 9 workers, followed for the whole window.
    assert_eq!(sum(&g.worker_parts), 9 * w.duration_ns);
}

#[test]
fn a_record_whose_parts_do_not_sum_is_made_to_and_nothing_is_hidden() {
    let mut short = request(1, 0, INCIDENT_A);
    short.end_ns += 70 * MS;
    let mut long = request(2, 0, INCIDENT_A);
    long.end_ns -= 10 * MS;
    let w = window([Reading {
        requests: vec![short, long],
        ..reading(10 * S)
    }]);
    let g = &w.groups[0];
    assert_eq!(sum(&g.parts), g.wall_ns);
    assert_eq!(g.parts[part::UNEXPLAINED], 70 * MS);
}

#[test]
fn many_small_readings_make_the_same_window_as_one() {
    let requests: Vec<Request> = (0..100)
        .map(|i| request(i % 9 + 1, u64::from(i) * MS, INCIDENT_A))
        .collect();
    let whole = window([Reading {
        requests: requests.clone(),
        ..reading(10 * S)
    }]);
    let pieces = window(requests.chunks(3).enumerate().map(|(i, piece)| Reading {
        requests: piece.to_vec(),
        ..reading(if i == 33 { 10 * S } else { i as u64 * 10 * MS })
    }));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
}

#[test]
fn what_is_no_request_is_counted_apart() {
    let with = |pid, flags| Request {
        flags,
        ..request(pid, 0, INCIDENT_A)
    };
    let got = request_flag::GOT_DATA;
    let w = window([Reading {
        requests: vec![
            with(1, 0),
            with(2, got | request_flag::FORKED),
            with(3, request_flag::PARTIAL),
            with(4, got | request_flag::EXITED),
            with(5, got),
        ],
        ..reading(10 * S)
    }]);
    let g = &w.groups[0];
    assert_eq!(
        (
            g.empty_connections,
            g.forked_requests,
            g.incomplete,
            g.requests
        ),
        (1, 1, 2, 1)
    );
    let one = request(5, 0, INCIDENT_A);
    assert_eq!(g.wall_ns, one.end_ns - one.start_ns);
    assert_eq!(sum(&g.incomplete_parts), 2 * g.wall_ns);
    assert_eq!(g.peers[0].done.requests, 1);
    assert_eq!(g.peers[0].open.requests, 2);
}

#[test]
fn a_pool_that_hangs_through_the_window_is_seen_waiting_for_its_peer() {
    let tasks = (1..10).map(|pid| hanging(pid, S)).collect();
    let w = window([Reading {
        tasks,
        ..reading(10 * S)
    }]);
    let g = &w.groups[0];
    assert_eq!((g.requests, g.incomplete), (0, 9));
    assert_eq!(g.incomplete_parts[part::NETWORK], 9 * 9 * S);
    let p = &g.peers[0];
    assert_eq!(
        (&p.peer, p.open.wait_ns, p.assumed_ns),
        (&api_peer(5), 81 * S, 81 * S)
    );
    assert_eq!((p.open.mostly, p.open.longest_ns), (9, 9 * S));
    assert_eq!(sum(&g.worker_parts), 9 * 10 * S);
    let row = &w.processes[0];
    assert_eq!(
        row.current.as_ref().map(|c| (c.wall_ns, c.unfinished)),
        Some((9 * S, true))
    );
    let waits = WaitsFor {
        part: part::NETWORK,
        peer: Some(api_peer(5)),
        for_ns: 9 * S,
    };
    assert_eq!(row.waits_for, Some(waits));
}

#[test]
fn a_window_after_attach_counts_only_what_came_since_its_base() {
    let base = Reading {
        tasks: vec![hanging(1, S)],
        stats: vec![stat((1, op::POLL, api_id(5)), 10, 20 * MS)],
        losses: [2; loss::slot::COUNT as usize],
        ..reading(60 * S)
    };
    let mut done = request(1, S, INCIDENT_A);
    // It hung for 61 s, and was killed.
    done.flags |= request_flag::EXITED;
    done.end_ns = START + 62 * S;
    done.parts = [0; part::COUNT];
    done.parts[part::NETWORK] = 61 * S;
    done.peers[0] = PeerUse {
        peer: api_id(5),
        wait_ns: 0,
        connects: 1,
        ..PeerUse::ZERO
    };
    let mut young = task(2, 2);
    young.since_ns = START + 65 * S;
    let last = Reading {
        tasks: vec![hanging(3, 62 * S), young],
        requests: vec![done],
        stats: vec![stat((1, op::POLL, api_id(5)), 13, 20 * MS)],
        losses: [5; loss::slot::COUNT as usize],
        ..reading(70 * S)
    };
    let mut aggregator = Aggregator::since(about(), &base);
    aggregator.push(last);
    let w = aggregator.finish(probes(), Cost::default());
    assert_eq!(w.duration_ns, 10 * S);
    assert_eq!(w.losses, [3; loss::slot::COUNT as usize]);
    let g = &w.groups[0];
    // Process 1: 2 s of its request lie in the window. Process 3: 8 s.
    assert_eq!(g.incomplete_parts[part::NETWORK], 10 * S);
    assert_eq!((w.calls[0].count, w.calls[0].durations.len()), (3, 3));
    assert_eq!(w.calls[0].errors, [(115, 3)]);
    // First seen within the window: all its time counts.
    assert_eq!(
        w.processes
            .iter()
            .find(|p| p.process.pid == 2)
            .map(|p| sum(&p.parts)),
        Some(5 * S)
    );
}

#[test]
fn a_reused_pid_is_another_worker() {
    let mut first = request(7, 0, INCIDENT_A);
    first.start_ticks = 100;
    let mut second = request(7, 10 * MS, INCIDENT_A);
    second.start_ticks = 900;
    let process = |start_ticks, pool: &[u8]| Process {
        start_ticks,
        pool: Some(pool.to_vec()),
        ..worker(7)
    };
    let w = window([Reading {
        requests: vec![first, second],
        processes: vec![process(100, b"www"), process(900, b"shop")],
        ..reading(10 * S)
    }]);
    let mut names: Vec<_> = w
        .groups
        .iter()
        .map(|g| (g.name.as_slice(), g.requests))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [(&b"shop"[..], 1), (&b"www"[..], 1)]);
}

#[test]
fn a_request_that_ends_after_the_thread_table_was_read_counts_once() {
    let mut done = request(1, S, INCIDENT_A);
    done.start_ns = START + S;
    let w = window([
        Reading {
            tasks: vec![hanging(1, S)],
            ..reading(9 * S)
        },
        Reading {
            requests: vec![done],
            ..reading(10 * S)
        },
    ]);
    assert_eq!((w.groups[0].requests, w.groups[0].incomplete), (1, 0));
}

#[test]
fn an_event_loop_has_time_but_no_requests() {
    let mut t = hanging(1, S);
    t.flags |= flag::EVENT_DRIVEN;
    let w = window([Reading {
        tasks: vec![t],
        ..reading(10 * S)
    }]);
    let g = &w.groups[0];
    assert_eq!((g.all_requests(), g.event_driven, g.workers), (0, 1, 1));
    assert_eq!(g.worker_parts[part::IDLE], 10 * S);
}

#[test]
fn a_worker_that_ended_keeps_its_time() {
    let mut life = Parts::default();
    life[part::ON_CPU] = 3 * S;
    let exit = Exit {
        event: event::EXIT,
        tgid: 1,
        tid: 1,
        start_ticks: 1,
        end_ns: START + 3 * S,
        comm: comm(b"php-fpm8.2"),
        life,
    };
    let w = window([
        Reading {
            tasks: vec![task(1, 1)],
            ..reading(S)
        },
        Reading {
            exits: vec![exit],
            ..reading(4 * S)
        },
        Reading {
            tasks: vec![task(2, 2)],
            ..reading(10 * S)
        },
    ]);
    assert_eq!(w.processes.len(), 2);
    assert_eq!(w.processes[0].parts, life);
    assert!(w.processes[0].process.ended);
}

#[test]
fn tables_are_bounded_and_what_they_cannot_hold_is_added_up() {
    let requests: Vec<Request> = (0..200u32)
        .map(|n| {
            let mut r = request(n + 1, 0, INCIDENT_A);
            r.comm = comm(format!("worker-{n}").as_bytes());
            r.peers[0].peer = special::FIRST_HASH + 16 * u64::from(n);
            r
        })
        .collect();
    let mut apart = Reading {
        requests: requests.clone(),
        ..reading(10 * S)
    };
    apart.processes.clear();
    let w = window([apart]);
    assert_eq!(w.groups.len(), MAX_GROUPS + 1);
    assert_eq!(w.groups.iter().map(|g| g.requests).sum::<u64>(), 200);

    let mut together = Reading {
        requests,
        ..reading(10 * S)
    };
    together.processes = (1..=200).map(worker).collect();
    // 200 distinct addresses, so that the ids resolve to distinct peers.
    together.peers = (0..200u8)
        .map(|n| (special::FIRST_HASH + 16 * u64::from(n), api(n)))
        .collect();
    let w = window([together]);
    let g = &w.groups[0];
    assert!(g.peers.len() <= MAX_PEERS + 1, "{}", g.peers.len());
    assert_eq!(
        g.peers.iter().map(|p| p.done.wait_ns).sum::<u64>(),
        g.parts[part::NETWORK]
    );
    assert!(
        g.peers
            .iter()
            .any(|p| p.peer == Peer::Special(special::OTHER))
    );
}

#[test]
fn rows_of_calls_beyond_the_bound_are_added_up_by_group() {
    let n = MAX_CALLS as u32 + 50;
    let stats = (1..=n)
        .map(|pid| stat((pid, op::CONNECT, api_id(5)), 2, MS))
        .collect();
    let w = window([Reading {
        stats,
        processes: (1..=n).map(worker).collect(),
        ..reading(10 * S)
    }]);
    assert_eq!(w.calls.len(), MAX_CALLS + 1);
    assert_eq!(
        w.calls.iter().map(|c| c.count).sum::<u64>(),
        2 * u64::from(n)
    );
    let rest = &w.calls[MAX_CALLS];
    assert_eq!(
        (rest.pid, rest.comm.as_slice(), rest.count),
        (None, &b"www"[..], 100)
    );
    assert_eq!(rest.errors, [(115, 100)]);
}

#[test]
fn exchanges_are_found_under_the_group_and_peer() {
    let w = window([Reading {
        requests: vec![request(1, 0, INCIDENT_A)],
        stats: vec![
            stat((1, derived::EXCHANGE, api_id(5)), 24, 371 * MS),
            stat((2, derived::EXCHANGE, api_id(5)), 1, 900 * MS),
        ],
        ..reading(10 * S)
    }]);
    assert_eq!(w.groups[0].peers[0].exchange.len(), 25);
    assert_eq!(
        w.calls.iter().map(|c| c.op).collect::<Vec<_>>(),
        ["exchange", "exchange"]
    );
}

#[test]
fn an_answered_request_on_a_kept_connection_is_finished_and_counts_once() {
    let mut t = hanging(1, S);
    t.flags |= flag::ANSWERED;
    (t.answered_ns, t.life_answered) = (START + 4 * S, t.life);
    t.life_answered[part::NETWORK] += 3 * S;
    let first = Reading {
        tasks: vec![t],
        ..reading(10 * S)
    };
    let w = window([first.clone()]);
    let g = &w.groups[0];
    assert_eq!((g.requests, g.incomplete, g.wall_ns), (1, 0, 3 * S));
    assert_eq!(g.parts[part::NETWORK], 3 * S);
    // Its record comes in the next window, when the next request begins.
    let mut record = t.request;
    (record.tgid, record.tid, record.start_ticks) = (1, 1, 1);
    (record.end_ns, record.parts[part::NETWORK]) = (START + 4 * S, 3 * S);
    let mut next = Aggregator::since(about(), &first);
    next.push(Reading {
        requests: vec![record],
        ..reading(20 * S)
    });
    let next = next.finish(probes(), Cost::default());
    assert_eq!(next.groups.iter().map(|g| g.all_requests()).sum::<u64>(), 0);
}

#[test]
fn a_request_that_ends_while_a_reading_is_made_counts_once() {
    let mut record = request(1, 0, INCIDENT_A);
    // Its record came after the ring was emptied, and its thread is idle where its row was read, right after.
    let idle = task(record.tgid, record.tid);
    let first = Reading {
        tasks: vec![idle],
        ..reading(10 * S)
    };
    record.end_ns = START + 10 * S - 1;
    let requests = |w: Window| w.groups.iter().map(|g| g.all_requests()).sum::<u64>();
    assert_eq!(requests(window([first.clone()])), 0);
    let late = Reading {
        requests: vec![record],
        ..reading(20 * S)
    };
    let mut next = Aggregator::since(about(), &first);
    next.push(late.clone());
    assert_eq!(requests(next.finish(probes(), Cost::default())), 1);
    // Nothing that ended before watching began is counted.
    let mut new = Aggregator::new(About {
        start_ns: START + 10 * S,
        ..about()
    });
    new.push(late);
    assert_eq!(requests(new.finish(probes(), Cost::default())), 0);
}

#[test]
fn rows_that_are_taken_out_and_come_back_are_added_up() {
    let row = |count| stat((1, op::POLL, api_id(5)), count, MS);
    let other = |count| stat((2, op::POLL, api_id(5)), count, MS);
    let full = |at, stats| Reading {
        stats,
        ..reading(at)
    };
    let calls = |w: &Window| w.calls.iter().map(|c| c.count).sum::<u64>();
    let base = full(0, vec![row(10), other(100)]);
    let mut rolling = Rolling::lasting(&about(), &base, Cost::default(), 100 * S);
    let mut look = |reading: Reading| {
        let look = rolling.look(&reading, &[], Cost::default(), 0);
        (calls(&look.last), calls(&look.recent))
    };
    // Taken out at 13, and met twice again.
    let mut back = full(S, vec![row(2), other(100)]);
    back.retired = vec![row(13)];
    assert_eq!(look(back), (5, 5));
    assert_eq!(look(full(2 * S, vec![row(4), other(100)])), (2, 7));
    // Taken out again, and the other for good; the last exchange of a request.
    let mut gone = full(3 * S, Vec::new());
    gone.retired = vec![row(7), other(101)];
    gone.retired
        .push(stat((1, derived::LAST_EXCHANGE, api_id(5)), 1, MS));
    assert_eq!(look(gone), (5, 12));
    assert_eq!(look(full(4 * S, vec![row(1)])), (1, 13));
    assert_eq!(look(full(5 * S, vec![row(1)])), (0, 13));
}
