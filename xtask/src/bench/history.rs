//! What earlier runs measured: a line of JSON for each full run, a page made from it, and which numbers got worse since.
//!
//! Every key number is a cost: less is better.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::report::Spread;
use crate::sh;

/// One line for each full run, the oldest first.
const FILE: &str = "docs/bench-history.jsonl";
/// The page made from it.
const PAGE: &str = "docs/bench-history.md";
/// Earlier runs that a number is compared with.
const COMPARED: usize = 7;
/// The least values among which there is a spread to speak of.
const ENOUGH: usize = 3;
/// Runs on the page.
const SHOWN: usize = 8;

/// A number that is to stay small.
pub struct Key {
    /// What it is.
    pub name: String,
    /// Of each round.
    pub values: Vec<f64>,
}

/// Key numbers of one run, by name.
pub type Keys = BTreeMap<String, Number>;

/// A key number, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// Over the rounds.
    spread: Spread,
    /// How many rounds.
    rounds: usize,
}

impl Number {
    fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            spread: Spread::of(values)?,
            rounds: values.len(),
        })
    }

    fn read(value: &Value) -> Option<Self> {
        let number = |key: &str| value[key].as_f64();
        Some(Self {
            spread: Spread {
                median: number("median")?,
                least: number("least")?,
                most: number("most")?,
            },
            rounds: value["rounds"].as_u64()? as usize,
        })
    }

    fn json(&self) -> Value {
        // Four digits are more than any of them is worth.
        let short = |n: f64| format!("{n:.4}").parse::<f64>().unwrap_or(n);
        json!({
            "median": short(self.spread.median), "least": short(self.spread.least),
            "most": short(self.spread.most), "rounds": self.rounds,
        })
    }
}

/// What is kept of these.
pub fn kept(keys: impl IntoIterator<Item = Key>) -> Keys {
    let keys = keys.into_iter();
    keys.filter_map(|key| Some((key.name, Number::of(&key.values)?)))
        .collect()
}

/// Adds a run to both files, unless they are to stay as they are; says what got worse.
pub fn add(measured: &Value, keys: &Keys, leave: bool) -> Result<Vec<String>> {
    let worse = add_below(&sh::root(), about(measured), keys, leave)?;
    if !leave {
        println!("\nwritten to {FILE} and {PAGE}");
    }
    Ok(worse)
}

fn add_below(folder: &Path, mut run: Value, keys: &Keys, leave: bool) -> Result<Vec<String>> {
    let file = folder.join(FILE);
    let mut runs = read(&fs::read_to_string(&file).unwrap_or_default())?;
    let worse = worse(&run, keys, &runs);
    let numbers = keys
        .iter()
        .map(|(name, number)| (name.clone(), number.json()));
    run["keys"] = Value::Object(numbers.collect());
    run["worse"] = json!(worse);
    runs.push(run);
    if !leave {
        let lines: Vec<String> = runs.iter().map(|run| format!("{run}\n")).collect();
        sh::write_if_changed(&file, lines.concat().as_bytes())?;
        sh::write_if_changed(&folder.join(PAGE), page(&runs).as_bytes())?;
    }
    let line = |(name, text): (String, String)| format!("{name}: {text}");
    Ok(worse.into_iter().map(line).collect())
}

fn read(text: &str) -> Result<Vec<Value>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("{FILE}: {line:.80}")))
        .collect()
}

/// When, of what and on what: nothing that names a machine.
fn about(measured: &Value) -> Value {
    let git = |args: &[&str]| {
        let text = sh::quiet(Command::new("git").current_dir(sh::root()).args(args));
        text.map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let changed = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!docs",
    ]);
    let changed = if changed.is_some_and(|text| !text.is_empty()) {
        "+"
    } else {
        ""
    };
    let kernel = measured["kernel"].as_str().unwrap_or("unknown");
    json!({
        "date": sh::today().unwrap_or_else(|_| "unknown".into()),
        "commit": format!("{commit}{changed}"),
        // Without what whoever built it added.
        "kernel": kernel.split('-').next(),
        "processor": measured["processor"],
        "cpus": measured["cpus"],
        "load": measured["load"],
        "disturbed_blocks": measured["disturbed_blocks"],
        "stolen": measured["stolen"],
    })
}

