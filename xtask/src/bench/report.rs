//! From samples to a table, ratios and verdicts, as text and as a page.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    section::{in_rounds, number, ratios},
};

/// What follows this line on the page is written by hand, and kept.
const NOTES: &str = "<!-- What follows is written by hand; the lines above are generated. -->";

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

/// Largest resident memory while diagnosing, MB.
pub const RSS_MB: f64 = 20.0;

/// A goal with its number.
pub struct Verdict {
    /// What is held to it.
    pub what: String,
    /// What was measured.
    pub got: f64,
    /// The most that it may be.
    pub limit: f64,
    /// Of both.
    pub unit: &'static str,
}

impl Verdict {
    /// Is it within the limit?
    pub fn met(&self) -> bool {
        self.got <= self.limit
    }
}

/// Everything that is printed.
pub struct Report {
    head: Vec<String>,
    /// CPU time of a call by row, ns.
    rows: Cells,
    /// The same by the clock, with its ratio to nothing attached and what the tool counted.
    wall: Cells,
    verdicts: Vec<Verdict>,
    /// What has no goal: the ratios of other calls, bpftrace's own memory.
    others: Vec<String>,
    keys: Vec<Key>,
}

/// Rows of a table: a name, and cells, or why there are none.
type Cells = Vec<(&'static str, Result<Vec<String>, String>)>;

/// Median and extremes of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half are less.
    pub median: f64,
    /// None is less.
    pub least: f64,
    /// None is more.
    pub most: f64,
}

impl Spread {
    /// Of some values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return None,
            n if n % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        Some(Self {
            median,
            least: sorted[0],
            most: sorted[sorted.len() - 1],
        })
    }

    /// `median (least-most)`, in whole numbers.
    pub fn rounded(&self) -> String {
        format!("{:.0} ({:.0}-{:.0})", self.median, self.least, self.most)
    }
}

/// The numbers of a list.
pub fn values(list: &Value) -> Vec<f64> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_f64).collect()
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

/// A table's rows, of which only those of tools that are not installed may be missing.
fn cells(measured: &Value, of: impl Fn(&str) -> Option<Vec<String>>) -> Result<Cells> {
    let cells = |row: &Row| match (of(row.id), row.needs) {
        (Some(cells), _) => Ok((row.name, Ok(cells))),
        (None, Some((tool, package))) if measured[tool].is_null() => {
            let why = format!("not measured: {tool} is not installed (Debian package {package})");
            Ok((row.name, Err(why)))
        }
        (None, _) => anyhow::bail!("the result lacks {}", row.id),
    };
    ROWS.iter().map(cells).collect()
}

