//! `bench replay`: how fast recordings are read, and in how much memory, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, number},
};

/// Recordings: name in the result, and in words.
const ROWS: [(&str, &str); 2] = [
    ("dense", "100 s with 2,000,000 requests, 64 workers"),
    (
        "incident",
        "10 minutes of incident A: 67,200 requests, 1,024 workers, a whole look each 5 s",
    ),
];

/// CPU time for a million requests, s.
const MILLION_S: f64 = 1.0;
/// CPU time for the report of ten minutes, s.
const REPORT_S: f64 = 1.0;
/// Resident memory at its largest, MB.
const MEMORY_MB: f64 = 30.0;
/// A minute of incident A's load on disk, MB.
const MINUTE_MB: f64 = 5.0;
/// Minutes of the recording of incident A.
const MINUTES: f64 = 10.0;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    let how = "`replay --json` of recordings that the measuring program makes; every request that was written must be in the report";
    let median = |row: &str, of: &str| {
        let spread = Spread::of(&values(&measured["replay"][row][of]));
        spread
            .map(|s| s.median)
            .with_context(|| format!("the result lacks {of} of {row}"))
    };
    let verdict = |what: &str, got: f64, limit: f64, unit| Verdict {
        what: what.to_owned(),
        got,
        limit,
        unit,
    };
    let memory = median("dense", "peak_rss")?.max(median("incident", "peak_rss")?);
    let key = |row: &str, of: &str, name: &str, scale: f64| Key {
        name: format!("replay: {name}"),
        values: values(&measured["replay"][row][of])
            .iter()
            .map(|n| n * scale)
            .collect(),
    };
    let million = 1e6 / median("dense", "events")?;
    Ok(Section {
        verb: "replay",
        title: "Recordings",
        head: head(measured, how),
        tables: vec![table(measured)],
        verdicts: vec![
            verdict(
                "CPU time for a million requests",
                median("dense", "cpu_s")? * million,
                MILLION_S,
                " s",
            ),
            verdict(
                "CPU time for a report of ten minutes",
                median("incident", "cpu_s")?,
                REPORT_S,
                " s",
            ),
            verdict("largest memory", memory / 1e6, MEMORY_MB, " MB"),
            verdict(
                "a minute of incident A's load",
                median("incident", "bytes")? / 1e6 / MINUTES,
                MINUTE_MB,
                " MB",
            ),
        ],
        keys: vec![
            key(
                "dense",
                "cpu_s",
                "CPU time for a million requests, s",
                million,
            ),
            key(
                "incident",
                "cpu_s",
                "CPU time for a report of ten minutes, s",
                1.0,
            ),
            key("dense", "peak_rss", "largest memory, MB", 1e-6),
        ],
    })
}

fn table(measured: &Value) -> Table {
    let rows = ROWS.iter().filter_map(|(id, name)| {
        let row = &measured["replay"][*id];
        let spread = |of: &str| Spread::of(&values(&row[of]));
        let two = |s: Spread| format!("{:.2} ({:.2}-{:.2})", s.median, s.least, s.most);
        let cpu = spread("cpu_s")?;
        Some(vec![
            (*name).to_owned(),
            number(spread("bytes").map(|s| s.median / 1e6), 1),
            two(cpu),
            spread("wall_s").map_or_else(|| "-".to_owned(), two),
            number(spread("events").map(|s| s.median / cpu.median), 0),
            number(spread("peak_rss").map(|s| s.most / 1e6), 1),
        ])
    });
    Table {
        caption: "Size, MB; CPU time and wall time, s, median of the rounds (least-most); requests per second of CPU time; largest resident memory, \
                  MB. A request is the largest record of the ring, here with 3 peers and 24 waits (1.3 KB)."
            .to_owned(),
        head: vec!["", "size", "CPU", "wall", "requests/s", "memory"],
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(cpu_s: f64, rss: f64) -> Value {
        let row = |cpu: f64, events: f64, bytes: f64| {
            json!({ "cpu_s": [cpu, cpu], "wall_s": [cpu, cpu], "peak_rss": [rss, rss], "events": [events, events],
                    "bytes": [bytes, bytes] })
        };
        json!({
            "rounds": 2, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1,
            "replay": { "dense": row(cpu_s, 2e6, 3.5e8), "incident": row(0.7, 67_200.0, 1.5e7) },
        })
    }

    #[test]
    fn goals_are_missed_by_number() {
        let good = section(&measured(1.9, 2.5e7)).unwrap();
        assert_eq!(good.missed(), 0);
        assert!(
            good.text().contains("| 1.50 MB | 5 MB | met |"),
            "{}",
            good.text()
        );
        let slow = section(&measured(2.1, 3.1e7)).unwrap();
        assert_eq!(slow.missed(), 2);
        assert_eq!(slow.keys[0].values, [1.05, 1.05]);
        assert!(section(&json!({})).is_err());
    }
}
