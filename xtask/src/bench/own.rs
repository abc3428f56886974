//! `bench serve` and `bench view`: what stallscope itself takes while it runs on, as sections of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, number},
};

/// A row: its name in the result, in words, and the goals for its CPU time, percent of one CPU, and for its memory, MB.
type Row = (&'static str, &'static str, Option<(f64, f64)>);

/// Resident memory at its largest, MB.
const MEMORY_MB: f64 = 30.0;

const SERVE: [Row; 3] = [
    ("quiet", "serve, a quiet node", Some((1.0, MEMORY_MB))),
    (
        "busy",
        "serve, under these requests",
        Some((2.0, MEMORY_MB)),
    ),
    // Nothing was set for it.
    ("peers", "serve, beside very many live peers", None),
];

const VIEW: [Row; 4] = [
    (
        "quiet",
        "the overview, a quiet node",
        Some((1.0, MEMORY_MB)),
    ),
    (
        "idle_workers",
        "the same with the workers, all idle",
        Some((1.0, MEMORY_MB)),
    ),
    (
        "busy_overview",
        "the same under these requests",
        Some((3.0, MEMORY_MB)),
    ),
    (
        "busy_workers",
        "the workers' screen under these requests",
        Some((3.0, MEMORY_MB)),
    ),
];

/// Judges what was measured of `serve`.
pub fn serve(measured: &Value) -> Result<Section> {
    let mut section = section(measured, "serve", "Left running", &SERVE)?;
    section.tables.push(scrape(measured)?);
    section.keys.push(Key {
        name: "serve: scrape after a look, beside very many live peers, ms".to_owned(),
        values: values(&measured["rows"]["scrape"]["fresh_ms"]),
    });
    Ok(section)
}

/// Judges what was measured of the live view.
pub fn view(measured: &Value) -> Result<Section> {
    section(measured, "view", "The live view", &VIEW)
}

fn section(
    measured: &Value,
    verb: &'static str,
    title: &'static str,
    rows: &[Row],
) -> Result<Section> {
    let workers = measured["workers"].as_u64().context("the workers")?;
    let per_s = measured["per_s"].as_u64().context("the rate")?;
    let how = format!(
        "{workers} prefork workers, their clients and their peer share the CPUs with what watches; three waits in each \
         request; {per_s} requests a second are asked for"
    );
    let keys = rows.iter().map(|(id, name, _)| Key {
        name: format!("{verb}: {name}: CPU time, percent of a CPU"),
        values: values(&measured["rows"][*id]["percent"]),
    });
    Ok(Section {
        verb,
        title,
        head: head(measured, &how),
        tables: vec![table(measured, rows)?],
        verdicts: verdicts(measured, rows),
        keys: keys.collect(),
    })
}

fn table(measured: &Value, rows: &[Row]) -> Result<Table> {
    let cells = |(id, name, _): &Row| {
        let row = &measured["rows"][*id];
        let spread = |of: &str| Spread::of(&values(&row[of]));
        let percent = spread("percent").with_context(|| format!("the result lacks {id}"))?;
        Ok(vec![
            (*name).to_owned(),
            format!(
                "{:.2} ({:.2}-{:.2})",
                percent.median, percent.least, percent.most
            ),
            number(spread("rss").map(|s| s.median / 1e6), 1),
            number(spread("per_s").map(|s| s.median), 0),
        ])
    };
    Ok(Table {
        caption: "CPU time of all threads of the tool, percent of one CPU, median of the rounds (least-most); its largest resident \
             memory so far, MB; and requests answered a second."
            .to_owned(),
        head: vec!["", "CPU", "memory", "requests/s"],
        rows: rows.iter().map(cells).collect::<Result<_>>()?,
    })
}

/// What a scrape is, beside very many peers.
fn scrape(measured: &Value) -> Result<Table> {
    let row = &measured["rows"]["scrape"];
    let median = |of: &str| Spread::of(&values(&row[of])).map(|s| s.median);
    let peers = measured["peers"].as_u64().context("the peers")?;
    median("ms").context("the result lacks scrapes")?;
    Ok(Table {
        caption: format!(
            "A scrape while connections to {peers} addresses are open, ms: the first after a look (median of three), then the median and the longest of 99 in a row; CPU time of the tool for one of these, \
             ms; its size, kB; samples in it; how many of them are of one of these addresses (the rest stands under \"other\"); and what the tool \
             says it has lost."
        ),
        head: vec![
            "after a look",
            "in a row",
            "longest",
            "CPU",
            "size",
            "samples",
            "of one address",
            "lost",
        ],
        rows: vec![vec![
            number(median("fresh_ms"), 1),
            number(median("ms"), 1),
            number(median("most_ms"), 1),
            number(median("cpu_ms"), 1),
            number(median("bytes").map(|n| n / 1e3), 0),
            number(median("samples"), 0),
            number(median("apart"), 0),
            number(median("lost"), 0),
        ]],
    })
}

fn verdicts(measured: &Value, rows: &[Row]) -> Vec<Verdict> {
    let verdict = |(id, name, goals): &Row| {
        let row = &measured["rows"][*id];
        let median = |of: &str| Spread::of(&values(&row[of])).map(|s| s.median);
        let (percent, megabytes) = (*goals)?;
        let cpu = Verdict {
            what: format!("{name}: CPU time"),
            got: median("percent")?,
            limit: percent,
            unit: " %",
        };
        let memory = Verdict {
            what: format!("{name}: memory"),
            got: median("rss")? / 1e6,
            limit: megabytes,
            unit: " MB",
        };
        Some([cpu, memory])
    };
    rows.iter().filter_map(verdict).flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(percent: f64, rss: f64) -> Value {
        let row =
            || json!({ "percent": [percent, percent], "rss": [rss, rss], "per_s": [9e3, 9e3] });
        json!({
            "rounds": 2, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1, "workers": 16, "per_s": 20_000, "peers": 10_000,
            "rows": {
                "quiet": row(), "busy": row(), "peers": row(), "idle_workers": row(), "busy_overview": row(), "busy_workers": row(),
                "scrape": { "fresh_ms": [9.0], "ms": [4.0], "most_ms": [12.0], "cpu_ms": [3.0], "bytes": [2e5], "samples": [900.0],
                            "apart": [500.0], "lost": [0.0] },
            },
        })
    }

    #[test]
    fn goals_are_missed_by_number() {
        assert_eq!(serve(&measured(0.9, 2e7)).unwrap().missed(), 0);
        // Too much for a quiet node, and too large in both rows that have a goal.
        assert_eq!(serve(&measured(1.5, 3.1e7)).unwrap().missed(), 3);
        assert_eq!(view(&measured(2.0, 2e7)).unwrap().missed(), 2);
        assert!(serve(&json!({})).is_err());
    }

    #[test]
    fn scrapes_are_told() {
        let text = serve(&measured(0.9, 2e7)).unwrap().text();
        assert!(
            text.contains("| 9.0 | 4.0 | 12.0 | 3.0 | 200 | 900 | 500 | 0 |"),
            "{text}"
        );
    }

    #[test]
    fn a_row_that_was_not_measured_is_no_goal_met() {
        let mut half = measured(0.9, 2e7);
        half["rows"]["busy"] = Value::Null;
        assert!(serve(&half).is_err());
    }
}
