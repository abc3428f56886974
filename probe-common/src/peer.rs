//! Who is at the other end of a descriptor.
//!
//! The kernel side reads the address out of the socket itself when a wait ends, so there is no
//! descriptor table that dup, fork, exec or a passed descriptor could make wrong. An address is known by
//! a 64-bit hash ([`id`]); the map `PEERS` leads from the hash to the [`PeerKey`].

use crate::shared;

/// Kinds of [`PeerKey`].
pub mod kind {
    /// IPv4: 4 address bytes.
    pub const INET: u8 = 1;
    /// IPv6: 16 address bytes.
    pub const INET6: u8 = 2;
    /// Unix socket: the path, or an abstract name that starts with a NUL byte; empty when unnamed.
    pub const UNIX: u8 = 3;
    /// Another address family: its number is in `port`.
    pub const OTHER_FAMILY: u8 = 4;
}

/// Bits of [`PeerKey::flags`].
pub mod flag {
    /// The other side connected to us: `local_port` (or the path) is what it connected to and the
    /// client's own port is left out, so that every client address is one peer.
    pub const INBOUND: u8 = 1;
    /// The socket listens: there is no other side, the address is its own.
    pub const LISTENER: u8 = 2;
    /// A UDP socket without a fixed other side: the address is where it last sent to.
    pub const UNCONNECTED: u8 = 4;
}

/// Ids that stand for no address. Hashes of addresses are never below [`special::FIRST_HASH`].
pub mod special {
    /// No peer applies.
    pub const NONE: u64 = 0;
    /// Several descriptors were waited for and none of them ended the wait (time-out).
    pub const SEVERAL: u64 = 1;
    /// The peer could not be found out.
    pub const UNKNOWN: u64 = 2;
    /// A regular file, directory or block device.
    pub const FILE: u64 = 3;
    /// A pipe.
    pub const PIPE: u64 = 4;
    /// Another local descriptor: eventfd, timerfd, terminal, ...
    pub const LOCAL: u64 = 5;
    /// More peers than the tables hold.
    pub const OTHER: u64 = 6;
    /// The connection that the current request came in on.
    pub const CLIENT: u64 = 7;
    /// The smallest id that is a hash.
    pub const FIRST_HASH: u64 = 16;
}

/// Bytes kept of an address: a Unix socket path has at most 108 (`sun_path`, unix(7)); the rest lets the
/// kernel side copy up to 127 bytes, a length that the verifier can see bounded by a mask.
pub const ADDR_LEN: usize = 120;

shared! {
    /// An address. Unused bytes are 0, so that equal addresses are equal bytes.
    pub struct PeerKey {
        /// The address in network byte order, or the Unix path; first, so that it can be read as words.
        pub addr: [u64; ADDR_LEN / 8],
        /// One of [`kind`].
        pub kind: u8,
        /// IP protocol number (6 TCP, 17 UDP), 0 for Unix sockets.
        pub protocol: u8,
        /// Bits of [`flag`].
        pub flags: u8,
        /// Bytes used in `addr`.
        pub len: u8,
        /// Port of the other side, host byte order; 0 when it does not apply.
        pub port: u16,
        /// Port on this side, host byte order; set for listeners and inbound connections only.
        pub local_port: u16,
    }
}

shared! {
    /// An epoll registration: key of the map `EPOLL`, whose value is the descriptor.
    pub struct EpollKey {
        /// What epoll_wait hands back.
        pub data: u64,
        /// Process id.
        pub tgid: u32,
        /// Descriptor of the epoll instance.
        pub epfd: u32,
    }
}

impl PeerKey {
    /// The address bytes in use.
    pub fn address(&self) -> &[u8] {
        // SAFETY: the array is `ADDR_LEN` initialised bytes, and u8 has no alignment.
        let bytes = unsafe { &*core::ptr::from_ref(&self.addr).cast::<[u8; ADDR_LEN]>() };
        &bytes[..(self.len as usize).min(ADDR_LEN)]
    }

    /// Sets the address bytes and their number; what does not fit is cut off.
    pub fn set_address(&mut self, from: &[u8]) {
        let mut bytes = [0u8; ADDR_LEN];
        let n = from.len().min(ADDR_LEN);
        bytes[..n].copy_from_slice(&from[..n]);
        for (word, chunk) in self.addr.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        self.len = n as u8;
    }
}

/// The id of an address: a 64-bit hash (multiply and fold), never below [`special::FIRST_HASH`]; [`is_dns`] reads one
/// bit of it.
#[inline(always)]
pub fn id(key: &PeerKey) -> u64 {
    // The four header fields as one word.
    let head = key.kind as u64
        | (key.protocol as u64) << 8
        | (key.flags as u64) << 16
        | (key.len as u64) << 24
        | (key.port as u64) << 32
        | (key.local_port as u64) << 48;
    let mut h = mix(0x9e37_79b9_7f4a_7c15, head);
    h = mix(h, key.addr[0]);
    h = mix(h, key.addr[1]);
    // Inet addresses end here; the rest is zero and would only cost time.
    if key.kind == kind::UNIX {
        let mut i = 2;
        while i < ADDR_LEN / 8 {
            h = mix(h, key.addr[i]);
            i += 1;
        }
    }
    let dns = (key.port == DNS_PORT && (key.kind == kind::INET || key.kind == kind::INET6)) as u64;
    h & !DNS | dns | special::FIRST_HASH
}

/// Port of DNS servers.
const DNS_PORT: u16 = 53;
/// The bit of an id that says so.
const DNS: u64 = 1;

/// Does this id stand for the port of a DNS server? Whoever has the id need not look for the address.
#[inline(always)]
pub fn is_dns(id: u64) -> bool {
    id & (special::FIRST_HASH | DNS) == special::FIRST_HASH | DNS
}

/// A step of a hash: every bit of what came before, and of the word, changes the lower half of the next step's bits.
#[inline(always)]
pub(crate) fn mix(h: u64, word: u64) -> u64 {
    let h = (h ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ (h >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_changes_the_id() {
        let mut base = PeerKey::ZERO;
        base.kind = kind::UNIX;
        base.set_address(b"/run/php/php8.2-fpm.sock");
        let mut seen = vec![id(&base)];
        let mut longer = base;
        longer.set_address(b"/run/php/php8.2-fpm.sock2");
        let mut port = base;
        port.port = 1;
        let mut local = base;
        local.local_port = 1;
        let mut inbound = base;
        inbound.flags = flag::INBOUND;
        for key in [longer, port, local, inbound] {
            assert!(!seen.contains(&id(&key)));
            seen.push(id(&key));
        }
        assert!(seen.iter().all(|id| *id >= special::FIRST_HASH));
    }

    #[test]
    fn an_id_says_whether_it_is_a_dns_server() {
        let mut key = PeerKey::ZERO;
        key.kind = kind::INET6;
        key.set_address(&[1; 16]);
        for port in 0..=1000 {
            key.port = port;
            assert_eq!(is_dns(id(&key)), port == 53, "{port}");
        }
        key.kind = kind::OTHER_FAMILY;
        key.port = 53;
        assert!(!is_dns(id(&key)));
        assert!((0..special::FIRST_HASH).all(|special| !is_dns(special)));
    }

    #[test]
    fn an_address_longer_than_the_field_is_cut() {
        let mut key = PeerKey::ZERO;
        key.set_address(&[7; 200]);
        assert_eq!(key.address(), &[7; ADDR_LEN]);
    }
}
