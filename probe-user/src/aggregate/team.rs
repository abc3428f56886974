//! Who did it: processes that do the same work are one row.

use std::collections::BTreeMap;

use super::identity::{Processes, group_name};

/// Ids named of a team.
const MAX_PIDS: usize = 8;

/// Processes that do the same work: the workers of a PHP-FPM pool, or the processes of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Team {
    /// The pool's name, or theirs, any bytes; empty for what the kernel side found no row for.
    pub name: Vec<u8>,
    /// True for a PHP-FPM pool.
    pub php_fpm: bool,
    /// How many there were.
    pub processes: u64,
    /// Their ids, the busiest first; at most 8 are listed.
    pub pids: Vec<u32>,
}

impl Team {
    /// True when both are the same processes by name.
    pub fn is(&self, other: &Self) -> bool {
        (&self.name, self.php_fpm) == (&other.name, other.php_fpm)
    }

    /// Kernel threads that write for others: whoever wrote the data is not to be seen in them.
    pub fn is_kernel(&self) -> bool {
        self.name.starts_with(KWORKER) || self.name.starts_with(b"jbd2/")
    }
}

const KWORKER: &[u8] = b"kworker";

/// A team's name, and whether it is a PHP-FPM pool.
pub(super) type TeamKey = (Vec<u8>, bool);

/// The team of a process that the kernel side calls `comm`.
pub(super) fn key(processes: &Processes, pid: u32, comm: &[u8]) -> TeamKey {
    // Each of these has a name of its own, which says on which CPU it runs.
    if comm.starts_with(KWORKER) {
        return (KWORKER.to_vec(), false);
    }
    match processes.last_of(pid).map(group_name) {
        Some((name, true)) => (name.to_vec(), true),
        _ => (comm.to_vec(), false),
    }
}

/// The processes of a team while it is added up, with how much each did.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<u32, u64>);

impl Members {
    /// A process did so much.
    pub fn add(&mut self, pid: u32, work: u64) {
        *self.0.entry(pid).or_default() += work;
    }

    /// The team.
    pub fn team(&self, (name, php_fpm): TeamKey) -> Team {
        let mut pids: Vec<(u32, u64)> = self.0.iter().map(|(&pid, &work)| (pid, work)).collect();
        pids.retain(|&(pid, _)| pid != 0);
        let processes = pids.len() as u64;
        // A stable sort: equals stay in the order of their ids.
        pids.sort_by_key(|&(_, work)| std::cmp::Reverse(work));
        pids.truncate(MAX_PIDS);
        Team {
            name,
            php_fpm,
            processes,
            pids: pids.into_iter().map(|(pid, _)| pid).collect(),
        }
    }
}
