//! What runs for weeks, for a long time under churn: processes, threads, sockets, files and requests that come and go, and
//! incident A somewhere in it. Short in the end-to-end tests, long by `cargo xtask soak`.
//!
//! It is `watch`; or `serve`, which saves findings as `watch` does, and says what it has counted as well: that is compared with
//! what was made ([`Book`]).

mod books;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use stallscope::collect::recording::{Frame, Recording};

pub use books::Book;

use books::{Counted, Kernel};

use crate::{
    netns::Netns,
    tool::{self, Tool},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Settings, Stack},
};

const WORKERS: usize = 4;
/// Calls of a page, one after the other, as in incident A.
const CALLS: usize = 24;
/// How long the peer takes.
const DELAY: Duration = Duration::from_millis(20);
/// Requests per second while nothing is wrong.
const REQUESTS_PER_S: u32 = 40;
/// Processes, threads, connections to new ports, and files, per second each.
const CHURN_PER_S: u32 = 30;
/// An address that no route leads to in a network namespace that has loopback alone (RFC 5737): each process that comes and goes
/// fails to connect to it once, which nobody else does.
const NOWHERE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    9,
);

/// How long, and when.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All of it.
    pub length: Duration,
    /// When the incident begins.
    pub incident_at: Duration,
    /// How long it lasts.
    pub incident: Duration,
    /// `--before` of `watch`.
    pub before: Duration,
    /// How often its memory is looked at.
    pub sample: Duration,
    /// `serve`, whose counts are compared with what was made; else `watch`, which serves none.
    pub serve: bool,
    /// The binary, where it is not the one that [`tool::path`] finds.
    pub binary: Option<PathBuf>,
}

/// What was seen.
#[derive(Debug)]
pub struct Outcome {
    /// Resident memory, bytes, at a time since the beginning.
    pub rss: Vec<(Duration, u64)>,
    /// CPU time of the process in all, and how long it ran.
    pub cpu: (Duration, Duration),
    /// Things that came and went, in all.
    pub churn: u64,
    /// Requests answered while nothing was wrong.
    pub requests: u64,
    /// From the beginning of the incident to the report on disk.
    pub found_after: Duration,
    /// What the recording holds of the time before the incident.
    pub before: Duration,
    /// Bytes of the recording.
    pub recording_bytes: u64,
    /// The most that the ring took, bytes.
    pub ring_bytes: u64,
    /// What was made, and what the tool counted of it; none of `watch`.
    pub books: Vec<Book>,
    /// What the report says was lost, by kind.
    pub losses: Value,
    /// What it says that watching cost.
    pub cost: Value,
    /// What `watch` said.
    pub log: String,
}

