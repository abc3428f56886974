//! Windows of all kinds, for what must hold for every report.

use probe_common::{loss::slot, peer::special};

use super::*;
use crate::{
    aggregate::{
        Calls, Durations, Grown, Peer, RequestSpan, WaitsFor,
        dns::{Waiting, fixture as dns},
        files::{
            self,
            fixture::{UPLOADS, creator, file_system, mount, taking, team, work},
        },
        fixture::{INCIDENT_A, MS, S, api_peer, window_of},
        journal,
        tcp::{
            self, Counters, HalfClosed, ListenQueue, PeerSockets, Ports, Settings, States,
            fixture::{
                durations, failed, gap, half_closed, on_port, path, ports, process, queue, still,
                to,
            },
        },
        udp::fixture as udp,
    },
    attach::State,
};

/// Name and window: everything from nothing at all to all that a report can hold.
pub fn windows() -> Vec<(&'static str, Window)> {
    vec![
        ("nothing", Window::default()),
        ("incident-a", window_of(412, INCIDENT_A)),
        ("tcp", tcp::fixture::window_with(tcp_trouble())),
        ("dns-and-udp", names()),
        ("files", storage()),
        ("everything", everything()),
    ]
}

fn tcp_trouble() -> tcp::Tcp {
    let api = States {
        time_wait: 26_104,
        established: 20,
        ..States::default()
    };
    tcp::Tcp {
        timeline: still(States {
            listen: 3,
            established: 850,
            fin_wait_2: 500,
            fin_wait_2_orphaned: 400,
            time_wait: 26_104,
            ..States::default()
        }),
        peers: vec![PeerSockets {
            peer: to("203.0.113.5:443"),
            states: api,
            closed_by_us: 4000,
            closed_by_peer: 10,
            closer: Some(process(4711, "php-fpm8.2")),
        }],
        ports: vec![Ports {
            opened_per_s: 401.5,
            closed_by_us_per_s: 400.0,
            growth_per_s: -0.3,
            levels_off_at: 24_020.1,
            seconds_left: Some(71.7),
            closer: Some(process(4711, "php-fpm8.2")),
            failures: 7,
            first_failure_ns: Some(S),
            ..ports("203.0.113.5:443", api)
        }],
        half_closed: vec![HalfClosed {
            holders: vec![(process(77, "proxy"), 100, 12)],
            ..half_closed(to("10.0.0.9:8080"), 400, 100, 40 * S)
        }],
        listeners: vec![ListenQueue {
            queue: 9,
            queue_max: 9,
            full: 8,
            overflows: 412,
            overflows_inexact: true,
            accepted: 5000,
            wait: durations(&[(800 * MS, 5000)]),
            ..queue(on_port(443), 8)
        }],
        failed: vec![failed(
            process(901, "nginx"),
            path("/run/php.sock"),
            libc::ENOENT,
            12,
        )],
        gaps: vec![gap(path("/run/php.sock"), 240 * MS, libc::ENOENT, 12)],
        counters: Counters {
            listen_overflows: Some(412),
            listen_drops: Some(0),
            ..Counters::default()
        },
        settings: Settings {
            port_range: Some((32_768, 60_999)),
            reserved_ports: vec![(40_000, 40_009)],
            ..Settings::default()
        },
        slowed_to_ns: Some(4 * S),
        census_ns: 200 * MS,
        ..tcp::fixture::healthy()
    }
}

fn grown<const N: usize>(second: u64, since_start: [u64; N]) -> Grown<N> {
    Grown {
        at_ns: second * S,
        since_start,
    }
}

fn names() -> Window {
    let mut window = dns::window_with(dns::storm());
    if let Some(dns) = &mut window.dns {
        dns.total.rcodes[2] = 5;
        dns.total.rcodes[15] = 1;
        dns.timeline = (0..=10).map(|s| grown(s, [s * 1000, s * 640])).collect();
        dns.waiting = vec![Waiting {
            group: dns::www(),
            pid: 4711,
            tid: 4712,
            server: dns::server("127.0.0.53"),
            name: Some(b"hooks.example.com".to_vec()),
            qtype: 28,
            for_ns: 3 * S,
        }];
    }
    window.udp = Some(Box::new(udp::sick(udp::dropping("127.0.0.53:53", 3500))));
    window
}

fn storage() -> Window {
    let mut files = files::fixture::healthy();
    let css = work(
        team("php-fpm8.2", 4711, 20),
        UPLOADS,
        "/var/www/uploads/css",
        6420,
        1200,
    );
    files.creators.insert(0, creator(css.clone()));
    files.places.insert(0, css);
    files.created += 6420;
    files.timeline = (0..=10).map(|s| grown(s, [s * 642])).collect();
    files.file_systems.insert(
        0,
        files::FileSystem {
            inodes_trend: taking(642.0, 9_000),
            ..file_system(
                mount(UPLOADS, "ext4", "/dev/nvme0n1p3", "/var/www/uploads"),
                65_536,
                9_000,
            )
        },
    );
    files.refused = vec![files::Refused {
        team: team("php-fpm8.2", 4711, 20),
        call: "openat",
        errno: 28,
        device: Some(UPLOADS),
        mount_point: Some(b"/var/www/uploads".to_vec()),
        path: b"/var/www/uploads/css/a1.css".to_vec(),
        count: 90,
        first_ns: 7 * S,
        last_ns: 9 * S,
    }];
    let mut window = files::fixture::window_with(files);
    let sick = journal::fixture::window_with(journal::fixture::sick());
    window.journal = sick.journal;
    window.probes.extend(sick.probes);
    window
}

fn everything() -> Window {
    let mut window = window_of(412, INCIDENT_A);
    let (names, storage) = (names(), storage());
    window.tcp = Some(Box::new(tcp_trouble()));
    (window.udp, window.dns) = (names.udp, names.dns);
    (window.files, window.journal) = (storage.files, storage.journal);
    window.losses = vec![0; slot::COUNT as usize];
    window.losses[slot::RING_FULL as usize] = 12;
    if let Some(probe) = window.probes.first_mut() {
        probe.state = State::Off("this kernel has no BTF".to_owned());
    }
    if let Some(probe) = window.probes.last_mut() {
        probe.seen = Some(0);
    }
    let mut long = Durations::default();
    long.record(u64::MAX);
    long.record(3 * MS);
    window.calls.push(Calls {
        pid: None,
        comm: b"\x1b[2J evil \xff\\".to_vec(),
        op: "connect",
        peer: Peer::Special(special::SEVERAL),
        count: 2,
        total_ns: u64::MAX,
        blocked_ns: 3 * MS,
        max_ns: u64::MAX,
        errors: vec![(111, 1), (0, 1)],
        durations: long,
    });
    let mut open = window
        .groups
        .first()
        .and_then(|g| g.slowest.first())
        .cloned()
        .unwrap_or_else(|| unreachable!("incident A has slow requests"));
    open.unfinished = true;
    open.start_ns = -5_000_000_000;
    open.uri = "/søg?\u{202e}x=\"<script>".into();
    open.spans = vec![RequestSpan {
        start_ns: 0,
        length_ns: 371 * MS,
        part: 2,
        peer: Some(api_peer(5)),
    }];
    if let Some(process) = window.processes.first_mut() {
        process.current = Some(Box::new(open));
        process.waits_for = Some(WaitsFor {
            part: 2,
            peer: Some(api_peer(5)),
            for_ns: 40 * MS,
        });
    }
    window.processes_left_out = 3;
    window
}
