//! Sick and healthy windows.

use probe_common::{
    loss, op, part,
    request::{PeerUse, Request, flag as request_flag},
    stat::{Stat, StatKey},
    task::{flag, state},
};

use super::*;
use crate::{
    aggregate::{Peer, fixture::*},
    collect::Reading,
    diagnose::{Piece, Sentence, run},
};

/// What a sentence says, with numbers as they are.
fn plain(sentence: &Sentence) -> String {
    sentence
        .0
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(q) => format!("{:.2}", q.value),
            Piece::Peer(peer) => format!("{peer:?}"),
            Piece::Name(name) => String::from_utf8_lossy(name).into_owned(),
        })
        .collect()
}

fn only(window: &Window) -> Finding {
    let mut verdict = check(window);
    assert_eq!(verdict.findings.len(), 1, "{:?}", verdict.not_judged);
    verdict.findings.remove(0)
}

fn quiet(window: &Window) {
    let verdict = check(window);
    assert!(verdict.findings.is_empty(), "{:#?}", verdict.findings);
}

/// A quick page: 2 ms, of which 60 % wait for a cache.
const FAST: Page = Page {
    calls: 4,
    each_ns: 300_000,
    first_extra_ns: 0,
    parallel: false,
    connect_each: false,
    cpu_ns: 800_000,
    queue_ns: 0,
};

#[test]
fn incident_a_is_found_with_its_peer_number_of_calls_and_share() {
    let f = only(&window_of(412, INCIDENT_A));
    assert_eq!(f.severity, Severity::Critical);
    assert_eq!(f.confidence.level, Level::High);
    assert_eq!(f.culprit.peer, Some(api_peer(5)));
    assert_eq!(
        f.title,
        "Requests wait for one slow peer, called several times in a row"
    );
    let share = 24.0 * 371.0 / (24.0 * 371.0 + 180.0);
    assert!((f.measured[0].observed.value - share).abs() < 1e-9);
    assert!((f.measured[1].observed.value - 24.0 * 371e6).abs() < 1.0);
    assert!(
        plain(&f.summary[1]).contains("opens 24.00 connections to it, one after the other; none")
    );
    // All that is lost but the 20 ms a request that it waits for a CPU.
    let explains = 24.0 * 371.0 / (24.0 * 371.0 + 20.0);
    assert!((f.explains - explains).abs() < 1e-9);
}

#[test]
fn the_arithmetic_of_the_remedies_adds_up() {
    let f = only(&window_of(412, INCIDENT_A));
    let arithmetic: Vec<String> = f
        .remedies
        .iter()
        .filter_map(|r| r.arithmetic.as_ref().map(plain))
        .collect();
    // 24 x 371 ms = 8.904 s; at once, the longest stays: 371 ms; a budget of 1 s.
    assert!(
        arithmetic[0].contains("saves about 8904000000.00"),
        "{arithmetic:?}"
    );
    assert!(
        arithmetic[1].contains("saves about 8533000000.00"),
        "{arithmetic:?}"
    );
    assert!(
        arithmetic[2].contains("saves about 7904000000.00"),
        "{arithmetic:?}"
    );
    assert!(f.remedies.iter().all(|r| !r.risk.is_empty()));
}

#[test]
fn one_slow_call_many_in_a_row_and_many_at_once_are_told_apart() {
    let title = |shape| only(&window_of(100, shape)).title;
    let one = Page {
        calls: 1,
        each_ns: 2 * S,
        ..INCIDENT_A
    };
    assert_eq!(title(one), "Requests wait for one slow call");
    let one_of_many = Page {
        calls: 10,
        each_ns: 5 * MS,
        first_extra_ns: S,
        ..INCIDENT_A
    };
    assert_eq!(title(one_of_many), "Requests wait for one slow call");
    let quick = Page {
        calls: 40,
        each_ns: 5 * MS,
        cpu_ns: 40 * MS,
        ..INCIDENT_A
    };
    assert_eq!(
        title(quick),
        "Requests make many quick calls to one peer, one after the other"
    );
    let at_once = Page {
        parallel: true,
        each_ns: S,
        ..INCIDENT_A
    };
    assert_eq!(
        title(at_once),
        "Requests wait for one slow peer, called several times at once"
    );
    let kept = Page {
        connect_each: false,
        ..INCIDENT_A
    };
    let f = only(&window_of(100, kept));
    assert!(plain(&f.summary[1]).contains("asks it 24.00 times, one after the other"));
    assert!(
        f.remedies
            .iter()
            .all(|r| !plain(&r.text).contains("keep one connection"))
    );
}

