//! Targets: from what the user named to the processes in `/proc` that are meant, now and again every second.

mod nearest;
mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

pub use nearest::nearest;
pub use process::{Fpm, Proc, Stat};

use crate::{cli::Targets, error::Error};

/// The kernel keeps this many bytes of a process name.
const COMM_MAX: usize = 15;

/// What is watched.
#[derive(Debug)]
pub struct Target {
    proc: Proc,
    /// Processes named by id, with the start that tells them from a later process of the same id.
    pids: Vec<(u32, u64)>,
    comms: Vec<Vec<u8>>,
    pools: Vec<Vec<u8>>,
    cgroups: Vec<Vec<PathBuf>>,
    words: String,
}

impl Target {
    /// Checks that everything named exists now.
    ///
    /// # Errors
    /// [`Error::Target`] names what is not there, and what is.
    pub fn resolve(proc: Proc, named: &Targets) -> Result<Self, Error> {
        let mut target = Self {
            proc,
            pids: Vec::new(),
            comms: Vec::new(),
            pools: named.pools.iter().map(bytes).collect(),
            cgroups: Vec::new(),
            words: words(named),
        };
        for &pid in &named.pids {
            let start = target.process(pid)?;
            target.pids.push((pid, start));
        }
        for path in &named.cgroups {
            let dirs = target.proc.cgroup_dirs(path);
            if dirs.is_empty() {
                return Err(Error::Target(format!(
                    "no cgroup {path:?} under {}; `systemd-cgls` or /proc/PID/cgroup tell the paths",
                    target.proc.cgroups.display()
                )));
            }
            let mut pids = Vec::new();
            for dir in &dirs {
                target.proc.cgroup(dir, &mut pids);
            }
            if pids.is_empty() {
                return Err(Error::Target(format!(
                    "no process in cgroup {path:?}: nothing to watch"
                )));
            }
            target.cgroups.push(dirs);
        }
        for name in &named.comms {
            let mut name = bytes(name);
            name.truncate(COMM_MAX);
            target.comms.push(name);
        }
        if !target.comms.is_empty() || !target.pools.is_empty() {
            let scan = target.scan()?;
            for name in &target.comms {
                if !scan.by_comm.contains_key(name) {
                    return Err(no_comm(name, &scan));
                }
            }
            for pool in &target.pools {
                if !scan.by_pool.contains_key(pool) {
                    return Err(no_pool(pool, &scan));
                }
            }
        }
        Ok(target)
    }

    /// Nothing was named: every process counts.
    pub fn is_all(&self) -> bool {
        self.pids.is_empty()
            && self.comms.is_empty()
            && self.pools.is_empty()
            && self.cgroups.is_empty()
    }

    /// Only processes named by id: once they have ended, no other can take their place.
    pub fn is_pids_only(&self) -> bool {
        !self.pids.is_empty()
            && self.comms.is_empty()
            && self.pools.is_empty()
            && self.cgroups.is_empty()
    }

