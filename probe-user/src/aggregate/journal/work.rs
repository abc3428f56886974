//! Who calls fsync, and who changes the journal: by device and team.

use std::{cmp::Reverse, collections::HashMap};

use super::{Changes, Device, MAX_JOURNAL_ROWS, Syncs};
use crate::{
    aggregate::{
        Timed,
        identity::Processes,
        team::{self, Members, TeamKey},
    },
    collect::journal,
};

type Key = (Device, u32);

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkSums {
    syncs_base: HashMap<Key, Timed>,
    syncs: HashMap<Key, journal::Syncs>,
    handles_base: HashMap<Key, journal::Handles>,
    handles: HashMap<Key, journal::Handles>,
}

impl WorkSums {
    /// Sums at a later moment.
    pub fn learn(&mut self, syncs: Vec<journal::Syncs>, handles: Vec<journal::Handles>) {
        let syncs = syncs.into_iter().map(|row| ((row.device, row.pid), row));
        self.syncs.extend(syncs);
        let handles = handles.into_iter().map(|row| ((row.device, row.pid), row));
        self.handles.extend(handles);
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        let syncs = self.syncs.iter();
        Self {
            syncs_base: syncs
                .map(|(k, row)| (*k, Timed::from(&row.calls)))
                .collect(),
            syncs: self.syncs.clone(),
            handles_base: self.handles.clone(),
            handles: self.handles.clone(),
        }
    }

    /// fsync by device and team.
    pub fn syncs(
        &self,
        end_ns: u64,
        processes: &Processes,
    ) -> impl Iterator<Item = (Device, Vec<Syncs>)> {
        let none = Timed::default();
        let mut teams: HashMap<(Device, TeamKey), (Syncs, Members)> = HashMap::new();
        for (key, row) in &self.syncs {
            let base = self.syncs_base.get(key).unwrap_or(&none);
            let calls = Timed::from(&row.calls).since(base);
            if calls.count == 0 && row.under_way == 0 {
                continue;
            }
            let team = team::key(processes, row.pid, &row.comm);
            let (sum, members) = teams.entry((row.device, team)).or_default();
            members.add(row.pid, calls.count);
            sum.calls.add(&calls);
            sum.under_way += u64::from(row.under_way);
            if row.under_way > 0 {
                let so_far = end_ns.saturating_sub(row.under_way_since_ns);
                sum.under_way_ns = sum.under_way_ns.max(so_far);
            }
        }
        let rows = teams.into_iter().map(|((device, team), (sum, members))| {
            let team = members.team(team);
            (device, Syncs { team, ..sum })
        });
        by_device(rows, |s| (s.calls.total_ns, s.calls.count))
    }

    /// Changes by device and team.
    pub fn changes(&self, processes: &Processes) -> impl Iterator<Item = (Device, Vec<Changes>)> {
        let none = journal::Handles::default();
        let mut teams: HashMap<(Device, TeamKey), (Changes, Members)> = HashMap::new();
        for (key, row) in &self.handles {
            let base = self.handles_base.get(key).unwrap_or(&none);
            let handles = row.handles.saturating_sub(base.handles);
            if handles == 0 {
                continue;
            }
            let team = team::key(processes, row.pid, &row.comm);
            let (sum, members) = teams.entry((row.device, team)).or_default();
            members.add(row.pid, handles);
            sum.handles += handles;
            sum.sync += row.sync.saturating_sub(base.sync);
            sum.blocks += row.dirtied_blocks.saturating_sub(base.dirtied_blocks);
        }
        let rows = teams.into_iter().map(|((device, team), (sum, members))| {
            let team = members.team(team);
            (device, Changes { team, ..sum })
        });
        by_device(rows, |c| (c.blocks, c.handles))
    }
}

/// Rows of each device, the largest first.
fn by_device<T>(
    rows: impl Iterator<Item = (Device, T)>,
    size: fn(&T) -> (u64, u64),
) -> impl Iterator<Item = (Device, Vec<T>)> {
    let mut lists: HashMap<Device, Vec<T>> = HashMap::new();
    for (device, row) in rows {
        lists.entry(device).or_default().push(row);
    }
    lists.into_iter().map(move |(device, mut list)| {
        list.sort_by_key(|row| Reverse(size(row)));
        list.truncate(MAX_JOURNAL_ROWS);
        (device, list)
    })
}
