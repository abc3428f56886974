//! What a thread was in the middle of when we came: from /proc/TID/syscall, without stopping it.
//!
//! A worker that has hung in one poll for a minute makes no event in a window of ten seconds; its wait
//! and its peer must be known all the same.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::ffi::OsStrExt,
};

use probe_common::{
    op::{self, OPS, kind},
    peer::{self, PeerKey, special},
    request::{Request, flag as request_flag},
    task::{Task, flag, state},
};

use super::processes::Stat;
use crate::attach::op_of_nr;

/// The row of a thread as it is now, and the address of the peer it waits for.
pub fn row(pid: u32, tid: u32, stat: &Stat, fpm_worker: bool, now: u64) -> (Task, Option<PeerKey>) {
    let mut task = Task::ZERO;
    task.tid = tid;
    task.tgid = pid;
    task.start_ticks = stat.start_ticks;
    task.flags = flag::IDENTIFIED;
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
    let mut key = None;
    let mut idle = false;
    if task.state == state::BLOCKED
        && let Some((nr, args)) = syscall(pid, tid)
    {
        task.blocked_nr = nr as i32;
        let op = op_of_nr(nr);
        task.op = op;
        task.op_start_ns = now;
        task.args.copy_from_slice(&args[..5]);
        let kind = OPS.get(op as usize).map_or(kind::NONE, |o| o.kind);
        idle = kind == kind::ACCEPT;
        if let Some(fd) = waited_fd(pid, kind, &args) {
            (task.last_peer, key) = peer_of(pid, fd);
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
    (task, key)
}

/// Number and arguments of the system call that a thread is blocked in (proc_pid_syscall(5)).
fn syscall(pid: u32, tid: u32) -> Option<(u64, [u64; 6])> {
    parse_syscall(&fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?)
}

fn parse_syscall(text: &str) -> Option<(u64, [u64; 6])> {
    let mut fields = text.split_ascii_whitespace();
    let nr: u64 = fields.next()?.parse().ok()?;
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some((nr, args))
}

/// The descriptor that a call waits for, when it is one.
fn waited_fd(pid: u32, kind: u8, args: &[u64; 6]) -> Option<u32> {
    match kind {
        kind::CONNECT | kind::ACCEPT | kind::RECV | kind::SEND => Some(args[0] as u32),
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
                .find(|fd| socket_inode(pid, *fd).is_some())
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

fn inode_of(link: &OsStr) -> Option<u64> {
    let text = link
        .as_bytes()
        .strip_prefix(b"socket:[")?
        .strip_suffix(b"]")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The peer behind a socket descriptor, as the kernel side would name it.
fn peer_of(pid: u32, fd: u32) -> (u64, Option<PeerKey>) {
    let Some(inode) = socket_inode(pid, fd) else {
        return (special::LOCAL, None);
    };
    for (file, protocol) in [("tcp", 6), ("tcp6", 6), ("udp", 17), ("udp6", 17)] {
        let Ok(table) = fs::read_to_string(format!("/proc/{pid}/net/{file}")) else {
            continue;
        };
        for line in table.lines() {
            if let Some(mut key) = remote_of(line, inode) {
                key.protocol = protocol;
                return (peer::id(&key), Some(key));
            }
        }
    }
    (special::UNKNOWN, None)
}

/// The remote end of a line of /proc/net/{tcp,udp}{,6}, if its inode is the one sought.
fn remote_of(line: &str, inode: u64) -> Option<PeerKey> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if fields.get(9)?.parse::<u64>().ok()? != inode {
        return None;
    }
    let (address, port) = fields.get(2)?.split_once(':')?;
    let mut key = PeerKey::ZERO;
    key.port = u16::from_str_radix(port, 16).ok()?;
    // The kernel prints words in its own byte order.
    let mut words = Vec::new();
    for i in 0..address.len() / 8 {
        words.push(u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok()?);
    }
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    match bytes.len() {
        4 => set_v4(&mut key, Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => {
            let address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            match address.to_ipv4_mapped() {
                Some(v4) => set_v4(&mut key, v4),
                None => {
                    key.kind = peer::kind::INET6;
                    key.set_address(&address.octets());
                }
            }
        }
        _ => return None,
    }
    (key.port != 0).then_some(key)
}

fn set_v4(key: &mut PeerKey, address: Ipv4Addr) {
    key.kind = peer::kind::INET;
    key.set_address(&address.octets());
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
    fn finds_the_remote_end_by_inode() {
        let v4 = "  1: 0100007F:C350 057100CB:01BB 01 00000000:00000000 00:00000000 00000000 33 0 4242 1";
        let key = remote_of(v4, 4242).unwrap();
        assert_eq!((key.address(), key.port), (&[203, 0, 113, 5][..], 443));
        assert!(remote_of(v4, 4243).is_none());
        let mapped = "  1: 0000000000000000FFFF00000100007F:C350 0000000000000000FFFF00000100007F:0016 01 \
                      00000000:00000000 00:00000000 00000000 0 0 9 1";
        let key = remote_of(mapped, 9).unwrap();
        assert_eq!(
            (key.kind, key.address()),
            (peer::kind::INET, &[127, 0, 0, 1][..])
        );
    }

    #[test]
    fn only_sockets_have_inodes() {
        assert_eq!(inode_of(OsStr::new("socket:[77]")), Some(77));
        assert_eq!(inode_of(OsStr::new("/etc/passwd")), None);
    }
}