impl Report {
    /// Judges what was measured.
    pub fn of(measured: &Value) -> Result<Self> {
        let rows = cells(measured, |row| {
            let cells = CALLS.iter().map(|(call, _)| {
                let spread = Spread::of(&values(&measured["ns"][row][*call]))?;
                Some(spread.rounded())
            });
            cells.collect()
        })?;
        let wall = cells(measured, |row| {
            let ns = &measured["wall_ns"];
            let mut cells = Vec::new();
            for call in POLLS.iter().chain(&["getppid"]) {
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
        })?;
        let mut head = head(
            measured,
            &format!(
                "{} ms of CPU time for each call in each round; the caller pinned to the last CPU, the tools to the first",
                measured["sample_ms"]
            ),
        );
        let tools = ["perf", "strace"].map(|tool| measured[tool].as_str());
        head.extend(tools.into_iter().flatten().map(str::to_owned));
        Ok(Self {
            head,
            rows,
            wall,
            verdicts: verdicts(measured)?,
            others: others(measured),
            keys: keys(measured),
        })
    }

    /// What is kept, to be compared with later runs.
    pub fn keys(self) -> Vec<Key> {
        self.keys
    }

    /// How many goals are missed.
    pub fn missed(&self) -> usize {
        self.verdicts.iter().filter(|v| !v.met()).count()
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            let _ = writeln!(out, "{line}");
        }
        out.push('\n');
        self.tables(&mut out);
        out.push('\n');
        for v in &self.verdicts {
            let verdict = if v.met() { "met" } else { "MISSED" };
            let _ = writeln!(
                out,
                "{verdict:<7} {:<58} {:>7.2}{} (goal: at most {}{})",
                v.what, v.got, v.unit, v.limit, v.unit
            );
        }
        out.push('\n');
        for line in &self.others {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    fn tables(&self, out: &mut String) {
        let mut table = |caption: &str, head: &[&str], rows: &Cells| {
            let _ = writeln!(out, "{caption}\n\n| | {} |", head.join(" | "));
            let _ = writeln!(out, "|{}", "---|".repeat(head.len() + 1));
            for (name, cells) in rows {
                let cells = match cells {
                    Ok(cells) => cells.join(" | "),
                    Err(why) => format!("{why}{}", " |".repeat(head.len() - 1)),
                };
                let _ = writeln!(out, "| {name} | {cells} |");
            }
        };
        table(
            "CPU time of one system call in ns: median of the rounds (least-most).",
            &CALLS.map(|(_, name)| name),
            &self.rows,
        );
        table(
            "\nThe same by the clock, with the ratio to nothing attached, and how many of the calls the tool counted. A process that is stopped \
             for each call loses time in which it uses no CPU.",
            &[
                name_of("poll_none"),
                "/ nothing",
                name_of("poll_socket"),
                "/ nothing",
                name_of("getppid"),
                "/ nothing",
                "counted",
            ],
            &self.wall,
        );
    }

    /// The page, with the notes of the old one.
    pub fn page(&self, old: &str) -> String {
        let mut out = String::from(
            "<!-- Written by `cargo xtask bench overhead`. -->\n\n# What watching costs\n\n",
        );
        for line in &self.head {
            let _ = writeln!(out, "- {line}");
        }
        out.push('\n');
        self.tables(&mut out);
        out.push_str("\n## Goals\n\nRatios are the median over the rounds of the ratio within each round.\n\n");
        out.push_str("| | measured | goal | |\n|---|---|---|---|\n");
        for v in &self.verdicts {
            let verdict = if v.met() { "met" } else { "**missed**" };
            let _ = writeln!(
                out,
                "| {} | {:.2}{unit} | at most {}{unit} | {verdict} |",
                v.what,
                v.got,
                v.limit,
                unit = v.unit
            );
        }
        out.push_str("\n## Beside the goals\n\n");
        for line in &self.others {
            let _ = writeln!(out, "- {line}");
        }
        out.push('\n');
        out.push_str(NOTES);
        out.push('\n');
        if let Some((_, notes)) = old.split_once(NOTES) {
            out.push_str(notes.strip_prefix('\n').unwrap_or(notes));
        }
        out
    }
}

/// With less of its CPU time taken away, a share, a machine is steady enough for medians of ratios.
const STOLEN: f64 = 0.02;

/// On what, how, and what stood in the way.
pub fn head(measured: &Value, how: &str) -> Vec<String> {
    let text = |key: &str| measured[key].as_str().unwrap_or("unknown").to_owned();
    let mut lines = vec![
        format!(
            "machine: {} CPUs, {}, Linux {}",
            measured["cpus"],
            text("processor"),
            text("kernel")
        ),
        format!(
            "{} rounds, {how}; load average at the end {}",
            measured["rounds"], measured["load"]
        ),
    ];
    match measured.get("bpftrace").map(Value::as_str) {
        // It takes no part.
        None => {}
        Some(Some(version)) => lines.push(version.to_owned()),
        Some(None) => lines.push("bpftrace is not installed: its rows are left out (`cargo xtask setup --tests` installs it)".into()),
    }
    if let Some(n @ 1..) = measured["disturbed_blocks"].as_u64() {
        lines.push(format!(
            "DISTURBED: in {n} of {} blocks other tracing programs were loaded on this machine, which adds to every number",
            measured["blocks"]
        ));
    }
    if let Some(stolen @ STOLEN..) = measured["stolen"].as_f64() {
        lines.push(format!(
            "DISTURBED: the hypervisor took {:.0} % of the CPU time, which adds to every time",
            stolen * 100.0
        ));
    }
    lines
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

fn others(measured: &Value) -> Vec<String> {
    let (ns, tools) = (&measured["ns"], &measured["tools"]);
    let mut lines = Vec::new();
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
            lines.push(format!("{what}: {}: {got:.2}", name_of(call)));
        }
    }
    if let Some(start) = Spread::of(&values(&tools["diagnose"]["own_start_ms"])) {
        lines.push(format!(
            "`diagnose --pid` itself says that everything was attached after {:.0} ms (`cost.start_ns`)",
            start.median
        ));
    }
    if let Some(rss) = Spread::of(&values(&tools["bpftrace_hist"]["peak_rss_bytes"])) {
        lines.push(format!(
            "largest resident memory of bpftrace (histogram): {:.0} MB",
            rss.most / 1e6
        ));
    }
    if let Some(rss) = Spread::of(&values(&tools["count"]["peak_rss_bytes"])) {
        lines.push(format!(
            "largest resident memory of `count poll recvfrom`: {:.1} MB",
            rss.most / 1e6
        ));
    }
    lines
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
        assert_eq!(Report::of(&measured(150.0)).unwrap().missed(), 0);
        let report = Report::of(&measured(250.0)).unwrap();
        // Over 2.0 times the floor and over half of bpftrace's, for both kinds of poll.
        assert_eq!(report.missed(), 4);
        assert!(report.text().contains("MISSED  target / floor"));
        assert!(
            report
                .page("")
                .contains("| 2.50 | at most 2 | **missed** |")
        );
    }

