//! Peers, groups and sentences in words; everything from the traced system is escaped on the way.

use probe_common::peer::special;

use super::{escape, units};
use crate::{
    aggregate::Peer,
    diagnose::{Piece, Sentence},
};

/// A peer in at most `max` characters of its own: `203.0.113.5:443`, `/run/mysqld/mysqld.sock`.
pub(super) fn peer(peer: &Peer, max: usize) -> String {
    match peer {
        Peer::Inet { address, port, .. } => host_port(address, *port),
        Peer::Unix { path } if path.is_empty() => "an unnamed Unix socket".to_owned(),
        Peer::Unix { path } => escape::bounded(path, max),
        Peer::Inbound { on, .. } => format!("clients of {}", escape::bounded(on, max)),
        Peer::Listener { on } => format!("listening on {}", escape::bounded(on, max)),
        Peer::Family(family) => format!("a socket of family {family}"),
        Peer::Special(id) => special_name(*id).to_owned(),
    }
}

/// The same with what it is: `203.0.113.5:443 (TCP)`, `/run/mysqld/mysqld.sock (Unix socket)`.
pub(super) fn peer_long(p: &Peer) -> String {
    let name = peer(p, 108);
    match p {
        Peer::Inet { transport, .. } if transport == "tcp" => format!("{name} (TCP)"),
        Peer::Inet { transport, .. } if transport == "udp" => format!("{name} (UDP)"),
        Peer::Unix { path } if !path.is_empty() => format!("{name} (Unix socket)"),
        _ => name,
    }
}

fn host_port(address: &std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(*address, port).to_string()
}

/// What a special id stands for, in words.
pub(super) fn special_name(id: u64) -> &'static str {
    match id {
        special::NONE => "no peer",
        special::SEVERAL => "several descriptors",
        special::FILE => "a file",
        special::PIPE => "a pipe",
        special::LOCAL => "a local descriptor",
        special::OTHER => "other peers",
        special::CLIENT => "the request's client",
        _ => "an unknown peer",
    }
}

/// A group of processes: `pool www`, or the process name.
pub(super) fn group(name: &[u8], php_fpm: bool) -> String {
    let name = escape::bounded(name, 64);
    if php_fpm {
        format!("pool {name}")
    } else {
        name
    }
}

/// A sentence with its names escaped.
pub(super) fn sentence(sentence: &Sentence) -> String {
    sentence.0.iter().map(piece).collect()
}

/// A piece of a sentence, likewise.
pub(super) fn piece(piece: &Piece) -> String {
    match piece {
        Piece::Text(text) => text.clone(),
        Piece::Value(value) => units::quantity(*value),
        Piece::Peer(peer) => peer_long(peer),
        Piece::Name(bytes) => escape::bounded(bytes, 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_read_like_addresses() {
        let inet = |address: &str, transport: &str| Peer::Inet {
            transport: transport.to_owned(),
            address: address.parse().unwrap(),
            port: 443,
        };
        assert_eq!(
            peer_long(&inet("203.0.113.5", "tcp")),
            "203.0.113.5:443 (TCP)"
        );
        assert_eq!(
            peer_long(&inet("2001:db8::1", "udp")),
            "[2001:db8::1]:443 (UDP)"
        );
        let unix = Peer::Unix {
            path: b"/run/\x1b[31m.sock".to_vec(),
        };
        assert_eq!(peer_long(&unix), "/run/\\x1b[31m.sock (Unix socket)");
        assert_eq!(peer(&Peer::Special(special::OTHER), 20), "other peers");
    }

    #[test]
    fn names_in_sentences_are_escaped() {
        let s = Sentence(vec![
            Piece::from("slow: "),
            Piece::Name(b"/a\x1b]0;x\x07".to_vec()),
        ]);
        assert_eq!(sentence(&s), "slow: /a\\x1b]0;x\\x07");
    }
}