#[test]
fn severity_follows_the_wait() {
    let of = |each_ns| {
        let shape = Page {
            calls: 1,
            each_ns,
            cpu_ns: 2 * MS,
            queue_ns: 0,
            ..INCIDENT_A
        };
        only(&window_of(100, shape)).severity
    };
    assert_eq!(of(20 * MS), Severity::Info);
    assert_eq!(of(100 * MS), Severity::Warning);
    assert_eq!(of(S), Severity::Critical);
}

#[test]
fn a_pool_with_no_worker_to_spare_makes_it_worse() {
    let shape = Page {
        calls: 1,
        each_ns: 40 * MS,
        cpu_ns: 2 * MS,
        queue_ns: 0,
        ..INCIDENT_A
    };
    let mut window = window_of(100, shape);
    assert_eq!(only(&window).severity, Severity::Info);
    window.groups[0].worker_parts = [0; part::COUNT];
    window.groups[0].worker_parts[part::NETWORK] = 97 * S;
    window.groups[0].worker_parts[part::IDLE] = 3 * S;
    let f = only(&window);
    assert_eq!(f.severity, Severity::Warning);
    assert!(
        f.summary
            .iter()
            .any(|s| plain(s).contains("hardly one left"))
    );
}

#[test]
fn a_fast_page_that_mostly_waits_for_its_cache_is_healthy() {
    quiet(&window_of(5000, FAST));
}

#[test]
fn a_page_that_waits_less_than_half_of_its_time_for_the_peer_is_not_the_peers_fault() {
    quiet(&window_of(
        100,
        Page {
            calls: 1,
            each_ns: 300 * MS,
            cpu_ns: 320 * MS,
            ..INCIDENT_A
        },
    ));
}

#[test]
fn waiting_for_a_cpu_is_not_the_peers_fault() {
    let calls = Page {
        each_ns: 5 * MS,
        cpu_ns: 300 * MS,
        queue_ns: 480 * MS,
        ..INCIDENT_A
    };
    quiet(&window_of(1000, calls));
}

#[test]
fn one_odd_page_in_a_pool_with_workers_to_spare_is_an_info_at_most() {
    let mut requests: Vec<Request> = (0..500u32)
        .map(|i| request(i % 9 + 1, u64::from(i) * MS, FAST))
        .collect();
    requests.push(request(
        1,
        0,
        Page {
            calls: 1,
            each_ns: 4 * S,
            ..INCIDENT_A
        },
    ));
    let tasks = (1..10)
        .map(|pid| {
            let mut t = task(pid, pid);
            t.life[part::IDLE] = 10 * S;
            t.since_ns = START + 10 * S;
            t
        })
        .collect();
    let mut w = window([Reading {
        requests,
        tasks,
        ..reading(10 * S)
    }]);
    // The quick pages use another peer.
    let p = &mut w.groups[0].peers[0];
    (p.done.requests, p.done.mostly, p.done.wait_ns) = (1, 1, 4 * S);
    let f = only(&w);
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Info, Level::Low)
    );
}

#[test]
fn a_pool_that_hangs_in_one_call_is_found_before_the_call_ends() {
    let tasks = (1..10)
        .map(|pid| {
            let mut t = task(pid, pid);
            t.flags |= flag::IN_REQUEST;
            (t.state, t.op, t.since_ns) = (state::BLOCKED, op::POLL, START);
            t.request.flags = request_flag::GOT_DATA;
            t.request.start_ns = START;
            t.request.npeers = 1;
            t.request.peers[0] = PeerUse {
                peer: api_id(5),
                connects: 1,
                direction: 1,
                ..PeerUse::ZERO
            };
            t
        })
        .collect();
    let f = only(&window([Reading {
        tasks,
        ..reading(10 * S)
    }]));
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Critical, Level::Medium)
    );
    assert_eq!(f.title, "Requests wait for one slow call");
    assert!(
        plain(&f.summary[0]).contains("per request so far (1.00)"),
        "{}",
        plain(&f.summary[0])
    );
    assert!(f.confidence.reasons.iter().any(|r| r.contains("inferred")));
}

