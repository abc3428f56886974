//! How soon a tool says something, what that takes, and what it holds while it watches: stallscope beside bpftrace with scripts that watch
//! the same, and beside libbpf-tools' tcpstates.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use probe_tests::{
    child::{self, Child, Link},
    netns, programs,
    sys::{self, Addr},
    tcp,
};
use serde_json::{Map, Value, json};
use stallscope::attach::tracefs;

use crate::{
    add,
    blocks::Blocks,
    bpf, calls, machine, order,
    tool::{self, Tool},
    variant::{self, Bpftrace},
};

/// A connection is made and closed so often, so that whoever prints connections has one to print.
const BEAT: Duration = Duration::from_millis(2);
/// How long a tool is watched at rest.
const REST: Duration = Duration::from_secs(1);

/// The same call counts as `stallscope count poll recvfrom`.
const COUNT: &str = "tracepoint:syscalls:sys_enter_poll,tracepoint:syscalls:sys_enter_recvfrom { @[comm] = count(); }";
/// The transitions of `stallscope tcp`, without its count of all sockets.
const STATES: &str = "tracepoint:sock:inet_sock_set_state { @[pid, comm, args->oldstate, args->newstate] = count(); }";
/// A line for each signal of `stallscope diagnose`, as an engineer would write them down: who waits in which call and for how long, who waits
/// for a CPU, TCP states, dropped datagrams, created files, commits of a journal. Neither peers nor requests are in it.
const SIGNALS: &str = "\
tracepoint:syscalls:sys_enter_poll,tracepoint:syscalls:sys_enter_epoll_wait,tracepoint:syscalls:sys_enter_recvfrom,\
tracepoint:syscalls:sys_enter_read,tracepoint:syscalls:sys_enter_connect,tracepoint:syscalls:sys_enter_accept4,\
tracepoint:syscalls:sys_enter_futex,tracepoint:syscalls:sys_enter_fsync { @began[tid] = nsecs; } \
tracepoint:syscalls:sys_exit_poll,tracepoint:syscalls:sys_exit_epoll_wait,tracepoint:syscalls:sys_exit_recvfrom,\
tracepoint:syscalls:sys_exit_read,tracepoint:syscalls:sys_exit_connect,tracepoint:syscalls:sys_exit_accept4,\
tracepoint:syscalls:sys_exit_futex,tracepoint:syscalls:sys_exit_fsync /@began[tid]/ \
{ @waits[pid, probe] = hist(nsecs - @began[tid]); delete(@began[tid]); } \
tracepoint:sched:sched_wakeup { @woken[args->pid] = nsecs; } \
tracepoint:sched:sched_switch /@woken[args->next_pid]/ \
{ @queued = hist(nsecs - @woken[args->next_pid]); delete(@woken[args->next_pid]); } \
tracepoint:sock:inet_sock_set_state { @states[pid, args->oldstate, args->newstate] = count(); } \
tracepoint:udp:udp_fail_queue_rcv_skb { @drops[args->rc] = count(); } \
tracepoint:syscalls:sys_enter_openat { @opens[pid, comm] = count(); } \
tracepoint:jbd2:jbd2_start_commit { @commit[args->dev] = nsecs; } \
tracepoint:jbd2:jbd2_end_commit /@commit[args->dev]/ { @commits = hist(nsecs - @commit[args->dev]); }";

/// What every variant works with.
struct Bench {
    stallscope: PathBuf,
    bpftrace: Option<Bpftrace>,
    tcpstates: Option<PathBuf>,
    /// A process to be followed.
    target: Child,
    cpus: usize,
}

/// A tool.
struct Variant {
    /// Its name in the result.
    id: &'static str,
    what: What,
}

enum What {
    /// stallscope with these arguments.
    Stallscope(&'static [&'static str]),
    /// The same of one process.
    Process(&'static [&'static str]),
    Bpftrace(&'static str),
    Tcpstates,
}

const VARIANTS: &[Variant] = &[
    Variant {
        id: "count",
        what: What::Stallscope(&["count", "poll", "recvfrom"]),
    },
    Variant {
        id: "bpftrace_count",
        what: What::Bpftrace(COUNT),
    },
    Variant {
        id: "tcp",
        what: What::Stallscope(&["tcp"]),
    },
    Variant {
        id: "tcpstates",
        what: What::Tcpstates,
    },
    Variant {
        id: "bpftrace_states",
        what: What::Bpftrace(STATES),
    },
    Variant {
        id: "diagnose_pid",
        what: What::Process(&["diagnose", "--pid"]),
    },
    Variant {
        id: "diagnose",
        what: What::Stallscope(&["diagnose"]),
    },
    Variant {
        id: "bpftrace_signals",
        what: What::Bpftrace(SIGNALS),
    },
];

