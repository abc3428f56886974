//! Addresses in the words of the tests, decoded apart from the tool's own code.

use probe_common::peer::{PeerKey, flag, kind};

/// `tcp 127.0.0.1:80`, `udp [::1]:53`, `unix /path`, `unix @name`; `in ` or `listen ` before it.
pub fn peer_text(key: &PeerKey) -> String {
    let transport = match key.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        n => format!("protocol {n}"),
    };
    let address = key.address();
    let ip: Option<std::net::IpAddr> = match key.kind {
        kind::INET => <[u8; 4]>::try_from(address).ok().map(Into::into),
        kind::INET6 => <[u8; 16]>::try_from(address).ok().map(Into::into),
        _ => None,
    };
    let (inbound, listener) = (
        key.flags & flag::INBOUND != 0,
        key.flags & flag::LISTENER != 0,
    );
    let way = match (inbound, listener) {
        (true, _) => "in ",
        (_, true) => "listen ",
        _ => "",
    };
    match (key.kind, ip) {
        (kind::UNIX, _) => {
            let text = String::from_utf8_lossy(address).replace('\0', "@");
            format!("{way}unix {text}")
        }
        // Very many clients have no address.
        (kind::INET | kind::INET6, _) if inbound => format!("in {transport} :{}", key.local_port),
        (_, Some(ip)) if listener => {
            format!(
                "listen {transport} {}",
                std::net::SocketAddr::new(ip, key.local_port)
            )
        }
        (_, Some(ip)) => format!("{transport} {}", std::net::SocketAddr::new(ip, key.port)),
        _ => format!("{key:?}"),
    }
}
