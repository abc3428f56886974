//! What /proc knows of the processes that are followed.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::Path,
};

use probe_common::{count::COMM_LEN, request::Exit};

use super::Process;

/// Processes kept by identity; the oldest ended ones go first when there are too many.
const MAX_PROCESSES: usize = 16384;

/// Processes seen, by (pid, start).
#[derive(Debug, Default)]
pub struct Processes {
    known: BTreeMap<(u32, u32), Process>,
    /// Those that are new, or changed, since [`Processes::news`] told of them.
    news: BTreeSet<(u32, u32)>,
    /// Those that had no thread when all were told of last.
    idle: BTreeSet<(u32, u32)>,
}

impl Processes {
    /// A process was seen to act. Its main thread's identity counts; a thread of it stands for it.
    pub fn see(&mut self, pid: u32, tid: u32, start_ticks: u32, comm: &[u8; COMM_LEN]) {
        if pid == 0 {
            return;
        }
        if let Some(process) = self.known.get_mut(&(pid, start_ticks)) {
            // The name may have changed (exec).
            let name = name_of(comm);
            if pid == tid && process.comm != name {
                process.comm = name.to_vec();
                process.pool = fpm_pool(pid);
                self.news.insert((pid, start_ticks));
            }
            return;
        }
        let mut of_pid = self.known.range((pid, 0)..=(pid, u32::MAX));
        if pid != tid && of_pid.next().is_some() {
            return;
        }
        if self.known.len() >= MAX_PROCESSES {
            self.known.retain(|_, process| !process.ended);
            self.news.retain(|id| self.known.contains_key(id));
        }
        let stat = thread_stat(pid, pid);
        let alive = stat
            .as_ref()
            .is_some_and(|s| s.start_ticks == start_ticks || pid != tid);
        let start = match (&stat, alive) {
            (Some(stat), true) => stat.start_ticks,
            _ => start_ticks,
        };
        self.news.insert((pid, start));
        self.known.entry((pid, start)).or_insert_with(|| Process {
            pid,
            start_ticks: start,
            ppid: if alive { stat.map_or(0, |s| s.ppid) } else { 0 },
            comm: name_of(comm).to_vec(),
            pool: if alive { fpm_pool(pid) } else { None },
            ended: !alive,
        });
    }

    /// A thread ended; with its main thread, the process.
    pub fn ended(&mut self, exit: &Exit) {
        if exit.tid != exit.tgid || exit.tgid == 0 {
            return;
        }
        let process = self
            .known
            .entry((exit.tgid, exit.start_ticks))
            .or_insert_with(|| Process {
                pid: exit.tgid,
                start_ticks: exit.start_ticks,
                ..Process::default()
            });
        process.comm = name_of(&exit.comm).to_vec();
        process.ended = true;
        self.news.insert((exit.tgid, exit.start_ticks));
    }

    /// Those that are new, or changed, since the last call.
    pub fn news(&mut self) -> Vec<Process> {
        let ids = std::mem::take(&mut self.news);
        ids.iter()
            .filter_map(|id| self.known.get(id).cloned())
            .collect()
    }

    /// All of them. Those that have ended are told of once more, and forgotten; so are those whose end was not seen, when they
    /// have none of the threads of these processes twice.
    pub fn all(&mut self, alive: impl Iterator<Item = u32>) -> Vec<Process> {
        self.news.clear();
        let all = self.known.values().cloned().collect();
        let alive: HashSet<u32> = alive.collect();
        let before = std::mem::take(&mut self.idle);
        self.known.retain(|id, process| {
            if alive.contains(&id.0) && !process.ended {
                return true;
            }
            if process.ended || before.contains(id) {
                return false;
            }
            self.idle.insert(*id);
            true
        });
        all
    }
}

/// Name of a process, any bytes; empty when it has ended.
pub fn comm(pid: u32) -> Vec<u8> {
    let mut comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    if comm.last() == Some(&b'\n') {
        comm.pop();
    }
    comm
}

fn name_of(comm: &[u8; COMM_LEN]) -> &[u8] {
    &comm[..comm.iter().position(|b| *b == 0).unwrap_or(COMM_LEN)]
}

/// What /proc/PID/task/TID/stat says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name, any bytes.
    pub comm: Vec<u8>,
    /// State letter: R, S, D, ...
    pub state: u8,
    /// Parent.
    pub ppid: u32,
    /// Start in ticks of 10 ms since boot (USER_HZ is 100 on every architecture we run on).
    pub start_ticks: u32,
}

/// Threads of a process; empty when it is gone.
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Reads a thread's stat line.
pub fn thread_stat(pid: u32, tid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?)
}

/// Parses proc_pid_stat(5). The name stands in parentheses and may hold any byte, also ')': the last one
/// ends it.
pub fn parse_stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|b| *b == b'(')?;
    let close = text.iter().rposition(|b| *b == b')')?;
    let comm = text.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3 (state) is the first of these; start time is field 22.
    Some(Stat {
        comm,
        state: *fields.first()?.as_bytes().first()?,
        ppid: fields.get(1)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse::<u64>().ok()? as u32,
    })
}

