//! `bench overhead`: what watching costs a system call, beside other tools, as a section of the page.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    history::Key,
    report::{RSS_MB, Spread, Verdict, head, values},
    section::{Section, Table, in_rounds, number, ratios},
};

/// The calls that are measured: name in the result, and in words.
const CALLS: [(&str, &str); 4] = [
    ("poll_none", "poll, no descriptor"),
    ("poll_socket", "poll, one ready TCP socket"),
    ("recv_again", "recvfrom, EAGAIN"),
    ("getppid", "getppid (untraced)"),
];

/// A row of the tables.
struct Row {
    /// Its name in the result.
    id: &'static str,
    /// In words.
    name: &'static str,
    /// What must be installed for it, as the result and Debian name it.
    needs: Option<(&'static str, &'static str)>,
}

const fn row(id: &'static str, name: &'static str) -> Row {
    Row {
        id,
        name,
        needs: None,
    }
}

const fn other(
    id: &'static str,
    name: &'static str,
    tool: &'static str,
    package: &'static str,
) -> Row {
    Row {
        id,
        name,
        needs: Some((tool, package)),
    }
}

/// All of them.
const ROWS: [Row; 10] = [
    row("nothing", "nothing attached"),
    row("floor", "empty programs on enter and exit: the floor"),
    other(
        "bpftrace_count",
        "bpftrace, count by comm (enter only)",
        "bpftrace",
        "bpftrace",
    ),
    row("count", "stallscope count poll recvfrom"),
    other(
        "bpftrace_hist",
        "bpftrace, enter + exit, histogram by pid",
        "bpftrace",
        "bpftrace",
    ),
    row("target", "stallscope diagnose --pid, the target"),
    row("non_target", "the same, a process that is no target"),
    row("follow_all", "stallscope diagnose, all processes"),
    other("perf_trace", "perf trace -s -p", "perf", "linux-perf"),
    other("strace", "strace -c -p", "strace", "strace"),
];

/// A goal: at most `limit` times the cost of `over`.
struct Goal {
    what: &'static str,
    row: &'static str,
    over: &'static str,
    calls: &'static [&'static str],
    limit: f64,
}

/// The accounted calls that goals are about.
const POLLS: &[&str] = &["poll_none", "poll_socket"];

const GOALS: [Goal; 6] = [
    Goal {
        what: "target / floor",
        row: "target",
        over: "floor",
        calls: POLLS,
        limit: 2.0,
    },
    Goal {
        what: "target / bpftrace histogram",
        row: "target",
        over: "bpftrace_hist",
        calls: POLLS,
        limit: 0.5,
    },
    Goal {
        what: "count / bpftrace count",
        row: "count",
        over: "bpftrace_count",
        calls: POLLS,
        limit: 0.8,
    },
    Goal {
        what: "non-target / floor",
        row: "non_target",
        over: "floor",
        calls: POLLS,
        limit: 1.25,
    },
    // Measured twice, equal costs differ by some percent.
    Goal {
        what: "untraced call, target / floor",
        row: "target",
        over: "floor",
        calls: &["getppid"],
        limit: 1.05,
    },
    Goal {
        what: "untraced call, follow all / floor",
        row: "follow_all",
        over: "floor",
        calls: &["getppid"],
        limit: 1.05,
    },
];

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    let how = format!(
        "{} ms of CPU time for each call in each round; the caller pinned to the last CPU, the tools to the first",
        measured["sample_ms"]
    );
    let mut head = head(measured, &how);
    let tools = ["perf", "strace"].map(|tool| measured[tool].as_str());
    head.extend(tools.into_iter().flatten().map(str::to_owned));
    Ok(Section {
        verb: "overhead",
        title: "A system call",
        head,
        tables: vec![cpu(measured)?, wall(measured)?, others(measured)],
        verdicts: verdicts(measured)?,
        keys: keys(measured),
    })
}

/// Median over the rounds of the ratio within each round: what slows a whole round down cancels out.
fn ratio(ns: &Value, row: &str, over: &str, call: &str) -> Option<f64> {
    in_rounds(&ns[row][call], &ns[over][call], |a, b| a / b)
}

fn name_of(call: &str) -> &'static str {
    CALLS
        .iter()
        .find(|(id, _)| *id == call)
        .map_or("?", |(_, name)| name)
}

