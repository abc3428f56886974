//! What `/proc` tells about processes, as far as finding targets needs it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A `/proc` and the cgroup file systems; tests point both at a directory of their own.
#[derive(Clone, Debug)]
pub struct Proc {
    /// Where procfs is mounted.
    pub root: PathBuf,
    /// Where the cgroup file systems are mounted.
    pub cgroups: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self {
            root: "/proc".into(),
            cgroups: "/sys/fs/cgroup".into(),
        }
    }
}

/// Identity and place of a process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Parent.
    pub ppid: u32,
    /// Start in ticks since boot: with the pid, the identity of the process.
    pub start: u64,
    /// It has ended and waits to be reaped.
    pub zombie: bool,
}

/// What the title of a PHP-FPM process says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fpm {
    /// `php-fpm: master process (...)`
    Master,
    /// `php-fpm: pool NAME`
    Worker(Vec<u8>),
}

impl Stat {
    /// From the text of `/proc/PID/stat`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // The name may hold anything, brackets included: the fields begin after the last one.
        let rest = &text[text.iter().rposition(|&b| b == b')')? + 1..];
        let rest = std::str::from_utf8(rest).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let zombie = matches!(fields.next()?, "Z" | "X" | "x");
        let ppid = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        Some(Self {
            ppid,
            start,
            zombie,
        })
    }
}

impl Fpm {
    /// From the text of `/proc/PID/cmdline`.
    pub fn parse(title: &[u8]) -> Option<Self> {
        // The title overwrites the arguments; what was longer before is padded with NULs or blanks.
        let title = title.split(|&b| b == 0).next()?.trim_ascii_end();
        let role = title.strip_prefix(b"php-fpm: ")?;
        if role.starts_with(b"master process") {
            return Some(Self::Master);
        }
        let pool = role.strip_prefix(b"pool ")?;
        (!pool.is_empty()).then(|| Self::Worker(pool.to_vec()))
    }
}

impl Proc {
    /// Ids of all processes, ascending.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids: Vec<u32> = fs::read_dir(&self.root)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// Identity of `pid`; `None` when there is no such process. A thread's id is not a process's.
    pub fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::parse(&self.read(pid, "stat")?)
    }

    /// Name of `pid` (comm), any bytes.
    pub fn comm(&self, pid: u32) -> Option<Vec<u8>> {
        let mut comm = self.read(pid, "comm")?;
        comm.pop_if(|last| *last == b'\n');
        Some(comm)
    }

    /// The process that the thread `pid` belongs to.
    pub fn thread_group(&self, pid: u32) -> Option<u32> {
        let text = self.read(pid, "status")?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
        line.trim().parse().ok()
    }

    /// What PHP-FPM says `pid` is, if it is one of its processes.
    pub fn fpm(&self, pid: u32) -> Option<Fpm> {
        Fpm::parse(&self.read(pid, "cmdline")?)
    }

    /// Adds the processes in the cgroup directory `dir` and below it. Those that vanish meanwhile are skipped.
    pub fn cgroup(&self, dir: &Path, pids: &mut Vec<u32>) {
        // 0 stands for a process of another pid namespace: it has no id here.
        if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
            pids.extend(
                text.lines()
                    .filter_map(|line| line.trim().parse().ok())
                    .filter(|&pid: &u32| pid != 0),
            );
        }
        let Ok(entries) = fs::read_dir(dir) else {
            return;
        };
        for entry in entries.flatten() {
            // Never through a symbolic link: cgroup v1 links `cpu` to `cpu,cpuacct`.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.cgroup(&entry.path(), pids);
            }
        }
    }

    /// The directories that `path` may mean: itself below the mount point, or the same path in any of the
    /// hierarchies mounted there (v2 `unified`, v1 controllers). Empty when there is none.
    pub fn cgroup_dirs(&self, path: &Path) -> Vec<PathBuf> {
        let inside = match path.strip_prefix(&self.cgroups) {
            Ok(inside) => inside,
            Err(_) => path.strip_prefix("/").unwrap_or(path),
        };
        let climbs = |c| matches!(c, std::path::Component::ParentDir);
        if inside.components().any(climbs) {
            return Vec::new();
        }
        let is_cgroup = |dir: &PathBuf| dir.join("cgroup.procs").is_file();
        let whole = self.cgroups.join(inside);
        if is_cgroup(&whole) {
            return vec![whole];
        }
        let mut dirs: Vec<PathBuf> = fs::read_dir(&self.cgroups)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path().join(inside))
            .filter(is_cgroup)
            .collect();
        dirs.sort();
        dirs
    }

    fn read(&self, pid: u32, file: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(pid.to_string()).join(file)).ok()
    }
}
