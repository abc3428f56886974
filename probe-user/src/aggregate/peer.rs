//! Peer ids become addresses that can be shown.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use probe_common::peer::{PeerKey, flag, kind, special};

/// The other end of a wait, resolved (any bytes; outputs escape).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// An address we connected to: `203.0.113.5:443`, with the transport.
    Inet {
        /// Transport: `tcp`, `udp` or `ip-proto-N`.
        transport: String,
        /// Address of the other side.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
    /// A Unix socket that we connected to; empty for an unnamed one, `@name` for an abstract one.
    Unix {
        /// Path.
        path: Vec<u8>,
    },
    /// Someone who connected to us.
    Inbound {
        /// Our side: `tcp :80` or a Unix path, in words.
        on: Vec<u8>,
        /// Address of the other side, where it has one.
        address: Option<IpAddr>,
    },
    /// A listening socket.
    Listener {
        /// Our side, in words.
        on: Vec<u8>,
    },
    /// A socket of another address family: its number (`AF_NETLINK` is 16).
    Family(u16),
    /// Something that has no address: see [`special`].
    Special(u64),
}

impl Default for Peer {
    fn default() -> Self {
        Self::Special(special::UNKNOWN)
    }
}

impl Peer {
    /// True for a peer that can be named as the cause of a wait: an address that we sent something to.
    pub fn is_upstream(&self) -> bool {
        matches!(self, Self::Inet { .. } | Self::Unix { .. })
    }

    /// True when something was waited for on a descriptor, but what it was could not be found out.
    pub fn is_unnamed(&self) -> bool {
        matches!(
            self,
            Self::Special(special::SEVERAL | special::UNKNOWN | special::OTHER)
        )
    }
}

/// The peer behind `id`; one that is in no table is unknown.
pub(super) fn resolve(id: u64, peers: &HashMap<u64, PeerKey>) -> Peer {
    if id < special::FIRST_HASH {
        return Peer::Special(id);
    }
    peers
        .get(&id)
        .map_or(Peer::Special(special::UNKNOWN), from_key)
}

pub(super) fn from_key(key: &PeerKey) -> Peer {
    let address = match (key.kind, key.address()) {
        (kind::INET, &[a, b, c, d, ..]) => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        // An IPv4 peer of a dual-stack socket is shown, and counted, as the IPv4 address that it is.
        (kind::INET6, bytes) if bytes.len() >= 16 => bytes
            .first_chunk::<16>()
            .map(|b| Ipv6Addr::from(*b).to_canonical()),
        _ => None,
    };
    let on = || match key.kind {
        kind::UNIX => unix_name(key.address()),
        _ => format!("{} :{}", transport(key.protocol), key.local_port).into_bytes(),
    };
    if key.flags & flag::LISTENER != 0 {
        // A listener is told from another one on the same port by its address; every address is left out.
        let on = match address {
            Some(address) if !address.is_unspecified() => {
                let at = SocketAddr::new(address, key.local_port);
                format!("{} {at}", transport(key.protocol)).into_bytes()
            }
            _ => on(),
        };
        return Peer::Listener { on };
    }
    if key.flags & flag::INBOUND != 0 {
        return Peer::Inbound { on: on(), address };
    }
    match (key.kind, address) {
        (_, Some(address)) => Peer::Inet {
            transport: transport(key.protocol),
            address,
            port: key.port,
        },
        (kind::UNIX, None) => Peer::Unix {
            path: unix_name(key.address()),
        },
        (kind::OTHER_FAMILY, None) => Peer::Family(key.port),
        _ => Peer::Special(special::UNKNOWN),
    }
}

/// An abstract name starts with a NUL byte, which every tool prints as `@`.
pub(super) fn unix_name(address: &[u8]) -> Vec<u8> {
    match address {
        [0, name @ ..] => [b"@", name].concat(),
        // A path may be stored with its closing NUL.
        [path @ .., 0] => path.to_vec(),
        path => path.to_vec(),
    }
}

fn transport(protocol: u8) -> String {
    match protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        // Sockets of either kind that the kernel side found no protocol for.
        0 => "ip".to_owned(),
        n => format!("ip-proto-{n}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: u8, flags: u8, address: &[u8]) -> PeerKey {
        let mut key = PeerKey {
            kind,
            flags,
            protocol: 6,
            port: 443,
            local_port: 80,
            ..PeerKey::ZERO
        };
        key.set_address(address);
        key
    }

    #[test]
    fn addresses_become_words() {
        let v4 = Peer::Inet {
            transport: "tcp".to_owned(),
            address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5)),
            port: 443,
        };
        assert_eq!(from_key(&key(kind::INET, 0, &[203, 0, 113, 5])), v4);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 5];
        assert_eq!(from_key(&key(kind::INET6, 0, &mapped)), v4);
        assert_eq!(
            from_key(&key(kind::UNIX, 0, b"\0mysql")),
            Peer::Unix {
                path: b"@mysql".to_vec()
            }
        );
        assert_eq!(
            from_key(&key(kind::UNIX, flag::LISTENER, b"/run/a.sock\0")),
            Peer::Listener {
                on: b"/run/a.sock".to_vec()
            }
        );
        for (kind, address, on) in [
            (kind::INET, &[127, 0, 0, 1][..], "tcp 127.0.0.1:80"),
            (kind::INET, &[0; 4], "tcp :80"),
            (kind::INET6, &[0; 16], "tcp :80"),
        ] {
            let on = on.as_bytes().to_vec();
            let listener = from_key(&key(kind, flag::LISTENER, address));
            assert_eq!(listener, Peer::Listener { on });
        }
        assert_eq!(
            from_key(&key(kind::INET, flag::INBOUND, &[127, 0, 0, 1])),
            Peer::Inbound {
                on: b"tcp :80".to_vec(),
                address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
        );
    }

    #[test]
    fn what_no_table_holds_or_what_is_cut_short_is_unknown() {
        let none = HashMap::new();
        assert_eq!(resolve(special::FILE, &none), Peer::Special(special::FILE));
        assert_eq!(resolve(12345, &none), Peer::Special(special::UNKNOWN));
        assert_eq!(
            from_key(&key(kind::INET6, 0, &[1, 2])),
            Peer::Special(special::UNKNOWN)
        );
    }
}
