//! What is attached while calls are measured. Each variant attaches, takes its samples, lets the tool say
//! what it counted, compares that with what was called, and detaches.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    calls::{COMM, Sample, Worker},
    floor,
    tool::{self, Tool},
    tracers,
};

/// The calls that tools trace here, as their tracepoints spell them.
pub const TRACED: [&str; 2] = ["poll", "recvfrom"];

/// What every variant works with.
pub struct Bench {
    /// The process that stallscope is told to follow.
    pub target: Worker,
    /// One that it is not told of.
    pub other: Worker,
    /// Where tracefs is.
    pub tracefs: PathBuf,
    /// The binary under test.
    pub stallscope: PathBuf,
    /// bpftrace, where it is installed.
    pub bpftrace: Option<Bpftrace>,
    /// CPU time for each call of a sample, ms.
    pub sample_ms: u64,
}

/// bpftrace.
pub struct Bpftrace {
    path: PathBuf,
    /// What it says its version is.
    pub version: String,
}

impl Bpftrace {
    /// To start it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// What one block gives.
pub struct Block {
    /// Rows of the table: what calls cost.
    pub rows: Vec<(&'static str, Sample)>,
    /// What the tool itself needed.
    pub tool: Vec<(&'static str, f64)>,
}

/// One variant.
pub struct Variant {
    /// Its name in the result.
    pub id: &'static str,
    /// Measures once; `None` when the tool is not installed.
    pub run: fn(&mut Bench) -> anyhow::Result<Option<Block>>,
}

/// All of them.
pub const VARIANTS: &[Variant] = &[
    Variant {
        id: "nothing",
        run: nothing,
    },
    Variant {
        id: "floor",
        run: empty_programs,
    },
    Variant {
        id: "bpftrace_count",
        run: bpftrace_count,
    },
    Variant {
        id: "count",
        run: count,
    },
    Variant {
        id: "bpftrace_hist",
        run: bpftrace_hist,
    },
    Variant {
        id: "diagnose",
        run: diagnose,
    },
    Variant {
        id: "diagnose_all",
        run: diagnose_all,
    },
    Variant {
        id: "perf_trace",
        run: tracers::perf_trace,
    },
    Variant {
        id: "strace",
        run: tracers::strace,
    },
];

/// Finds bpftrace in PATH.
pub fn bpftrace() -> Option<Bpftrace> {
    let path = PathBuf::from("bpftrace");
    let version = tool::version(&path)?;
    Some(Bpftrace { path, version })
}

fn nothing(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    let sample = bench.target.sample(bench.sample_ms)?;
    Ok(Some(Block {
        rows: vec![("nothing", sample)],
        tool: vec![],
    }))
}

fn empty_programs(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    let floor = floor::attach(&bench.tracefs, &TRACED)?;
    let sample = bench.target.sample(bench.sample_ms)?;
    drop(floor);
    Ok(Some(Block {
        rows: vec![("floor", sample)],
        tool: vec![],
    }))
}

fn bpftrace_count(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    let probes = TRACED
        .map(|call| format!("tracepoint:syscalls:sys_enter_{call}"))
        .join(",");
    let Some((sample, output)) =
        with_bpftrace(bench, &format!("{probes} {{ @[comm] = count(); }}"))?
    else {
        return Ok(None);
    };
    let counted = output.stdout.lines().find_map(|line| {
        line.strip_prefix(&format!("@[{COMM}]: "))?
            .trim()
            .parse()
            .ok()
    });
    equal(counted, traced(&sample))?;
    Ok(Some(Block {
        rows: vec![("bpftrace_count", sample)],
        tool: vec![rss(&output)],
    }))
}

/// Enter and exit, histogram by process: what full accounting does, less peers, errors and the time line.
fn histogram_script() -> String {
    let probes = |side| {
        TRACED
            .map(|call| format!("tracepoint:syscalls:sys_{side}_{call}"))
            .join(",")
    };
    let (enter, exit) = (probes("enter"), probes("exit"));
    format!(
        "{enter} {{ @s[tid] = nsecs; }} \
         {exit} /@s[tid]/ {{ @h[pid] = hist(nsecs - @s[tid]); delete(@s[tid]); }}"
    )
}

fn bpftrace_hist(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    let Some((sample, output)) = with_bpftrace(bench, &histogram_script())? else {
        return Ok(None);
    };
    let title = format!("@h[{}]:", bench.target.pid());
    let rows = output
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with(&title))
        .skip(1);
    // "[256, 512)        1234 |@@@@   |"
    let counted = rows
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split([')', ']'])
                .nth(1)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    equal(Some(counted), traced(&sample))?;
    Ok(Some(Block {
        rows: vec![("bpftrace_hist", sample)],
        tool: vec![rss(&output)],
    }))
}

fn with_bpftrace(
    bench: &mut Bench,
    script: &str,
) -> anyhow::Result<Option<(Sample, tool::Output)>> {
    let Some(bpftrace) = &bench.bpftrace else {
        return Ok(None);
    };
    let tool = Tool::start_attached(bpftrace.command().args(["-e", script]))?;
    let sample = bench.target.sample(bench.sample_ms)?;
    Ok(Some((sample, tool.interrupt()?)))
}

fn count(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    let mut command = Command::new(&bench.stallscope);
    command
        .arg("count")
        .args(TRACED)
        .args(["--duration", "10m", "--json"]);
    let tool = Tool::start_attached(&mut command)?;
    let sample = bench.target.sample(bench.sample_ms)?;
    let output = tool.interrupt()?;
    let json: Value = serde_json::from_str(&output.stdout).context("the report of count")?;
    equal(
        Some(sum(&json["counts"], |row| {
            row["process.executable.name"] == COMM
        })),
        traced(&sample),
    )?;
    Ok(Some(Block {
        rows: vec![("count", sample)],
        tool: vec![rss(&output)],
    }))
}

/// The full ledger of one process, and what it costs another.
fn diagnose(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    let pid = bench.target.pid();
    let mut command = Command::new(&bench.stallscope);
    command.args([
        "diagnose",
        "--duration",
        "10m",
        "--json",
        "--pid",
        &pid.to_string(),
    ]);
    let tool = Tool::start_attached(&mut command)?;
    let sample = bench.target.sample(bench.sample_ms)?;
    let beside = bench.other.sample(bench.sample_ms)?;
    let output = tool.interrupt()?;
    let json: Value = serde_json::from_str(&output.stdout).context("the report of diagnose")?;
    check_calls(&json, pid, &sample)?;
    let unseen = sum(&json["signals"]["calls"], |row| {
        row["process.pid"] == bench.other.pid()
    });
    ensure!(
        unseen == 0,
        "it accounted {unseen} calls of a process that is no target"
    );
    let own_start = json["cost"]["start_ns"].as_f64().unwrap_or(f64::NAN) / 1e6;
    Ok(Some(Block {
        rows: vec![("target", sample), ("non_target", beside)],
        tool: vec![rss(&output), ("own_start_ms", own_start)],
    }))
}

fn diagnose_all(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    let mut command = Command::new(&bench.stallscope);
    command.args(["diagnose", "--duration", "10m", "--json"]);
    let tool = Tool::start_attached(&mut command)?;
    let sample = bench.target.sample(bench.sample_ms)?;
    let output = tool.interrupt()?;
    let json: Value = serde_json::from_str(&output.stdout).context("the report of diagnose")?;
    check_calls(&json, bench.target.pid(), &sample)?;
    Ok(Some(Block {
        rows: vec![("follow_all", sample)],
        tool: vec![rss(&output)],
    }))
}

pub fn rss(output: &tool::Output) -> (&'static str, f64) {
    ("peak_rss_bytes", output.peak_rss as f64)
}

/// How many calls of a sample were of the kinds that are traced.
pub fn traced(sample: &Sample) -> u64 {
    ["poll_none", "poll_socket", "recv_again"]
        .map(|id| sample.made(id))
        .iter()
        .sum()
}

/// The sum of `count` over the rows of a report that `wanted` picks.
fn sum(rows: &Value, wanted: impl Fn(&Value) -> bool) -> u64 {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    rows.iter()
        .filter(|row| wanted(row))
        .filter_map(|row| row["count"].as_u64())
        .sum()
}

/// Each kind of call was accounted exactly.
fn check_calls(json: &Value, pid: u32, sample: &Sample) -> anyhow::Result<()> {
    let calls = &json["signals"]["calls"];
    let of = |op: &str| sum(calls, |row| row["process.pid"] == pid && row["op"] == op);
    equal(
        Some(of("poll")),
        sample.made("poll_none") + sample.made("poll_socket"),
    )?;
    equal(Some(of("recvfrom")), sample.made("recv_again"))
}

/// A tool that counted anything else than what was made has not done its work.
pub fn equal(counted: Option<u64>, made: u64) -> anyhow::Result<()> {
    ensure!(
        counted == Some(made),
        "{made} calls were made, but it says {counted:?}"
    );
    Ok(())
}
