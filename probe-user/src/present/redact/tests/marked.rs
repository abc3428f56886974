//! A window in which everything that has a name has one with a mark in it, and in which every rule fires.

use std::net::SocketAddr;

use crate::{
    aggregate::{
        Calls, Durations, Peer, ProcessTime, RequestPeer, RequestSpan, RequestSummary, Team,
        WaitsFor, Window,
        dns::{self, Dns, Waiting},
        files::{
            self, Creator, Device, FileSystem, Files, Mount, Refused,
            fixture::{ROOT, UPLOADS, taking},
        },
        fixture::{INCIDENT_A, MS, S, window_of},
        journal::{self, Asleep, Journal, Sleep},
        tcp::{
            self, Dwell, ListenQueue, Ports, States, Tcp,
            fixture::{durations, failed, gap, half_closed, ports, process, queue},
        },
        udp::{self, QueueUse, Udp},
    },
    attach::{ProbeStatus, State},
    collect,
};

/// What no redacted output may hold, in lower case. Addresses: private, public, link-local and unique local ones.
pub const MARKS: [&str; 5] = ["geheim", "10.77.", "81.77.", "169.254.77.", "fd77:"];

const POOL: &str = "geheim-pool";
const APP: &str = "geheim-app";
const SOCKET: &str = "/run/geheim/mysql-geheim.sock";
const API: &str = "10.77.0.1:443";

fn tcp(address: &str) -> Peer {
    tcp::fixture::to(address)
}

fn on(words: &str) -> Peer {
    Peer::Listener { on: words.into() }
}

fn team(name: &str, pid: u32) -> Team {
    Team {
        php_fpm: name == POOL,
        ..files::fixture::team(name, pid, 20)
    }
}

fn mount(device: Device, source: &str, at: &str) -> Mount {
    Mount {
        root: b"/geheim-root".to_vec(),
        options: b"rw,relatime,user=geheim".to_vec(),
        super_options: b"rw,upperdir=/geheim/upper,commit=30".to_vec(),
        ..files::fixture::mount(device, "ext4", source, at)
    }
}

pub fn window() -> Window {
    let mut window = window_of(30, INCIDENT_A);
    window.host = "geheim-host".to_owned();
    window.target = format!("pool {POOL}, comm {APP}, cgroup /sys/fs/cgroup/geheim.slice");
    requests(&mut window);
    window.probes.push(ProbeStatus {
        source: "/proc/net/tcp, as 10.77.3.3 said so in /srv/geheim/why".to_owned(),
        state: State::Off("cannot open '/srv/geheim/x': not found".to_owned()),
        ..crate::aggregate::fixture::probe("elsewhere")
    });
    window.tcp = Some(Box::new(sockets()));
    window.udp = Some(Box::new(datagrams()));
    window.dns = Some(Box::new(lookups()));
    window.files = Some(Box::new(files()));
    window.journal = Some(Box::new(journal()));
    window
}

fn requests(window: &mut Window) {
    let peer = tcp(API);
    let unix = Peer::Unix {
        path: SOCKET.into(),
    };
    let slow = RequestSummary {
        pid: 4711,
        start_ns: 0,
        wall_ns: 9 * S,
        unfinished: true,
        partial: false,
        parts: Default::default(),
        script: b"/srv/geheim/public/catalog.php".to_vec(),
        uri: b"/geheim/catalog.php?token=geheim".to_vec(),
        connects: 24,
        peers: vec![RequestPeer {
            peer: unix.clone(),
            wait_ns: S,
            connects: 1,
            exchanges: 1,
        }],
        spans: vec![RequestSpan {
            start_ns: 0,
            length_ns: S,
            part: probe_common::part::NETWORK,
            peer: Some(peer.clone()),
        }],
        spans_lost: 0,
    };
    let group = &mut window.groups[0];
    group.name = POOL.into();
    group.php_fpm = true;
    group.worker_parts[probe_common::part::IDLE] = 0;
    group.slowest = vec![slow.clone()];
    group.peers.iter_mut().for_each(|p| p.peer = peer.clone());
    let mut second = group.peers[0].clone();
    (second.peer, second.done, second.open) =
        (unix.clone(), Default::default(), Default::default());
    second.done.wait_ns = 10 * MS;
    group.peers.push(second);
    window.calls = vec![Calls {
        pid: Some(4711),
        comm: APP.into(),
        op: "connect",
        peer: Peer::Inbound {
            on: b"tcp 10.77.0.9:80".to_vec(),
            address: Some("fd77::7".parse().unwrap()),
        },
        count: 100,
        total_ns: S,
        blocked_ns: S,
        max_ns: S,
        errors: vec![(115, 3)],
        durations: Durations::default(),
    }];
    window.processes = vec![ProcessTime {
        process: collect::Process {
            pid: 4711,
            start_ticks: 4711,
            ppid: 1000,
            comm: APP.into(),
            pool: Some(POOL.into()),
            ended: false,
        },
        group: POOL.into(),
        parts: [S / 10; probe_common::part::COUNT],
        threads: 1,
        event_driven: false,
        requests: 30,
        current: Some(Box::new(slow)),
        waits_for: Some(WaitsFor {
            part: probe_common::part::NETWORK,
            peer: Some(tcp("81.77.0.1:3306")),
            for_ns: S,
        }),
    }];
}

