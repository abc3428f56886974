//! Calls refused for want of space.

use std::{cmp::Reverse, collections::HashMap};

use super::{Device, MAX_FILE_ROWS, Mount, Refused, space::mount_of};
use crate::{
    aggregate::{
        identity::Processes,
        lives::{Lives, Sum},
        team::{self, Members, TeamKey},
    },
    collect::files,
};

/// A row of the kernel side. The path is part of it, so that what each process asked for is kept apart there.
type Key = (u32, &'static str, u32, Option<Device>, Vec<u8>);

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct RefusedSums(Lives<files::Refused>);

impl Sum for files::Refused {
    type Key = Key;

    fn add(&mut self, more: &Self) {
        *self = Self {
            count: self.count + more.count,
            first_ns: self.first_ns.min(more.first_ns),
            ..more.clone()
        };
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(earlier.count),
            ..self.clone()
        }
    }

    fn other(key: &Key) -> Key {
        (0, key.1, key.2, key.3, Vec::new())
    }
}

fn keyed(row: files::Refused) -> (Key, files::Refused) {
    let key = (row.pid, row.call, row.errno, row.device, row.path.clone());
    (key, row)
}

/// Team, call, error and file system.
type Kind = (TeamKey, &'static str, u32, Option<Device>);

impl RefusedSums {
    /// Sums at a later moment, and those of rows that were taken out before.
    pub fn learn(&mut self, rows: Vec<files::Refused>, retired: Vec<files::Refused>) {
        self.0.end(retired.into_iter().map(keyed));
        self.0.learn(rows.into_iter().map(keyed));
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        Self(self.0.successor())
    }

    /// By team, call, error and file system.
    pub fn finish(&self, start_ns: u64, mounts: &[Mount], processes: &Processes) -> Vec<Refused> {
        let mut rows: HashMap<Kind, (Refused, Members)> = HashMap::new();
        for (_, row, base) in self.0.sums() {
            let before = base.map_or(0, |base| base.count);
            let count = row.count.saturating_sub(before);
            if count == 0 {
                continue;
            }
            let device = row.device.or_else(|| device_of(mounts, &row.path));
            let team = team::key(processes, row.pid, &row.comm);
            let (sum, members) = rows
                .entry((team, row.call, row.errno, device))
                .or_insert_with(|| {
                    let new = Refused {
                        call: row.call,
                        errno: row.errno,
                        device,
                        first_ns: u64::MAX,
                        ..Refused::default()
                    };
                    (new, Members::default())
                });
            sum.count += count;
            // The first of before the window is not one of its own.
            let first = if before == 0 {
                row.first_ns
            } else {
                row.last_ns
            };
            sum.first_ns = sum.first_ns.min(first.saturating_sub(start_ns));
            sum.last_ns = sum.last_ns.max(row.last_ns.saturating_sub(start_ns));
            // Which path of several is shown does not depend on the order of a hash table.
            if sum.path.is_empty() || (!row.path.is_empty() && row.path < sum.path) {
                sum.path.clone_from(&row.path);
            }
            members.add(row.pid, count);
        }
        let mut out: Vec<Refused> = rows
            .into_iter()
            .map(|((team, ..), (sum, members))| Refused {
                team: members.team(team),
                mount_point: sum
                    .device
                    .and_then(|d| mount_of(mounts, d))
                    .map(|m| m.mount_point.clone()),
                ..sum
            })
            .collect();
        out.sort_by(|a, b| {
            let key = |r: &Refused| (Reverse(r.count), r.first_ns, r.call, r.team.name.clone());
            key(a).cmp(&key(b))
        });
        out.truncate(MAX_FILE_ROWS);
        out
    }
}

/// The file system of an absolute path: that of the longest mount point above it.
fn device_of(mounts: &[Mount], path: &[u8]) -> Option<Device> {
    if !path.starts_with(b"/") {
        return None;
    }
    let above = |m: &&Mount| {
        let point = m.mount_point.strip_suffix(b"/").unwrap_or(&m.mount_point);
        path.strip_prefix(point)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    // Of two mounts at one place, the later one lies on top.
    let mounts = mounts.iter().filter(above);
    mounts.max_by_key(|m| m.mount_point.len()).map(|m| m.device)
}
