//! The screen of TCP, through the widget.

use insta::assert_snapshot;

use super::*;
use crate::{
    aggregate::{
        Peer,
        fixture::{MS, S},
        tcp::{
            Dwell, HalfClosed, ListenQueue, PeerSockets, Point, Ports, ProcessSockets, StateDwell,
            fixture::{
                durations, failed, from, gap, half_closed, healthy, on_path, on_port, path, ports,
                process, queue, to, window_with,
            },
        },
    },
    attach::State,
    present::tui::screens::check::{EVIL, shots, sound},
};

fn data(tcp: Tcp) -> Data {
    Data {
        recent: window_with(tcp),
        ..Data::default()
    }
}

/// TIME_WAIT grows by 400 a second as php-fpm closes first, and the ports to Redis end soon.
fn sick() -> Tcp {
    let healthy = healthy();
    let at = |second: u64| States {
        time_wait: 20_000 + 400 * second,
        fin_wait_2: 420,
        fin_wait_2_orphaned: 20,
        ..healthy.timeline[0].states
    };
    let to_redis = States {
        time_wait: 24_000,
        established: 100,
        ..States::default()
    };
    let php = process(4711, "php-fpm8.2");
    Tcp {
        timeline: (0..=10)
            .map(|second| Point {
                at_ns: second * S,
                took_ns: 2 * MS,
                states: at(second),
            })
            .collect(),
        peers: vec![
            PeerSockets {
                peer: to("10.0.0.8:6379"),
                states: to_redis,
                closed_by_us: 4000,
                closed_by_peer: 0,
                closer: Some(php.clone()),
            },
            PeerSockets {
                peer: from("198.51.100.7", 443),
                ..healthy.peers[1].clone()
            },
        ],
        processes: vec![
            ProcessSockets {
                process: process(812, "nginx"),
                states: States {
                    listen: 2,
                    established: 750,
                    fin_wait_2: 400,
                    ..States::default()
                },
            },
            ProcessSockets {
                process: php.clone(),
                states: States {
                    established: 100,
                    syn_sent: 3,
                    close_wait: 12,
                    ..States::default()
                },
            },
        ],
        dwell: vec![Dwell {
            state: "established",
            to: "fin_wait_1",
            peer: to("10.0.0.8:6379"),
            process: Some(php.clone()),
            count: 4000,
            durations: durations(&[(30 * MS, 4000)]),
        }],
        dwell_by_state: [
            healthy.dwell_by_state.clone(),
            vec![StateDwell {
                state: "syn_sent",
                entered: 4003,
                count: 4000,
                durations: durations(&[(MS / 2, 4000)]),
                source: "transitions",
                ..StateDwell::default()
            }],
        ]
        .concat(),
        ports: vec![Ports {
            opened_per_s: 400.0,
            closed_by_us_per_s: 400.0,
            growth_per_s: 400.0,
            levels_off_at: 24_100.0 + 400.0 * 60.0,
            seconds_left: Some(10.3),
            opener: Some(php.clone()),
            closer: Some(php.clone()),
            failures: 38,
            first_failure_ns: Some(8 * S),
            ..ports("10.0.0.8:6379", to_redis)
        }],
        half_closed: vec![HalfClosed {
            holders: vec![(process(812, "nginx"), 400, 33)],
            left: durations(&[(300 * MS, 50)]),
            entered_per_s: 7.0,
            ..half_closed(from("198.51.100.7", 443), 20, 400, 90 * S)
        }],
        listeners: vec![
            ListenQueue {
                queue: 511,
                queue_max: 512,
                overflows: 380,
                full: 7,
                owners: vec![php.clone()],
                ..queue(on_path("/run/php/php8.2-fpm.sock"), 511)
            },
            ListenQueue {
                accepted: 520,
                queue_max: 3,
                wait: durations(&[(MS, 520)]),
                ..queue(on_port(443), 511)
            },
        ],
        failed: vec![
            failed(php, to("10.0.0.8:6379"), libc::EADDRNOTAVAIL, 38),
            failed(
                process(901, "nginx"),
                path("/run/php.sock"),
                libc::ECONNREFUSED,
                12,
            ),
        ],
        gaps: vec![gap(
            path("/run/php.sock"),
            1500 * MS,
            libc::ECONNREFUSED,
            12,
        )],
        ..healthy
    }
}