fn sockets() -> Tcp {
    let app = || process(4711, APP);
    let states = States {
        time_wait: 28_228,
        established: 4,
        ..States::default()
    };
    let mut tcp = tcp::fixture::healthy();
    tcp.peers[0].peer = self::tcp("10.77.0.8:6379");
    tcp.peers[0].closer = Some(app());
    tcp.peers[1].peer = tcp::fixture::from("81.77.0.7", 443);
    tcp.processes[0].process = app();
    tcp.dwell = vec![Dwell {
        state: "syn_sent",
        to: "established",
        peer: self::tcp(API),
        process: Some(app()),
        count: 10,
        durations: durations(&[(MS, 10)]),
    }];
    tcp.ports = vec![Ports {
        local: Some("10.77.0.2".parse().unwrap()),
        opened_per_s: 1200.0,
        closed_by_us_per_s: 1200.0,
        growth_per_s: 1200.0,
        levels_off_at: 72_004.0,
        failures: 311,
        first_failure_ns: Some(2 * S),
        closer: Some(app()),
        opener: Some(app()),
        ..ports(API, states)
    }];
    let mut half = half_closed(tcp::fixture::from("169.254.77.5", 80), 400, 100, 20 * S);
    half.holders = vec![(process(901, "geheim-proxy"), 100, 17)];
    tcp.half_closed = vec![half];
    tcp.listeners = vec![
        ListenQueue {
            queue: 9,
            queue_max: 9,
            full: 8,
            overflows: 400,
            accepted: 1000,
            wait: durations(&[(900 * MS, 1000)]),
            owners: vec![app()],
            ..queue(on("tcp 10.77.0.2:8080"), 8)
        },
        ListenQueue {
            overflows: 38,
            queue_max: 512,
            full: 9,
            owners: vec![app()],
            ..queue(on("@geheim"), 511)
        },
        queue(on("tcp :443"), 511),
    ];
    let unix = || Peer::Unix {
        path: SOCKET.into(),
    };
    tcp.counters.listen_overflows = Some(400);
    tcp.failed = vec![
        failed(app(), self::tcp(API), libc::EADDRNOTAVAIL, 311),
        failed(app(), unix(), libc::ENOENT, 1203),
    ];
    let mut gap = gap(unix(), 412 * MS, libc::ENOENT, 1203);
    gap.refused = vec![(app(), 1203)];
    gap.back = Some(process(1234, "geheim-server"));
    tcp.gaps = vec![gap];
    tcp
}

fn datagrams() -> Udp {
    let at = |address: &str| -> SocketAddr { address.parse().unwrap() };
    let mut dropping = udp::fixture::dropping("10.77.0.2:53", 3600);
    dropping.remote = Some(at("81.77.0.9:4000"));
    dropping.sender = Some(at("10.77.0.3:40000"));
    dropping.owners = vec![(process(812, "geheim-dns"), 5)];
    let mut udp = udp::fixture::sick(dropping);
    udp.queues = vec![QueueUse {
        local: at("10.77.0.2:5353"),
        remote: Some(at("81.77.0.9:4001")),
        bytes: 500,
        max_bytes: 5000,
        rcvbuf_bytes: Some(212_992),
    }];
    udp
}

