//! What becomes of readings about UDP.

use super::{fixture::at, *};
use crate::{
    aggregate::fixture::{MS, S, START},
    collect::udp::{Census, DropStep, Holder, SocketDrops, SocketState, UdpReading},
};

fn socket(drops: u64, queued: u64) -> SocketState {
    SocketState {
        sock: 7,
        inode: 70,
        local: at("127.0.0.1:53"),
        remote: None,
        rcvbuf_bytes: Some(2000),
        queued_bytes: queued * 500,
        queued: Some(queued),
        drops,
        uid: 102,
    }
}

fn census(at_ns: u64, sockets: Vec<SocketState>) -> Census {
    let drops: u64 = sockets.iter().map(|s| s.drops).sum();
    Census {
        at_ns: START + at_ns,
        took_ns: MS,
        total: 14,
        sockets,
        left_out: 0,
        counters: Counters {
            v4: UdpCounters {
                rcvbuf_errors: Some(1000 + drops),
                ..UdpCounters::default()
            },
            v6: UdpCounters::default(),
        },
    }
}

fn row(last_ns: u64, drops: u64) -> SocketDrops {
    SocketDrops {
        sock: 7,
        born_ns: START + S,
        last_ns: START + last_ns,
        reasons: Reasons {
            buffer_full: drops,
            ..Reasons::default()
        },
        truesize_bytes: Some(drops * 768),
        local: at("127.0.0.1:53"),
        sender: None,
        rcvbuf_bytes: 2000,
        queued_bytes: 2100,
        inode: 70,
        uid: 102,
    }
}

fn step(at_ns: u64, total: u64) -> DropStep {
    DropStep {
        sender: None,
        sock: 7,
        born_ns: START + S,
        at_ns: START + at_ns,
        total,
    }
}

fn holder(sock: u64, inode: u64, pid: u32) -> Holder {
    Holder {
        sock,
        inode,
        pid,
        comm: b"unbound".to_vec(),
        fd: 5,
    }
}

/// Empty at 0 s, overflows from 1 s on, and goes on.
fn first() -> Vec<UdpReading> {
    vec![
        UdpReading {
            censuses: vec![census(0, vec![])],
            ..UdpReading::default()
        },
        UdpReading {
            steps: vec![step(S, 1), step(S + 100 * MS, 41), step(2 * S, 44)],
            ..UdpReading::default()
        },
        UdpReading {
            censuses: vec![
                census(S, vec![socket(1, 4)]),
                census(2 * S, vec![socket(44, 2)]),
            ],
            drops: vec![row(2 * S, 44)],
            holders: vec![holder(7, 70, 812), holder(7, 71, 813), holder(8, 70, 814)],
            ..UdpReading::default()
        },
    ]
}

#[test]
fn drops_of_a_socket_are_exact_and_have_owner_queue_and_peak() {
    let mut fold = UdpFold::default();
    first().into_iter().for_each(|r| fold.push(r));
    let udp = fold.finish((START, START + 3 * S), true);
    let s = &udp.sockets[0];
    assert_eq!((s.drops, s.counted, s.before), (44, Some(44), Some(0)));
    assert_eq!((s.first_ns, s.last_ns), (S, 2 * S));
    assert_eq!(s.peak_per_s, 410.0);
    // Another inode is a socket of before, another address another one.
    let owners: Vec<u32> = s.owners.iter().map(|o| o.0.pid).collect();
    assert_eq!(owners, [812]);
    let queue: Vec<_> = s.queue.iter().map(|p| (p.at_ns / S, p.datagrams)).collect();
    assert_eq!(queue, [(1, Some(4)), (2, Some(2))]);
    assert_eq!((s.datagram_bytes, s.datagram_at_most), (Some(500.0), false));
    let all = Some(44);
    let agreed = Agreement {
        traced: all,
        rcvbuf_errors: all,
        sockets: all,
    };
    assert_eq!(udp.agreement, agreed);
    assert_eq!(udp.queues[0].max_bytes, 2000);
    assert_eq!(udp.queues[0].fill(), 1.0);
}

#[test]
fn a_later_window_counts_only_its_own() {
    let mut fold = UdpFold::default();
    first().into_iter().for_each(|r| fold.push(r));
    let mut next = fold.successor();
    let quiet = next.finish((START + 3 * S, START + 3 * S), true);
    assert_eq!((quiet.sockets.len(), quiet.agreement.traced), (0, Some(0)));
    next.push(UdpReading {
        censuses: vec![census(4 * S, vec![socket(50, 4)])],
        drops: vec![row(4 * S, 50)],
        ..UdpReading::default()
    });
    let udp = next.finish((START + 3 * S, START + 5 * S), true);
    let s = &udp.sockets[0];
    assert_eq!((s.drops, s.counted, s.before), (6, Some(6), Some(44)));
    assert_eq!(udp.agreement.rcvbuf_errors, Some(6));
    // 6 in the two seconds of the window, and since the last moment that is known.
    assert_eq!(s.peak_per_s, 3.0);
    assert_eq!(s.owners.len(), 1);
}

#[test]
fn without_the_tracepoint_the_sockets_own_counters_tell() {
    let mut fold = UdpFold::default();
    let old = SocketState {
        sock: 9,
        ..socket(1000, 0)
    };
    let both = |drops| vec![old.clone(), socket(drops, 4)];
    for (at_ns, sockets) in [(0, vec![old.clone()]), (S, both(3)), (2 * S, both(9))] {
        fold.push(UdpReading {
            censuses: vec![census(at_ns, sockets)],
            ..UdpReading::default()
        });
    }
    let udp = fold.finish((START, START + 2 * S), false);
    // What dropped before the window, and not in it, is not there.
    assert_eq!(udp.sockets.len(), 1);
    let s = &udp.sockets[0];
    assert_eq!((s.drops, s.reasons, s.first_ns), (9, None, S));
    assert_eq!(
        (udp.agreement.traced, udp.agreement.sockets),
        (None, Some(9))
    );
}

#[test]
fn a_socket_in_the_place_of_a_closed_one_begins_anew() {
    let mut fold = UdpFold::default();
    for (at_ns, drops) in [(0, 100), (S, 130), (2 * S, 5)] {
        fold.push(UdpReading {
            censuses: vec![census(at_ns, vec![socket(drops, 0)])],
            ..UdpReading::default()
        });
    }
    let udp = fold.finish((START, START + 2 * S), false);
    assert_eq!(udp.sockets[0].drops, 35);
}

#[test]
fn what_found_no_row_in_the_kernels_table_is_not_a_socket() {
    let mut fold = UdpFold::default();
    fold.push(UdpReading {
        drops: vec![SocketDrops {
            sock: 0,
            local: at("0.0.0.0:0"),
            ..row(S, 30)
        }],
        ..UdpReading::default()
    });
    let udp = fold.finish((START, START + 2 * S), true);
    assert_eq!((udp.sockets.len(), udp.other_drops), (0, 30));
    assert_eq!(udp.agreement.traced, Some(30));
}
