//! The network namespace in which TCP is watched: the caller's, or that of another process.
//!
//! A socket knows its namespace by a kernel pointer (`skc_net`). The kernel side reads it from a socket of
//! our own that was opened in the namespace, and keeps it in slot 0 of the map `NETNS`.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::Ipv6Addr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    thread,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use probe_common::peer::{self, PeerKey};

use super::selftest;
use crate::error::Error;

/// The namespace.
#[derive(Debug)]
pub struct Netns {
    /// Leads a thread there by setns(2); `None`: the caller is in it.
    pub fd: Option<OwnedFd>,
    /// A socket of ours in it.
    socket: OwnedFd,
}

impl Netns {
    /// The same namespace, for another thread.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self {
            fd: self.fd.as_ref().map(OwnedFd::try_clone).transpose()?,
            socket: self.socket.try_clone()?,
        })
    }

    /// The namespace of a process, or the caller's.
    ///
    /// # Errors
    /// The process has ended, or entering its namespace is not allowed.
    pub fn of(pid: Option<u32>) -> Result<Self, Error> {
        let Some(pid) = pid else {
            return Ok(Self {
                fd: None,
                socket: socket()?,
            });
        };
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let file = File::open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Target(format!(
                "no process {pid}: name a running one whose network namespace is to be watched"
            )),
            _ => Error::Io {
                what: format!("cannot open the network namespace of process {pid}"),
                source,
            },
        })?;
        let fd = OwnedFd::from(file);
        let socket = on_thread(&fd, socket)?;
        Ok(Self {
            fd: Some(fd),
            socket,
        })
    }

    /// Tells the kernel side which sockets are in it (before, it looks at none), and who listens there already.
    pub(super) fn tell(&self, ebpf: &mut Ebpf) -> Result<(), Error> {
        selftest::tell_netns(ebpf, self.socket.as_raw_fd())?;
        let mut names: HashMap<&mut MapData, u64, PeerKey> = ebpf
            .map_mut("PEERS")
            .and_then(|map| HashMap::try_from(map).ok())
            .ok_or_else(|| Error::Kernel("the object has no map PEERS".to_owned()))?;
        for key in self.within(|| Ok(listeners()))? {
            // A full table is the kernel side's to count.
            let _ = names.insert(peer::id(&key), key, 0);
        }
        Ok(())
    }

    /// Runs `f` in the namespace, on a thread of its own where the caller is not in it.
    fn within<T: Send>(&self, f: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        match &self.fd {
            Some(fd) => on_thread(fd, f),
            None => f(),
        }
    }
}

/// Runs `f` on a thread that has entered a namespace.
fn on_thread<T: Send>(
    fd: &OwnedFd,
    f: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(fd)?;
            f()
        });
        thread.join().unwrap_or_else(|_| {
            Err(Error::Kernel(
                "the thread that enters a network namespace ended".to_owned(),
            ))
        })
    })
}

/// Addresses that someone listens on, in the calling thread's namespace.
fn listeners() -> Vec<PeerKey> {
    let mut out = Vec::new();
    for file in ["tcp", "tcp6"] {
        let Ok(file) = File::open(format!("/proc/thread-self/net/{file}")) else {
            continue;
        };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        // The kernel lists the listeners first; a hundred thousand others may follow.
        out.extend(lines.skip(1).map_while(|line| listener(&line)));
    }
    out
}

/// The address of a line of /proc/net/tcp in state LISTEN (0A).
pub fn listener(line: &str) -> Option<PeerKey> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let mut bytes = Vec::new();
    // The kernel prints words of its own byte order.
    for word in address.as_bytes().chunks(8) {
        let word = str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
    }
    let mut key = PeerKey::ZERO;
    key.protocol = libc::IPPROTO_TCP as u8;
    key.flags = peer::flag::LISTENER;
    key.local_port = u16::from_str_radix(port, 16).ok()?;
    match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(address) => match Ipv6Addr::from(address).to_ipv4_mapped() {
            Some(v4) => bytes = v4.octets().to_vec(),
            None => key.kind = peer::kind::INET6,
        },
        Err(_) if bytes.len() != 4 => return None,
        Err(_) => {}
    }
    if bytes.len() == 4 {
        key.kind = peer::kind::INET;
    }
    key.set_address(&bytes);
    Some(key)
}

/// Moves the calling thread, and no other, into a network namespace.
///
/// # Errors
/// It is not allowed (CAP_SYS_ADMIN).
pub fn enter(fd: &OwnedFd) -> Result<(), Error> {
    // SAFETY: takes a descriptor, which is open, and a flag.
    if unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        return Ok(());
    }
    Err(Error::Io {
        what: "cannot enter the network namespace (CAP_SYS_ADMIN is needed)".to_owned(),
        source: std::io::Error::last_os_error(),
    })
}

/// A socket in the calling thread's namespace, of the one kind that every kernel has.
fn socket() -> Result<OwnedFd, Error> {
    UnixDatagram::unbound()
        .map(OwnedFd::from)
        .map_err(|source| Error::Io {
            what: "cannot open a socket to find the network namespace by".to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_process_is_named_in_one_line() {
        let Err(Error::Target(text)) = Netns::of(Some(u32::MAX)) else {
            panic!("a process with an impossible id has a network namespace");
        };
        assert!(text.contains(&u32::MAX.to_string()) && !text.contains('\n'));
    }

    #[test]
    fn listeners_are_read_from_proc() {
        let line = |address, state| {
            format!("   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 0 0")
        };
        let read = |address| listener(&line(address, "0A")).unwrap();
        let v4 = read("0100007F:1F90");
        assert_eq!((v4.kind, v4.local_port), (peer::kind::INET, 8080));
        assert_eq!(v4.address(), [127, 0, 0, 1]);
        let any = read("00000000000000000000000000000000:0050");
        assert_eq!((any.kind, any.address()), (peer::kind::INET6, &[0; 16][..]));
        let mapped = read("0000000000000000FFFF00000100007F:0050");
        assert_eq!(mapped.address(), [127, 0, 0, 1]);
        assert_eq!(listener(&line("0100007F:1F90", "01")), None);
        assert_eq!(listener(&line("0100:1F90", "0A")), None);
        assert_eq!(listener("nonsense"), None);
    }

    #[test]
    fn the_own_namespace_needs_no_right() {
        assert!(Netns::of(None).unwrap().fd.is_none());
    }
}
