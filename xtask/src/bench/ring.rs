//! `bench ring`: how many events a second go through the ring, and that the rest is counted, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, number},
};

/// What was sent and who read it: name in the result, and in words.
const ROWS: [(&str, &str); 3] = [
    ("alone", "the ring alone, the barest reader"),
    ("connects", "stallscope tcp: failed connects"),
    ("requests", "stallscope diagnose: requests with 24 waits"),
];

/// CPU time of the reader of the ring alone, percent of one CPU.
const READER_PERCENT: f64 = 30.0;

/// Memory of the tool at its largest, however fast events come, MB: what there is of them for a moment, which it may not let grow.
const PEAK_MB: f64 = 100.0;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    let how = "events are sent on the last CPU by a program that BPF_PROG_TEST_RUN repeats, as the kernel side sends them; who reads them is on the first";
    Ok(Section {
        verb: "ring",
        title: "The ring",
        head: head(measured, how),
        tables: vec![table(measured)?],
        verdicts: verdicts(measured)?,
        keys: keys(measured),
    })
}

/// The median of a number of a row.
fn median(measured: &Value, row: &str, of: &str) -> Option<f64> {
    Some(Spread::of(&values(&measured["rows"][row][of]))?.median)
}

fn table(measured: &Value) -> Result<Table> {
    let seconds = measured["long_s"].as_u64().context("how long")?;
    let rows = ROWS.iter().filter_map(|(id, name)| {
        let of = |what: &str| median(measured, id, what);
        let mb = |what: &str| of(what).map(|bytes| bytes / 1e6);
        Some(vec![
            (*name).to_owned(),
            number(Some(of("record_bytes")?), 0),
            number(of("per_s"), 0),
            number(of("lost"), 0),
            number(of("reader_percent"), 1),
            number(of("beyond_per_s"), 0),
            number(of("beyond_lost"), 0),
            number(of("unaccounted"), 0),
            number(mb("peak_bytes"), 0),
        ])
    });
    let rows: Vec<_> = rows.collect();
    anyhow::ensure!(!rows.is_empty(), "the result lacks rows");
    Ok(Table {
        caption: format!(
            "Events a second for {seconds} s: the goal for the ring alone, and for the tool the highest rate of those tried at which none was lost (0 where some were at each); how \
             many were lost; CPU time of the reader, percent of one CPU. Then as fast as this machine sends: events a second, how many were \
             lost, and how many of all that were ever sent are neither in the report nor counted as lost. Last, the tool's largest memory, MB."
        ),
        head: vec![
            "",
            "bytes",
            "events/s",
            "lost",
            "reader, %",
            "at most, events/s",
            "lost",
            "unaccounted",
            "memory",
        ],
        rows,
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let goal = measured["goal_per_s"].as_f64().context("the goal")?;
    let of = |row: &str, what: &str| {
        median(measured, row, what).with_context(|| format!("the result lacks {row}"))
    };
    let verdict = |what: String, got: f64, limit: f64, unit| Verdict {
        what,
        got,
        limit,
        unit,
    };
    let mut all = vec![
        verdict(
            format!("the ring alone: {goal:.0} a second over what was sent and not lost"),
            goal * 0.97 / (of("alone", "per_s")? * (1.0 - share_lost(measured))),
            1.0,
            "",
        ),
        verdict(
            "the ring alone: lost".to_owned(),
            of("alone", "lost")?,
            0.0,
            "",
        ),
        verdict(
            "the ring alone: CPU time of the reader".to_owned(),
            of("alone", "reader_percent")?,
            READER_PERCENT,
            " %",
        ),
        verdict(
            format!(
                "stallscope tcp, up to its report: {goal:.0} a second over the rate without loss"
            ),
            goal / of("connects", "rate")?,
            1.0,
            "",
        ),
    ];
    for (row, name) in &ROWS[1..] {
        let what = format!("{name}: largest memory");
        all.push(verdict(what, of(row, "peak_bytes")? / 1e6, PEAK_MB, " MB"));
    }
    for (row, name) in ROWS {
        let what = format!("{name}: neither seen nor counted as lost");
        all.push(verdict(what, of(row, "unaccounted")?, 0.0, ""));
    }
    Ok(all)
}

/// Of what was sent to the ring alone at the goal's pace, how much was lost.
fn share_lost(measured: &Value) -> f64 {
    let of = |what: &str| median(measured, "alone", what).unwrap_or(0.0);
    let seconds = measured["long_s"].as_f64().unwrap_or(1.0);
    of("lost") / (of("per_s") * seconds).max(1.0)
}

fn keys(measured: &Value) -> Vec<Key> {
    let list = |row: &str, of: &str| values(&measured["rows"][row][of]);
    let mut keys = vec![Key {
        name: "ring: the barest reader at the goal's rate, percent of a CPU".to_owned(),
        values: list("alone", "reader_percent"),
    }];
    for (row, name) in &ROWS[1..] {
        keys.push(Key {
            name: format!("ring: {name}: ns between two events, without loss"),
            values: list(row, "rate")
                .iter()
                .filter(|rate| **rate > 0.0)
                .map(|rate| 1e9 / rate)
                .collect(),
        });
        keys.push(Key {
            name: format!("ring: {name}: CPU time of the reader for an event, ns"),
            values: list(row, "reader_percent")
                .iter()
                .zip(list(row, "per_s"))
                .filter(|(_, per_s)| *per_s > 0.0)
                .map(|(percent, per_s)| percent * 1e7 / per_s)
                .collect(),
        });
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(lost: f64, unaccounted: f64) -> Value {
        let row = |rate: f64| {
            json!({ "record_bytes": [56.0], "rate": [rate], "per_s": [rate], "lost": [lost], "reader_percent": [20.0],
                    "beyond_per_s": [5e6], "beyond_lost": [7.0], "unaccounted": [unaccounted], "peak_bytes": [3e7] })
        };
        json!({
            "rounds": 1, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1, "blocks": 3, "disturbed_blocks": 0,
            "goal_per_s": 4e6, "long_s": 10,
            "rows": { "alone": row(4e6), "connects": row(4e6), "requests": row(1e5) },
        })
    }

    #[test]
    fn every_event_must_be_accounted_for() {
        assert_eq!(section(&measured(0.0, 0.0)).unwrap().missed(), 0);
        // Each of the three rows has one that is nowhere.
        assert_eq!(section(&measured(0.0, 1.0)).unwrap().missed(), 3);
    }

    #[test]
    fn a_loss_is_a_goal_missed() {
        let found = section(&measured(9.0, 0.0)).unwrap();
        assert_eq!(found.missed(), 1);
        let text = found.text();
        assert!(text.contains("| 56 | 4000000 | 9 | 20.0 |"), "{text}");
    }

    #[test]
    fn memory_that_grows_with_what_comes_is_a_goal_missed() {
        let mut large = measured(0.0, 0.0);
        large["rows"]["requests"]["peak_bytes"] = json!([1.1e9]);
        assert_eq!(section(&large).unwrap().missed(), 1);
    }

    #[test]
    fn a_slower_reader_misses_the_rate() {
        let mut slow = measured(0.0, 0.0);
        slow["rows"]["connects"]["rate"] = json!([1e6]);
        assert_eq!(section(&slow).unwrap().missed(), 1);
        slow["rows"]["alone"]["reader_percent"] = json!([31.0]);
        slow["rows"]["alone"]["per_s"] = json!([3.5e6]);
        assert_eq!(section(&slow).unwrap().missed(), 3);
        assert!(section(&json!({})).is_err());
    }

    #[test]
    fn no_rate_without_loss_is_a_goal_missed_and_nothing_to_compare() {
        let mut lossy = measured(0.0, 0.0);
        lossy["rows"]["connects"]["rate"] = json!([0.0]);
        lossy["rows"]["connects"]["per_s"] = json!([0.0]);
        let found = section(&lossy).unwrap();
        assert_eq!(found.missed(), 1);
        let of_connects = found
            .keys
            .iter()
            .filter(|key| key.name.contains("failed connects"));
        assert!(
            of_connects.clone().count() == 2
                && of_connects.clone().all(|key| key.values.is_empty())
        );
    }
}
