//! A window of which every metric has something to say.

use probe_common::loss::slot;

use crate::{
    aggregate::{
        Calls, Window, dns, files,
        files::fixture::{ROOT, UPLOADS, creator, file_system, mount, taking, team, work},
        fixture::{INCIDENT_A, MS, S, api_peer, window_of},
        journal,
        tcp::{self, States, Tcp, fixture as sockets},
        udp,
    },
    diagnose::{
        Diagnosis,
        steady::{Open, Steadiness, Steady},
    },
};

/// Everything happens in it.
pub fn everything() -> Window {
    let mut window = window_of(412, INCIDENT_A);
    window.start_unix_ns = 1_700_000_000 * S;
    window.tcp = Some(Box::new(tcp()));
    window.udp = Some(Box::new(udp::fixture::sick(udp::fixture::dropping(
        "127.0.0.53:53",
        3500,
    ))));
    window.dns = Some(Box::new(dns()));
    window.files = Some(Box::new(files()));
    window.journal = Some(Box::new(journal::fixture::sick()));
    window.losses = vec![0; slot::COUNT as usize];
    window.losses[slot::RING_FULL as usize] = 12;
    window.calls.push(Calls {
        pid: Some(4711),
        comm: b"php-fpm8.2".to_vec(),
        op: "connect",
        peer: api_peer(5),
        count: 9,
        total_ns: 27 * MS,
        blocked_ns: 9 * MS,
        max_ns: 3 * MS,
        errors: vec![(111, 3), (0, 1)],
        durations: sockets::durations(&[(3 * MS, 9)]),
    });
    for peer in window.groups.iter_mut().flat_map(|g| &mut g.peers) {
        peer.exchange.record_n(371 * MS, 9);
    }
    let open = window
        .groups
        .iter()
        .find_map(|g| g.slowest.first())
        .cloned();
    if let Some(process) = window.processes.first_mut() {
        process.current = open.map(Box::new);
    }
    window
}

/// The findings, as if all were open.
pub fn open(diagnosis: &Diagnosis) -> Vec<Open> {
    let mut steady = Steady::new(Steadiness {
        windows: 1,
        gone_ns: S,
    });
    steady.update(S, diagnosis);
    steady.open().to_vec()
}

fn tcp() -> Tcp {
    let states = States {
        time_wait: 20_000,
        established: 12,
        ..States::default()
    };
    let mut ports = sockets::ports("203.0.113.5:443", states);
    ports.seconds_left = Some(40.0);
    let mut full = sockets::queue(sockets::on_port(80), 128);
    (full.overflows, full.accepted) = (7, 90);
    full.wait = sockets::durations(&[(3 * MS, 90)]);
    let php = sockets::process(4711, "php-fpm8.2");
    let mut tcp = Tcp {
        ports: vec![ports],
        listeners: vec![full, sockets::queue(sockets::on_path("/run/php.sock"), 511)],
        failed: vec![sockets::failed(php, api_peer(9), libc::ECONNREFUSED, 5)],
        peers: vec![tcp::PeerSockets {
            peer: api_peer(5),
            states,
            closed_by_us: 1,
            closed_by_peer: 0,
            closer: None,
        }],
        timeline: sockets::still(states),
        dwell_by_state: vec![tcp::StateDwell {
            state: "time_wait",
            entered: 90,
            count: 80,
            durations: sockets::durations(&[(60 * S, 80)]),
            source: "exact",
            present: 20_000,
            oldest_ns: 60 * S,
        }],
        ..sockets::healthy()
    };
    tcp.counters.active_opens = Some(90);
    tcp.counters.orphans = Some(2);
    tcp
}

fn dns() -> dns::Dns {
    let mut dns = dns::fixture::storm();
    for row in &mut dns.rows {
        (row.sums.rcodes[3], row.sums.refused) = (4, 1);
        row.sums.timed_out = dns::fixture::waits(2, 5 * S);
    }
    dns.other_rows = dns::fixture::answered(3, MS);
    dns
}

fn files() -> files::Files {
    let mut files = files::fixture::healthy();
    let mut css = work(
        team("php-fpm8.2", 4711, 20),
        UPLOADS,
        "/var/www/css",
        6420,
        1200,
    );
    css.unlinked = 20;
    css.syncs.count = 3;
    css.syncs.total_ns = 9 * MS;
    css.syncs.durations.record_n(3 * MS, 3);
    files.creators.insert(0, creator(css.clone()));
    files.places.insert(0, css);
    files.file_systems.insert(
        0,
        files::FileSystem {
            inodes_trend: taking(642.0, 9_000),
            ..file_system(mount(ROOT, "ext4", "/dev/sda1", "/"), 65_536, 9_000)
        },
    );
    files.refused = vec![files::Refused {
        team: team("php-fpm8.2", 4711, 20),
        call: "openat",
        errno: 28,
        device: Some(UPLOADS),
        mount_point: Some(b"/var/www".to_vec()),
        path: b"/var/www/css/a1.css".to_vec(),
        count: 90,
        first_ns: 7 * S,
        last_ns: 9 * S,
    }];
    files
}
