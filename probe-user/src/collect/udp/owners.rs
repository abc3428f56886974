//! Finds out which processes hold the sockets that drop.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use probe_common::udp::UdpKey;

use super::{Holder, census::Written};
use crate::collect::{iterator, processes};

/// Looks for holders.
pub enum Walker {
    /// By the iterator over descriptors.
    Iterator(OwnedFd),
    /// By the links in /proc/PID/fd.
    Proc,
}

impl Walker {
    /// All holders of sockets that drop; of the given ones, where the kernel side cannot look itself.
    ///
    /// # Errors
    /// The kernel refuses, or `stop` was set meanwhile.
    pub fn walk(&self, keys: &HashSet<UdpKey>, stop: &AtomicBool) -> io::Result<Vec<Holder>> {
        let found = match self {
            Self::Iterator(link) => {
                let written: Written = iterator::run(link, stop)?;
                let holders = written.holders.into_iter();
                holders.map(|h| (h.key, h.tgid, h.fd)).collect()
            }
            Self::Proc => in_proc(keys, stop)?,
        };
        let mut names: HashMap<u32, Vec<u8>> = HashMap::new();
        Ok(found
            .into_iter()
            .map(|(key, pid, fd)| Holder {
                sock: key.sock,
                inode: key.inode,
                pid,
                comm: names
                    .entry(pid)
                    .or_insert_with(|| processes::comm(pid))
                    .clone(),
                fd,
            })
            .collect())
    }
}

/// Who holds sockets with these inode numbers.
fn in_proc(keys: &HashSet<UdpKey>, stop: &AtomicBool) -> io::Result<Vec<(UdpKey, u32, u32)>> {
    let by_inode: HashMap<u64, UdpKey> = keys.iter().map(|key| (key.inode, *key)).collect();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")?.filter_map(Result::ok) {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(pid) = number(&process.file_name()) else {
            continue;
        };
        // It may have ended.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.filter_map(Result::ok) {
            let link = fs::read_link(descriptor.path()).unwrap_or_default();
            let inode = link.to_str().and_then(socket_inode);
            let key = inode.and_then(|inode| by_inode.get(&inode));
            if let (Some(key), Some(fd)) = (key, number(&descriptor.file_name())) {
                found.push((*key, pid, fd));
            }
        }
    }
    Ok(found)
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// `socket:[501]`
fn socket_inode(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsRawFd};

    use super::*;

    #[test]
    fn proc_knows_the_own_sockets() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = socket.as_raw_fd() as u32;
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let inode = socket_inode(link.to_str().unwrap()).unwrap();
        let key = UdpKey { sock: 7, inode };
        let holders = Walker::Proc
            .walk(&HashSet::from([key]), &AtomicBool::new(false))
            .unwrap();
        // A test beside this one may fork.
        let ours: Vec<_> = holders
            .iter()
            .filter(|h| h.pid == std::process::id())
            .collect();
        assert_eq!(ours.len(), 1, "{holders:?}");
        assert_eq!((ours[0].sock, ours[0].inode, ours[0].fd), (7, inode, fd));
        assert!(!ours[0].comm.is_empty());
    }

    #[test]
    fn links_to_other_things_are_no_sockets() {
        assert_eq!(socket_inode("socket:[501]"), Some(501));
        assert_eq!(socket_inode("pipe:[501]"), None);
        assert_eq!(socket_inode("/tmp/socket:[501]"), None);
    }
}
