//! Makes room in the kernel's tables, whose rows nobody else takes out.

use std::collections::HashSet;

use aya::maps::Array;
use probe_common::{stat::Stat, task::Task};

use super::{Collector, leads_to, map, map_error, monotonic_ns};
use crate::{
    collect::{CallSum, table::Fate, tcp::records},
    error::Error,
};

impl Collector {
    /// Takes rows out of tables that fill between two readings of everything, as when thousands of threads or addresses come
    /// and go in a second.
    pub(super) fn make_room(&mut self) -> Result<(), Error> {
        let now_ns = monotonic_ns();
        if self.last_exchanges.are_many() {
            self.pending.retired.extend(self.last_exchanges.take());
        }
        if self.stats.is_crowded() || self.names.are_crowded() {
            self.stats.press(self.names.fill());
            let exits = self.pending.exits.iter();
            let ended: HashSet<(u32, u32)> = exits.map(|e| (e.tid, e.start_ticks)).collect();
            let stats = self.stats.look(
                &self.ebpf,
                now_ns,
                false,
                |stat: &Stat| stat.count,
                |key| fate(ended.contains(&(key.tid, key.start_ticks))),
                |_, stat| CallSum::from(stat),
            )?;
            self.pending.retired.extend(stats.retired);
        }
        if self.transitions.is_crowded() {
            let sums = records::sums(&mut self.transitions, &self.ebpf, now_ns, false)?;
            let tcp = self.pending.tcp.get_or_insert_default();
            tcp.retired.extend(sums.retired);
        }
        if let Some(dns) = &mut self.dns
            && dns.is_crowded()
        {
            dns.make_room(&self.ebpf, self.pending.dns.get_or_insert_default())?;
        }
        if let Some(files) = &mut self.files
            && files.is_crowded()
        {
            files.make_room(&self.ebpf, self.pending.files.get_or_insert_default())?;
        }
        if let Some(journal) = &mut self.journal
            && journal.is_crowded()
        {
            let reading = self.pending.journal.get_or_insert_default();
            journal.make_room(&mut self.ebpf, now_ns, reading)?;
        }
        if self.names.are_more() {
            let tasks = self.tasks()?;
            self.empty_names(&tasks)?;
        }
        Ok(())
    }

    /// Takes addresses out of the kernel's table to which nothing leads any more: no sum, no request and no remembered
    /// descriptor of a thread.
    pub(super) fn empty_names(&mut self, tasks: &[Task]) -> Result<(), Error> {
        if !self.names.are_many() {
            return Ok(());
        }
        let mut used: HashSet<u64> = tasks.iter().flat_map(leads_to).collect();
        used.extend(self.stats.keys().map(|key| key.peer));
        used.extend(self.transitions.keys().map(|key| key.peer));
        self.names.empty(&self.ebpf, &used)
    }

    /// Tells the kernel side how many clients are told apart by now: others may take the places of those that are gone.
    pub(super) fn count_clients(&mut self) -> Result<(), Error> {
        if self.census.is_none() {
            return Ok(());
        }
        let peers: HashSet<u64> = self.transitions.keys().map(|key| key.peer).collect();
        let clients = peers.iter().filter(|id| self.names.is_client(**id)).count();
        let mut counter: Array<_, u64> = map(&mut self.ebpf, "CLIENTS")?;
        counter.set(0, clients as u64, 0).map_err(map_error)
    }
}

pub(super) fn fate(ended: bool) -> Fate {
    match ended {
        true => Fate::Ended,
        false => Fate::Alive,
    }
}
