//! Walks over all descriptors: who holds which socket.

use std::{collections::HashMap as StdHashMap, io, os::fd::OwnedFd, sync::atomic::AtomicBool};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use probe_common::tcp;

use super::{Owner, Owners, records::Written};
use crate::collect::{iterator, monotonic_ns, processes::comm};

/// Walks over the descriptors of all processes.
pub struct Walker {
    link: OwnedFd,
    owners: HashMap<MapData, u32, tcp::Owner>,
}

impl Walker {
    /// Takes the table over.
    ///
    /// # Errors
    /// The object has no such map.
    pub fn new(ebpf: &mut Ebpf, link: OwnedFd) -> Result<Self, MapError> {
        let map = ebpf.take_map("OWNERS").ok_or(MapError::InvalidName {
            name: "OWNERS".to_owned(),
        })?;
        Ok(Self {
            link,
            owners: HashMap::try_from(map)?,
        })
    }

    /// Walks once.
    ///
    /// # Errors
    /// The kernel refuses, or `stop` was set meanwhile.
    pub fn walk(&mut self, stop: &AtomicBool) -> io::Result<Owners> {
        let at_ns = monotonic_ns();
        let written: io::Result<Written> = iterator::run(&self.link, stop);
        let took_ns = monotonic_ns() - at_ns;
        // Also when the walk failed: what it left would be counted again by the next.
        let mut counts: StdHashMap<u32, tcp::Owner> =
            self.owners.iter().filter_map(Result::ok).collect();
        for pid in counts.keys() {
            let _ = self.owners.remove(pid);
        }
        let written = written?;
        // Who holds a Unix listener and no TCP socket has a name as well.
        for listener in &written.listeners {
            counts
                .entry(listener.tgid)
                .or_insert(tcp::Owner { counts: [0; 16] });
        }
        Ok(Owners {
            at_ns,
            took_ns,
            processes: counts
                .into_iter()
                .map(|(pid, owner)| Owner {
                    pid,
                    comm: comm(pid),
                    counts: owner.counts,
                })
                .collect(),
            listeners: written.listeners,
            holders: written.holders,
        })
    }
}
