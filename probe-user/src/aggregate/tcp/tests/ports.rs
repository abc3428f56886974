//! Ephemeral ports, and where their number goes.

use super::*;

/// Ten censuses, one a second: `first` sockets in TIME_WAIT and `per_s` more each second, with the transitions of
/// as many connections that `pid` opened and closed first.
pub(super) fn closing(destination: u8, first: u32, per_s: u32) -> TcpReading {
    let censuses = (0..11u32).map(|second| {
        let waiting = (usize::from(state::TIME_WAIT), first + second * per_s);
        let row = [waiting, (usize::from(state::ESTABLISHED), 5)];
        census(u64::from(second) * S, &[(out(destination, 80), &row)])
    });
    let peer = key(kind::INET, 0, &[10, 0, 0, destination], 80);
    TcpReading {
        transitions: vec![
            moved(
                &peer,
                7,
                state::CLOSE,
                state::SYN_SENT,
                u64::from(per_s) * 10,
            ),
            moved(&peer, 8, state::CLOSE, state::SYN_SENT, 1),
            moved(
                &peer,
                7,
                state::ESTABLISHED,
                state::FIN_WAIT1,
                u64::from(per_s) * 10,
            ),
        ],
        ..tcp_reading(censuses.collect())
    }
}

#[test]
fn a_node_that_has_just_begun_to_close_many_is_not_told_that_its_ports_end() {
    let tcp = window(vec![closing(8, 0, 100)], 10);
    let ports = &tcp.ports[0];
    assert_eq!(ports.peer, to("10.0.0.8:80"));
    assert_eq!(ports.local, Some("10.0.0.2".parse().unwrap()));
    assert_eq!(
        (ports.usable, ports.used(), ports.peak),
        (28_232, 1005, 1005)
    );
    assert_eq!((ports.levels_off_at, ports.growth_per_s), (6005.0, 100.0));
    assert_eq!(ports.seconds_left, None);
    assert_eq!(ports.closer, Some(process(7, "curl")));
    assert_eq!(ports.opener, Some(process(7, "curl")));
}

#[test]
fn a_connect_without_a_port_is_none_that_was_opened() {
    let mut reading = closing(8, 0, 100);
    let peer = key(kind::INET, 0, &[10, 0, 0, 8], 80);
    // Of 1,001 connects 200 found no port, and 51 were refused.
    reading
        .transitions
        .push(moved(&peer, 7, state::SYN_SENT, state::CLOSE, 251));
    for n in 0..200 {
        reading
            .connects
            .push(connect(&peer, 5 * S + n, libc::EADDRNOTAVAIL));
    }
    let ports = window(vec![reading], 10).ports.remove(0);
    assert_eq!((ports.opened_per_s, ports.failures), (80.1, 200));
    // With ports for all, as many of them would be closed by us.
    assert_eq!(
        ports.levels_off_at.round(),
        (5.0 + 60.0 * 100.0 * 1001.0 / 801.0_f64).round()
    );
}

#[test]
fn ports_that_end_are_foretold() {
    let tcp = window(vec![closing(8, 10_000, 1000)], 10);
    let ports = &tcp.ports[0];
    assert_eq!(ports.levels_off_at, 60_005.0);
    // 28,232 less 20,005 at 1,000 a second.
    assert_eq!(ports.seconds_left.map(|s| s.round()), Some(8.0));
}

#[test]
fn reserved_and_listened_ports_cannot_be_used() {
    let mut reading = closing(8, 0, 1);
    reading.settings.port_range = Some((40_000, 40_099));
    reading.settings.reserved_ports = vec![(39_000, 40_009), (40_050, 40_050)];
    for census in &mut reading.censuses {
        census.listeners = vec![
            listener(1, 40_050, 0),
            listener(2, 40_060, 0),
            listener(3, 80, 0),
        ];
    }
    assert_eq!(window(vec![reading], 10).ports[0].usable, 100 - 10 - 1 - 1);
}

#[test]
fn sockets_whose_ports_are_given_away_again_do_not_use_them_up() {
    let check = |tw_reuse, timestamps, destination: u8| {
        let mut reading = closing(destination, 1000, 100);
        (reading.settings.tw_reuse, reading.settings.timestamps) =
            (Some(tw_reuse), Some(timestamps));
        for census in &mut reading.censuses {
            if destination == 1 {
                census.rows[0].0.local = words(&[127, 0, 0, 1]);
            }
        }
        let ports = window(vec![reading], 10).ports.remove(0);
        (ports.reusable, ports.levels_off_at)
    };
    let never = (0, 6005.0);
    // 2,000 wait, and 100 of them for less than a second.
    let reuses = (1900, 105.0);
    assert_eq!(check(0, 1, 8), never);
    assert_eq!(check(1, 1, 8), reuses);
    assert_eq!(check(1, 0, 8), never);
    assert_eq!(check(2, 1, 8), never);
    assert_eq!(check(2, 1, 1), reuses);
}

#[test]
fn connects_that_found_no_port_are_counted_at_their_destination() {
    let mut reading = closing(8, 0, 1);
    let gone = key(kind::INET, 0, &[10, 0, 0, 9], 80);
    let known = key(kind::INET, 0, &[10, 0, 0, 8], 80);
    for n in 0..5 {
        let errno = libc::EADDRNOTAVAIL;
        reading.connects.push(connect(&known, 3 * S + n, errno));
        reading.connects.push(connect(&gone, 2 * S + n, errno));
    }
    let tcp = window(vec![reading], 10);
    let failures = |p: &Ports| (p.peer.clone(), p.failures, p.first_failure_ns);
    assert_eq!(
        tcp.ports.iter().map(failures).collect::<Vec<_>>(),
        [
            (to("10.0.0.9:80"), 5, Some(2 * S)),
            (to("10.0.0.8:80"), 5, Some(3 * S))
        ]
    );
}