/// Does it all. Fails when the incident is not on disk with what the plan asks for, or replays to something else.
///
/// # Errors
/// That, or something could not be started.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    // Nobody else's sockets, and counters of the kernel that hold nothing else.
    let _netns = Netns::enter()?;
    let peer = Upstream::tcp(Behaviour::http(DELAY, false))?;
    let pool = format!("soak{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: WORKERS,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let place = tempfile::Builder::new().prefix("soak-").tempdir()?;
    let dir = place.path().join("saved");
    let dir_name = dir.display().to_string();
    let before = format!("{}s", plan.before.as_secs());
    let binary = plan.binary.clone().map_or_else(tool::path, Ok)?;
    let socket = place.path().join("metrics");
    let socket_name = socket.display().to_string();
    let verb = match plan.serve {
        true => &["serve", "--listen", "none", "--socket", &socket_name][..],
        false => &["watch"],
    };
    let args = [verb, &["--dir", &dir_name, "--before", &before]];
    let mut tool = Tool::start_attached_as(&binary, &args.concat())?;
    let pid = tool.pid();
    let began = Instant::now();
    let truth = match plan.serve {
        true => Some(Truth::begin(&socket, &stack, &peer)?),
        false => None,
    };
    let churn = Churn::start(place.path(), &stack)?;
    let mut seen = Seen::default();
    let watch_until = |until: Duration, seen: &mut Seen| -> anyhow::Result<()> {
        while began.elapsed() < until {
            seen.sample(pid, began, &dir)?;
            let left = until.saturating_sub(began.elapsed());
            std::thread::sleep(left.min(plan.sample));
        }
        Ok(())
    };
    watch_until(plan.incident_at, &mut seen)?;

    let begun_unix_ns = unix_ns();
    let begun = Instant::now();
    churn.pause_requests(true);
    let page = format!("/calls.php?n={CALLS}&url=http://{}/", peer.host_port());
    let mut report = None;
    let mut slow = 0;
    while begun.elapsed() < plan.incident {
        web::get_many(stack.addr, &page, WORKERS, WORKERS)?;
        slow += WORKERS as u64;
        if report.is_none() {
            report = find(&dir, "json", &pool)?.map(|path| (path, begun.elapsed()));
        }
        if seen.last.is_none_or(|last| last.elapsed() >= plan.sample) {
            seen.sample(pid, began, &dir)?;
        }
    }
    churn.pause_requests(false);
    watch_until(plan.length, &mut seen)?;
    // Where the node does much else, it may be told late: another finding was told just before.
    if report.is_none() {
        report = find(&dir, "json", &pool)?.map(|path| (path, begun.elapsed()));
    }
    let cpu = cpu(pid)?;
    let ran = began.elapsed();
    let made = churn.stop()?;
    let books = match truth {
        Some(truth) => truth.compare(&socket, &stack, &peer, &made, (&pool, slow))?,
        None => Vec::new(),
    };
    tool.signal(libc::SIGTERM);
    let end = tool.finish()?;
    ensure!(end.code == Some(0), "{:?}: {}", end.code, end.stderr);

    let (report, found_after) =
        report.with_context(|| format!("no report on pool {pool}: {}", end.stderr))?;
    let json: Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
    let recording = report.with_extension("rec");
    let recorded =
        Recording::open(&recording).map_err(|error| anyhow::anyhow!("{error}: {}", end.stderr))?;
    let first = first_look(recorded)?;
    let before = Duration::from_nanos(begun_unix_ns.saturating_sub(first));
    let name = recording.display().to_string();
    let replayed = Tool::start_as(&binary, &["replay", &name, "--json"])?.finish()?;
    ensure!(
        replayed.code == Some(1),
        "{:?}: {}",
        replayed.code,
        replayed.stderr
    );
    names_the_peer(&replayed.json()?, &pool, &peer.host_port())?;
    names_the_peer(&json, &pool, &peer.host_port())?;
    Ok(Outcome {
        rss: seen.rss,
        cpu: (cpu, ran),
        churn: made.rounds,
        requests: made.requests,
        found_after,
        before,
        recording_bytes: fs::metadata(&recording)?.len(),
        ring_bytes: seen.ring_bytes,
        books,
        losses: json["losses"].clone(),
        cost: json["cost"].clone(),
        log: end.stderr,
    })
}

/// Looks at the process and its directory.
#[derive(Default)]
struct Seen {
    rss: Vec<(Duration, u64)>,
    ring_bytes: u64,
    last: Option<Instant>,
}

impl Seen {
    fn sample(&mut self, pid: u32, began: Instant, dir: &Path) -> anyhow::Result<()> {
        self.rss.push((began.elapsed(), rss_bytes(pid)?));
        let ring = fs::metadata(dir.join("ring.rec")).map_or(0, |meta| meta.len());
        self.ring_bytes = self.ring_bytes.max(ring);
        self.last = Some(Instant::now());
        Ok(())
    }
}

/// The saved file of this kind whose report names the pool.
pub fn find(dir: &Path, ending: &str, pool: &str) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let text = fs::read_to_string(&path)?;
            let json: Value = serde_json::from_str(&text).unwrap_or_default();
            if finding(&json, pool).is_some() {
                return Ok(Some(path.with_extension(ending)));
            }
        }
    }
    Ok(None)
}

/// The finding that a pool waits for a peer.
fn finding<'a>(report: &'a Value, pool: &str) -> Option<&'a Value> {
    report["findings"].as_array()?.iter().find(|finding| {
        let rule = finding["rule"].as_str().unwrap_or_default();
        let group = finding["culprit"]["group"].as_str().unwrap_or_default();
        rule.starts_with("W01") && group == pool
    })
}

/// Makes sure that a report says of the pool that it waits for the peer.
pub fn names_the_peer(report: &Value, pool: &str, peer: &str) -> anyhow::Result<()> {
    let finding = finding(report, pool)
        .with_context(|| format!("no W01 of pool {pool}: {}", report["findings"]))?;
    let culprit = finding["culprit"].to_string();
    let (host, port) = peer.rsplit_once(':').context("a port")?;
    ensure!(
        culprit.contains(host) && culprit.contains(port),
        "{culprit}"
    );
    Ok(())
}