fn lookups() -> Dns {
    let mut dns = dns::fixture::storm();
    let group = dns::GroupId {
        name: POOL.into(),
        php_fpm: true,
    };
    let name = || Some(b"api.geheim.example.com".to_vec());
    let server = || dns::fixture::server("10.77.0.53");
    dns.clients[0].group = group.clone();
    dns.servers[0].peer = server();
    dns.names[0].name = name();
    let row = &mut dns.rows[0];
    (row.group, row.server, row.name) = (group.clone(), server(), name());
    dns.waiting = vec![Waiting {
        group: group.clone(),
        pid: 4711,
        tid: 4711,
        server: server(),
        name: name(),
        qtype: 1,
        for_ns: S,
    }];
    dns.resolvers[0].group = group;
    dns.resolvers[0].resolver.servers =
        vec!["10.77.0.53".parse().unwrap(), "fd77::53".parse().unwrap()];
    dns
}

fn files() -> Files {
    let work = |path: &str, created| {
        let mut work = files::fixture::work(team(POOL, 4711), UPLOADS, path, created, 1200);
        work.examples = vec![b"geheim-1.css".to_vec(), b"geheim-2.css".to_vec()];
        work
    };
    let css = work("/srv/geheim/uploads/css", 63_000);
    let disk = mount(UPLOADS, "/dev/mapper/geheim-vg", "/srv/geheim/uploads");
    Files {
        created: 63_000,
        peak_per_s: 9000.0,
        places: vec![css.clone()],
        other: work("/srv/geheim/elsewhere", 1),
        creators: vec![Creator {
            work: css,
            directories: 1,
        }],
        file_systems: vec![FileSystem {
            inodes_trend: taking(6300.0, 0),
            bytes: taking(4096.0, 600_000_000),
            ..files::fixture::file_system(disk, 65_536, 0)
        }],
        not_asked: vec![Mount {
            fs_type: b"fuse.geheim".to_vec(),
            ..mount(
                Device {
                    major: 0,
                    minor: 50,
                },
                "nas.geheim:/geheim",
                "/mnt/geheim",
            )
        }],
        refused: vec![Refused {
            team: team(POOL, 4711),
            call: "openat",
            errno: libc::ENOSPC as u32,
            device: Some(UPLOADS),
            mount_point: Some(b"/srv/geheim/uploads".to_vec()),
            path: b"/srv/geheim/uploads/css/geheim-9.css".to_vec(),
            count: 311,
            first_ns: S,
            last_ns: 2 * S,
        }],
        ..Files::default()
    }
}

fn journal() -> Journal {
    let mut journal = journal::fixture::sick();
    let disk = &mut journal.disks[0];
    disk.name = b"/dev/mapper/geheim-vg".to_vec();
    disk.mount = Some(mount(
        UPLOADS,
        "/dev/mapper/geheim-vg",
        "/srv/geheim/uploads",
    ));
    disk.syncs[0].team = team(POOL, 4711);
    disk.syncs[1].team = team(APP, 900);
    disk.changes[0].team = team(POOL, 4711);
    let root = &mut journal.disks[1];
    root.name = b"/dev/sdb1".to_vec();
    root.mount = Some(mount(ROOT, "/dev/sdb1", "/"));
    journal.unwatched = vec![mount(
        Device {
            major: 253,
            minor: 7,
        },
        "/dev/loop0",
        "/media/geheim",
    )];
    let sleep = |name: &str, sleep: &Sleep| Sleep {
        team: team(name, 4711),
        ..sleep.clone()
    };
    journal.sleeps = vec![
        sleep(POOL, &journal.sleeps[0]),
        sleep("jbd2/sdb1-8", &journal.sleeps[0]),
        Sleep {
            stack: vec!["geheim_write [geheimfs]".to_owned()],
            ..sleep(APP, &journal.sleeps[0])
        },
    ];
    journal.asleep = vec![Asleep {
        comm: APP.into(),
        pid: 4711,
        tid: 4711,
        ..journal.asleep[0].clone()
    }];
    journal.no_symbols = Some("10.77.4.4 hides /srv/geheim/kallsyms".to_owned());
    journal
}
