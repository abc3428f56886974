//! How processes resolve names: resolv.conf and nsswitch.conf as each sees them, and RES_OPTIONS.
//!
//! Files of a process can be anything (a FIFO, a device, a file on a server that is gone), so they are opened without
//! waiting, inside the process's own root, and by a thread that nobody has to wait for.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io::Read as _,
    net::IpAddr,
    os::fd::AsRawFd as _,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use super::Resolver;
use crate::{
    collect::{processes, root::Root},
    error::Error,
};

/// Processes that are looked at.
const MAX_PROCESSES: usize = 2048;
/// A process's files are looked at again after this long: it may be another process by then.
const AGAIN: Duration = Duration::from_secs(30);
/// A reading waits this long for what was not known before.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of a file that are read.
const MAX_BYTES: u64 = 64 * 1024;
/// Servers that are listed; glibc asks three at most.
const MAX_SERVERS: usize = 8;

/// A process by its id and its start in ticks.
type Identity = (u32, u32);

/// Finds out, and remembers, how processes resolve names.
pub struct Resolvers {
    ask: Sender<u32>,
    answers: Receiver<(u32, Option<(Identity, Resolver)>)>,
    asked: HashMap<u32, Instant>,
    outstanding: usize,
    known: HashMap<u32, (Identity, Resolver)>,
}

impl Resolvers {
    /// Starts the thread; it ends when this is dropped.
    pub fn start() -> Result<Self, Error> {
        let (ask, questions) = channel::<u32>();
        let (tell, answers) = channel();
        let run = move || {
            for pid in questions {
                if tell.send((pid, of_process(pid))).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("dns-resolvers".to_owned())
            .spawn(run)
            .map_err(|source| Error::Io {
                what: "cannot start a thread".to_owned(),
                source,
            })?;
        Ok(Self {
            ask,
            answers,
            asked: HashMap::new(),
            outstanding: 0,
            known: HashMap::new(),
        })
    }

    /// What is known of these processes, which are in order; others are forgotten.
    pub fn of(&mut self, pids: &[u32]) -> Vec<Resolver> {
        let now = Instant::now();
        self.asked.retain(|pid, _| pids.binary_search(pid).is_ok());
        self.known.retain(|pid, _| pids.binary_search(pid).is_ok());
        for pid in pids.iter().filter(|pid| **pid != 0) {
            let full = self.asked.len() >= MAX_PROCESSES;
            match self.asked.entry(*pid) {
                Entry::Occupied(when) if now - *when.get() < AGAIN => continue,
                Entry::Occupied(mut when) => drop(when.insert(now)),
                Entry::Vacant(_) if full => continue,
                Entry::Vacant(place) => drop(place.insert(now)),
            }
            if self.ask.send(*pid).is_ok() {
                self.outstanding += 1;
            }
        }
        let until = now + PATIENCE;
        while self.outstanding > 0 {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((pid, found)) = self.answers.recv_timeout(left) else {
                break;
            };
            self.outstanding -= 1;
            // What is known of a process stays when it is gone.
            if let Some(found) = found
                && pids.binary_search(&pid).is_ok()
            {
                self.known.insert(pid, found);
            }
        }
        self.known.values().map(|(_, r)| r.clone()).collect()
    }
}

fn of_process(pid: u32) -> Option<(Identity, Resolver)> {
    let start = processes::thread_stat(pid, pid)?.start_ticks;
    let root = Root::of(Path::new(&format!("/proc/{pid}"))).ok()?;
    let resolv = read(&root, b"etc/resolv.conf");
    let nsswitch = read(&root, b"etc/nsswitch.conf");
    let environ = File::open(format!("/proc/{pid}/environ")).map(limited);
    let environ = environ.unwrap_or_default();
    // Another process may have come in its place meanwhile.
    let same = processes::thread_stat(pid, pid)?.start_ticks == start;
    let resolver = parse(pid, &resolv?, &nsswitch.unwrap_or_default(), &environ);
    same.then_some(((pid, start), resolver))
}

/// A regular file below a root; anything else is not opened at all.
fn read(root: &Root, path: &[u8]) -> Option<Vec<u8>> {
    let file = File::from(root.open(path).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    Some(limited(
        File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?,
    ))
}

fn limited(file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = file.take(MAX_BYTES).read_to_end(&mut bytes);
    bytes
}

/// As resolv.conf(5) and nsswitch.conf(5) say, with glibc's defaults and limits.
pub fn parse(pid: u32, resolv: &[u8], nsswitch: &[u8], environ: &[u8]) -> Resolver {
    let mut out = Resolver {
        pid,
        timeout_s: 5,
        attempts: 2,
        ndots: 1,
        ..Resolver::default()
    };
    for line in String::from_utf8_lossy(resolv).lines() {
        // A comment begins with the line.
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                if out.servers.len() < MAX_SERVERS
                    && let Some(server) = words.next().and_then(address)
                {
                    out.servers.push(server);
                }
            }
            Some("domain") => out.search = words.next().is_some().into(),
            Some("search") => out.search = words.count() as u32,
            Some("options") => words.for_each(|word| option(&mut out, word)),
            _ => {}
        }
    }
    for variable in environ.split(|b| *b == 0) {
        if let Some(options) = variable.strip_prefix(b"RES_OPTIONS=") {
            let options = String::from_utf8_lossy(options);
            let words = options.split_ascii_whitespace();
            words.for_each(|word| option(&mut out, word));
        } else if let Some(domains) = variable.strip_prefix(b"LOCALDOMAIN=") {
            let domains = String::from_utf8_lossy(domains);
            out.search = domains.split_ascii_whitespace().count() as u32;
        }
    }
    // Without a server, the one on this machine is asked.
    out.local_stub = out.servers.iter().all(IpAddr::is_loopback);
    out.nss_resolve = String::from_utf8_lossy(nsswitch).lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let services = line.trim_start().strip_prefix("hosts:");
        services.is_some_and(|s| s.split_ascii_whitespace().any(|word| word == "resolve"))
    });
    out
}

