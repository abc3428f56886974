//! Measures what watching costs the watched, what the tool itself takes, and what it can carry; prints one JSON document.
//!
//! `cargo xtask bench` builds and starts this, and makes tables of what it prints.

mod blocks;
mod bpf;
mod calls;
mod census;
mod dns;
mod files;
mod floor;
mod load;
mod overhead;
mod own;
mod peer;
mod php;
mod replay;
mod ring;
mod start;
mod tcp;
mod tool;
mod tracers;
mod udp;
mod variant;

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use probe_tests::stolen::Ticks;
use serde_json::{Map, Value, json};

const USAGE: &str = "usage: bench overhead|tcp|udp|dns|files|php|ring|census|start|serve|view|replay ROUNDS STALLSCOPE";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [what, rounds, stallscope] = words.as_slice() else {
        bail!("{USAGE}");
    };
    let rounds = rounds.parse().context("the number of rounds")?;
    ensure!(rounds > 0, "nothing to measure");
    let path = PathBuf::from(stallscope);
    let ticks = Ticks::now();
    let mut result = match *what {
        "overhead" => overhead::run(rounds, path)?,
        "tcp" => tcp::run(rounds, path)?,
        "dns" => dns::run(rounds, path)?,
        "udp" => udp::run(rounds, path)?,
        "files" => files::run(rounds, &path)?,
        "php" => php::run(rounds, path)?,
        "ring" => ring::run(rounds, &path)?,
        "census" => census::run(rounds, &path)?,
        "start" => start::run(rounds, path)?,
        "serve" => own::serve(rounds, &path)?,
        "view" => own::view(rounds, &path)?,
        "replay" => replay::run(rounds, &path)?,
        _ => bail!("{USAGE}"),
    };
    result["stolen"] = json!(ticks.share_since());
    println!("{result}");
    Ok(())
}

/// On what is measured.
fn machine(cpus: usize) -> Map<String, Value> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Map::from_iter([
        ("cpus".into(), json!(cpus)),
        ("processor".into(), json!(processor())),
        ("kernel".into(), json!(kernel.trim())),
        ("load".into(), json!(load())),
    ])
}

/// The order of `count` variants in a round: another first one in each, and every other round backwards.
fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |step| {
        let step = if round.is_multiple_of(2) {
            step
        } else {
            count - 1 - step
        };
        (step + round) % count
    })
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
