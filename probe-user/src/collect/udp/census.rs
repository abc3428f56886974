//! Takes a census: runs the socket iterator and reads what it wrote out.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::atomic::AtomicBool,
};

use aya::Ebpf;
use probe_common::{
    peer::kind,
    udp::{self, UdpAddress, UdpHolder, UdpTotals, record},
};

use super::{Census, SocketState, counters};
use crate::collect::{
    iterator::{self, Mapped},
    monotonic_ns,
};

/// Takes censuses of the network namespace of the calling thread.
pub struct Taker {
    link: OwnedFd,
    totals: Mapped<UdpTotals>,
}

impl Taker {
    /// Maps the table.
    ///
    /// # Errors
    /// The kernel refuses, or the object has no such map.
    pub fn new(ebpf: &Ebpf, link: OwnedFd) -> io::Result<Self> {
        let totals = Mapped::of(ebpf, "UDP_CENSUS", 1)?;
        Ok(Self { link, totals })
    }

    /// Takes one.
    ///
    /// # Errors
    /// The kernel refuses, or `stop` was set meanwhile.
    pub fn take(&mut self, stop: &AtomicBool) -> io::Result<Census> {
        self.totals.set(0, UdpTotals::ZERO);
        let at_ns = monotonic_ns();
        let written: Written = iterator::run(&self.link, stop)?;
        let took_ns = monotonic_ns() - at_ns;
        let totals = self.totals.get(0).unwrap_or(&UdpTotals::ZERO);
        Ok(Census {
            at_ns,
            took_ns,
            total: totals.total,
            sockets: written.sockets.iter().map(SocketState::from).collect(),
            left_out: totals.left_out,
            counters: counters::counters(),
        })
    }
}

/// What an iterator wrote out.
#[derive(Default)]
pub struct Written {
    /// Sockets that have something queued, or have dropped something.
    pub sockets: Vec<udp::UdpSocket>,
    /// Who holds such sockets.
    pub holders: Vec<UdpHolder>,
}

impl iterator::Written for Written {
    fn take(&mut self, kind: u32, bytes: &[u8]) -> Option<usize> {
        match kind {
            record::SOCKET => Some(iterator::push(bytes, &mut self.sockets)),
            record::HOLDER => Some(iterator::push(bytes, &mut self.holders)),
            _ => None,
        }
    }
}

impl From<&udp::UdpSocket> for SocketState {
    fn from(socket: &udp::UdpSocket) -> Self {
        Self {
            sock: socket.key.sock,
            inode: socket.key.inode,
            local: address(&socket.local).unwrap_or(NONE),
            remote: address(&socket.remote),
            rcvbuf_bytes: Some(socket.rcvbuf_bytes.into()),
            queued_bytes: socket.queued_bytes.into(),
            queued: Some(socket.queued.into()),
            drops: socket.drops.into(),
            uid: socket.uid,
        }
    }
}

/// In place of an address that is not known.
pub const NONE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// An address, where there is one. IPv4 in IPv6 clothes is IPv4.
pub fn address(of: &UdpAddress) -> Option<SocketAddr> {
    let bytes = of.ip.map(u64::to_ne_bytes);
    let ip = match of.kind as u8 {
        kind::INET => {
            let [a, b, c, d, ..] = bytes[0];
            IpAddr::from([a, b, c, d])
        }
        kind::INET6 => {
            let mut all = [0; 16];
            all.copy_from_slice(bytes.as_flattened());
            Ipv6Addr::from(all).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, of.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: [u8; 16], kind: u8) -> Option<String> {
        let (low, high) = ip.split_at(8);
        let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().unwrap());
        let key = UdpAddress {
            ip: [word(low), word(high)],
            port: 53,
            kind: kind.into(),
            pad: 0,
        };
        address(&key).map(|address| address.to_string())
    }

    #[test]
    fn addresses_of_both_families() {
        let v4 = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(of(v4, kind::INET).unwrap(), "127.0.0.1:53");
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(of(v6, kind::INET6).unwrap(), "[2001:db8::7]:53");
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
        assert_eq!(of(mapped, kind::INET6).unwrap(), "10.0.0.1:53");
        assert_eq!(of([0; 16], kind::INET6).unwrap(), "[::]:53");
        assert_eq!(of([0; 16], 0), None);
    }
}