#[test]
fn every_table_says_where_trouble_is() {
    let data = data(sick());
    for (n, section) in SCREEN.sections.iter().enumerate() {
        let keys = format!("4{}", ">".repeat(n));
        assert_snapshot!(format!("{}", section.title), shots(&data, &keys));
        let keys = format!("{keys}\n");
        assert_snapshot!(format!("{}_opened", section.title), shots(&data, &keys));
    }
}

#[test]
fn an_empty_table_says_why() {
    let nothing = Tcp {
        timeline: Vec::new(),
        ..Tcp::default()
    };
    let mut quiet = data(nothing);
    let said =
        |data: &Data| -> Vec<String> { SCREEN.sections.iter().map(|s| (s.empty)(data)).collect() };
    assert_eq!(said(&quiet)[6], "No connect failed in the last 10.0 s.");
    assert!(shots(&quiet, "4").contains("No TCP socket in the last 10.0 s."));
    for probe in &mut quiet.recent.probes {
        probe.state = State::Off("no BTF".to_owned());
    }
    let off = "Not seen: failed connects, gaps (connects: no BTF).";
    assert_eq!(said(&quiet)[6], off);
    quiet.recent.tcp = None;
    let off = "TCP is not watched: failed connects, gaps (connects: no BTF).";
    assert_eq!(said(&quiet)[6], off);
    let nothing = Data::default();
    assert!(
        said(&nothing)
            .iter()
            .all(|text| text == "Nothing has been read yet.")
    );
    for n in 0..SCREEN.sections.len() {
        let screen = shots(&nothing, &format!("4{}", ">".repeat(n)));
        assert!(screen.contains("Nothing has been read yet."), "{screen}");
    }
}

#[test]
fn what_is_not_seen_stands_above_the_table() {
    let mut data = data(healthy());
    let owners = data
        .recent
        .probes
        .iter_mut()
        .find(|p| p.id == "socket_owners");
    owners.unwrap().state = State::Off("no iterator".to_owned());
    let shown = shots(&data, "4>>");
    let wanted = "Not seen: which process holds what; Unix listeners (socket_owners: no iterator)";
    assert!(shown.contains(wanted), "{shown}");
}

#[test]
fn names_of_any_bytes_are_harmless() {
    let mut tcp = sick();
    let evil = || EVIL.to_vec();
    let on = || Peer::Listener { on: evil() };
    tcp.peers[0].peer = Peer::Inbound {
        on: evil(),
        address: None,
    };
    tcp.peers[1].closer.as_mut().unwrap().comm = evil();
    tcp.processes[0].process.comm = evil();
    tcp.dwell[0].peer = tcp.peers[0].peer.clone();
    tcp.dwell[0].process = tcp.peers[1].closer.clone();
    tcp.ports[0].peer = Peer::Unix { path: evil() };
    tcp.ports[0].opener.as_mut().unwrap().comm = evil();
    tcp.half_closed[0].peer = on();
    tcp.half_closed[0].holders[0].0.comm = evil();
    tcp.listeners[0].address = on();
    tcp.listeners[0].owners[0].comm = evil();
    for f in &mut tcp.failed {
        (f.peer, f.process.comm) = (Peer::Unix { path: evil() }, evil());
    }
    tcp.gaps[0].peer = Peer::Unix { path: evil() };
    tcp.gaps[0].refused[0].0.comm = evil();
    tcp.gaps[0].back.as_mut().unwrap().comm = evil();
    let mut data = data(tcp);
    sound(&SCREEN, &data);
    for probe in &mut data.recent.probes {
        probe.state = State::Off("a reason\x1b[2J".to_owned());
    }
    sound(&SCREEN, &data);
}

#[test]
fn rows_are_sorted_by_what_they_count() {
    let data = data(sick());
    let shown = shots(&data, "4>s");
    let first = shown.find("10.0.0.8:6379").unwrap();
    assert!(first < shown.find("198.51.100.7").unwrap(), "{shown}");
}
