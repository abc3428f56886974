//! Gaps in which nobody listened.

use std::collections::HashMap;

use super::{
    super::gaps::{Event, Gaps},
    *,
};

pub(super) fn connect(peer: &PeerKey, at: u64, errno: i32) -> Connect {
    Connect {
        event: probe_common::request::event::CONNECT,
        errno: errno as u32,
        at_ns: START + at,
        peer: id(peer),
        last_ok_ns: 0,
        tgid: 901,
        tid: 901,
        comm: comm(b"nginx"),
    }
}

pub(super) fn listening(address: &PeerKey, at: u64, begins: u32) -> Listening {
    Listening {
        event: probe_common::request::event::LISTENING,
        begins,
        at_ns: START + at,
        peer: id(address),
        tgid: 1234,
        backlog: 511,
        comm: comm(b"php-fpm8.2"),
    }
}

fn gaps(connects: Vec<Connect>, listening: Vec<Listening>) -> Vec<Gap> {
    let reading = TcpReading {
        connects,
        listening,
        ..tcp_reading(Vec::new())
    };
    window(vec![reading], 10).gaps
}

#[test]
fn a_gap_ends_with_listen_and_counts_what_failed_in_it() {
    let sock = key(kind::UNIX, 0, SOCK, 0);
    let on = key(kind::UNIX, flag::LISTENER, SOCK, 0);
    let mut connects: Vec<Connect> = (0..10)
        .map(|n| connect(&sock, 2 * S + n * 10 * MS, libc::ENOENT))
        .collect();
    connects[0].last_ok_ns = START;
    connects.push(connect(&sock, 2 * S + 95 * MS, libc::ECONNREFUSED));
    // Refused before listen() returned, but back later than that.
    connects.push(connect(&sock, 2 * S + 101 * MS, libc::ECONNREFUSED));
    connects.push(connect(&sock, 2 * S + 110 * MS, 0));
    // A second restart.
    connects.push(connect(&sock, 5 * S, libc::ENOENT));
    let begins = [2 * S + 100 * MS, 5 * S + 30 * MS].map(|at| listening(&on, at, 1));
    let gaps = gaps(connects, begins.to_vec());
    let spans: Vec<_> = gaps.iter().map(|g| (g.start_ns, g.end_ns)).collect();
    assert_eq!(
        spans,
        [
            (2 * S, Some(2 * S + 100 * MS)),
            (5 * S, Some(5 * S + 30 * MS))
        ]
    );
    let errno = |e: i32| e as u32;
    assert_eq!(
        gaps[0].failed,
        [(errno(libc::ENOENT), 10), (errno(libc::ECONNREFUSED), 2)]
    );
    assert_eq!(gaps[0].refused, [(process(901, "nginx"), 12)]);
    assert_eq!(gaps[0].back, Some(process(1234, "php-fpm8.2")));
    assert_eq!(gaps[0].peer, path("/run/php.sock"));
    // That someone listened on it before the second one is known from the first.
    assert!(gaps.iter().all(|g| g.served_before && !g.start_seen));
}

#[test]
fn a_gap_begins_where_the_listener_ended_when_that_was_seen() {
    for on in [
        key(kind::INET, flag::LISTENER, &[0; 4], 80),
        key(kind::INET6, flag::LISTENER, &[0; 16], 80),
    ] {
        // 10.0.0.2 is an address of this machine, as its sockets show; so is 127.0.0.1.
        let sock = key(kind::INET, 0, &[10, 0, 0, 2], 80);
        let ours = census(0, &[(out(8, 80), &[(1, 1)])]);
        let reading = TcpReading {
            connects: vec![connect(&sock, 3 * S, libc::ECONNREFUSED)],
            listening: vec![listening(&on, 2 * S, 0), listening(&on, 4 * S, 1)],
            ..tcp_reading(vec![ours])
        };
        let tcp = window(vec![reading.clone()], 10);
        let gap = &tcp.gaps[0];
        assert_eq!((gap.start_ns, gap.end_ns), (2 * S, Some(4 * S)));
        assert!(gap.start_seen && gap.served_before);
        // The same port of another machine is no business of that listener.
        let other = key(kind::INET, 0, &[10, 0, 0, 3], 80);
        let connects = vec![connect(&other, 3 * S, libc::ECONNREFUSED)];
        let tcp = window(
            vec![TcpReading {
                connects,
                ..reading
            }],
            10,
        );
        assert_eq!(
            (tcp.gaps[0].end_ns, tcp.gaps[0].served_before),
            (None, false)
        );
    }
}

