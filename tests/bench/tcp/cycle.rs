//! The cycle of a connection over loopback: connect, accept, close by the client, close by the server.
//!
//! One process is both sides, so that the whole cycle, with what the kernel does in soft interrupts, runs on
//! one thread and is in its CPU time.

use std::process::Command;

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child, Link},
    netns,
    sys::{self, Addr},
    tcp,
};
use serde_json::Value;

use super::Bench;
use crate::{bpf, calls, tool::Tool};

/// Transitions in a cycle, as the tracepoint shows them: CLOSE -> SYN_SENT -> ESTABLISHED -> FIN_WAIT1 ->
/// FIN_WAIT2 -> CLOSE, and LISTEN -> SYN_RECV -> ESTABLISHED -> CLOSE_WAIT -> LAST_ACK -> CLOSE.
pub const TRANSITIONS: u32 = 10;

/// Cycles in a sample. Each leaves a local port in TIME_WAIT, and the range has 28,232.
const CYCLES: u64 = 20_000;
/// Cycles between two looks at the clocks.
const BATCH: u64 = 50;
/// First cycles of a sample, which are not measured.
const WARM_UP: u64 = 2_000;

/// What is attached while cycles are measured.
pub struct Variant {
    /// Its name in the result.
    pub id: &'static str,
    attach: Attach,
}

enum Attach {
    Nothing,
    /// An empty program on the raw tracepoint: whoever wants to see transitions cannot cost less.
    Empty,
    /// bpftrace, transitions by old and new state.
    Bpftrace,
    /// stallscope with these arguments.
    Stallscope(&'static [&'static str]),
}

/// All of them.
pub const VARIANTS: &[Variant] = &[
    Variant {
        id: "nothing",
        attach: Attach::Nothing,
    },
    Variant {
        id: "empty",
        attach: Attach::Empty,
    },
    Variant {
        id: "bpftrace",
        attach: Attach::Bpftrace,
    },
    Variant {
        id: "tcp",
        attach: Attach::Stallscope(&["tcp"]),
    },
    Variant {
        id: "diagnose",
        attach: Attach::Stallscope(&["diagnose"]),
    },
];

const SCRIPT: &str =
    "tracepoint:sock:inet_sock_set_state { @[args->oldstate, args->newstate] = count(); }";

/// CPU time of one cycle, ns; `None` when the tool is not installed.
pub fn sample(bench: &Bench, variant: &Variant) -> anyhow::Result<Option<f64>> {
    let _netns = netns::Netns::enter()?;
    calls::pin(0..1)?;
    let cpu = bench.cpus - 1;
    let mut worker = child::fork(move |link| work(link, cpu))?;
    worker.recv()?;
    let result = match variant.attach {
        Attach::Nothing => Some(measure(&mut worker)?),
        Attach::Empty => {
            let _attached = bpf::attach_empty(c"inet_sock_set_state")?;
            Some(measure(&mut worker)?)
        }
        Attach::Bpftrace => match &bench.bpftrace {
            Some(bpftrace) => {
                let tool = Tool::start_attached(bpftrace.command().args(["-e", SCRIPT]))?;
                let ns = measure(&mut worker)?;
                // SYN_SENT (2) -> ESTABLISHED (1).
                let output = tool.interrupt()?.stdout;
                let counted = output
                    .lines()
                    .find_map(|line| line.strip_prefix("@[2, 1]: ")?.trim().parse().ok());
                let counted: Option<u64> = counted;
                ensure!(
                    counted.is_some_and(|n| n >= CYCLES),
                    "{CYCLES} connects were made, but it says {counted:?}"
                );
                Some(ns)
            }
            None => None,
        },
        Attach::Stallscope(words) => {
            let mut command = Command::new(&bench.stallscope);
            command.args(words).args(["--duration", "10m", "--json"]);
            let tool = Tool::start_attached(&mut command)?;
            let ns = measure(&mut worker)?;
            let json: Value =
                serde_json::from_str(&tool.interrupt()?.stdout).context("the report")?;
            let counted = established(&json);
            ensure!(
                counted == CYCLES,
                "{CYCLES} connects were made, but it says {counted}"
            );
            Some(ns)
        }
    };
    calls::pin(0..bench.cpus)?;
    Ok(result)
}

/// Connects of our own that a report counts.
fn established(json: &Value) -> u64 {
    let rows = json["tcp"]["dwell"].as_array().or(json["dwell"].as_array());
    let rows = rows.map_or(&[][..], Vec::as_slice);
    rows.iter()
        .filter(|row| row["from"] == "syn_sent" && row["to"] == "established")
        .filter_map(|row| row["count"].as_u64())
        .sum()
}

fn measure(worker: &mut Child) -> anyhow::Result<f64> {
    worker.go()?;
    let told = worker.recv()?;
    ensure!(told.len() == 2, "the worker says {told:?}");
    let (median_ns, least_percent) = (told[0], told[1]);
    // In the batch that was disturbed least both clocks must agree, or the kernel takes soft interrupts out
    // of a thread's time (CONFIG_IRQ_TIME_ACCOUNTING).
    ensure!(
        least_percent < 150,
        "this kernel does not charge soft interrupts to the thread (wall time of a batch: {least_percent} % of CPU time)"
    );
    Ok(median_ns as f64 / BATCH as f64)
}

fn work(link: &mut Link, cpu: usize) {
    calls::pin(cpu..cpu + 1).expect("pin the worker");
    let addr = Addr::Inet(([127, 0, 0, 1], 1).into());
    let listener = tcp::listen(&addr, 16).expect("listen");
    link.send(&[]);
    link.wait();
    let cycles = |n: u64| {
        for _ in 0..n {
            let client = sys::connected(&addr).expect("connect");
            let server = sys::accept(listener).expect("accept");
            sys::close(client).expect("close");
            sys::close(server).expect("close");
        }
    };
    cycles(WARM_UP);
    let mut batches: Vec<(u64, u64)> = (0..(CYCLES - WARM_UP) / BATCH)
        .map(|_| {
            let (cpu, wall) = (sys::thread_cpu_ns(), sys::now_ns());
            cycles(BATCH);
            (sys::thread_cpu_ns() - cpu, sys::now_ns() - wall)
        })
        .collect();
    let least_percent = batches
        .iter()
        .map(|(cpu, wall)| wall * 100 / cpu.max(&1))
        .min();
    batches.sort_unstable();
    let median = batches[batches.len() / 2].0;
    link.send(&[median, least_percent.unwrap_or(0)]);
    link.wait();
}
