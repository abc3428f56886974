//! Who calls fsync, and who changes the journal: by device and team.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::{Changes, Device, MAX_JOURNAL_ROWS, Syncs};
use crate::{
    aggregate::{
        Timed,
        identity::Processes,
        lives::{Lives, Sum},
        team::{self, Members, TeamKey},
    },
    collect::journal,
};

type Key = (Device, u32);

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkSums {
    syncs: Lives<Synced>,
    handles: Lives<journal::Handles>,
}

/// A row, and what of it grows.
#[derive(Clone, Debug)]
struct Synced {
    calls: Timed,
    row: Arc<journal::Syncs>,
}

impl Sum for Synced {
    type Key = Key;

    fn add(&mut self, more: &Self) {
        self.calls.add(&more.calls);
        self.row = Arc::clone(&more.row);
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            calls: self.calls.since(&earlier.calls),
            row: Arc::clone(&self.row),
        }
    }

    fn other(key: &Key) -> Key {
        (key.0, 0)
    }
}

impl Sum for journal::Handles {
    type Key = Key;

    fn add(&mut self, more: &Self) {
        *self = Self {
            handles: self.handles + more.handles,
            sync: self.sync + more.sync,
            dirtied_blocks: self.dirtied_blocks + more.dirtied_blocks,
            ..more.clone()
        };
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            handles: self.handles.saturating_sub(earlier.handles),
            sync: self.sync.saturating_sub(earlier.sync),
            dirtied_blocks: self.dirtied_blocks.saturating_sub(earlier.dirtied_blocks),
            ..self.clone()
        }
    }

    fn other(key: &Key) -> Key {
        (key.0, 0)
    }
}

fn synced(row: journal::Syncs) -> (Key, Synced) {
    let calls = Timed::from(&row.calls);
    let row = Arc::new(row);
    ((row.device, row.pid), Synced { calls, row })
}

fn changed(row: journal::Handles) -> (Key, journal::Handles) {
    ((row.device, row.pid), row)
}

impl WorkSums {
    /// Sums at a later moment.
    pub fn learn(&mut self, syncs: Vec<journal::Syncs>, handles: Vec<journal::Handles>) {
        self.syncs.learn(syncs.into_iter().map(synced));
        self.handles.learn(handles.into_iter().map(changed));
    }

    /// Those of rows that were taken out before.
    pub fn end(&mut self, syncs: Vec<journal::Syncs>, handles: Vec<journal::Handles>) {
        self.syncs.end(syncs.into_iter().map(synced));
        self.handles.end(handles.into_iter().map(changed));
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        Self {
            syncs: self.syncs.successor(),
            handles: self.handles.successor(),
        }
    }

    /// fsync by device and team.
    pub fn syncs(
        &self,
        end_ns: u64,
        processes: &Processes,
    ) -> impl Iterator<Item = (Device, Vec<Syncs>)> {
        let mut teams: HashMap<(Device, TeamKey), (Syncs, Members)> = HashMap::new();
        for (_, Synced { calls, row }) in self.syncs.grown() {
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
        let mut teams: HashMap<(Device, TeamKey), (Changes, Members)> = HashMap::new();
        for (_, row) in self.handles.grown() {
            if row.handles == 0 {
                continue;
            }
            let team = team::key(processes, row.pid, &row.comm);
            let (sum, members) = teams.entry((row.device, team)).or_default();
            members.add(row.pid, row.handles);
            sum.handles += row.handles;
            sum.sync += row.sync;
            sum.blocks += row.dirtied_blocks;
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