#[test]
fn what_the_listeners_end_reset_failed_in_the_gap() {
    let on = key(kind::INET6, flag::LISTENER, &[0; 16], 80);
    let to = key(kind::INET6, 0, &Ipv6Addr::LOCALHOST.octets(), 80);
    let resets = [S, 2 * S + MS, 4 * S].map(|at| connect(&to, at, libc::ECONNRESET));
    let ends = [listening(&on, 2 * S, 0), listening(&on, 3 * S, 1)];
    // Another listener shares the address: nobody was refused.
    assert!(gaps(resets.to_vec(), ends.to_vec()).is_empty());

    let refused = connect(&to, 2 * S + 2 * MS, libc::ECONNREFUSED);
    let all = [resets.as_slice(), &[refused]].concat();
    let found = gaps(all.clone(), ends.to_vec());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].start_ns, found[0].end_ns), (2 * S, Some(3 * S)));
    let errno = |e: i32| e as u32;
    assert_eq!(
        found[0].failed,
        [(errno(libc::ECONNRESET), 1), (errno(libc::ECONNREFUSED), 1)]
    );
    // Where the listener's end was not seen, a reset may have any cause.
    assert_eq!(
        gaps(all, Vec::new())[0].failed,
        [(errno(libc::ECONNREFUSED), 1)]
    );
}

#[test]
fn who_listens_just_after_the_first_success_is_who_came_back() {
    let sock = key(kind::UNIX, 0, SOCK, 0);
    let on = key(kind::UNIX, flag::LISTENER, SOCK, 0);
    let of = |late| {
        let connects = vec![connect(&sock, S, libc::ENOENT), connect(&sock, 2 * S, 0)];
        let gaps = gaps(connects, vec![listening(&on, 2 * S + late, 1)]);
        (gaps[0].end_ns, gaps[0].back.clone())
    };
    assert_eq!(of(MS), (Some(2 * S), Some(process(1234, "php-fpm8.2"))));
    assert_eq!(of(S), (Some(2 * S), None));
}

#[test]
fn an_ipv4_listener_never_served_ipv6() {
    let localhost = key(kind::INET6, 0, &Ipv6Addr::LOCALHOST.octets(), 80);
    for (on, served) in [
        (key(kind::INET, flag::LISTENER, &[0; 4], 80), false),
        (key(kind::INET6, flag::LISTENER, &[0; 16], 80), true),
    ] {
        let connects = vec![connect(&localhost, 2 * S, libc::ECONNREFUSED)];
        let gaps = gaps(
            connects,
            vec![listening(&on, S, 1), listening(&on, S + MS, 0)],
        );
        assert_eq!(gaps[0].served_before, served);
    }
}

#[test]
fn without_listen_a_gap_ends_with_the_first_success() {
    let far = key(kind::INET, 0, &[10, 0, 0, 8], 80);
    let connects = vec![
        connect(&far, S, libc::ECONNREFUSED),
        connect(&far, 2 * S, libc::ECONNREFUSED),
        connect(&far, 3 * S, 0),
        connect(&far, 4 * S, libc::ETIMEDOUT),
    ];
    let gaps = gaps(connects, Vec::new());
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].start_ns, gaps[0].end_ns), (S, Some(3 * S)));
    assert!(!gaps[0].served_before && gaps[0].back.is_none());
}

#[test]
fn an_address_that_nobody_ever_served_was_not_served_before() {
    let sock = key(kind::UNIX, 0, b"/run/nscd/socket", 0);
    let connects = (0..5)
        .map(|n| connect(&sock, n * S, libc::ENOENT))
        .collect();
    let gaps = gaps(connects, Vec::new());
    assert_eq!((gaps[0].end_ns, gaps[0].served_before), (None, false));
    assert_eq!(gaps[0].failed[0].1, 5);
}

#[test]
fn who_listens_for_a_moment_does_not_take_the_place_of_who_comes_back() {
    let mut gaps = Gaps::default();
    let listener = |port: u16| key(kind::INET, flag::LISTENER, &[127, 0, 0, 1], port);
    let mut tell = |port: u16, at: u64, begins: u32| {
        let on = listener(port);
        let peers = HashMap::from([(id(&on), on)]);
        gaps.push(Event::Listening(&listening(&on, at, begins)), &peers);
    };
    for port in 1..=20_000 {
        let at = u64::from(port) * MS;
        tell(port, at, 1);
        tell(port, at + MS / 2, 0);
    }
    tell(40_000, 30 * S, 1);
    tell(40_000, 31 * S, 0);
    let to = key(kind::INET, 0, &[127, 0, 0, 1], 40_000);
    let peers = HashMap::from([(id(&to), to)]);
    let refused = connect(&to, 32 * S, libc::ECONNREFUSED);
    gaps.push(Event::Connect(&refused), &peers);
    let gap = &gaps.finish(START, &peers)[0];
    assert!(gap.start_seen && gap.served_before);
    assert_eq!(gap.start_ns, 31 * S);
}
