//! Addresses as the kernel wants them.

use std::{
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    path::PathBuf,
};

/// An address to connect, bind or send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addr {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
    /// A Unix socket's abstract name, without the leading NUL.
    Abstract(String),
}

impl Addr {
    /// The address family.
    pub fn family(&self) -> i32 {
        match self {
            Addr::Inet(SocketAddr::V4(_)) => libc::AF_INET,
            Addr::Inet(SocketAddr::V6(_)) => libc::AF_INET6,
            _ => libc::AF_UNIX,
        }
    }

    /// As the kernel wants it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = (self.family() as u16).to_ne_bytes().to_vec();
        match self {
            Addr::Inet(SocketAddr::V4(a)) => {
                out.extend(a.port().to_be_bytes());
                out.extend(a.ip().octets());
                out.extend([0; 8]);
            }
            Addr::Inet(SocketAddr::V6(a)) => {
                out.extend(a.port().to_be_bytes());
                out.extend(a.flowinfo().to_be_bytes());
                out.extend(a.ip().octets());
                out.extend(a.scope_id().to_ne_bytes());
            }
            Addr::Unix(path) => {
                out.extend(path.as_os_str().as_encoded_bytes());
                out.push(0);
            }
            Addr::Abstract(name) => {
                out.push(0);
                out.extend(name.as_bytes());
            }
        }
        out
    }

    /// As the tests name it: `tcp 127.0.0.1:80`, `unix /path`, `unix @name`.
    pub fn text(&self, transport: &str) -> String {
        match self {
            Addr::Inet(a) => format!("{transport} {a}"),
            Addr::Unix(path) => format!("unix {}", path.display()),
            Addr::Abstract(name) => format!("unix @{name}"),
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(a: SocketAddr) -> Self {
        Addr::Inet(a)
    }
}

impl From<SocketAddrV4> for Addr {
    fn from(a: SocketAddrV4) -> Self {
        Addr::Inet(a.into())
    }
}

impl From<SocketAddrV6> for Addr {
    fn from(a: SocketAddrV6) -> Self {
        Addr::Inet(a.into())
    }
}