/// When a recording begins, ns since the Unix epoch.
pub fn first_look(mut recording: Recording) -> anyhow::Result<u64> {
    match recording.next_frame()? {
        Some(Frame::Full(full)) => Ok(full.unix_ns),
        other => anyhow::bail!("it begins with {other:?}"),
    }
}

/// Now, ns since the Unix epoch.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Resident memory of a process, bytes.
fn rss_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.context("no VmRSS")? * 1024)
}

/// CPU time of a process so far, to 10 ms.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    ticks(&pid.to_string(), [11, 12])
}

/// CPU time of the children of this process that have ended and were waited for, to 10 ms.
pub fn cpu_of_ended() -> anyhow::Result<Duration> {
    ticks("self", [13, 14])
}

/// Two numbers of /proc/PID/stat together, counted from behind the name.
fn ticks(pid: &str, at: [usize; 2]) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("no name")?.1;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks: u64 = words[at[0]].parse::<u64>()? + words[at[1]].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// What others had counted when churn began.
struct Truth {
    counted: Counted,
    kernel: Kernel,
    log: u64,
    exchanges: u64,
}

impl Truth {
    /// Once the tool has looked at everything: what comes from then on is counted.
    fn begin(socket: &Path, stack: &Stack, peer: &Upstream) -> anyhow::Result<Self> {
        Ok(Self {
            counted: Counted::after(socket, 1, None)?,
            kernel: Kernel::now()?,
            log: stack.access_log()?.len() as u64,
            exchanges: peer.exchanges().len() as u64,
        })
    }

    /// Compares what was made with what the tool has counted since, after churn has ended; `slow` is the pool, and how many
    /// requests of the incident it was sent.
    fn compare(
        &self,
        socket: &Path,
        stack: &Stack,
        peer: &Upstream,
        made: &Made,
        (pool, slow): (&str, u64),
    ) -> anyhow::Result<Vec<Book>> {
        let requests = made.requests + slow;
        web::wait_for("the access log", Path::new(""), || {
            let lines = stack.access_log().map_or(0, |log| log.len() as u64);
            lines >= self.log + requests
        })?;
        let log = stack.access_log()?.len() as u64 - self.log;
        let exchanges = peer.exchanges().len() as u64 - self.exchanges;
        // The next look may have begun already.
        let now = Counted::after(socket, 2, Some(&Counted::ask(socket)?))?;
        let ends = Kernel::now()?.ends_since(self.kernel);
        let seen = |name: &str, labels: &[&str]| {
            now.sum(name, labels)
                .saturating_sub(self.counted.sum(name, labels))
        };
        let pool = format!("stallscope_group=\"pool {pool}\"");
        let comm = fs::read_to_string("/proc/self/comm")?;
        let group = format!("stallscope_group=\"{}\"", comm.trim());
        let calls = CALLS as u64 * slow;
        let connections = made.meetings + requests + calls;
        let book = |what, made, others, seen, losses: &[&str]| Book {
            what,
            made,
            others,
            seen,
            lost: now.lost(losses),
        };
        Ok(vec![
            book(
                "requests",
                requests,
                Some(("nginx", log)),
                seen("stallscope_request_duration_seconds_count", &[&pool]),
                &["ring_full", "tasks_full", "program_skipped"],
            ),
            book(
                "their connects",
                calls,
                Some(("the peer", exchanges)),
                seen("stallscope_request_connects_total", &[&pool]),
                &["ring_full", "tasks_full", "program_skipped"],
            ),
            book(
                "ends of TCP",
                2 * connections,
                Some(("the kernel", ends)),
                seen(
                    "stallscope_tcp_state_entered_total",
                    &["network_connection_state=\"established\""],
                ),
                &["transitions_full", "transition_unseen"],
            ),
            book(
                "taken by nginx",
                requests,
                Some(("nginx", log)),
                seen(
                    "stallscope_listen_accepted_total",
                    &[&format!(":{}\"", stack.addr.port())],
                ),
                &["transitions_full", "transition_unseen", "program_skipped"],
            ),
            book(
                "processes",
                made.processes,
                None,
                seen(
                    "stallscope_connect_failures_total",
                    &["error_type=\"ENETUNREACH\""],
                ),
                &["ring_full", "tcp_calls_full", "program_skipped"],
            ),
            book(
                "files created",
                made.files,
                None,
                seen("stallscope_file_created_total", &[&group]),
                &["directories_full", "program_skipped"],
            ),
            book(
                "files unlinked",
                made.files,
                None,
                seen("stallscope_file_unlinked_total", &[&group]),
                &["directories_full", "file_calls_full", "program_skipped"],
            ),
        ])
    }
}

