//! Who is who: threads and processes by pid and start, so that a reused pid is another one.

use std::collections::BTreeMap;

use probe_common::count::COMM_LEN;

use crate::collect::Process;

/// The group a process belongs to (a PHP-FPM pool's name, or the process name), and whether it is a pool.
pub fn group_name(process: &Process) -> (&[u8], bool) {
    match &process.pool {
        Some(pool) => (pool, true),
        None => (&process.comm, false),
    }
}

/// A thread: its id and its start in ticks of 10 ms since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Thread {
    pub tid: u32,
    pub start_ticks: u32,
}

/// A process: its id and its start in ticks of 10 ms since boot.
pub(super) type ProcessId = (u32, u32);

/// A kernel record that names its thread's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub tgid: u32,
    pub thread: Thread,
    pub comm: [u8; COMM_LEN],
}

/// The processes that the readings told of.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    known: BTreeMap<ProcessId, Process>,
    /// How often a process came or changed its name.
    changes: u64,
}

impl Processes {
    /// Takes in what a reading knows; a later word about the same process counts.
    pub fn learn(&mut self, processes: &[Process]) {
        for process in processes {
            let id = (process.pid, process.start_ticks);
            let ended = self.known.get(&id).is_some_and(|known| known.ended);
            if self.known.get(&id) != Some(process) {
                self.changes += 1;
                self.known.insert(
                    id,
                    Process {
                        ended: ended || process.ended,
                        ..process.clone()
                    },
                );
            }
        }
    }

    /// The process that a thread belongs to: of those with its pid the last that was not started after
    /// the thread. One that /proc never showed is made up from what the kernel record says.
    pub fn of(&mut self, owner: &Owner) -> ProcessId {
        // A row that its thread has not yet filled in names no process: /proc lists threads by tid.
        let tgid = if owner.tgid == 0 {
            owner.thread.tid
        } else {
            owner.tgid
        };
        let start = match owner.thread.start_ticks {
            0 => u32::MAX, // unknown on this kernel
            ticks => ticks,
        };
        if let Some((&id, _)) = self.known.range((tgid, 0)..=(tgid, start)).next_back() {
            return id;
        }
        let id = (
            tgid,
            if owner.thread.tid == tgid {
                owner.thread.start_ticks
            } else {
                0
            },
        );
        let length = owner.comm.iter().position(|&b| b == 0).unwrap_or(COMM_LEN);
        self.changes += 1;
        self.known.insert(
            id,
            Process {
                pid: tgid,
                start_ticks: id.1,
                comm: owner.comm[..length].to_vec(),
                ..Process::default()
            },
        );
        id
    }

    /// Another number after each change of who is who: what [`Self::of`] said may be remembered until then.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes in what another one says of a process, where nothing is known of it here.
    pub fn learn_from(&mut self, other: &Self, id: ProcessId) {
        if !self.known.contains_key(&id)
            && let Some(process) = other.known.get(&id)
        {
            self.changes += 1;
            self.known.insert(id, process.clone());
        }
    }

    /// What is known of the last process that had this id.
    pub fn last_of(&self, pid: u32) -> Option<&Process> {
        let same_pid = self.known.range((pid, 0)..=(pid, u32::MAX));
        same_pid.map(|(_, process)| process).next_back()
    }

    /// A thread of a process ended; with its first thread it is the process.
    pub fn ended(&mut self, id: ProcessId, thread: Thread) {
        if thread.tid == id.0
            && let Some(process) = self.known.get_mut(&id)
        {
            process.ended = true;
        }
    }

    /// What is known of a process that [`Self::of`] named.
    pub fn get(&self, id: ProcessId) -> Process {
        self.known.get(&id).cloned().unwrap_or_default()
    }

    /// Its group's name, and whether that is a PHP-FPM pool.
    pub fn group(&self, id: ProcessId) -> (Vec<u8>, bool) {
        match self.known.get(&id).map(group_name) {
            Some((name, pool)) => (name.to_vec(), pool),
            None => (Vec::new(), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(tgid: u32, tid: u32, start_ticks: u32) -> Owner {
        let mut comm = [0; COMM_LEN];
        comm[..3].copy_from_slice(b"php");
        Owner {
            tgid,
            thread: Thread { tid, start_ticks },
            comm,
        }
    }

    fn process(pid: u32, start_ticks: u32) -> Process {
        Process {
            pid,
            start_ticks,
            comm: b"php".to_vec(),
            ..Process::default()
        }
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut processes = Processes::default();
        processes.learn(&[process(7, 100), process(7, 900)]);
        assert_eq!(processes.of(&owner(7, 7, 100)), (7, 100));
        assert_eq!(processes.of(&owner(7, 7, 900)), (7, 900));
        // A later thread of the first.
        assert_eq!(processes.of(&owner(7, 8, 500)), (7, 100));
    }

    #[test]
    fn a_process_that_ended_unseen_is_named_by_the_kernel_record() {
        let mut processes = Processes::default();
        let id = processes.of(&owner(9, 9, 50));
        assert_eq!(id, (9, 50));
        assert_eq!(processes.group(id), (b"php".to_vec(), false));
        processes.learn(&[Process {
            pool: Some(b"www".to_vec()),
            ..process(9, 50)
        }]);
        assert_eq!(processes.group(id), (b"www".to_vec(), true));
    }
}
