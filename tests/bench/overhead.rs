//! Measures what watching costs the watched: the time of single system calls with nothing attached, with
//! empty programs (the floor), with bpftrace, perf trace and strace, and with stallscope, in one run.
//!
//! Variants take turns in every round, in another order each time, so that a machine that slows down slows
//! them all down. What a tool says it counted is compared with what was called: a sample taken while the
//! tool saw nothing would be worthless.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use stallscope::attach::tracefs;

use crate::{
    add, bpf,
    calls::{self, CALLS, Worker},
    machine, order, tracers,
    variant::{self, Bench, VARIANTS},
};

/// How long to wait for other tracing programs to go away before a block.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures `rounds` rounds with `sample_ms` of CPU time for each call in each.
pub fn run(rounds: usize, sample_ms: u64, stallscope: PathBuf) -> anyhow::Result<Value> {
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
        stallscope,
        bpftrace: variant::bpftrace(),
        sample_ms,
    };

    let (mut samples, mut wall): (Map<String, Value>, _) = (Map::new(), Map::new());
    let mut tools: Map<String, Value> = Map::new();
    let (mut blocks, mut disturbed) = (0, 0);
    for round in 0..rounds {
        for index in order(round, VARIANTS.len()) {
            let variant = &VARIANTS[index];
            let before = bpf::wait_until_alone(PATIENCE);
            let block = (variant.run)(&mut bench).or_else(|error| {
                // On a busy machine a tool may attach too late for its sample; once is chance.
                eprintln!("bench: {}: {error:#}; trying again", variant.id);
                (variant.run)(&mut bench).with_context(|| variant.id.to_owned())
            })?;
            let Some(block) = block else { continue };
            blocks += 1;
            disturbed += usize::from(!before || !bpf::wait_until_alone(Duration::ZERO));
            for (row, sample) in block.rows {
                let ids = || CALLS.iter().map(|call| call.id);
                add(&mut samples, row, ids().zip(sample.ns));
                add(&mut wall, row, ids().zip(sample.wall_ns));
            }
            add(&mut tools, variant.id, block.tool);
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let mut result = machine(cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        ("sample_ms".into(), json!(sample_ms)),
        (
            "bpftrace".into(),
            json!(bench.bpftrace.as_ref().map(|tool| tool.version.as_str())),
        ),
        ("blocks".into(), json!(blocks)),
        ("disturbed_blocks".into(), json!(disturbed)),
        ("perf".into(), json!(tracers::version("perf"))),
        ("strace".into(), json!(tracers::version("strace"))),
        ("ns".into(), samples.into()),
        ("wall_ns".into(), wall.into()),
        ("tools".into(), tools.into()),
    ]);
    Ok(result.into())
}
