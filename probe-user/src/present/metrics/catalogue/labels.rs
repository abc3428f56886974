//! Values of labels: names from the traced system, escaped and bounded, in the words of the other outputs.

use std::collections::HashMap;

use probe_common::peer::special;

use crate::{
    aggregate::{Group, Peer, ProcessTime, Team, Window, tcp::Process},
    present::{errno, escape, metrics::OTHER, names},
};

/// The longest value of a label, bytes.
pub(super) const MAX_BYTES: usize = 120;

/// A name from the traced system.
pub(super) fn name(bytes: &[u8]) -> String {
    (1..=100)
        .rev()
        .map(|max| escape::bounded(bytes, max))
        .find(|text| text.len() <= MAX_BYTES)
        .unwrap_or_default()
}

/// `pool www`, or the process name.
pub(super) fn group(group: &Group) -> String {
    group_of(&group.name, group.php_fpm)
}

/// The same of its name.
pub(super) fn group_of(bytes: &[u8], php_fpm: bool) -> String {
    match bytes {
        // What the windows have no row for is in our row for that.
        b"other processes" | b"" => OTHER.to_owned(),
        _ if php_fpm => format!("pool {}", name(bytes)),
        _ => name(bytes),
    }
}

/// The same of a team.
pub(super) fn team(team: &Team) -> String {
    group_of(&team.name, team.php_fpm)
}

/// A process name.
pub(super) fn process(process: &Process) -> String {
    group_of(&process.comm, false)
}

/// The group of a process.
pub(super) fn group_of_process(of: &ProcessTime) -> String {
    group_of(&of.group, of.process.pool.is_some())
}

/// The group of a process id of a window, or what stands for it.
pub(super) fn groups(window: &Window) -> impl Fn(Option<u32>, &[u8]) -> String {
    let processes = window.processes.iter();
    let known: HashMap<u32, String> = processes
        .map(|p| (p.process.pid, group_of_process(p)))
        .collect();
    move |pid, comm| match pid.and_then(|pid| known.get(&pid)) {
        Some(group) => group.clone(),
        None => group_of(comm, false),
    }
}

/// `network.transport`, `network.peer.address` and `network.peer.port`; what has no address has its words in that place.
pub(super) fn peer(peer: &Peer) -> [String; 3] {
    match peer {
        Peer::Inet {
            transport,
            address,
            port,
        } => [transport.clone(), address.to_string(), port.to_string()],
        Peer::Unix { path } if !path.is_empty() => ["unix".to_owned(), name(path), String::new()],
        Peer::Special(special::OTHER) => [OTHER, OTHER, OTHER].map(str::to_owned),
        Peer::Inbound { on, .. } => {
            let clients = format!("clients of {}", name(on));
            [String::new(), clients, String::new()]
        }
        other => {
            let words = names::peer(other, 100);
            [String::new(), name(words.as_bytes()), String::new()]
        }
    }
}

/// A listener: `tcp :80`, `/run/php.sock`.
pub(super) fn listener(peer: &Peer) -> String {
    match peer {
        Peer::Listener { on } => name(on),
        other => name(names::peer(other, 100).as_bytes()),
    }
}

/// `error.type` of an errno; 0 stands for all that found no place.
pub(super) fn error(errno: u32) -> String {
    match errno {
        0 => "_OTHER".to_owned(),
        _ => errno::name(errno),
    }
}
