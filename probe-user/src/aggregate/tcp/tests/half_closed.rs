//! FIN_WAIT_2, followed from census to census.

use super::*;

pub(super) fn half(sock: u64, port: u16, column: usize, left_s: Option<u64>, at: u64) -> FinWait2 {
    FinWait2 {
        record: probe_common::tcp::record::FIN_WAIT2,
        column: column as u32,
        sock,
        inode: 0,
        expires: left_s.map_or(0, |s| jiffies(at) + s * HZ),
        local_port: port,
        remote_port: 80,
        pad: 0,
        key: out(8, 80),
    }
}

/// Ten censuses, one each second, of the sockets that `at` says are there at each.
pub(super) fn halves(at: impl Fn(u64) -> Vec<FinWait2>) -> Vec<Census> {
    (0..10)
        .map(|second| {
            let fin_wait2 = at(second * S);
            let mut counts = [0; column::COUNT];
            fin_wait2
                .iter()
                .for_each(|s| counts[s.column as usize] += 1);
            let rows: Vec<(usize, u32)> = counts.into_iter().enumerate().collect();
            Census {
                fin_wait2,
                ..census(second * S, &[(out(8, 80), &rows)])
            }
        })
        .collect()
}

pub(super) fn fin_wait_2(tcp: &Tcp) -> &StateDwell {
    let all = &tcp.dwell_by_state;
    all.iter().find(|d| d.state == "fin_wait_2").expect("a row")
}

#[test]
fn a_half_closed_socket_is_followed_over_the_swap_to_a_timewait_object() {
    // Held from 2 s on, closed at 5 s and then kept as a timewait object, gone at 8 s.
    let censuses = halves(|at| match at / S {
        2..5 => vec![half(0xa, 4000, column::FIN_WAIT2_HELD, None, at)],
        5..8 => vec![half(
            0xb,
            4000,
            column::FIN_WAIT2_TIMEWAIT,
            Some(60 - (at / S - 5)),
            at,
        )],
        _ => Vec::new(),
    });
    let tcp = window(vec![tcp_reading(censuses)], 9);
    let dwell = fin_wait_2(&tcp);
    assert_eq!((dwell.count, dwell.present, dwell.source), (1, 0, "census"));
    // From 1.5 s to 7.5 s, each known to half a second; the bucket is an eighth wide.
    assert!((5..7).contains(&(dwell.durations.quantile(0.5) / S)));
    assert_eq!(tcp.half_closed[0].peer, to("10.0.0.8:80"));
    assert_eq!(
        (tcp.half_closed[0].peak, tcp.half_closed[0].left.len()),
        (1, 1)
    );
}

#[test]
fn another_socket_with_the_same_addresses_is_another_stay() {
    let censuses = halves(|at| match at / S {
        2..5 => vec![half(0xa, 4000, column::FIN_WAIT2_HELD, None, at)],
        5..10 => vec![half(0xc, 4000, column::FIN_WAIT2_HELD, None, at)],
        _ => Vec::new(),
    });
    let tcp = window(vec![tcp_reading(censuses)], 9);
    let dwell = fin_wait_2(&tcp);
    assert_eq!((dwell.count, dwell.present), (1, 1));
    assert_eq!(dwell.oldest_ns / S, 4);
    assert_eq!(tcp.half_closed[0].held, 1);
}

#[test]
fn the_age_of_an_orphan_is_read_off_its_timer() {
    let with = |fin_timeout_s, column, left_s| {
        let mut reading = tcp_reading(halves(|at| vec![half(0xa, 1, column, Some(left_s), at)]));
        reading.settings.fin_timeout_s = Some(fin_timeout_s);
        reading.censuses.truncate(1);
        fin_wait_2(&window(vec![reading], 1)).oldest_ns / S
    };
    assert_eq!(with(60, column::FIN_WAIT2_TIMEWAIT, 20), 40);
    assert_eq!(with(30, column::FIN_WAIT2_TIMEWAIT, 20), 10);
    // 120 s are 60 s as a socket, then 60 s as a timewait object.
    assert_eq!(with(120, column::FIN_WAIT2_ORPHAN, 20), 40);
    assert_eq!(with(120, column::FIN_WAIT2_TIMEWAIT, 20), 100);
    // A timer that the setting does not explain makes no age.
    assert_eq!(with(10, column::FIN_WAIT2_TIMEWAIT, 20), 0);
}

#[test]
fn an_orphan_that_was_there_before_is_dated_when_it_becomes_a_timewait_object() {
    // tcp_fin_timeout 70: 10 s as a whole socket, of which 4 s are seen, then 10 s as a timewait object.
    let mut reading = tcp_reading(halves(|at| match at / S {
        0..4 => vec![half(0xa, 1, column::FIN_WAIT2_ORPHAN, None, at)],
        second => vec![half(
            0xb,
            1,
            column::FIN_WAIT2_TIMEWAIT,
            Some(14 - second),
            at,
        )],
    }));
    reading.settings.fin_timeout_s = Some(70);
    let tcp = window(vec![reading], 9);
    assert_eq!(fin_wait_2(&tcp).oldest_ns, 15 * S);
}

