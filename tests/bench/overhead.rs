//! Measures what watching costs the watched: the time of single system calls with nothing attached, with
//! empty programs (the floor), with bpftrace, perf trace and strace, and with stallscope, in one run.
//!
//! Variants take turns in every round, in another order each time, so that a machine that slows down slows
//! them all down. What a tool says it counted is compared with what was called: a sample taken while the
//! tool saw nothing would be worthless.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use stallscope::attach::tracefs;

use crate::{
    add,
    blocks::Blocks,
    calls::{self, CALLS, Worker},
    machine, order, tracers,
    variant::{self, Bench, VARIANTS},
};

/// CPU time of one sample of one call, ms.
const SAMPLE_MS: u64 = 100;

/// Measures in `rounds` rounds.
pub fn run(rounds: usize, stallscope: PathBuf) -> anyhow::Result<Value> {
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
        sample_ms: SAMPLE_MS,
    };

    let (mut samples, mut wall): (Map<String, Value>, _) = (Map::new(), Map::new());
    let mut tools: Map<String, Value> = Map::new();
    let mut blocks = Blocks::default();
    for round in 0..rounds {
        for index in order(round, VARIANTS.len()) {
            let variant = &VARIANTS[index];
            let block = blocks.run(variant.id, || (variant.run)(&mut bench))?;
            let Some(block) = block else { continue };
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
        ("sample_ms".into(), json!(SAMPLE_MS)),
        (
            "bpftrace".into(),
            json!(bench.bpftrace.as_ref().map(|tool| tool.version.as_str())),
        ),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("perf".into(), json!(tracers::version("perf"))),
        ("strace".into(), json!(tracers::version("strace"))),
        ("ns".into(), samples.into()),
        ("wall_ns".into(), wall.into()),
        ("tools".into(), tools.into()),
    ]);
    Ok(result.into())
}
