//! What calls cost under the tools that were there before eBPF: `perf trace`, which copies every event out, and `strace`, which stops the process
//! twice for each call.

use std::{fs, path::Path, process::Command};

use anyhow::ensure;

use crate::{
    calls::Sample,
    tool::{self, Output, Tool},
    variant::{self, Bench, Block, TRACED},
};

/// What a program says its version is; `None` when it is not installed.
pub fn version(program: &str) -> Option<String> {
    tool::version(Path::new(program))
}

/// `perf trace -s` of the process, with the same calls.
pub fn perf_trace(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    if version("perf").is_none() {
        return Ok(None);
    }
    let pid = bench.target.pid();
    let mut command = Command::new("perf");
    command.args([
        "trace",
        "-s",
        "-e",
        &TRACED.join(","),
        "-p",
        &pid.to_string(),
    ]);
    // Its events are open, and it has them in memory.
    let attached = |pid: u32| holds(pid, "anon_inode:[perf_event]");
    let (sample, output) = under(bench, Tool::start_until(&mut command, attached)?)?;
    let text = format!("{}{}", output.stdout, output.stderr);
    let made = variant::traced(&sample);
    //   syscall            calls  errors  total       min       avg       max       stddev
    let counted = sum(&text, |words| Some((*words.first()?, *words.get(1)?)));
    // Where its buffers are full it leaves events out, as it may. Of a process that it does not see, the cost is none.
    ensure!(
        counted > 0 && counted <= made,
        "{made} calls were made, and perf trace counted {counted}: {text:.2000}"
    );
    Ok(Some(block("perf_trace", sample, &output, counted, made)))
}

/// `strace -c` of the process, with the same calls.
pub fn strace(bench: &mut Bench) -> anyhow::Result<Option<Block>> {
    if version("strace").is_none() {
        return Ok(None);
    }
    let pid = bench.target.pid();
    let mut command = Command::new("strace");
    let calls = format!("trace={}", TRACED.join(","));
    command.args(["-c", "-e", &calls, "-p", &pid.to_string()]);
    let attached = |tracer: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"));
        line.is_some_and(|id| id.trim() == tracer.to_string())
    };
    let (sample, output) = under(bench, Tool::start_until(&mut command, attached)?)?;
    let text = format!("{}{}", output.stdout, output.stderr);
    let made = variant::traced(&sample);
    // % time     seconds  usecs/call     calls    errors syscall
    let counted = sum(&text, |words| Some((*words.last()?, *words.get(3)?)));
    variant::equal(Some(counted), made)?;
    Ok(Some(block("strace", sample, &output, counted, made)))
}

fn under(bench: &mut Bench, tool: Tool) -> anyhow::Result<(Sample, Output)> {
    let sample = bench.target.sample(bench.sample_ms)?;
    Ok((sample, tool.end()?))
}

fn block(row: &'static str, sample: Sample, output: &Output, counted: u64, made: u64) -> Block {
    Block {
        rows: vec![(row, sample)],
        tool: vec![
            variant::rss(output),
            ("counted_percent", counted as f64 * 100.0 / made as f64),
        ],
    }
}

/// The calls of a summary's lines, each of which has its call and its number somewhere.
fn sum<'a>(text: &'a str, pick: impl Fn(&[&'a str]) -> Option<(&'a str, &'a str)>) -> u64 {
    let lines = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (call, number) = pick(&words)?;
        TRACED.contains(&call).then(|| number.parse::<u64>().ok())?
    });
    lines.sum()
}

/// Has a process a descriptor of this kind?
fn holds(pid: u32, kind: &str) -> bool {
    let dir = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = dir.into_iter().flatten().flatten();
    links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|to| to.as_os_str() == kind)
}
