//! The network namespace in which TCP is watched: the caller's, or that of another process.
//!
//! A socket knows its namespace by a kernel pointer (`skc_net`). The kernel side reads it from a socket of
//! our own that was opened in the namespace, and keeps it in slot 0 of the map `NETNS`.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    thread,
};

use aya::Ebpf;

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
        let socket = thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(&fd)?;
                    socket()
                })
                .join()
        });
        let socket = socket.unwrap_or_else(|_| {
            Err(Error::Kernel(
                "the thread that enters a network namespace ended".to_owned(),
            ))
        })?;
        Ok(Self {
            fd: Some(fd),
            socket,
        })
    }

    /// Tells the kernel side which sockets are in it; before, it looks at none.
    pub(super) fn tell(&self, ebpf: &mut Ebpf) -> Result<(), Error> {
        selftest::tell_netns(ebpf, self.socket.as_raw_fd())
    }
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
    fn the_own_namespace_needs_no_right() {
        assert!(Netns::of(None).unwrap().fd.is_none());
    }
}