/// Which numbers are worse than those of earlier runs on the same kind of machine, and by how much.
///
/// A number is worse when its least value lies above all of theirs, and its median is further from theirs than they are from each other. What was
/// worse already is no measure: it stays marked until it is better, or the line is taken out of the file.
fn worse(run: &Value, keys: &Keys, runs: &[Value]) -> BTreeMap<String, String> {
    let alike = |old: &&Value| {
        ["processor", "cpus"]
            .iter()
            .all(|key| old[*key] == run[*key])
    };
    let alike: Vec<&Value> = runs.iter().filter(alike).collect();
    let verdict = |(name, new): (&String, &Number)| {
        let good = alike
            .iter()
            .rev()
            .filter(|old| old["worse"].get(name).is_none());
        let before: Vec<Number> = good
            .filter_map(|old| Number::read(&old["keys"][name]))
            .take(COMPARED)
            .collect();
        if before.iter().map(|n| n.rounds).sum::<usize>() < ENOUGH {
            return None;
        }
        let medians: Vec<f64> = before.iter().map(|n| n.spread.median).collect();
        let median = Spread::of(&medians)?.median;
        let least = before
            .iter()
            .map(|n| n.spread.least)
            .fold(f64::INFINITY, f64::min);
        let most = before
            .iter()
            .map(|n| n.spread.most)
            .fold(f64::NEG_INFINITY, f64::max);
        let new = new.spread;
        let beyond = new.least > most && new.median - median > most - least;
        beyond.then(|| {
            let text = format!(
                "{} after {} ({}-{})",
                short(new.median),
                short(median),
                short(least),
                short(most)
            );
            (name.clone(), text)
        })
    };
    keys.iter().filter_map(verdict).collect()
}

