//! Queues of listeners.

use super::*;

pub(super) fn listener(inode: u64, port: u16, queue: u32) -> Listener {
    Listener {
        record: probe_common::tcp::record::LISTENER,
        tgid: 0,
        fd: -1,
        queue,
        limit: 8,
        syn_queue: 2,
        drops: 0,
        pad: 0,
        inode,
        address: key(kind::INET, flag::LISTENER, &[0; 4], port),
    }
}

pub(super) fn walk(at: u64, listeners: Vec<Listener>) -> Owners {
    Owners {
        at_ns: START + at,
        took_ns: MS,
        processes: vec![Owner {
            pid: 812,
            comm: b"nginx".to_vec(),
            counts: [0; 16],
        }],
        listeners,
        holders: Vec::new(),
    }
}

#[test]
fn a_listener_overflows_by_what_it_dropped_in_the_window() {
    // The first dropped 100 before, the second begins in the window.
    let overflows = |second: u32| second * 3 + second.saturating_sub(4) * 2;
    let censuses = (0..10u32).map(|second| {
        let drops = |listener: Listener, drops| Listener { drops, ..listener };
        let mut listeners = vec![drops(listener(1, 80, 9), 100 + second * 3)];
        if second >= 5 {
            listeners.push(drops(listener(2, 81, second - 5), (second - 4) * 2));
        }
        Census {
            listeners,
            counters: Counters {
                listen_overflows: Some(500 + u64::from(overflows(second))),
                listen_drops: Some(500 + u64::from(overflows(second))),
                ..Counters::default()
            },
            ..census(u64::from(second) * S, &[])
        }
    });
    let mut reading = tcp_reading(censuses.collect());
    let held = |l: Listener| Listener {
        tgid: 812,
        fd: 6,
        ..l
    };
    reading.owners = vec![walk(
        8 * S,
        vec![held(listener(1, 80, 9)), held(listener(1, 80, 9))],
    )];
    let on_80 = key(kind::INET, flag::LISTENER, &[0; 4], 80);
    reading.transitions = vec![moved(&on_80, 812, state::ESTABLISHED, state::ACCEPTED, 40)];
    let tcp = window(vec![reading], 10);
    let [first, second] = &tcp.listeners[..] else {
        panic!("{:?}", tcp.listeners);
    };
    assert_eq!(first.address, on_port(80));
    assert_eq!(first.owners, [process(812, "nginx")]);
    assert_eq!(
        (first.queue_max, first.limit, first.syn_queue_max),
        (9, 8, 2)
    );
    assert_eq!((first.looks, first.full, first.overflows), (10, 10, 27));
    assert_eq!(
        (first.accepted, first.wait.len(), first.overflows_inexact),
        (40, 40, false)
    );
    assert_eq!(
        (second.queue_max, second.full, second.overflows),
        (4, 0, 10)
    );
    assert_eq!(tcp.counters.listen_overflows, Some(37));
}

/// Listeners with these drops a second, and the namespace's overflows, at one census after the other: what is said of each.
fn told(seconds: &[(&[u32], u64)]) -> Vec<(u64, bool, Option<u64>)> {
    let censuses = (0..)
        .zip(seconds)
        .map(|(second, (drops, overflows))| Census {
            listeners: (1..)
                .zip(*drops)
                .map(|(n, drops)| Listener {
                    drops: *drops,
                    ..listener(n, 80 + n as u16, 0)
                })
                .collect(),
            counters: Counters {
                listen_overflows: Some(*overflows),
                ..Counters::default()
            },
            ..census(second * S, &[])
        });
    let mut rows = window(vec![tcp_reading(censuses.collect())], 10).listeners;
    rows.sort_by(|a, b| a.address.cmp(&b.address));
    let row = |l: &ListenQueue| (l.overflows, l.overflows_inexact, l.first_overflow_ns);
    rows.iter().map(row).collect()
}

#[test]
fn a_socket_that_drops_alone_has_all_overflows_of_that_second() {
    // A segment that comes for a handshake is one overflow and two drops.
    let seconds: &[(&[u32], u64)] = &[(&[9, 9], 70), (&[29, 9], 80), (&[29, 11], 81)];
    assert_eq!(
        told(seconds),
        [(10, false, Some(S)), (1, false, Some(2 * S))]
    );
}

#[test]
fn sockets_that_drop_at_once_have_their_parts() {
    let seconds: &[(&[u32], u64)] = &[(&[0, 0], 0), (&[30, 10], 20)];
    assert_eq!(told(seconds), [(15, true, Some(S)), (5, true, Some(S))]);
    // Nothing was dropped for another reason.
    let seconds: &[(&[u32], u64)] = &[(&[0, 0], 0), (&[30, 10], 40)];
    assert_eq!(told(seconds), [(30, false, Some(S)), (10, false, Some(S))]);
}

#[test]
fn drops_for_other_reasons_are_no_overflows() {
    let seconds: &[(&[u32], u64)] = &[(&[0], 7), (&[5], 7)];
    assert_eq!(told(seconds), [(0, false, None)]);
}

#[test]
fn what_overflows_between_the_looks_at_sockets_and_counters_is_not_lost() {
    let seconds: &[(&[u32], u64)] = &[(&[0], 0), (&[5], 6), (&[6], 6)];
    assert_eq!(told(seconds), [(6, false, Some(S))]);
    // But a listener that is gone leaves nothing to others.
    let seconds: &[(&[u32], u64)] = &[(&[0], 0), (&[0], 6), (&[0], 6), (&[6], 6)];
    assert_eq!(told(seconds), [(0, false, None)]);
}

#[test]
fn a_unix_listener_overflows_by_the_connects_that_were_told_to_come_again() {
    let sock = key(kind::UNIX, 0, SOCK, 0);
    let unix = Listener {
        tgid: 812,
        fd: 9,
        queue: 9,
        address: key(kind::UNIX, flag::LISTENER, SOCK, 0),
        ..listener(77, 0, 9)
    };
    let mut reading = tcp_reading(vec![census(0, &[]), census(9 * S, &[])]);
    reading.owners = vec![
        walk(S, vec![unix; 3]),
        walk(9 * S, vec![Listener { queue: 1, ..unix }]),
    ];
    reading.connects = (0..6)
        .map(|n| connect(&sock, n * S, libc::EAGAIN))
        .collect();
    let tcp = window(vec![reading.clone()], 10);
    let row = &tcp.listeners[0];
    assert_eq!(row.address, on_path("/run/php.sock"));
    assert_eq!(
        (row.tcp, row.overflows, row.looks, row.full),
        (false, 6, 2, 1)
    );
    assert_eq!((row.queue, row.queue_max), (1, 9));
    assert_eq!(row.owners, [process(812, "nginx")]);
    // It holds no TCP socket.
    assert!(tcp.processes.is_empty());
    // After a restart, the socket that is there has them, with its owner.
    for first in 70..76 {
        reading.owners[0].listeners = vec![Listener {
            inode: first,
            ..unix
        }];
        let tcp = window(vec![reading.clone()], 10);
        let rows: Vec<_> = tcp
            .listeners
            .iter()
            .map(|l| (l.overflows, l.owners.len()))
            .collect();
        assert_eq!(rows, [(6, 1)]);
    }
    // Without a walk, the path is all that is known.
    reading.owners.clear();
    let tcp = window(vec![reading], 10);
    assert_eq!((tcp.listeners[0].overflows, tcp.listeners[0].looks), (6, 0));
    assert!(!tcp.owners_known);
}
