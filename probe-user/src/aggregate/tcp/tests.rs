//! Readings in, TCP windows out.

use std::net::Ipv6Addr;

use probe_common::{
    peer::{PeerKey, flag, id, kind},
    tcp::{
        COHORTS, CensusKey, Connect, FinWait2, Holder, Listener, Listening, TransitionKey, column,
        state,
    },
};

use super::{fixture::*, *};
use crate::{
    aggregate::{
        Aggregator, Cost, Window,
        fixture::{MS, S, START, about, comm, probe},
    },
    collect::{
        CallSum, Reading,
        tcp::{Census, Owner, Owners, TcpReading, Timewait, TransitionSum},
    },
};

mod gaps;
mod half_closed;
mod ports;
mod queues;
mod time_wait;

use gaps::connect;
use half_closed::{fin_wait_2, half, halves};
use ports::closing;
use queues::listener;

const HZ: u64 = 250;
/// Cohorts of 1.024 s.
const SHIFT: u32 = 8;

/// Jiffies at a moment after [`START`].
fn jiffies(at: u64) -> u64 {
    5_000_000 + at * HZ / S
}

fn words(address: &[u8]) -> [u64; 2] {
    let mut bytes = [0u8; 16];
    bytes[..address.len()].copy_from_slice(address);
    let (words, _) = bytes.as_chunks::<8>();
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
}

/// From 10.0.0.2 to 10.0.0.`last`:`port`.
fn out(last: u8, port: u16) -> CensusKey {
    CensusKey {
        remote: words(&[10, 0, 0, last]),
        local: words(&[10, 0, 0, 2]),
        port,
        kind: kind::INET,
        ..CensusKey::ZERO
    }
}

fn counts(of: &[(usize, u32)]) -> [u32; column::COUNT] {
    let mut counts = [0; column::COUNT];
    of.iter().for_each(|&(c, n)| counts[c] = n);
    counts
}

/// A census `at` ns after [`START`] of these rows.
fn census(at: u64, rows: &[(CensusKey, &[(usize, u32)])]) -> Census {
    let rows: Vec<_> = rows.iter().map(|(k, c)| (*k, counts(c))).collect();
    let mut totals = [0; column::COUNT];
    for (_, row) in &rows {
        (0..column::COUNT).for_each(|i| totals[i] += u64::from(row[i]));
    }
    Census {
        at_ns: START + at,
        took_ns: MS,
        totals,
        rows,
        other: [0; column::COUNT],
        time_wait: Box::new([0; COHORTS]),
        jiffies: jiffies(at),
        fin_wait2: Vec::new(),
        fin_wait2_left_out: 0,
        listeners: Vec::new(),
        unreadable: 0,
        counters: Counters::default(),
    }
}

fn tcp_reading(censuses: Vec<Census>) -> TcpReading {
    TcpReading {
        censuses,
        settings: healthy().settings,
        hz: HZ as u32,
        cohort_shift: SHIFT,
        ..TcpReading::default()
    }
}

fn key(kind: u8, flags: u8, address: &[u8], port: u16) -> PeerKey {
    let listener = flags & flag::LISTENER != 0;
    let inet = kind != kind::UNIX;
    let mut key = PeerKey {
        kind,
        flags,
        protocol: if inet { 6 } else { 0 },
        port: if listener { 0 } else { port },
        local_port: if listener { port } else { 0 },
        ..PeerKey::ZERO
    };
    key.set_address(address);
    key
}

const SOCK: &[u8] = b"/run/php.sock";

/// The addresses that the readings of these tests name.
fn names() -> Vec<PeerKey> {
    let mut names = vec![
        key(kind::UNIX, 0, SOCK, 0),
        key(kind::UNIX, flag::LISTENER, SOCK, 0),
        key(kind::INET, flag::LISTENER, &[0, 0, 0, 0], 80),
        key(kind::INET6, flag::LISTENER, &[0; 16], 80),
        key(kind::INET6, 0, &Ipv6Addr::LOCALHOST.octets(), 80),
    ];
    names.extend((1..10).map(|n| key(kind::INET, 0, &[10, 0, 0, n], 80)));
    names
}

fn window(readings: Vec<TcpReading>, seconds: u64) -> Tcp {
    fold(readings, seconds)
        .signals_window(PROBES.map(probe).to_vec(), Cost::default())
        .tcp
        .map(|tcp| *tcp)
        .expect("TCP was read")
}

fn fold(readings: Vec<TcpReading>, seconds: u64) -> Aggregator {
    let mut aggregator = Aggregator::new(about());
    for reading in readings {
        aggregator.push(whole(reading, seconds));
    }
    aggregator
}

fn whole(tcp: TcpReading, seconds: u64) -> Reading {
    Reading {
        at_ns: START + seconds * S,
        peers: names().into_iter().map(|key| (id(&key), key)).collect(),
        tcp: Some(Box::new(tcp)),
        ..Reading::default()
    }
}

fn moved(peer: &PeerKey, pid: u32, old: u8, new: u8, count: u64) -> (TransitionKey, TransitionSum) {
    let key = TransitionKey {
        peer: id(peer),
        tgid: pid,
        old,
        new,
        pad: 0,
    };
    let sum = TransitionSum {
        sum: CallSum {
            count,
            total_ns: count * MS,
            max_ns: MS,
            hist: Box::new([(probe_common::hist::bucket(MS) as u8, count as u32)]),
            ..CallSum::default()
        },
        timed: count,
        last_ns: START,
        comm: b"curl".to_vec(),
    };
    (key, sum)
}