/// An address, whose zone (`fe80::1%eth0`) is left out.
fn address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

fn option(out: &mut Resolver, word: &str) {
    let (name, value) = word.split_once(':').unwrap_or((word, ""));
    let number = |limit: u32| value.parse().map_or(0, |n: u32| n.min(limit));
    match name {
        // Limits of glibc (resolv/resolv.h: RES_MAXRETRANS, RES_MAXRETRY, RES_MAXNDOTS).
        "timeout" => out.timeout_s = number(30),
        "attempts" => out.attempts = number(5),
        "ndots" => out.ndots = number(15),
        "single-request" | "single-request-reopen" => out.single_request = true,
        "use-vc" => out.use_vc = true,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_glibcs() {
        let got = parse(7, b"nameserver 192.0.2.1\n", b"hosts: files dns\n", b"");
        assert_eq!(
            (got.pid, got.timeout_s, got.attempts, got.ndots),
            (7, 5, 2, 1)
        );
        assert_eq!(got.servers, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(!got.local_stub && !got.nss_resolve && !got.single_request && !got.use_vc);
        assert_eq!(got.search, 0);
        // No file says nothing else.
        assert!(parse(7, b"", b"", b"").local_stub);
    }

    #[test]
    fn reads_what_a_container_has() {
        let resolv =
            b"# made by\n;too\nsearch a.svc.cluster.local svc.cluster.local cluster.local\n\
            nameserver 10.96.0.10\nnameserver fe80::1%eth0\nnameserver nonsense\n\
            options ndots:5 timeout:1 attempts:99\noptions single-request-reopen use-vc\n";
        let got = parse(
            1,
            resolv,
            b"passwd: files\nhosts:\tfiles dns # resolve\n",
            b"A=b\0",
        );
        assert_eq!(
            (got.ndots, got.timeout_s, got.attempts, got.search),
            (5, 1, 5, 3)
        );
        assert_eq!(got.servers.len(), 2);
        assert!(got.single_request && got.use_vc && !got.nss_resolve);
    }

    #[test]
    fn the_environment_comes_last() {
        let environ = b"PATH=/bin\0RES_OPTIONS=timeout:2 ndots:3\0LOCALDOMAIN=a b\0";
        let got = parse(1, b"options timeout:9\ndomain x\n", b"", environ);
        assert_eq!((got.timeout_s, got.ndots, got.search), (2, 3, 2));
    }

    #[test]
    fn systemd_resolved_is_recognised() {
        let nsswitch = b"hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n";
        let got = parse(1, b"nameserver 127.0.0.53\n", nsswitch, b"");
        assert!(got.nss_resolve && got.local_stub);
    }

    #[test]
    fn any_bytes_will_do() {
        let mut seed = 1u64;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 33) as u8
                })
                .collect();
            parse(1, &bytes, &bytes, &bytes);
            parse(
                1,
                &[b"options timeout:", &bytes[..]].concat(),
                b"hosts:",
                &bytes,
            );
        }
    }

    #[test]
    fn our_own_files_are_read() {
        // Whatever they say: a test machine may have none.
        let pid = std::process::id();
        let mut resolvers = Resolvers::start().unwrap();
        let known = resolvers.of(&[0, pid, u32::MAX]);
        assert!(known.iter().all(|r| r.pid == pid));
        assert_eq!(
            known.len(),
            usize::from(Path::new("/etc/resolv.conf").is_file())
        );
    }
}