/// A number with three digits that mean something.
fn short(n: f64) -> String {
    match n.abs() {
        100.0.. => format!("{n:.0}"),
        10.0.. => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

/// The newest runs side by side, and what got worse in each.
fn page(runs: &[Value]) -> String {
    let shown = &runs[runs.len().saturating_sub(SHOWN)..];
    let word = |run: &Value, key: &str| match &run[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut out = format!(
        "<!-- Written by `cargo xtask bench` from {FILE}. -->\n\n# What earlier runs measured\n\n\
         Medians of the rounds; all are costs, less is better. **Bold**: worse than earlier runs on the same kind of machine, by more than these \
         differ among themselves. docs/bench.md says what each is; the file has every run, and the spread of each number.\n"
    );
    for run in shown {
        // Earlier runs did not look.
        let stolen = run["stolen"].as_f64();
        let stolen = stolen.map(|s| format!(", {:.0} % of the CPU time stolen", s * 100.0));
        let _ = write!(
            out,
            "\n- {} `{}`: {} CPUs, {}, Linux {}, load average {}, {} disturbed blocks{}",
            word(run, "date"),
            word(run, "commit"),
            word(run, "cpus"),
            word(run, "processor"),
            word(run, "kernel"),
            word(run, "load"),
            word(run, "disturbed_blocks"),
            stolen.unwrap_or_default(),
        );
        for (name, text) in run["worse"].as_object().unwrap_or(&Map::new()) {
            let _ = write!(out, "\n  - worse: {name}: {}", text.as_str().unwrap_or("?"));
        }
    }
    out.push_str("\n\n| |");
    for run in shown {
        let _ = write!(out, " {} `{}` |", word(run, "date"), word(run, "commit"));
    }
    let _ = writeln!(out, "\n|---|{}", "---|".repeat(shown.len()));
    let names: std::collections::BTreeSet<&String> = shown
        .iter()
        .filter_map(|run| run["keys"].as_object())
        .flat_map(Map::keys)
        .collect();
    for name in names {
        let _ = write!(out, "| {name} |");
        for run in shown {
            let cell = Number::read(&run["keys"][name]).map_or_else(
                || "-".to_owned(),
                |number| match run["worse"].get(name) {
                    Some(_) => format!("**{}**", short(number.spread.median)),
                    None => short(number.spread.median),
                },
            );
            let _ = write!(out, " {cell} |");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: &[f64]) -> (Value, Keys) {
        let keys = kept([Key {
            name: "a / b".into(),
            values: values.to_vec(),
        }]);
        let mut run = json!({ "processor": "x", "cpus": 2, "date": "2026-01-02", "commit": "abc" });
        let numbers = keys.iter().map(|(name, n)| (name.clone(), n.json()));
        run["keys"] = Value::Object(numbers.collect());
        (run, keys)
    }

    fn worse_after(before: &[&[f64]], now: &[f64]) -> bool {
        let before: Vec<Value> = before.iter().map(|values| run(values).0).collect();
        let (run, keys) = run(now);
        !worse(&run, &keys, &before).is_empty()
    }

    #[test]
    fn what_is_within_the_spread_is_no_regression() {
        assert!(!worse_after(&[&[1.0, 1.1, 1.2]], &[1.15, 1.2, 1.25]));
        // Above all of them, but no further than they are from each other.
        assert!(!worse_after(&[&[1.0, 1.1, 1.2]], &[1.21, 1.22, 1.25]));
        // One round overlaps.
        assert!(!worse_after(&[&[1.0, 1.1, 1.2]], &[1.2, 1.5, 1.5]));
    }

    #[test]
    fn what_is_beyond_it_is_one() {
        assert!(worse_after(&[&[1.0, 1.1, 1.2]], &[1.4, 1.4, 1.5]));
        // Single values of several runs have a spread, too.
        assert!(worse_after(&[&[1.0], &[1.1], &[1.05]], &[1.3]));
        assert!(worse_after(&[&[0.0], &[0.0], &[0.0]], &[1.0]));
    }

    #[test]
    fn too_few_values_or_another_machine_are_no_measure() {
        assert!(!worse_after(&[&[1.0], &[1.1]], &[9.0]));
        let mut other = run(&[1.0, 1.1, 1.2]).0;
        other["processor"] = json!("y");
        let (run, keys) = run(&[9.0, 9.0, 9.0]);
        assert!(worse(&run, &keys, &[other]).is_empty());
    }

    #[test]
    fn what_was_worse_before_is_measured_by_what_was_good() {
        let (good, _) = run(&[1.0, 1.1, 1.2]);
        let (mut bad, keys) = run(&[2.0, 2.1, 2.2]);
        bad["worse"] = json!(worse(&bad, &keys, std::slice::from_ref(&good)));
        assert!(bad["worse"].get("a / b").is_some());
        let (again, keys) = run(&[2.0, 2.1, 2.2]);
        assert_eq!(worse(&again, &keys, &[good, bad]).len(), 1);
    }

    #[test]
    fn the_page_marks_what_got_worse() {
        let (good, _) = run(&[1.0, 1.1, 1.2]);
        let (mut bad, keys) = run(&[2.0, 2.1, 2.2]);
        bad["worse"] = json!(worse(&bad, &keys, std::slice::from_ref(&good)));
        let text = page(&[good, bad]);
        assert!(text.contains("| a / b | 1.10 | **2.10** |"), "{text}");
        assert!(
            text.contains("worse: a / b: 2.10 after 1.10 (1.00-1.20)"),
            "{text}"
        );
    }

    #[test]
    fn runs_are_kept_in_order_and_compared() {
        let folder = std::env::temp_dir().join(format!("bench-history-{}", std::process::id()));
        let add = |values: &[f64], leave| {
            let (run, keys) = run(values);
            add_below(&folder, run, &keys, leave).unwrap()
        };
        assert!(add(&[1.0, 1.1, 1.2], false).is_empty());
        let worse = ["a / b: 2.10 after 1.10 (1.00-1.20)"];
        assert_eq!(add(&[2.0, 2.1, 2.2], true), worse);
        assert_eq!(add(&[2.0, 2.1, 2.2], false), worse);
        let kept = fs::read_to_string(folder.join(FILE)).unwrap();
        let page = fs::read_to_string(folder.join(PAGE)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read(&kept).unwrap().len(), 2);
        assert!(page.contains("| a / b | 1.10 | **2.10** |"), "{page}");
    }

    #[test]
    fn a_line_that_is_no_json_is_not_overwritten() {
        assert!(read("{\"a\":1}\n\n{\"b\":2}\n").is_ok_and(|runs| runs.len() == 2));
        assert!(read("{\"a\":1}\n<<<<<<< HEAD\n").is_err());
    }
}
