//! Tells the kernel side whom to follow, and what it cannot have seen: what threads already wait for, and what is listened on.

use std::collections::HashMap as StdHashMap;

use aya::maps::{Array, HashMap, MapError};
use probe_common::{
    loss,
    peer::{self, EpollKey, PeerKey},
    task::Task,
};

use super::{Collector, map, map_error};
use crate::{
    collect::{epoll, inflight, processes, sockets::Wanted},
    error::Error,
};

/// Slots of the map `FILTER`, as in the kernel side's maps.rs.
const FILTER_SLOTS: u32 = 1 << 16;

impl Collector {
    /// Follows all threads of these processes; the kernel side follows what they fork. Idempotent: call it
    /// again when more processes may match. Returns how many of the given processes are there.
    ///
    /// # Errors
    /// The thread table cannot be written. Processes that have ended are skipped.
    pub fn follow(&mut self, pids: &[u32]) -> Result<usize, Error> {
        let mut alive = 0;
        let mut new = Vec::new();
        let mut wanted = Wanted::default();
        for pid in pids {
            let threads = processes::threads(*pid);
            if threads.is_empty() {
                continue;
            }
            alive += 1;
            let known = new.len();
            let mut fpm_worker = None;
            for tid in threads {
                let Some(stat) = processes::thread_stat(*pid, tid) else {
                    continue;
                };
                if !self.followed.insert((tid, stat.start_ticks)) {
                    continue;
                }
                let worker = *fpm_worker.get_or_insert_with(|| processes::fpm_pool(*pid).is_some());
                if let Some(inode) = inflight::awaited_socket(*pid, tid) {
                    wanted.add(*pid, inode);
                }
                new.push((*pid, tid, worker));
            }
            if new.len() > known {
                self.name_epoll(*pid)?;
            }
        }
        let peers = self.peers_of(wanted)?;
        // Where a thread stands is looked up right before its row is made, as it does not wait for us.
        for (pid, tid, worker) in new {
            if let Some(stat) = processes::thread_stat(pid, tid) {
                let row = inflight::row(pid, tid, &stat, worker, &peers);
                self.insert_row(&row)?;
                // Its pool is in its title, which is gone when it has ended.
                self.processes.see(pid, tid, row.start_ticks, &row.comm);
            }
        }
        Ok(alive)
    }

    /// Tells the kernel side of epoll registrations that it did not see being made.
    fn name_epoll(&mut self, pid: u32) -> Result<(), Error> {
        if self.ring.is_none() {
            return Ok(());
        }
        let mut known: HashMap<_, EpollKey, u32> = map(&mut self.ebpf, "EPOLL")?;
        for (key, fd) in epoll::registrations(pid) {
            // An LRU table makes room for itself.
            let _ = known.insert(key, fd, 0);
        }
        Ok(())
    }

    /// The other ends of sockets, by inode number; their addresses are made known to the kernel side.
    fn peers_of(&mut self, wanted: Wanted) -> Result<StdHashMap<u64, PeerKey>, Error> {
        let found = {
            let listened: HashMap<_, u32, u32> = map(&mut self.ebpf, "LISTEN_PORTS")?;
            wanted.find(|port| listened.get(&port.into(), 0).is_ok())
        };
        let mut names: HashMap<_, u64, PeerKey> = map(&mut self.ebpf, "PEERS")?;
        for key in found.values() {
            // A full table is the kernel side's to count.
            let _ = names.insert(peer::id(key), key, 0);
        }
        Ok(found)
    }

    fn insert_row(&mut self, task: &Task) -> Result<(), Error> {
        let tid = task.tid;
        let inserted = {
            let mut tasks: HashMap<_, u32, Task> = map(&mut self.ebpf, "TASKS")?;
            tasks.insert(
                tid, task, 1, /* BPF_NOEXIST: a fork that we followed may be there already */
            )
        };
        match inserted {
            Ok(()) => {}
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::E2BIG) => {
                let mut losses: Array<_, u64> = map(&mut self.ebpf, "LOSSES")?;
                let n = losses.get(&loss::slot::TASKS_FULL, 0).map_err(map_error)?;
                losses
                    .set(loss::slot::TASKS_FULL, n + 1, 0)
                    .map_err(map_error)?;
                return Ok(());
            }
            Err(e) => return Err(map_error(e)),
        }
        let mut filter: Array<_, u32> = map(&mut self.ebpf, "FILTER")?;
        filter
            .set(tid & (FILTER_SLOTS - 1), 1, 0)
            .map_err(map_error)
    }

    /// Tells the kernel side which TCP ports are listened on, in every network namespace in use.
    pub(super) fn listen_ports(&mut self) -> Result<(), Error> {
        let ports = processes::listening_ports();
        let mut known: HashMap<_, u32, u32> = map(&mut self.ebpf, "LISTEN_PORTS")?;
        for port in ports {
            // A full table makes some inbound connections look outbound; bounded by 4,096 listeners.
            let _ = known.insert(u32::from(port), 1, 0);
        }
        Ok(())
    }
}