    #[test]
    fn memory_is_a_goal_too() {
        let mut large = measured(150.0);
        large["tools"]["diagnose_all"]["peak_rss_bytes"] = json!([9e6, 21e6]);
        assert_eq!(Report::of(&large).unwrap().missed(), 1);
    }

    #[test]
    fn without_bpftrace_its_rows_are_left_out_and_the_reason_is_given() {
        let mut alone = measured(150.0);
        for ns in ["ns", "wall_ns"] {
            let rows = alone[ns].as_object_mut().unwrap();
            rows.retain(|row, _| !row.starts_with("bpftrace"));
        }
        // It is there, and was not measured.
        assert!(Report::of(&alone).is_err());
        alone["bpftrace"] = Value::Null;
        let text = Report::of(&alone).unwrap().text();
        assert!(
            text.contains("not measured: bpftrace is not installed"),
            "{text}"
        );
        assert!(!text.contains("count / bpftrace count"), "{text}");
    }

    #[test]
    fn what_tracers_count_and_cost_by_the_clock_is_told() {
        let report = Report::of(&measured(150.0)).unwrap();
        let text = report.text();
        assert!(
            text.contains("| perf trace -s -p | 100 (100-300) | 1.0 | 100 (100-300) | 1.0 | 100 (100-300) | 1.0 | 99.0 % |"),
            "{text}"
        );
        let keys = report.keys();
        let kept = keys.iter().find(|key| key.name.contains("strace"));
        assert_eq!(
            kept.map(|key| key.values.clone()),
            Some(vec![1.5, 1.5, 1.5])
        );
    }

    #[test]
    fn notes_on_the_page_stay() {
        let report = Report::of(&measured(150.0)).unwrap();
        let first = report.page("");
        let with_notes = format!("{first}\n## Why\n\nBecause.\n");
        assert_eq!(report.page(&with_notes), with_notes);
    }

    #[test]
    fn a_result_without_rows_is_refused() {
        assert!(Report::of(&json!({ "ns": {} })).is_err());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 2.5,
                least: 1.0,
                most: 4.0
            }
        );
        assert_eq!(Spread::of(&[]), None);
    }
}