/// What churn came to. What did not go well counts nowhere, and is an error ([`Churn::stop`]).
#[derive(Debug, Default)]
struct Made {
    rounds: u64,
    requests: u64,
    processes: u64,
    meetings: u64,
    files: u64,
}

/// Threads that make things come and go.
struct Churn {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    no_requests: AtomicBool,
    rounds: AtomicU64,
    requests: AtomicU64,
    processes: AtomicU64,
    meetings: AtomicU64,
    files: AtomicU64,
    /// The first thing that went wrong.
    wrong: Mutex<Option<anyhow::Error>>,
}

/// What is done in a round, and counted by who does it.
type Work = Box<dyn FnMut(&Shared) -> anyhow::Result<()> + Send>;

impl Churn {
    fn start(place: &Path, stack: &Stack) -> anyhow::Result<Self> {
        let shared = Arc::<Shared>::default();
        let addr = stack.addr;
        let files = place.join("files");
        fs::create_dir(&files)?;
        let mut n = 0u64;
        let works: [Work; 3] = [
            Box::new(move |shared| {
                if !shared.no_requests.load(Relaxed) {
                    let answer = web::get(addr, "/fast.php")?;
                    ensure!(answer.status == 200, "{answer:?}");
                    shared.requests.fetch_add(1, Relaxed);
                }
                Ok(())
            }),
            Box::new(|shared| {
                come_and_go()?;
                shared.processes.fetch_add(1, Relaxed);
                let _ = std::thread::spawn(|| {}).join();
                Ok(())
            }),
            Box::new(move |shared| {
                meet()?;
                shared.meetings.fetch_add(1, Relaxed);
                n += 1;
                let dir = files.join((n % 97).to_string());
                let file = dir.join(n.to_string());
                fs::create_dir_all(&dir)?;
                fs::write(&file, "x")?;
                fs::remove_file(&file)?;
                shared.files.fetch_add(1, Relaxed);
                Ok(())
            }),
        ];
        let paces = [REQUESTS_PER_S, CHURN_PER_S, CHURN_PER_S];
        let threads = works.into_iter().zip(paces).map(|(mut work, pace)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let mut next = Instant::now();
                while !shared.stop.load(Relaxed) {
                    if let Err(error) = work(&shared) {
                        if let Ok(mut wrong) = shared.wrong.lock() {
                            wrong.get_or_insert(error);
                        }
                        return;
                    }
                    shared.rounds.fetch_add(1, Relaxed);
                    // After a stall, nothing is made up for.
                    next = (next + Duration::from_secs(1) / pace).max(Instant::now());
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        });
        Ok(Self {
            threads: threads.collect(),
            shared,
        })
    }

    fn pause_requests(&self, pause: bool) {
        self.shared.no_requests.store(pause, Relaxed);
    }

    fn stop(self) -> anyhow::Result<Made> {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        if let Ok(mut wrong) = self.shared.wrong.lock()
            && let Some(error) = wrong.take()
        {
            return Err(error.context("churn"));
        }
        let count = |of: &AtomicU64| of.load(Relaxed);
        Ok(Made {
            rounds: count(&self.shared.rounds),
            requests: count(&self.shared.requests),
            processes: count(&self.shared.processes),
            meetings: count(&self.shared.meetings),
            files: count(&self.shared.files),
        })
    }
}

/// A process that fails to connect to [`NOWHERE`], becomes another program, and ends.
fn come_and_go() -> anyhow::Result<()> {
    let mut command = Command::new("true");
    command.stdin(Stdio::null());
    let connect = || match TcpStream::connect(NOWHERE) {
        Err(error) if error.raw_os_error() == Some(libc::ENETUNREACH) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(std::io::ErrorKind::Other.into()),
    };
    // SAFETY: after fork it makes system calls on memory of its own, and takes no lock and no memory from the allocator.
    unsafe { command.pre_exec(connect) };
    let status = command.status().context("a process that comes and goes")?;
    ensure!(status.success(), "true: {status}");
    Ok(())
}

/// A listener on a new port, somebody who comes, a byte each way.
fn meet() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    let mut byte = [0];
    client.write_all(b"?")?;
    server.read_exact(&mut byte)?;
    server.write_all(b"!")?;
    client.read_exact(&mut byte)
}
