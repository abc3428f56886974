//! A window in which every name is the same, whatever it is.

use super::everything;
use crate::{
    aggregate::{
        Peer, RequestPeer, Team, WaitsFor, Window,
        files::{self, Refused},
        tcp::{Process, fixture},
    },
    attach::State,
};

/// Names that try to leave their place; each says `marked`.
pub const NAMES: [&str; 10] = [
    "marked<script>alert(1)</script>",
    "marked\" onload=\"alert(1)",
    "marked' onmouseover='alert(1)' x='",
    "]]></svg><marked>",
    "marked\u{202e}gpj",
    "&#x3c;marked&#x3e; &lt;b&gt; &amp;",
    "</code></pre></style></title><h1>marked",
    "<!-- marked --",
    "marked\x1b[2J\0\r\n",
    "`marked` @root [a](javascript:x) {{x}} ${x}",
];

/// Every signal has something to say, and every name in it is `name`.
pub fn window(name: &str) -> Window {
    let bytes = || name.as_bytes().to_vec();
    let unix = || Peer::Unix { path: bytes() };
    let process = || Process {
        pid: 7,
        comm: bytes(),
    };
    let team = |team: &mut Team| team.name = bytes();
    let mut window = everything();
    window.host = name.to_owned();
    window.kernel = name.to_owned();
    window.target = name.to_owned();
    for group in &mut window.groups {
        group.name = bytes();
        group.peers.iter_mut().for_each(|p| p.peer = unix());
        for request in &mut group.slowest {
            (request.uri, request.script) = (bytes(), bytes());
            request.peers = vec![RequestPeer {
                peer: unix(),
                wait_ns: 1,
                connects: 2,
                exchanges: 1,
            }];
        }
    }
    for p in &mut window.processes {
        p.process.comm = bytes();
        p.group = bytes();
        p.waits_for = Some(WaitsFor {
            part: 0,
            peer: Some(unix()),
            for_ns: 1,
        });
    }
    let mut off = window.probes[0].clone();
    off.state = State::Off(name.to_owned());
    off.source = name.to_owned();
    window.probes.push(off);
    if let Some(tcp) = &mut window.tcp {
        for p in &mut tcp.ports {
            (p.closer, p.opener) = (Some(process()), Some(process()));
            p.peer = unix();
        }
        tcp.listeners
            .push(fixture::queue(Peer::Listener { on: bytes() }, 511));
        for q in &mut tcp.listeners {
            q.address = Peer::Listener { on: bytes() };
            q.owners = vec![process()];
            q.accepted = 1;
        }
        tcp.failed
            .push(fixture::failed(process(), unix(), libc::EAGAIN, 9));
        let mut gap = fixture::gap(unix(), 1, libc::ECONNREFUSED, 5);
        (gap.refused, gap.back) = (vec![(process(), 5)], Some(process()));
        tcp.gaps.push(gap);
    }
    if let Some(udp) = &mut window.udp {
        udp.sockets
            .iter_mut()
            .for_each(|s| s.owners = vec![(process(), 3)]);
    }
    if let Some(dns) = &mut window.dns {
        dns.clients.iter_mut().for_each(|c| c.group.name = bytes());
        dns.resolvers
            .iter_mut()
            .for_each(|r| r.group.name = bytes());
        dns.names.iter_mut().for_each(|n| n.name = Some(bytes()));
        for row in &mut dns.rows {
            (row.name, row.group.name) = (Some(bytes()), bytes());
        }
        dns.servers.iter_mut().for_each(|s| s.peer = unix());
    }
    if let Some(files) = &mut window.files {
        for fs in &mut files.file_systems {
            (fs.mount.mount_point, fs.mount.source) = (bytes(), bytes());
            fs.mount.fs_type = bytes();
        }
        for work in &mut files.places {
            team(&mut work.team);
            work.path = Some(bytes());
            work.examples = vec![bytes()];
        }
        files.refused.push(Refused {
            team: Team {
                name: bytes(),
                ..files::fixture::team("x", 1, 1)
            },
            call: "openat",
            errno: libc::ENOSPC as u32,
            mount_point: Some(bytes()),
            path: bytes(),
            count: 5,
            ..Refused::default()
        });
    }
    if let Some(journal) = &mut window.journal {
        for disk in &mut journal.disks {
            disk.name = bytes();
            if let Some(mount) = &mut disk.mount {
                (mount.mount_point, mount.source) = (bytes(), bytes());
                // An option that a hostile image may carry.
                mount.super_options = [b"data=", name.as_bytes()].concat();
            }
            disk.syncs.iter_mut().for_each(|s| team(&mut s.team));
            disk.changes.iter_mut().for_each(|c| team(&mut c.team));
        }
        for sleep in &mut journal.sleeps {
            team(&mut sleep.team);
            sleep.stack = vec![name.to_owned()];
        }
        journal.asleep.iter_mut().for_each(|a| a.comm = bytes());
    }
    window
}
