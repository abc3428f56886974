//! `bench census`: what a count of very many sockets takes, beside `ss`, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, number, ratios},
};

/// Who counts: its wall time and its CPU time in the result, and in words.
const WAYS: [(&str, &str, &str); 4] = [
    ("stallscope_ms", "stallscope_cpu_ms", "stallscope tcp"),
    ("ss_s_ms", "ss_s_cpu_ms", "ss -s"),
    ("ss_tan_ms", "ss_tan_cpu_ms", "ss -tan"),
    ("ss_sum_ms", "ss_sum_cpu_ms", "ss -tan, awk, sort, uniq -c"),
];

/// Sockets and how long a count of them may take, ms.
const CENSUS: (&str, f64) = ("90000", 25.0);
/// Time for a socket among 500,000 over that among 90,000: linear but for the caches of the processor.
const LINEAR: f64 = 1.25;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    let how =
        "a network namespace of its own, with so many sockets in TIME_WAIT and hardly any other";
    Ok(Section {
        verb: "census",
        title: "Counting sockets",
        head: head(measured, how),
        tables: vec![table(measured)?],
        verdicts: verdicts(measured)?,
        keys: keys(measured),
    })
}

fn counts(measured: &Value) -> Result<Vec<String>> {
    let all = measured["census"].as_object();
    let all = all.context("the result lacks the census")?;
    let mut counts: Vec<u64> = all.keys().filter_map(|n| n.parse().ok()).collect();
    counts.sort_unstable();
    Ok(counts.iter().map(u64::to_string).collect())
}

fn table(measured: &Value) -> Result<Table> {
    let mut rows = Vec::new();
    for count in counts(measured)? {
        let row = &measured["census"][&count];
        for (wall, cpu, name) in WAYS {
            let spread = |of: &str| Spread::of(&values(&row[of]));
            let (Some(took), Some(spent)) = (spread(wall), spread(cpu)) else {
                continue;
            };
            let over = Spread::of(&ratios(&row[wall], &row["stallscope_ms"]));
            rows.push(vec![
                count.clone(),
                name.to_owned(),
                format!("{:.1} ({:.1}-{:.1})", took.median, took.least, took.most),
                number(Some(spent.median), 1),
                number(over.map(|s| s.median), 1),
            ]);
        }
    }
    for (count, why) in measured["missing"].as_object().into_iter().flatten() {
        let why = format!("not measured: {}", why.as_str().unwrap_or("?"));
        rows.push(vec![count.clone(), why, "-".into(), "-".into(), "-".into()]);
    }
    Ok(Table {
        caption: "Wall time and CPU time of one count, ms, and the wall time over that of the tool's census. The tool's own is the median census of a \
                  run; its CPU time is that of all its threads over a few seconds, whatever they did, for each census in them. All must have counted the same \
                  sockets. `ss -s` reads sums that the kernel keeps: it does not say whose sockets they are, nor in which other state."
            .to_owned(),
        head: vec!["sockets", "by", "wall", "CPU", "/ stallscope"],
        rows,
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let median = |count: &str| {
        Spread::of(&values(&measured["census"][count]["stallscope_ms"]))
            .map(|s| s.median)
            .context("the result lacks a census")
    };
    let (count, limit) = CENSUS;
    let mut all = vec![Verdict {
        what: format!("census of {count} sockets"),
        got: median(count)?,
        limit,
        unit: " ms",
    }];
    // The table says why there is none.
    if measured["missing"].get("500000").is_none() {
        all.push(Verdict {
            what: "census, time for a socket: among 500,000 / among 90,000".to_owned(),
            got: (median("500000")? / 5e5) / (median("90000")? / 9e4),
            limit: LINEAR,
            unit: "",
        });
    }
    Ok(all)
}

fn keys(measured: &Value) -> Vec<Key> {
    let key = |(count, way): (&str, usize)| {
        let row = &measured["census"][count];
        let (wall, _, name) = WAYS[way];
        Key {
            name: format!("census: stallscope / {name}, {count} sockets"),
            values: ratios(&row["stallscope_ms"], &row[wall]),
        }
    };
    [("10000", 2), ("90000", 2), ("90000", 3)].map(key).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(census_ms: f64) -> Value {
        let row = |own: f64, by_hand: f64| {
            json!({ "stallscope_ms": [own], "stallscope_cpu_ms": [own], "ss_s_ms": [2.0], "ss_s_cpu_ms": [1.0],
                    "ss_tan_ms": [by_hand], "ss_tan_cpu_ms": [by_hand] })
        };
        json!({
            "rounds": 1, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1, "blocks": 3, "disturbed_blocks": 0,
            "census": { "90000": row(census_ms, 180.0), "500000": row(100.0, 1000.0), "10000": row(4.0, 20.0) },
        })
    }

    #[test]
    fn counts_stand_in_their_order_beside_the_census() {
        let text = section(&measured(20.0)).unwrap().text();
        let own = text.find("| 90000 | stallscope tcp | 20.0 (20.0-20.0) | 20.0 | 1.0 |");
        let ss = text.find("| 90000 | ss -tan | 180.0 (180.0-180.0) | 180.0 | 9.0 |");
        assert!(own.is_some() && own < ss, "{text}");
        // What was not measured is left out.
        assert!(!text.contains("awk"), "{text}");
    }

    #[test]
    fn very_many_that_could_not_be_made_are_said_to_be_missing() {
        let mut few = measured(20.0);
        few["census"]["500000"] = Value::Null;
        assert!(section(&few).is_err());
        let all = few["census"].as_object_mut().unwrap();
        all.remove("500000");
        few["missing"] = json!({ "500000": "they were gone" });
        let found = section(&few).unwrap();
        assert_eq!(found.verdicts.len(), 1);
        assert!(
            found
                .text()
                .contains("| 500000 | not measured: they were gone |"),
            "{}",
            found.text()
        );
    }

    #[test]
    fn goals_are_missed_by_number() {
        assert_eq!(section(&measured(20.0)).unwrap().missed(), 0);
        // Beyond 25 ms; 500,000 at 100 ms are then quicker for each.
        assert_eq!(section(&measured(26.0)).unwrap().missed(), 1);
        // 111 ns and 200 ns for a socket.
        assert_eq!(section(&measured(10.0)).unwrap().missed(), 1);
        assert!(section(&json!({})).is_err());
    }
}