#[test]
fn few_requests_and_losses_lower_the_confidence_and_are_named() {
    assert_eq!(only(&window_of(4, INCIDENT_A)).confidence.level, Level::Low);
    assert_eq!(
        only(&window_of(20, INCIDENT_A)).confidence.level,
        Level::Medium
    );
    let mut lossy = window_of(400, INCIDENT_A);
    lossy.losses[loss::slot::RING_FULL as usize] = 12;
    let f = only(&lossy);
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(
        f.confidence.reasons[0].starts_with("12 finished requests"),
        "{:?}",
        f.confidence
    );
}

#[test]
fn without_requests_or_without_names_it_is_not_judged_rather_than_clear() {
    let idle = check(&window([reading(10 * S)]));
    assert_eq!(idle.not_judged, ["no request was seen in the window"]);

    let mut stuck = task(3, 3);
    (stuck.state, stuck.op, stuck.last_peer) = (state::BLOCKED, op::RECVFROM, api_id(5));
    let stuck = check(&window([Reading {
        tasks: vec![stuck],
        ..reading(10 * S)
    }]));
    assert_eq!(
        stuck.not_judged,
        ["no request was seen in the window; blocked on a peer through all of it: process 3"]
    );

    let mut nameless = window_of(100, INCIDENT_A);
    nameless.groups[0].peers[0].peer = Peer::Special(probe_common::peer::special::UNKNOWN);
    let verdict = check(&nameless);
    assert!(verdict.findings.is_empty());
    assert!(
        verdict.not_judged[0].contains("could not be told"),
        "{:?}",
        verdict.not_judged
    );

    let mut off = window_of(100, INCIDENT_A);
    off.probes[1].state = crate::attach::State::Off("refused by this kernel".to_owned());
    let diagnosis = run(&off);
    assert!(diagnosis.findings.is_empty());
    assert_eq!(
        diagnosis.not_judged[0].missing,
        "probe scheduler is off: refused by this kernel"
    );
}

#[test]
fn commands_hold_numbers_and_no_name_of_the_traced_system() {
    let mut w = window_of(100, INCIDENT_A);
    let g = &mut w.groups[0];
    g.name = b"www; rm -rf /".to_vec();
    g.peers[0].peer = Peer::Unix {
        path: b"/run/$(reboot).sock".to_vec(),
    };
    g.peers[0].exchange.record(MS);
    g.slowest[0].uri = b"/`reboot`".to_vec();
    let f = only(&w);
    let commands: Vec<_> = f
        .evidence
        .iter()
        .filter_map(|e| e.command.as_deref())
        .collect();
    assert_eq!(commands.len(), 4);
    assert!(
        commands
            .iter()
            .all(|c| !c.contains("reboot") && !c.contains("rm ")),
        "{commands:?}"
    );
}

#[test]
fn reusing_a_connection_saves_the_set_ups_where_that_is_worthwhile() {
    // 23 set-ups of 40 ms.
    let arithmetic = keep_one_connection(40 * MS);
    assert!(
        arithmetic.contains("saves about 920000000.00"),
        "{arithmetic}"
    );
    // 23 set-ups of 0.1 ms beside 8.9 s.
    assert_eq!(keep_one_connection(MS / 10), "");
}

/// The arithmetic of that remedy, when a connection takes so long to be established.
fn keep_one_connection(each_ns: u64) -> String {
    let established = Stat {
        count: 10,
        total_ns: 10 * each_ns,
        ..Stat::ZERO
    };
    let key = StatKey {
        tid: 1,
        start_ticks: 1,
        tgid: 1,
        op: op::derived::ESTABLISHED,
        peer: api_id(5),
    };
    let w = window([Reading {
        requests: (0..50).map(|i| request(1, i * MS, INCIDENT_A)).collect(),
        stats: vec![(key, (&established).into())],
        ..reading(10 * S)
    }]);
    let f = only(&w);
    let keep = f
        .remedies
        .iter()
        .find(|r| plain(&r.text).contains("keep one connection"));
    keep.and_then(|r| r.arithmetic.as_ref())
        .map(plain)
        .unwrap_or_default()
}