/// A table of all rows, of which only those of tools that are not installed may be without numbers.
fn table(
    measured: &Value,
    caption: &str,
    head: Vec<&'static str>,
    of: impl Fn(&str) -> Option<Vec<String>>,
) -> Result<Table> {
    let row = |row: &Row| {
        let mut cells = match (of(row.id), row.needs) {
            (Some(cells), _) => cells,
            (None, Some((tool, package))) if measured[tool].is_null() => {
                vec![format!(
                    "not measured: {tool} is not installed (Debian package {package})"
                )]
            }
            (None, _) => bail!("the result lacks {}", row.id),
        };
        cells.insert(0, row.name.to_owned());
        cells.resize(head.len(), String::new());
        Ok(cells)
    };
    Ok(Table {
        caption: caption.to_owned(),
        rows: ROWS.iter().map(row).collect::<Result<_>>()?,
        head,
    })
}

fn cpu(measured: &Value) -> Result<Table> {
    let head = std::iter::once("").chain(CALLS.map(|(_, name)| name));
    let caption = "CPU time in ns, median of the rounds (least-most).";
    table(measured, caption, head.collect(), |row| {
        let cells = CALLS.iter().map(|(call, _)| {
            let spread = Spread::of(&values(&measured["ns"][row][*call]))?;
            Some(spread.rounded())
        });
        cells.collect()
    })
}