#[test]
fn sockets_are_added_up_by_peer_and_the_rest_is_counted() {
    let established = usize::from(state::ESTABLISHED);
    let elsewhere = CensusKey {
        local: words(&[10, 0, 0, 3]),
        ..out(8, 80)
    };
    let inbound = CensusKey {
        flags: flag::INBOUND,
        port: 443,
        ..out(7, 0)
    };
    let on = CensusKey {
        remote: [0; 2],
        flags: flag::LISTENER,
        port: 443,
        ..out(7, 0)
    };
    let mut census = census(
        0,
        &[
            (
                out(8, 80),
                &[(established, 2), (column::FIN_WAIT2_ORPHAN, 1)],
            ),
            (
                elsewhere,
                &[(established, 3), (column::FIN_WAIT2_TIMEWAIT, 4)],
            ),
            (
                inbound,
                &[
                    (usize::from(state::NEW_SYN_RECV), 1),
                    (column::FIN_WAIT2_HELD, 1),
                ],
            ),
            (on, &[(usize::from(state::LISTEN), 1)]),
        ],
    );
    census.other[established] = 7;
    census.totals[established] += 7;
    let tcp = window(vec![tcp_reading(vec![census])], 1);
    let first = &tcp.peers[0];
    assert_eq!(first.peer, to("10.0.0.8:80"));
    assert_eq!(
        (first.states.established, first.states.fin_wait_2_orphaned),
        (5, 5)
    );
    assert_eq!(tcp.peers[1].peer, from("10.0.0.7", 443));
    assert_eq!(tcp.peers[1].states.syn_received, 1);
    assert_eq!(
        (
            tcp.peers[1].states.fin_wait_2,
            tcp.peers[1].states.fin_wait_2_orphaned
        ),
        (1, 0)
    );
    assert_eq!(tcp.other.established, 7);
    let all = tcp.timeline[0].states;
    let rows: u64 = tcp.peers.iter().map(|p| p.states.total()).sum();
    assert_eq!(rows + tcp.other.total() + all.listen, all.total());
    // Two local addresses have ports of their own.
    assert_eq!(tcp.ports.len(), 2);
}

#[test]
fn a_million_peers_are_bounded_and_the_sums_stay_exact() {
    let row: &[(usize, u32)] = &[(1, 1)];
    let rows: Vec<(CensusKey, &[(usize, u32)])> = (0..8192u32)
        .map(|n| {
            let remote = words(&n.to_be_bytes());
            (
                CensusKey {
                    remote,
                    ..out(0, 80)
                },
                row,
            )
        })
        .collect();
    let mut reading = tcp_reading(vec![census(0, &rows)]);
    reading.transitions = (0..3000u32)
        .map(|n| {
            let peer = key(kind::INET, 0, &n.to_be_bytes(), 80);
            moved(&peer, n + 1, state::CLOSE, state::SYN_SENT, 1)
        })
        .collect();
    let odd = |n: u64| {
        connect(
            &key(kind::INET, 0, &(n as u32).to_be_bytes(), 80),
            n,
            libc::ECONNREFUSED,
        )
    };
    reading.connects = (0..9000).map(odd).collect();
    let tcp = window(vec![reading], 1);
    assert_eq!(tcp.peers.len(), MAX_TCP_ROWS);
    assert_eq!(tcp.other.established, 8192 - MAX_TCP_ROWS as u64);
    assert_eq!(tcp.dwell.iter().map(|d| d.count).sum::<u64>(), 3000);
    assert!(tcp.dwell.len() <= MAX_TCP_ROWS + 20);
    assert_eq!(tcp.failed.iter().map(|f| f.count).sum::<u64>(), 9000);
    assert!(tcp.failed.len() <= MAX_TCP_ROWS + 1);
    let in_gaps: u64 = tcp.gaps.iter().map(|g| g.failed[0].1).sum();
    assert_eq!(in_gaps + tcp.gaps_left_out, 9000);
}

#[test]
fn a_window_that_goes_on_begins_anew_with_what_lasts() {
    let held = |at| vec![half(0xa, 1, column::FIN_WAIT2_HELD, None, at)];
    let mut reading = closing(8, 0, 1);
    reading.censuses = halves(held);
    let sock = key(kind::UNIX, 0, SOCK, 0);
    reading.connects = vec![connect(&sock, 8 * S, libc::ENOENT)];
    let before = fold(vec![reading.clone()], 9);
    let mut after = before.signals_successor(0);
    let mut later = tcp_reading(vec![Census {
        fin_wait2: held(10 * S),
        ..census(10 * S, &[(out(8, 80), &[(column::FIN_WAIT2_HELD, 1)])])
    }]);
    // The sums are since attach.
    later.transitions.clone_from(&reading.transitions);
    later.transitions[0].1.sum.count += 4;
    after.push(whole(later, 10));
    let window: Window = after.signals_window(PROBES.map(probe).to_vec(), Cost::default());
    assert_eq!(window.duration_ns, S);
    let tcp = window.tcp.unwrap();
    assert_eq!(fin_wait_2(&tcp).oldest_ns, 10 * S);
    assert_eq!(tcp.dwell.iter().map(|d| d.count).sum::<u64>(), 4);
    assert_eq!((tcp.failed.len(), tcp.gaps.len()), (0, 1));
    assert_eq!(tcp.timeline.len(), 2);
}
