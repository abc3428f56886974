//! Made-up addresses: from ranges that are set aside for documentation, a range for each kind of address, so that a reader
//! still sees what is private and what is not, and nobody takes one for a true address.
//!
//! | kind | IPv4 | IPv6 |
//! |---|---|---|
//! | loopback, unspecified, broadcast | stays | stays |
//! | private, shared (carrier-grade NAT), unique local | 192.0.2.n | 2001:db8:1::n |
//! | link-local | 198.51.100.n | 2001:db8:2::n |
//! | public | 203.0.113.n | 2001:db8:3::n |
//! | multicast | 233.252.0.n | ff0e::db8:0:n |
//!
//! RFC 5737, RFC 3849, RFC 6676. What does not fit into 254 addresses goes on in 240.0.0.0/4, a quarter for each kind.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Kinds of addresses that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Private,
    LinkLocal,
    Public,
    Multicast,
}

/// The made-up addresses given so far.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    made: HashMap<IpAddr, IpAddr>,
    /// How many have been made of each kind, IPv4 and IPv6 apart.
    last: HashMap<(Class, bool), u32>,
}

impl Addresses {
    /// Replaces an address.
    pub fn redact(&mut self, address: &mut IpAddr) {
        // An IPv4 address that an IPv6 socket shows is the same one.
        let mapped = match *address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped(),
            IpAddr::V4(_) => None,
        };
        *address = match mapped {
            Some(v4) => match self.of(v4.into()) {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
                v6 => v6,
            },
            None => self.of(*address),
        };
    }

    /// Forgets all when they are more than so many; what is made from then on is new.
    pub fn forget_beyond(&mut self, kept: usize) {
        if self.made.len() > kept {
            self.made.clear();
        }
    }

    fn of(&mut self, address: IpAddr) -> IpAddr {
        let class = match address {
            a if a.is_loopback() || a.is_unspecified() => return a,
            IpAddr::V4(Ipv4Addr::BROADCAST) => return address,
            IpAddr::V4(v4) => class_v4(v4),
            IpAddr::V6(v6) => class_v6(v6),
        };
        let last = &mut self.last;
        *self.made.entry(address).or_insert_with(|| {
            let n = last.entry((class, address.is_ipv4())).or_default();
            *n += 1;
            match address {
                IpAddr::V4(_) => v4(class, *n).into(),
                IpAddr::V6(_) => v6(class, *n).into(),
            }
        })
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [100, 64..=127, ..] => Class::Private,
        _ if address.is_private() => Class::Private,
        _ if address.is_link_local() => Class::LinkLocal,
        _ if address.is_multicast() => Class::Multicast,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    match address.segments()[0] {
        0xfc00..=0xfdff => Class::Private,
        0xfe80..=0xfebf => Class::LinkLocal,
        0xff00..=0xffff => Class::Multicast,
        _ => Class::Public,
    }
}

fn v4(class: Class, n: u32) -> Ipv4Addr {
    let (range, quarter) = match class {
        Class::Private => ([192, 0, 2, 0], 0),
        Class::LinkLocal => ([198, 51, 100, 0], 1),
        Class::Public => ([203, 0, 113, 0], 2),
        Class::Multicast => ([233, 252, 0, 0], 3),
    };
    if n < 255 {
        return Ipv4Addr::from_bits(u32::from_be_bytes(range) + n);
    }
    // A window has thousands of addresses at most, a quarter has 67 million.
    Ipv4Addr::from_bits((0xf << 28) + (quarter << 26) + (n - 255))
}

fn v6(class: Class, n: u32) -> Ipv6Addr {
    let [high, low] = [(n >> 16) as u16, n as u16];
    match class {
        Class::Private => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, high, low),
        Class::LinkLocal => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, high, low),
        Class::Public => Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, high, low),
        Class::Multicast => Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0xdb8, high, low),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn redacted(addresses: &mut Addresses, address: &str) -> String {
        let mut address = address.parse().unwrap();
        addresses.redact(&mut address);
        address.to_string()
    }

    #[test]
    fn the_kind_of_an_address_stays_and_the_same_one_becomes_the_same() {
        let mut addresses = Addresses::default();
        for (before, after) in [
            ("127.0.0.53", "127.0.0.53"),
            ("0.0.0.0", "0.0.0.0"),
            ("::1", "::1"),
            ("10.1.2.3", "192.0.2.1"),
            ("100.64.0.9", "192.0.2.2"),
            ("::ffff:10.1.2.3", "::ffff:192.0.2.1"),
            ("169.254.169.254", "198.51.100.1"),
            ("192.0.2.1", "203.0.113.1"),
            ("8.8.8.8", "203.0.113.2"),
            ("239.1.2.3", "233.252.0.1"),
            ("255.255.255.255", "255.255.255.255"),
            ("fd00::7", "2001:db8:1::1"),
            ("fe80::7", "2001:db8:2::1"),
            ("2a00::7", "2001:db8:3::1"),
            ("ff02::fb", "ff0e::db8:0:1"),
            ("8.8.8.8", "203.0.113.2"),
        ] {
            assert_eq!(redacted(&mut addresses, before), after, "{before}");
        }
    }

    #[test]
    fn however_many_there_are_no_two_become_the_same() {
        let mut addresses = Addresses::default();
        let mut seen = HashSet::new();
        for n in 0..70_000u32 {
            for range in [[10, 0, 0, 0], [8, 0, 0, 0], [239, 0, 0, 0]] {
                let mut address = Ipv4Addr::from_bits(u32::from_be_bytes(range) + n).into();
                addresses.redact(&mut address);
                assert!(seen.insert(address), "{address}");
            }
            let mut address = Ipv6Addr::from_bits((0x2a00 << 112) + u128::from(n)).into();
            addresses.redact(&mut address);
            assert!(seen.insert(address), "{address}");
        }
    }
}