    /// What is watched, in words: `pool www`, `pid 4711`, `all processes`. May hold any characters: escape.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// The processes meant that live now, ascending; to be asked again for those that came since.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        let mut found: BTreeSet<u32> = self
            .pids
            .iter()
            .filter(|&&(pid, start)| {
                self.proc
                    .stat(pid)
                    .is_some_and(|stat| stat.start == start && !stat.zombie)
            })
            .map(|&(pid, _)| pid)
            .collect();
        for dir in self.cgroups.iter().flatten() {
            let mut pids = Vec::new();
            self.proc.cgroup(dir, &mut pids);
            found.extend(pids);
        }
        if !self.comms.is_empty() || !self.pools.is_empty() {
            let scan = self.scan()?;
            for name in &self.comms {
                found.extend(scan.by_comm.get(name).into_iter().flatten());
            }
            for pool in &self.pools {
                found.extend(scan.with_master(pool, &self.pools));
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Start of the process `pid`.
    fn process(&self, pid: u32) -> Result<u64, Error> {
        let gone = || Error::Target(format!("no process {pid}: it ended or never was"));
        let stat = self.proc.stat(pid).ok_or_else(gone)?;
        if stat.zombie {
            return Err(Error::Target(format!(
                "process {pid} has ended; only its parent {} has not yet taken note",
                stat.ppid
            )));
        }
        match self.proc.thread_group(pid).ok_or_else(gone)? {
            group if group == pid => Ok(stat.start),
            group => Err(Error::Target(format!(
                "{pid} is a thread of process {group}; use --pid {group}"
            ))),
        }
    }

    fn scan(&self) -> Result<Scan, Error> {
        let pids = self.proc.pids().map_err(|source| Error::Io {
            what: format!("cannot list {}", self.proc.root.display()),
            source,
        })?;
        let mut scan = Scan::default();
        for pid in pids {
            // Of most processes, one file is read; one that ends in between is simply not there.
            let stat = || self.proc.stat(pid).filter(|stat| !stat.zombie);
            if !self.comms.is_empty()
                && let Some(comm) = self.proc.comm(pid)
                && (!self.comms.contains(&comm) || stat().is_some())
            {
                scan.by_comm.entry(comm).or_default().push(pid);
            }
            if self.pools.is_empty() {
                continue;
            }
            match self.proc.fpm(pid) {
                Some(Fpm::Worker(pool)) => {
                    if let Some(stat) = stat() {
                        scan.by_pool.entry(pool).or_default().push((pid, stat.ppid));
                    }
                }
                Some(Fpm::Master) => scan.masters.push(pid),
                None => {}
            }
        }
        Ok(scan)
    }
}

/// One pass over `/proc`.
#[derive(Debug, Default)]
struct Scan {
    by_comm: BTreeMap<Vec<u8>, Vec<u32>>,
    /// Workers by pool: process and parent.
    by_pool: BTreeMap<Vec<u8>, Vec<(u32, u32)>>,
    masters: Vec<u32>,
}

impl Scan {
    /// The workers of a pool, and their master, so that workers forked later are followed from their first
    /// instruction. A master that also runs pools not `named` is left out, since its forks would bring workers of
    /// those in: then a new worker is found within a second, by its title.
    fn with_master(&self, pool: &[u8], named: &[Vec<u8>]) -> Vec<u32> {
        let Some(workers) = self.by_pool.get(pool) else {
            return Vec::new();
        };
        let mut pids: Vec<u32> = workers.iter().map(|&(pid, _)| pid).collect();
        let parents: BTreeSet<u32> = workers.iter().map(|&(_, ppid)| ppid).collect();
        for master in parents.into_iter().filter(|p| self.masters.contains(p)) {
            let serves_others = self.by_pool.iter().any(|(name, others)| {
                !named.contains(name) && others.iter().any(|&(_, ppid)| ppid == master)
            });
            if !serves_others {
                pids.push(master);
            }
        }
        pids
    }
}

fn no_comm(name: &[u8], scan: &Scan) -> Error {
    let names: Vec<String> = scan.by_comm.keys().map(|n| shown(n)).collect();
    let like = nearest(&shown(name), names.iter().map(String::as_str), 3);
    let hint = if like.is_empty() {
        "`ps -eo comm` lists the names".into()
    } else {
        format!("running are {}", like.join(", "))
    };
    Error::Target(format!("no process named {}: {hint}", shown(name)))
}

fn no_pool(pool: &[u8], scan: &Scan) -> Error {
    const LISTED: usize = 10;
    let pools: Vec<String> = scan.by_pool.keys().take(LISTED).map(|n| shown(n)).collect();
    let hint = if !pools.is_empty() {
        let more = scan.by_pool.len() - pools.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("found {}{more}", pools.join(", "))
    } else if let Some(master) = scan.masters.first() {
        format!(
            "PHP-FPM runs (master {master}) but no worker does, as with pm = ondemand at rest; watch --pid {master} instead"
        )
    } else {
        "no PHP-FPM process runs here".into()
    };
    Error::Target(format!("no PHP-FPM pool {}: {hint}", shown(pool)))
}

fn bytes(name: &OsString) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// Any bytes as text that is safe on a terminal.
fn shown(name: &[u8]) -> String {
    let text = OsString::from_vec(name.to_vec());
    let text = format!("{text:?}");
    text[1..text.len() - 1].replace("\\\"", "\"")
}

fn words(named: &Targets) -> String {
    let pids = named.pids.iter().map(|pid| format!("pid {pid}"));
    let comms = named.comms.iter().map(|n| format!("comm {}", n.display()));
    let pools = named.pools.iter().map(|n| format!("pool {}", n.display()));
    let cgroups = named
        .cgroups
        .iter()
        .map(|path| format!("cgroup {}", path.display()));
    let all: Vec<String> = pools.chain(comms).chain(pids).chain(cgroups).collect();
    if all.is_empty() {
        return "all processes".into();
    }
    all.join(", ")
}

#[cfg(test)]
mod tests;