/// The pool that a PHP-FPM worker serves, from its title: `php-fpm: pool www`.
pub fn fpm_pool(pid: u32) -> Option<Vec<u8>> {
    let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    pool_of(&title).map(<[u8]>::to_vec)
}

/// The pool in a title. Behind it may stand what is left of the arguments that it overwrote.
pub fn pool_of(title: &[u8]) -> Option<&[u8]> {
    let title = &title[..title.iter().position(|b| *b == 0).unwrap_or(title.len())];
    let pool = title.strip_prefix(b"php-fpm: pool ")?;
    let pool = pool.trim_ascii_end();
    (!pool.is_empty()).then_some(pool)
}

/// Workers of all PHP-FPM pools.
pub fn fpm_workers() -> Vec<u32> {
    let Ok(dir) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| fpm_pool(*pid).is_some())
        .collect()
}

/// Local ports of listening TCP sockets, over all network namespaces that processes use.
pub fn listening_ports() -> Vec<u16> {
    let mut ports = Vec::new();
    let mut namespaces = HashSet::new();
    let Ok(dir) = fs::read_dir("/proc") else {
        return ports;
    };
    let pids = dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let base = Path::new("/proc").join(pid.to_string());
        let Ok(namespace) = fs::read_link(base.join("ns/net")) else {
            continue;
        };
        if !namespaces.insert(namespace) {
            continue;
        }
        for file in ["net/tcp", "net/tcp6"] {
            listeners_in(&base.join(file), &mut ports);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Reads a /proc/net/tcp line by line: a node may have a hundred thousand sockets.
fn listeners_in(path: &Path, ports: &mut Vec<u16>) {
    use std::io::BufRead;
    let Ok(file) = fs::File::open(path) else {
        return;
    };
    for line in std::io::BufReader::new(file).lines().map_while(Result::ok) {
        if let Some(port) = listening_port(&line) {
            ports.push(port);
        } else if line
            .split_ascii_whitespace()
            .nth(3)
            .is_some_and(|state| state != "0A" && state != "st")
        {
            // The kernel lists the listeners first.
            break;
        }
    }
}

/// The local port of a line of /proc/net/tcp in state LISTEN (0A).
pub fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    if state != "0A" {
        return None;
    }
    u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_spaces_and_any_byte() {
        let line =
            b"4711 (a) b\xff(c)) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 2";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat.comm, b"a) b\xff(c)");
        assert_eq!((stat.state, stat.ppid, stat.start_ticks), (b'S', 1, 99887));
        for n in 0..line.len() {
            let _ = parse_stat(&line[..n]);
        }
    }

    #[test]
    fn finds_listeners() {
        let listen = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        let other = "   1: 0100007F:1F91 0100007F:0016 01 00000000:00000000 00:00000000 00000000";
        assert_eq!(listening_port(listen), Some(8080));
        assert_eq!(listening_port(other), None);
        assert_eq!(listening_port("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut processes = Processes::default();
        let exit = Exit {
            tgid: 7,
            tid: 7,
            start_ticks: 1,
            comm: *b"old\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ..Exit::ZERO
        };
        processes.ended(&exit);
        // Pid 7 is no process of ours that is alive with this start.
        processes.see(7, 7, 2, b"new\0\0\0\0\0\0\0\0\0\0\0\0\0");
        let mut names: Vec<_> = processes.known.values().map(|p| p.comm.clone()).collect();
        names.sort();
        assert_eq!(names, [b"new".to_vec(), b"old".to_vec()]);
        assert_eq!((processes.news().len(), processes.news().len()), (2, 0));
        processes.see(7, 7, 2, b"new\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(processes.news().is_empty(), "known already");
        processes.see(7, 7, 2, b"exec\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(processes.news()[0].comm, b"exec");
    }

    #[test]
    fn what_has_ended_is_told_of_once_more_and_forgotten() {
        let mut processes = Processes::default();
        let comm = b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let me = std::process::id();
        let start = thread_stat(me, me).unwrap().start_ticks;
        processes.see(me, me, start, comm);
        let exit = Exit {
            tgid: 7,
            tid: 7,
            start_ticks: 1,
            comm: *comm,
            ..Exit::ZERO
        };
        processes.ended(&exit);
        let pids = |all: Vec<Process>| all.iter().map(|p| p.pid).collect::<Vec<_>>();
        assert_eq!(pids(processes.all([me].into_iter())), [7, me]);
        assert_eq!(pids(processes.all([me].into_iter())), [me]);
        // Its end was not seen.
        assert_eq!(pids(processes.all([].into_iter())), [me]);
        assert_eq!(pids(processes.all([].into_iter())), [me]);
        assert!(processes.all([].into_iter()).is_empty());
    }
}
