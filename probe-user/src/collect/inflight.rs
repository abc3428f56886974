//! What a thread was in the middle of when we came: from /proc/TID/syscall, without stopping it.
//!
//! A worker that has hung in one poll for a minute makes no event in a window of ten seconds; its wait
//! and its peer must be known all the same.

use std::{collections::HashMap, ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use probe_common::{
    op::{self, OPS, kind},
    peer::{self, PeerKey, special},
    request::{Request, flag as request_flag},
    task::{Task, flag, state},
};

use super::{monotonic_ns, processes::Stat};
use crate::attach::op_of_nr;

/// The socket that a thread is blocked on, by inode number; none when it waits for its next connection, as
/// most workers do.
pub fn awaited_socket(pid: u32, tid: u32) -> Option<u64> {
    let (nr, args) = syscall(pid, tid)?;
    match waited_on(pid, kind_of(op_of_nr(nr)), &args)? {
        On::Socket(inode) => Some(inode),
        On::Other => None,
    }
}

/// The row of a thread as it is now. `peers` are the other ends of the sockets that
/// [`awaited_socket`] told of.
pub fn row(
    pid: u32,
    tid: u32,
    stat: &Stat,
    fpm_worker: bool,
    peers: &HashMap<u64, PeerKey>,
) -> Task {
    let now = monotonic_ns();
    let mut task = Task::ZERO;
    task.tid = tid;
    task.tgid = pid;
    task.start_ticks = stat.start_ticks;
    // Not `IDENTIFIED`: when it acts, the kernel side looks at it for itself (are its descriptors shared?).
    task.since_ns = now;
    task.blocked_nr = -1;
    task.request.fd = -1;
    let n = stat.comm.len().min(task.comm.len() - 1);
    task.comm[..n].copy_from_slice(&stat.comm[..n]);
    task.state = match stat.state {
        b'S' | b'D' => state::BLOCKED,
        _ => state::RUNNING,
    };
    task.uninterruptible = (stat.state == b'D').into();
    let mut idle = false;
    if task.state == state::BLOCKED
        && let Some((nr, args)) = syscall(pid, tid)
    {
        task.blocked_nr = nr as i32;
        let op = op_of_nr(nr);
        task.op = op;
        task.op_start_ns = now;
        task.args.copy_from_slice(&args[..5]);
        let kind = kind_of(op);
        idle = kind == kind::ACCEPT;
        if let Some(on) = waited_on(pid, kind, &args) {
            task.last_peer = peer_id(&on, peers);
        }
        if fpm_worker && kind == kind::RECV && task.last_peer == special::CLIENT {
            // The web server keeps the connection open for the next request.
            idle = true;
            task.flags |= flag::KEPT_OPEN;
            task.request.fd = args[0] as i32;
        }
        if matches!(op, op::SELECT | op::PSELECT6) {
            task.args[4] = 0;
        }
    }
    // A worker that does not wait for its next request is inside one, begun before we came.
    if fpm_worker && !idle {
        task.flags |= flag::IN_REQUEST | flag::STARTED_BUSY;
        task.request = Request::ZERO;
        task.request.fd = -1;
        task.request.start_ns = now;
        task.request.flags = request_flag::PARTIAL | request_flag::GOT_DATA;
    }
    task
}

/// The peer that the kernel side would charge the wait to.
fn peer_id(on: &On, peers: &HashMap<u64, PeerKey>) -> u64 {
    match on {
        On::Other => special::LOCAL,
        On::Socket(inode) => match peers.get(inode) {
            None => special::UNKNOWN,
            Some(key) if key.flags & peer::flag::INBOUND != 0 => special::CLIENT,
            Some(key) => peer::id(key),
        },
    }
}

fn kind_of(op: u32) -> u8 {
    OPS.get(op as usize).map_or(kind::NONE, |o| o.kind)
}

/// Number and arguments of the system call that a thread is blocked in (proc_pid_syscall(5)).
fn syscall(pid: u32, tid: u32) -> Option<(u64, [u64; 6])> {
    parse_syscall(&fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?)
}

/// Parses proc_pid_syscall(5): a number, and arguments in hexadecimal.
pub fn parse_syscall(text: &str) -> Option<(u64, [u64; 6])> {
    let mut fields = text.split_ascii_whitespace();
    let nr: u64 = fields.next()?.parse().ok()?;
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some((nr, args))
}

/// What a call waits for.
#[derive(Debug, PartialEq, Eq)]
enum On {
    /// A socket, by inode number.
    Socket(u64),
    /// Another descriptor.
    Other,
}

/// What a call waits for, when it is a descriptor. A wait for the next connection has no other end.
fn waited_on(pid: u32, kind: u8, args: &[u64; 6]) -> Option<On> {
    match kind {
        kind::CONNECT | kind::RECV | kind::SEND => {
            Some(socket_inode(pid, args[0] as u32).map_or(On::Other, On::Socket))
        }
        kind::POLL => {
            // The first descriptor of the set that is a socket; struct pollfd is 8 bytes.
            let n = args[1].min(8) as usize;
            let mut set = vec![0u8; n * 8];
            let read = read_memory(pid, args[0], &mut set)?;
            set.truncate(read);
            set.as_chunks::<8>()
                .0
                .iter()
                .map(|entry| u32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]]))
                .find_map(|fd| socket_inode(pid, fd))
                .map(On::Socket)
        }
        _ => None,
    }
}

/// Reads memory of a process; it is not stopped. `None` when that is not allowed or not mapped.
fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> Option<usize> {
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_at(into, address).ok()
}

fn socket_inode(pid: u32, fd: u32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    inode_of(link.as_os_str())
}

/// The inode number in `socket:[77]`, what a descriptor of a socket links to.
pub fn inode_of(link: &OsStr) -> Option<u64> {
    let text = link
        .as_bytes()
        .strip_prefix(b"socket:[")?
        .strip_suffix(b"]")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_call_and_its_arguments() {
        let text = "7 0x7ffd10 0x1 0xffffffff 0x0 0x0 0x0 0x7ffd00 0x7f00\n";
        assert_eq!(
            parse_syscall(text),
            Some((7, [0x7ffd10, 1, 0xffff_ffff, 0, 0, 0]))
        );
        assert_eq!(parse_syscall("running\n"), None);
        assert_eq!(parse_syscall("-1 0x7ffd 0x0\n"), None);
    }

    #[test]
    fn a_wait_is_charged_as_the_kernel_side_does() {
        let outbound = PeerKey {
            kind: peer::kind::INET,
            port: 443,
            ..PeerKey::ZERO
        };
        let inbound = PeerKey {
            flags: peer::flag::INBOUND,
            ..PeerKey::ZERO
        };
        let peers = HashMap::from([(7, outbound), (8, inbound)]);
        assert_eq!(peer_id(&On::Socket(7), &peers), peer::id(&outbound));
        assert_eq!(peer_id(&On::Socket(8), &peers), special::CLIENT);
        assert_eq!(peer_id(&On::Socket(9), &peers), special::UNKNOWN);
        assert_eq!(peer_id(&On::Other, &peers), special::LOCAL);
        assert_eq!(waited_on(0, kind::ACCEPT, &[0; 6]), None);
    }

    #[test]
    fn only_sockets_have_inodes() {
        assert_eq!(inode_of(OsStr::new("socket:[77]")), Some(77));
        assert_eq!(inode_of(OsStr::new("/etc/passwd")), None);
    }
}
