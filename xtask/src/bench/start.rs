//! `bench start`: how soon tools say something, and what they hold, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{RSS_MB, Spread, Verdict, head, values},
    section::{Section, Table, number, ratios},
};

/// Tools: name in the result, in words, and what is installed for it.
const ROWS: [(&str, &str, &str); 8] = [
    ("count", "stallscope count poll recvfrom", ""),
    ("bpftrace_count", "bpftrace, the same", "bpftrace"),
    ("tcp", "stallscope tcp", ""),
    (
        "bpftrace_states",
        "bpftrace, TCP states by process",
        "bpftrace",
    ),
    ("tcpstates", "tcpstates of libbpf-tools", "tcpstates"),
    ("diagnose_pid", "stallscope diagnose --pid", ""),
    ("diagnose", "stallscope diagnose, all processes", ""),
    (
        "bpftrace_signals",
        "bpftrace, a line for each of its signals",
        "bpftrace",
    ),
];

/// Longest time to the first data, ms.
const START_MS: f64 = 100.0;

/// Which ratios are kept: a tool of ours over one of others.
const BESIDE: [(&str, &str); 4] = [
    ("count", "bpftrace_count"),
    ("tcp", "bpftrace_states"),
    ("tcp", "tcpstates"),
    ("diagnose", "bpftrace_signals"),
];

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    let mut head = head(
        measured,
        "each tool alone, on any CPU, with a connection made and closed every 2 ms",
    );
    if let Some(version) = measured["tcpstates"].as_str() {
        head.push(format!("tcpstates: {version}"));
    }
    Ok(Section {
        verb: "start",
        title: "Start and memory",
        head,
        tables: vec![table(measured)?],
        verdicts: verdicts(measured)?,
        keys: keys(measured),
    })
}

fn table(measured: &Value) -> Result<Table> {
    let mut rows = Vec::new();
    for (id, name, package) in ROWS {
        let row = &measured["rows"][id];
        let median = |of: &str| Spread::of(&values(&row[of])).map(|s| s.median);
        let mut cells = vec![name.to_owned()];
        match Spread::of(&values(&row["first_ms"])) {
            Some(first) => cells.extend([
                first.rounded(),
                number(median("cpu_ms"), 0),
                number(median("peak_rss").map(|b| b / 1e6), 1),
                number(median("rss").map(|b| b / 1e6), 1),
                number(median("map_bytes").map(|b| b / 1e6), 1),
                number(median("programs"), 0),
                number(median("rest_percent"), 2),
            ]),
            None if package.is_empty() => anyhow::bail!("the result lacks {id}"),
            None => {
                cells.push(format!("not measured: {package} is not installed"));
                cells.resize(8, String::new());
            }
        }
        rows.push(cells);
    }
    Ok(Table {
        caption: "From the start of the process to the first byte of its result, ms, median of the rounds (least-most), and the CPU time of that run, ms, \
                  its end included. Its largest resident memory in it, MB; then, of one that goes on: resident memory, memory of its maps \
                  as the kernel accounts it, MB, its BPF programs, and its CPU time at rest in the first second, percent of one CPU."
            .to_owned(),
        head: vec![
            "",
            "first data",
            "CPU",
            "memory at most",
            "memory",
            "maps",
            "programs",
            "at rest",
        ],
        rows,
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let spread = |id: &str, of: &str| {
        let spread = Spread::of(&values(&measured["rows"][id][of]));
        spread.with_context(|| format!("the result lacks {of} of {id}"))
    };
    let mut all = Vec::new();
    for (id, name) in [
        ("count", "count poll recvfrom"),
        ("tcp", "tcp"),
        ("diagnose_pid", "diagnose --pid"),
        ("diagnose", "diagnose"),
    ] {
        all.push(Verdict {
            what: format!("start of `{name}` to first data"),
            got: spread(id, "first_ms")?.median,
            limit: START_MS,
            unit: " ms",
        });
        all.push(Verdict {
            what: format!("largest resident memory of `{name}`"),
            got: spread(id, "peak_rss")?.most.max(spread(id, "rss")?.most) / 1e6,
            limit: RSS_MB,
            unit: " MB",
        });
    }
    Ok(all)
}

fn keys(measured: &Value) -> Vec<Key> {
    let rows = &measured["rows"];
    let key = |what: &str, name: &str, (ours, theirs): (&str, &str)| Key {
        name: format!("start: {ours} / {theirs}: {name}"),
        values: ratios(&rows[ours][what], &rows[theirs][what]),
    };
    let beside = |pair: &(&str, &str)| {
        [
            key("first_ms", "first data", *pair),
            key("cpu_ms", "CPU time", *pair),
            key("rss", "memory", *pair),
        ]
    };
    let mut all: Vec<Key> = BESIDE.iter().flat_map(beside).collect();
    for id in ["count", "tcp", "diagnose"] {
        all.push(Key {
            name: format!("start: {id}: CPU time, ms"),
            values: values(&rows[id]["cpu_ms"]),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(first_ms: f64) -> Value {
        let row = |first: f64, rss: f64| {
            json!({ "first_ms": [first, first], "cpu_ms": [5.0, 5.0], "peak_rss": [rss, rss], "rss": [rss, rss],
                    "map_bytes": [2e6, 2e6], "programs": [9.0, 9.0], "rest_percent": [0.5, 0.5] })
        };
        json!({
            "rounds": 2, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1, "blocks": 3, "disturbed_blocks": 0,
            "bpftrace": "bpftrace v0", "tcpstates": null,
            "rows": {
                "count": row(20.0, 9e6), "tcp": row(50.0, 9e6), "diagnose_pid": row(first_ms, 1e7), "diagnose": row(90.0, 1e7),
                "bpftrace_count": row(80.0, 9e7),
            },
        })
    }

    #[test]
    fn start_and_memory_are_judged_and_what_is_missing_is_said() {
        let found = section(&measured(90.0)).unwrap();
        assert_eq!(found.missed(), 0);
        let text = found.text();
        assert!(
            text.contains("not measured: tcpstates is not installed"),
            "{text}"
        );
        let kept = found
            .keys
            .iter()
            .find(|key| key.name.contains("count / bpftrace_count: first"));
        assert_eq!(kept.map(|key| key.values.clone()), Some(vec![0.25, 0.25]));
    }

    #[test]
    fn goals_are_missed_by_number() {
        assert_eq!(section(&measured(101.0)).unwrap().missed(), 1);
        let mut large = measured(90.0);
        large["rows"]["diagnose"]["rss"] = json!([1e7, 2.1e7]);
        assert_eq!(section(&large).unwrap().missed(), 1);
        assert!(section(&json!({})).is_err());
    }
}
