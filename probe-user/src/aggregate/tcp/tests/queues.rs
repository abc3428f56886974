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
    let censuses = (0..10u32).map(|second| {
        let drops = |listener: Listener, drops| Listener { drops, ..listener };
        let mut listeners = vec![drops(listener(1, 80, 9), 100 + second * 3)];
        if second >= 5 {
            listeners.push(drops(listener(2, 81, second - 5), (second - 4) * 2));
        }
        Census {
            listeners,
            counters: Counters {
                listen_overflows: Some(500 + u64::from(second) * 3),
                listen_drops: Some(500 + u64::from(second) * 3),
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
    assert_eq!(tcp.counters.listen_overflows, Some(27));
}

#[test]
fn drops_for_other_reasons_make_overflows_inexact() {
    let censuses = (0..2u32).map(|second| Census {
        listeners: vec![Listener {
            drops: second,
            ..listener(1, 80, 0)
        }],
        counters: Counters {
            listen_overflows: Some(7),
            listen_drops: Some(7 + u64::from(second)),
            ..Counters::default()
        },
        ..census(u64::from(second) * S, &[])
    });
    assert!(window(vec![tcp_reading(censuses.collect())], 2).listeners[0].overflows_inexact);
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
