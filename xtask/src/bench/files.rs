//! `bench files`: what watching files costs an open, and the watcher itself, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, in_rounds, number, ratios},
};

/// What was attached: name in the result, and in words.
const VARIANTS: [(&str, &str); 4] = [
    ("nothing", "nothing attached"),
    (
        "empty",
        "empty programs on enter and exit of openat and close",
    ),
    ("fs", "stallscope fs"),
    ("diagnose", "stallscope diagnose, all processes"),
];

/// CPU time of the tool's own threads at 5,000 creations a second, percent of one CPU.
const OWN_PERCENT: f64 = 2.0;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    let per_s = measured["per_s"].as_u64().context("the rate")?;
    let how = "one thread opens and creates files on a tmpfs, pinned to the last CPU; what watches is pinned to the first";
    Ok(Section {
        verb: "files",
        title: "Files",
        // No other tool is measured beside it.
        head: head(measured, how)
            .into_iter()
            .filter(|line| !line.starts_with("bpftrace"))
            .collect(),
        tables: vec![opens(measured), own(measured, per_s)],
        verdicts: verdicts(measured, per_s),
        keys: keys(measured),
    })
}

fn opens(measured: &Value) -> Table {
    let all = &measured["opens"];
    let rows = VARIANTS.iter().filter_map(|(id, name)| {
        let row = &all[*id];
        let spread = |of: &str| Spread::of(&values(&row[of]));
        let over = |of: &str| in_rounds(&row[of], &all["empty"][of], |a, b| a / b);
        Some(vec![
            (*name).to_owned(),
            spread("open_ns")?.rounded(),
            number(over("open_ns"), 2),
            spread("create_ns")?.rounded(),
            number(over("create_ns"), 2),
        ])
    });
    Table {
        caption: "An openat and its close: CPU time in ns, median of the rounds (least-most), and its ratio to the empty \
             programs in the same round. Of a file that is there, and of one that is created."
            .to_owned(),
        head: vec!["", "open", "/ empty programs", "create", "/ empty programs"],
        rows: rows.collect(),
    }
}

fn own(measured: &Value, per_s: u64) -> Table {
    let rows = VARIANTS.iter().filter_map(|(id, name)| {
        let row = &measured["steady"][*id];
        let median = |of: &str| Spread::of(&values(&row[of])).map(|s| s.median);
        Some(vec![
            (*name).to_owned(),
            number(Some(median("rest_percent")?), 2),
            number(median("busy_percent"), 2),
            number(median("per_s"), 0),
        ])
    });
    Table {
        caption: format!(
            "CPU time of the tool's own threads, percent of one CPU: at rest, and while {per_s} files a second are \
             created, closed and unlinked."
        ),
        head: vec!["", "at rest", "creating", "files/s"],
        rows: rows.collect(),
    }
}

fn verdicts(measured: &Value, per_s: u64) -> Vec<Verdict> {
    let verdict = |(id, name): &(&str, &str)| {
        let busy = values(&measured["steady"][*id]["busy_percent"]);
        Some(Verdict {
            what: format!("{name}: own threads at {per_s} creations a second"),
            got: Spread::of(&busy)?.median,
            limit: OWN_PERCENT,
            unit: " %",
        })
    };
    VARIANTS.iter().filter_map(verdict).collect()
}

fn keys(measured: &Value) -> Vec<Key> {
    let all = &measured["opens"];
    let mut keys = Vec::new();
    for watched in ["fs", "diagnose"] {
        for (of, what) in [("open_ns", "open"), ("create_ns", "create")] {
            keys.push(Key {
                name: format!("files: {what}: {watched} / empty programs"),
                values: ratios(&all[watched][of], &all["empty"][of]),
            });
        }
        keys.push(Key {
            name: format!(
                "files: {watched}: own threads while files are created, percent of a CPU"
            ),
            values: values(&measured["steady"][watched]["busy_percent"]),
        });
    }
    keys
}