fn wall(measured: &Value) -> Result<Table> {
    let calls = || POLLS.iter().chain(&["getppid"]);
    let mut head = vec![""];
    head.extend(calls().flat_map(|call| [name_of(call), "/ nothing"]));
    head.push("counted");
    let caption = "The same by the clock, with the ratio to nothing attached, and how many of the calls the tool counted. A process that \
                   is stopped for each call loses time in which it uses no CPU.";
    let ns = &measured["wall_ns"];
    table(measured, caption, head, |row| {
        let mut cells = Vec::new();
        for call in calls() {
            cells.push(Spread::of(&values(&ns[row][*call]))?.rounded());
            cells.push(number(ratio(ns, row, "nothing", call), 1));
        }
        let counted = values(&measured["tools"][row]["counted_percent"]);
        cells.push(match (row, Spread::of(&counted)) {
            (_, Some(percent)) => format!("{:.1} %", percent.median),
            ("nothing" | "floor", None) => "-".to_owned(),
            ("non_target", None) => "none".to_owned(),
            // A sample in which it did not count every call is refused by the measuring program.
            (_, None) => "all".to_owned(),
        });
        Some(cells)
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for goal in &GOALS {
        for call in goal.calls {
            if let Some(got) = ratio(&measured["ns"], goal.row, goal.over, call) {
                let what = format!("{}: {}", goal.what, name_of(call));
                verdicts.push(Verdict {
                    what,
                    got,
                    limit: goal.limit,
                    unit: "",
                });
            }
        }
    }
    let tools = &measured["tools"];
    for (what, variant) in [("diagnose --pid", "diagnose"), ("diagnose", "diagnose_all")] {
        let rss = Spread::of(&values(&tools[variant]["peak_rss_bytes"]))
            .context("the result lacks memory")?;
        let what = format!("largest resident memory of `{what}`");
        verdicts.push(Verdict {
            what,
            got: rss.most / 1e6,
            limit: RSS_MB,
            unit: " MB",
        });
    }
    Ok(verdicts)
}

/// What has no goal.
fn others(measured: &Value) -> Table {
    let (ns, tools) = (&measured["ns"], &measured["tools"]);
    let mut rows = Vec::new();
    let mut add = |what: String, value: String| rows.push(vec![what, value]);
    for (what, row, over, call) in [
        ("target / floor", "target", "floor", "recv_again"),
        (
            "target / bpftrace histogram",
            "target",
            "bpftrace_hist",
            "recv_again",
        ),
        ("non-target / floor", "non_target", "floor", "recv_again"),
        ("follow all / floor", "follow_all", "floor", "poll_none"),
        ("follow all / floor", "follow_all", "floor", "poll_socket"),
        (
            "untraced call, floor / nothing attached",
            "floor",
            "nothing",
            "getppid",
        ),
    ] {
        if let Some(got) = ratio(ns, row, over, call) {
            add(format!("{what}: {}", name_of(call)), format!("{got:.2}"));
        }
    }
    if let Some(start) = Spread::of(&values(&tools["diagnose"]["own_start_ms"])) {
        add(
            "until everything was attached, as `diagnose --pid` itself says (`cost.start_ns`)"
                .into(),
            format!("{:.0} ms", start.median),
        );
    }
    if let Some(rss) = Spread::of(&values(&tools["bpftrace_hist"]["peak_rss_bytes"])) {
        add(
            "largest resident memory of bpftrace (histogram)".into(),
            format!("{:.0} MB", rss.most / 1e6),
        );
    }
    if let Some(rss) = Spread::of(&values(&tools["count"]["peak_rss_bytes"])) {
        add(
            "largest resident memory of `count poll recvfrom`".into(),
            format!("{:.1} MB", rss.most / 1e6),
        );
    }
    Table {
        caption: "Beside the goals. Ratios are of CPU time.".to_owned(),
        head: vec!["", ""],
        rows,
    }
}

fn keys(measured: &Value) -> Vec<Key> {
    let key = |what: &str, ns: &Value, row: &str, over: &str, call: &str| Key {
        name: format!("overhead: {what}: {}", name_of(call)),
        values: ratios(&ns[row][call], &ns[over][call]),
    };
    let mut keys = Vec::new();
    for goal in &GOALS {
        for call in goal.calls {
            keys.push(key(goal.what, &measured["ns"], goal.row, goal.over, call));
        }
    }
    for (what, over) in [
        ("target / perf trace, by the clock", "perf_trace"),
        ("target / strace, by the clock", "strace"),
    ] {
        keys.push(key(what, &measured["wall_ns"], "target", over, "poll_none"));
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(target: f64) -> Value {
        let mut ns = json!({});
        for Row { id: row, .. } in &ROWS {
            for (call, _) in CALLS {
                let cost = if *row == "target" && call != "getppid" {
                    target
                } else {
                    100.0
                };
                ns[row][call] = json!([cost, cost, cost * 3.0]);
            }
        }
        // One slow round slows everything down in it.
        ns["bpftrace_count"]["poll_none"] = json!([200.0, 200.0, 600.0]);
        ns["bpftrace_count"]["poll_socket"] = json!([200.0, 200.0, 600.0]);
        ns["bpftrace_hist"]["poll_none"] = json!([400.0, 400.0, 1200.0]);
        ns["bpftrace_hist"]["poll_socket"] = json!([400.0, 400.0, 1200.0]);
        json!({
            "rounds": 3, "sample_ms": 10, "cpus": 2, "processor": "x", "kernel": "6.1", "bpftrace": "bpftrace v0",
            "blocks": 24, "disturbed_blocks": 0, "load": 0.1, "wall_ns": ns.clone(), "ns": ns,
            "perf": "perf version 6.1", "strace": "strace -- version 6.1",
            "tools": {
                "perf_trace": { "counted_percent": [99.0] },
                "diagnose": { "peak_rss_bytes": [9e6] }, "diagnose_all": { "peak_rss_bytes": [9e6] },
            },
        })
    }

    #[test]
    fn a_goal_is_met_or_missed_by_its_ratio() {
        assert_eq!(section(&measured(150.0)).unwrap().missed(), 0);
        let section = section(&measured(250.0)).unwrap();
        // Over 2.0 times the floor and over half of bpftrace's, for both kinds of poll.
        assert_eq!(section.missed(), 4);
        assert!(section.text().contains("| 2.50 | 2 | **missed** |"));
    }

    #[test]
    fn memory_is_a_goal_too() {
        let mut large = measured(150.0);
        large["tools"]["diagnose_all"]["peak_rss_bytes"] = json!([9e6, 21e6]);
        assert_eq!(section(&large).unwrap().missed(), 1);
    }

    #[test]
    fn without_bpftrace_its_rows_are_left_out_and_the_reason_is_given() {
        let mut alone = measured(150.0);
        for ns in ["ns", "wall_ns"] {
            let rows = alone[ns].as_object_mut().unwrap();
            rows.retain(|row, _| !row.starts_with("bpftrace"));
        }
        // It is there, and was not measured.
        assert!(section(&alone).is_err());
        alone["bpftrace"] = Value::Null;
        let text = section(&alone).unwrap().text();
        assert!(
            text.contains("not measured: bpftrace is not installed"),
            "{text}"
        );
        assert!(!text.contains("count / bpftrace count"), "{text}");
    }

    #[test]
    fn what_tracers_count_and_cost_by_the_clock_is_told() {
        let section = section(&measured(150.0)).unwrap();
        let text = section.text();
        assert!(
            text.contains("| perf trace -s -p | 100 (100-300) | 1.0 | 100 (100-300) | 1.0 | 100 (100-300) | 1.0 | 99.0 % |"),
            "{text}"
        );
        let kept = section.keys.iter().find(|key| key.name.contains("strace"));
        assert_eq!(
            kept.map(|key| key.values.clone()),
            Some(vec![1.5, 1.5, 1.5])
        );
    }

    #[test]
    fn a_result_without_rows_is_refused() {
        assert!(section(&json!({ "ns": {} })).is_err());
    }
}