#[test]
fn short_stays_are_known_by_their_number_and_how_many_a_census_meets() {
    // 1,000 a second stay 20 ms: each census meets 20 others.
    let censuses = halves(|at| {
        let ports = (0..20).map(|n| (at / S * 20 + n) as u16);
        let stay = |p: u16| half(u64::from(p), p, column::FIN_WAIT2_TIMEWAIT, Some(60), at);
        ports.map(stay).collect()
    });
    let mut reading = tcp_reading(censuses);
    let peer = key(kind::INET, 0, &[10, 0, 0, 8], 80);
    reading.transitions = vec![moved(&peer, 7, state::FIN_WAIT1, state::FIN_WAIT2, 9000)];
    let mut named = whole(reading, 9);
    named.peers.insert(id(&peer), peer);
    let mut aggregator = Aggregator::new(about());
    aggregator.push(named);
    let window = aggregator.signals_window(PROBES.map(probe).to_vec(), Cost::default());
    let tcp = window.tcp.unwrap();
    for durations in [&fin_wait_2(&tcp).durations, &tcp.half_closed[0].left] {
        let p50 = durations.quantile(0.5) as f64 / MS as f64;
        assert!((15.0..25.0).contains(&p50), "{p50} ms");
    }
    assert_eq!(tcp.half_closed[0].entered_per_s.round(), 1000.0);
}

#[test]
fn sockets_that_were_not_listed_have_not_left() {
    let mut censuses = halves(|at| match at / S {
        4 => Vec::new(),
        _ => vec![half(0xa, 1, column::FIN_WAIT2_HELD, None, at)],
    });
    censuses[4].fin_wait2_left_out = 1;
    let tcp = window(vec![tcp_reading(censuses)], 9);
    assert_eq!((fin_wait_2(&tcp).count, tcp.half_closed_left_out), (0, 1));
}

#[test]
fn holders_are_named_with_a_descriptor() {
    let held = |n: u64| (0..n).map(|p| half(p + 1, p as u16, column::FIN_WAIT2_HELD, None, 0));
    let mut reading = tcp_reading(halves(|_| held(3).collect()));
    let holder = |tgid, fd, sock| Holder {
        record: probe_common::tcp::record::HOLDER,
        tgid,
        fd,
        pad: 0,
        sock,
    };
    reading.owners = vec![Owners {
        at_ns: START + 9 * S,
        took_ns: MS,
        processes: vec![Owner {
            pid: 7,
            comm: b"proxy".to_vec(),
            counts: [0; 16],
        }],
        listeners: Vec::new(),
        holders: vec![holder(7, 12, 1), holder(7, 13, 2), holder(7, 9, 99)],
    }];
    let tcp = window(vec![reading], 9);
    assert_eq!(tcp.half_closed[0].holders, [(process(7, "proxy"), 2, 12)]);
}

#[test]
fn clients_that_are_counted_together_have_no_short_stays_of_their_own() {
    // As in the test above, but it is clients that do not close, and only all of them are counted.
    let inbound = |socket: FinWait2| FinWait2 {
        key: CensusKey {
            flags: flag::INBOUND,
            ..socket.key
        },
        ..socket
    };
    let mut censuses = halves(|at| {
        let stay = |p: u16| half(u64::from(p), p, column::FIN_WAIT2_TIMEWAIT, Some(60), at);
        let ports = (0..20).map(|n| (at / S * 20 + n) as u16);
        ports.map(|p| inbound(stay(p))).collect()
    });
    for census in &mut censuses {
        census.rows[0].0.flags = flag::INBOUND;
    }
    let mut all = key(kind::INET, 0, &[], 0);
    (all.flags, all.local_port) = (flag::INBOUND, 80);
    let mut reading = tcp_reading(censuses);
    reading.transitions = vec![moved(&all, 7, state::FIN_WAIT1, state::FIN_WAIT2, 9000)];
    let mut named = whole(reading, 9);
    named.peers.insert(id(&all), all);
    let mut aggregator = Aggregator::new(about());
    aggregator.push(named);
    let window = aggregator.signals_window(PROBES.map(probe).to_vec(), Cost::default());
    let tcp = window.tcp.unwrap();
    let client = &tcp.half_closed[0];
    assert_eq!(client.peer, from("10.0.0.8", 80));
    assert!(client.left.is_empty());
    // What census after census shows of them is a lower bound.
    assert!(client.entered_per_s > 10.0);
    // All together are counted, and so known.
    assert!(fin_wait_2(&tcp).durations.quantile(0.5) < 25 * MS);
}
