//! What watching TCP costs: a connection's cycle with the state tracepoint watched, and a web server with short connections.
//!
//! Everything runs in network namespaces of this program's own, so that sockets of others are not counted, and
//! what a sample leaves in TIME_WAIT goes with its namespace.

mod cycle;
mod web;

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use stallscope::attach::tracefs;

use crate::{add, blocks::Blocks, calls, machine, order, variant};

/// What every variant works with.
struct Bench {
    /// The binary under test.
    stallscope: PathBuf,
    /// bpftrace, where it is installed.
    bpftrace: Option<variant::Bpftrace>,
    /// CPUs of this machine.
    cpus: usize,
}

/// Measures both.
pub fn run(rounds: usize, stallscope: PathBuf) -> anyhow::Result<Value> {
    // Before any thread and child: bpftrace needs it too.
    tracefs::ensure().map_err(|e| anyhow::anyhow!("{e}"))?;
    let bench = Bench {
        stallscope,
        bpftrace: variant::bpftrace(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut blocks = Blocks::default();
    let (mut cycles, mut web) = (Map::new(), Map::new());
    for round in 0..rounds {
        for index in order(round, cycle::VARIANTS.len()) {
            let variant = &cycle::VARIANTS[index];
            let sample = blocks.run(variant.id, || cycle::sample(&bench, variant))?;
            eprintln!("bench: {}: {sample:?} ns", variant.id);
            if let Some(ns) = sample {
                add(&mut cycles, variant.id, [("ns", ns)]);
            }
        }
        for index in order(round, web::VARIANTS.len()) {
            let variant = web::VARIANTS[index];
            let per_s = blocks.run(variant.id(), || web::sample(&bench, variant))?;
            eprintln!("bench: web, {}: {per_s} requests/s", variant.id());
            add(&mut web, variant.id(), [("per_s", per_s)]);
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let mut result = machine(bench.cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        (
            "bpftrace".into(),
            json!(bench.bpftrace.as_ref().map(|tool| tool.version.as_str())),
        ),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("transitions".into(), json!(cycle::TRANSITIONS)),
        ("cycle".into(), cycles.into()),
        ("web".into(), web.into()),
    ]);
    calls::pin(0..bench.cpus)?;
    Ok(result.into())
}