/// Measures.
pub fn run(rounds: usize, stallscope: PathBuf) -> anyhow::Result<Value> {
    // Before any thread and child: bpftrace needs it too.
    tracefs::ensure().map_err(|e| anyhow::anyhow!("{e}"))?;
    let _netns = netns::Netns::enter()?;
    let bench = Bench {
        stallscope,
        bpftrace: variant::bpftrace(),
        tcpstates: tcpstates(),
        target: child::fork(|link| {
            link.wait();
        })?,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let _beat = child::fork(beat)?;
    // As a user would start them: on any CPU.
    calls::pin(0..bench.cpus)?;
    let mut blocks = Blocks::default();
    let mut rows = Map::new();
    for round in 0..rounds {
        for index in order(round, VARIANTS.len()) {
            let variant = &VARIANTS[index];
            let Some(found) = blocks.run(variant.id, || measure(&bench, variant))? else {
                continue;
            };
            eprintln!("bench: {}: {found:?}", variant.id);
            add(&mut rows, variant.id, found);
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let version = |path: &Path| tool::version(path).unwrap_or_else(|| "unknown".to_owned());
    let mut result = machine(bench.cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        (
            "bpftrace".into(),
            json!(bench.bpftrace.as_ref().map(|tool| tool.version.as_str())),
        ),
        (
            "tcpstates".into(),
            json!(bench.tcpstates.as_deref().map(version)),
        ),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("rows".into(), rows.into()),
    ]);
    Ok(result.into())
}

/// What was found: names and numbers.
type Found = Vec<(&'static str, f64)>;

/// `None` when the tool is not installed.
fn measure(bench: &Bench, variant: &Variant) -> anyhow::Result<Option<Found>> {
    let Some(mut commands) = commands(bench, &variant.what) else {
        return Ok(None);
    };
    let first = tool::first_data(&mut commands.first, commands.skip, commands.goes_on)?;
    let tool = Tool::start_attached(&mut commands.lasting)?;
    let pid = tool.pid();
    let programs = programs::held_by(pid).0.len();
    let (before, maps) = (tool.cpu_ns(), bpf::map_bytes(pid));
    std::thread::sleep(REST);
    let spent = tool.cpu_ns().saturating_sub(before) as f64;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    tool.kill()?;
    Ok(Some(vec![
        ("first_ms", first.ms),
        ("cpu_ms", first.cpu_ms),
        ("peak_rss", first.peak_rss as f64),
        ("rss", kib.context("it has no memory")? * 1024.0),
        ("map_bytes", maps as f64),
        ("programs", programs as f64),
        ("rest_percent", spent / REST.as_nanos() as f64 * 100.0),
    ]))
}

/// How a tool is started.
struct Commands {
    /// For its first result.
    first: Command,
    /// Lines that come before it.
    skip: fn(&str) -> bool,
    /// Whether `first` goes on then.
    goes_on: bool,
    /// To watch until it is ended.
    lasting: Command,
}

fn commands(bench: &Bench, what: &What) -> Option<Commands> {
    let stallscope = |words: &[&str], pid: Option<u32>| {
        let command = |time| {
            let mut command = Command::new(&bench.stallscope);
            let pid = pid.map(|pid| pid.to_string());
            command.args(words).args(pid).args(["--duration", time]);
            command
        };
        Some(Commands {
            first: command("1ms"),
            skip: str::is_empty,
            goes_on: false,
            lasting: command("10m"),
        })
    };
    match what {
        What::Stallscope(words) => stallscope(words, None),
        What::Process(words) => stallscope(words, Some(bench.target.pid)),
        What::Bpftrace(script) => {
            let bpftrace = bench.bpftrace.as_ref()?;
            let (mut first, mut lasting) = (bpftrace.command(), bpftrace.command());
            let then = "interval:ms:1 { printf(\"data\\n\"); exit(); }";
            first.args(["-e", &format!("{script} {then}")]);
            lasting.args(["-e", script]);
            Some(Commands {
                first,
                skip: |line| !line.contains("data"),
                goes_on: false,
                lasting,
            })
        }
        What::Tcpstates => {
            let program = bench.tcpstates.as_ref()?;
            // It writes for a terminal; into a pipe it would keep 4 KB back.
            let mut first = Command::new("stdbuf");
            first.arg("-oL").arg(program);
            Some(Commands {
                first,
                skip: |line| line.trim().is_empty() || line.starts_with("SKADDR"),
                goes_on: true,
                lasting: Command::new(program),
            })
        }
    }
}

/// libbpf-tools' tcpstates, where it is installed.
fn tcpstates() -> Option<PathBuf> {
    let names = ["/usr/sbin/tcpstates", "/usr/bin/tcpstates"];
    names
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// Connects and closes, again and again.
fn beat(_: &mut Link) {
    let any = Addr::Inet(([127, 0, 0, 1], 0).into());
    let listener = tcp::listen(&any, 16).expect("listen");
    let to = Addr::Inet(([127, 0, 0, 1], sys::local_port(listener)).into());
    loop {
        let client = sys::connected(&to).expect("connect");
        let server = sys::accept(listener).expect("accept");
        // Without TIME_WAIT: ports would run out.
        sys::reset(client).expect("reset");
        sys::close(server).expect("close");
        std::thread::sleep(BEAT);
    }
}
