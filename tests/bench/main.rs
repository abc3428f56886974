//! Measures what watching costs the watched: the time of single system calls with nothing attached, with
//! empty programs (the floor), with bpftrace and with stallscope, in one run.
//!
//! `cargo xtask bench overhead` builds and starts this, and makes a table of the JSON document that it
//! prints. Variants take turns in every round, in another order each time, so that a machine that slows
//! down slows them all down. What a tool says it counted is compared with what was called: a sample taken
//! while the tool saw nothing would be worthless.

mod bpf;
mod calls;
mod floor;
mod tool;
mod variant;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use stallscope::attach::tracefs;

use calls::{CALLS, Worker};
use variant::{Bench, VARIANTS};

/// How long to wait for other tracing programs to go away before a block.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, sample_ms, stallscope] = arguments.as_slice() else {
        anyhow::bail!("usage: bench-overhead ROUNDS SAMPLE_MS STALLSCOPE");
    };
    let rounds: usize = rounds.parse().context("the number of rounds")?;
    let sample_ms: u64 = sample_ms.parse().context("the length of a sample")?;
    ensure!(rounds > 0 && sample_ms > 0, "nothing to measure");

    // Before any thread and child: they all see the same tracefs.
    let tracefs = tracefs::ensure().map_err(|e| anyhow::anyhow!("{e}"))?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    // The workers on the last CPU, everything else on the first.
    let worker_cpu = cpus - 1;
    let target = Worker::start(worker_cpu)?;
    let other = Worker::start(worker_cpu)?;
    calls::pin(0..1)?;
    let mut bench = Bench {
        target,
        other,
        tracefs: tracefs.path,
        stallscope: PathBuf::from(stallscope),
        bpftrace: variant::bpftrace(),
        sample_ms,
        cpus,
    };

    let mut samples: Map<String, Value> = Map::new();
    let mut tools: Map<String, Value> = Map::new();
    let (mut blocks, mut disturbed) = (0, 0);
    for round in 0..rounds {
        for step in 0..VARIANTS.len() {
            // Another first variant in each round, and every other round backwards.
            let step = if round % 2 == 0 {
                step
            } else {
                VARIANTS.len() - 1 - step
            };
            let variant = &VARIANTS[(step + round) % VARIANTS.len()];
            let before = bpf::wait_until_alone(PATIENCE);
            let block = (variant.run)(&mut bench).or_else(|error| {
                // On a busy machine a tool may attach too late for its sample; once is chance.
                eprintln!("bench: {}: {error:#}; trying again", variant.id);
                (variant.run)(&mut bench).with_context(|| variant.id.to_owned())
            })?;
            let Some(block) = block else { continue };
            blocks += 1;
            disturbed += usize::from(!before || !bpf::wait_until_alone(Duration::ZERO));
            for (row, costs) in block.rows {
                add(
                    &mut samples,
                    row,
                    CALLS.iter().map(|call| call.id).zip(costs),
                );
            }
            add(&mut tools, variant.id, block.tool);
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let result = json!({
        "rounds": rounds,
        "sample_ms": sample_ms,
        "cpus": cpus,
        "processor": processor(),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "bpftrace": bench.bpftrace.as_ref().map(|tool| tool.version.as_str()),
        "blocks": blocks,
        "disturbed_blocks": disturbed,
        "load": load(),
        "ns": samples,
        "tools": tools,
    });
    println!("{result}");
    Ok(())
}

/// Appends each value to the list `row`.`key`.
fn add(
    to: &mut Map<String, Value>,
    row: &str,
    values: impl IntoIterator<Item = (&'static str, f64)>,
) {
    let row = to.entry(row).or_insert_with(|| json!({}));
    for (key, value) in values {
        match &mut row[key] {
            Value::Array(list) => list.push(json!(value)),
            empty => *empty = json!([value]),
        }
    }
}

/// The processor's name as the kernel tells it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

/// Load average of the last minute.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(-1.0)
}
