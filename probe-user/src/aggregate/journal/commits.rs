//! Commits of the window: sums, and the single ones as long as none was left out.

use std::collections::HashMap;

use super::{CommitPoint, Commits, Device};
use crate::{
    aggregate::{Timed, durations::nearest_rank, series::MAX_POINTS},
    collect::journal,
};

/// Commits of a device kept one by one; beyond, the histogram must do.
const MAX_SINGLE: usize = 65_536;

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct CommitSums {
    base: HashMap<Device, Sums>,
    now: HashMap<Device, (Sums, Option<u64>)>,
    /// When each ended, CLOCK_MONOTONIC ns, and how long it took, ns.
    single: HashMap<Device, Vec<(u64, u64)>>,
    single_lost: bool,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    total: Timed,
    locking: Timed,
    flushing: Timed,
    logging: Timed,
    interval: Timed,
    unlisted: u64,
    sync: u64,
    blocks_logged: u64,
}

impl From<&journal::Commits> for Sums {
    fn from(row: &journal::Commits) -> Self {
        Self {
            total: Timed::from(&row.total),
            locking: Timed::from(&row.locking),
            flushing: Timed::from(&row.flushing),
            logging: Timed::from(&row.logging),
            interval: Timed::from(&row.interval),
            unlisted: row.unlisted,
            sync: row.sync,
            blocks_logged: row.blocks_logged,
        }
    }
}

impl CommitSums {
    /// Sums at a later moment, and the commits that ended since the last one.
    pub fn learn(&mut self, rows: Vec<journal::Commits>, each: &[journal::Commit]) {
        for row in &rows {
            let sums = (Sums::from(row), row.under_way_since_ns);
            self.now.insert(row.device, sums);
        }
        for commit in each {
            let list = self.single.entry(commit.device).or_default();
            if list.len() < MAX_SINGLE {
                list.push((commit.end_ns, commit.took_ns));
            } else {
                self.single_lost = true;
            }
        }
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        let sums = self
            .now
            .iter()
            .map(|(device, row)| (*device, row.0.clone()));
        Self {
            base: sums.collect(),
            now: self.now.clone(),
            ..Self::default()
        }
    }

    /// By device.
    pub fn finish(
        &self,
        (start_ns, end_ns): (u64, u64),
    ) -> impl Iterator<Item = (Device, Commits)> {
        let none = Sums::default();
        self.now.iter().map(move |(device, (now, since))| {
            let base = self.base.get(device).unwrap_or(&none);
            let total = now.total.since(&base.total);
            let each = self.single.get(device).map_or(&[][..], Vec::as_slice);
            let mut single: Vec<u64> = each.iter().map(|(_, took)| *took).collect();
            single.sort_unstable();
            let exact = now.unlisted == base.unlisted
                && !self.single_lost
                && single.len() as u64 >= total.count;
            let quantile = |q| {
                if exact {
                    nearest_rank(&single, q)
                } else {
                    total.durations.quantile(q)
                }
            };
            let commits = Commits {
                quantiles_ns: [0.5, 0.95, 0.99].map(quantile),
                exact,
                timeline: timeline(each, start_ns),
                locking: now.locking.since(&base.locking),
                flushing: now.flushing.since(&base.flushing),
                logging: now.logging.since(&base.logging),
                interval: now.interval.since(&base.interval),
                sync: now.sync.saturating_sub(base.sync),
                blocks_logged: now.blocks_logged.saturating_sub(base.blocks_logged),
                under_way_ns: since.map(|since| end_ns.saturating_sub(since)),
                total,
            };
            (*device, commits)
        })
    }
}

/// The longest of so many groups of commits, in order.
fn timeline(each: &[(u64, u64)], start_ns: u64) -> Vec<CommitPoint> {
    let together = each.len().div_ceil(MAX_POINTS).max(1);
    let longest = each
        .chunks(together)
        .filter_map(|group| group.iter().max_by_key(|(_, took)| took));
    let point = |&(ended, took_ns): &(u64, u64)| CommitPoint {
        at_ns: ended.saturating_sub(took_ns).saturating_sub(start_ns),
        took_ns,
    };
    longest.map(point).collect()
}
