//! `bench tcp`: tables and verdicts of what watching TCP costs, as text and as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    report::{Spread, Verdict, head, values},
    section::{Section, Table, in_rounds, number},
};

/// What was attached while cycles were measured: name in the result, and in words.
const CYCLES: [(&str, &str); 5] = [
    ("nothing", "nothing attached"),
    ("empty", "an empty program on inet_sock_set_state"),
    ("bpftrace", "bpftrace, count by old and new state"),
    ("tcp", "stallscope tcp"),
    ("diagnose", "stallscope diagnose, all processes"),
];

/// Who watched while the web server was asked.
const WEB: [(&str, &str); 3] = [
    ("nothing", "nothing attached"),
    ("tcp", "stallscope tcp"),
    ("diagnose", "stallscope diagnose, all processes"),
];

/// A cycle with `stallscope tcp` over one with an empty program.
const CYCLE_RATIO: f64 = 1.5;
/// Sockets and how long a count of them may take, ms.
const CENSUS: (&str, f64) = ("90000", 25.0);
/// Time for a socket among 500,000 over that among 90,000: linear but for the caches of the processor.
const LINEAR: f64 = 1.25;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    Ok(Section {
        verb: "tcp",
        title: "TCP",
        head: head(
            measured,
            "one thread is client and server, pinned to the last CPU; what watches is pinned to the first",
        ),
        tables: vec![cycles(measured)?, censuses(measured)?, web(measured)?],
        verdicts: verdicts(measured)?,
    })
}

fn cycles(measured: &Value) -> Result<Table> {
    let all = &measured["cycle"];
    let transitions = measured["transitions"]
        .as_f64()
        .context("the result lacks the number of transitions")?;
    let rows = CYCLES.iter().filter_map(|(id, name)| {
        let ns = &all[*id]["ns"];
        let spread = Spread::of(&values(ns))?;
        let over = in_rounds(ns, &all["empty"]["ns"], |a, b| a / b);
        let each = in_rounds(ns, &all["nothing"]["ns"], |a, b| (a - b) / transitions);
        Some(vec![
            (*name).to_owned(),
            spread.rounded(),
            number(over, 3),
            number(each.filter(|_| *id != "nothing"), 0),
        ])
    });
    Ok(Table {
        caption: format!(
            "Cycle of a connection over loopback (connect, accept, close, close; {transitions} transitions): CPU time in ns, \
             median of the rounds (least-most); its ratio to the empty program in the same round; what is added \
             for each transition, connect, accept and close included, ns."
        ),
        head: vec!["", "cycle", "/ empty program", "added for a transition"],
        rows: rows.collect(),
    })
}

fn censuses(measured: &Value) -> Result<Table> {
    let all = measured["census"]
        .as_object()
        .context("the result lacks the census")?;
    let mut counts: Vec<u64> = all.keys().filter_map(|n| n.parse().ok()).collect();
    counts.sort_unstable();
    let rows = counts.iter().filter_map(|count| {
        let row = &all[&count.to_string()];
        let ss = Spread::of(&values(&row["ss_ms"]))?;
        let own = Spread::of(&values(&row["stallscope_ms"]))?;
        Some(vec![
            count.to_string(),
            ss.rounded(),
            own.rounded(),
            number(
                in_rounds(&row["ss_ms"], &row["stallscope_ms"], |a, b| a / b),
                1,
            ),
            number(Some(own.median * 1e6 / *count as f64), 0),
        ])
    });
    Ok(Table {
        caption: "Counting sockets in TIME_WAIT, ms: `ss -tan | awk '{print $1}' | sort | uniq -c`, and the median census of \
                  `stallscope tcp` in the same run."
            .to_owned(),
        head: vec!["sockets", "ss", "census", "ss / census", "ns for a socket"],
        rows: rows.collect(),
    })
}

fn web(measured: &Value) -> Result<Table> {
    let all = &measured["web"];
    let rows = WEB.iter().filter_map(|(id, name)| {
        let per_s = &all[*id]["per_s"];
        let spread = Spread::of(&values(per_s))?;
        let ratio = in_rounds(per_s, &all["nothing"]["per_s"], |a, b| a / b);
        Some(vec![
            (*name).to_owned(),
            spread.rounded(),
            number(ratio.filter(|_| *id != "nothing"), 3),
        ])
    });
    Ok(Table {
        caption: "nginx under `wrk` with a connection for each request, on the same CPUs: requests per second.".to_owned(),
        head: vec!["", "requests/s", "/ nothing attached"],
        rows: rows.collect(),
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let (cycle, census) = (&measured["cycle"], &measured["census"]);
    let ratio = in_rounds(&cycle["tcp"]["ns"], &cycle["empty"]["ns"], |a, b| a / b);
    let each = |count: u64| {
        let ms = Spread::of(&values(&census[&count.to_string()]["stallscope_ms"]))?;
        Some(ms.median / count as f64)
    };
    let (count, limit) = CENSUS;
    let median = Spread::of(&values(&census[count]["stallscope_ms"]));
    let growth = each(500_000)
        .zip(each(90_000))
        .map(|(many, few)| many / few);
    Ok(vec![
        Verdict {
            what: "cycle: stallscope tcp / empty program".to_owned(),
            got: ratio.context("the result lacks cycles")?,
            limit: CYCLE_RATIO,
            unit: "",
        },
        Verdict {
            what: format!("census of {count} sockets"),
            got: median.context("the result lacks a census")?.median,
            limit,
            unit: " ms",
        },
        Verdict {
            what: "census, time for a socket: among 500,000 / among 90,000".to_owned(),
            got: growth.context("the result lacks a census")?,
            limit: LINEAR,
            unit: "",
        },
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(tcp: f64, census_ms: f64) -> Value {
        json!({
            "rounds": 3, "cpus": 2, "processor": "x", "kernel": "6.1", "bpftrace": "bpftrace v0", "load": 0.1,
            "blocks": 9, "disturbed_blocks": 0, "transitions": 10,
            "cycle": {
                "nothing": { "ns": [900.0, 900.0, 2700.0] }, "empty": { "ns": [1000.0, 1000.0, 3000.0] },
                "tcp": { "ns": [tcp, tcp, tcp * 3.0] },
            },
            "census": {
                "90000": { "ss_ms": [180.0], "stallscope_ms": [census_ms] },
                "500000": { "ss_ms": [1000.0], "stallscope_ms": [100.0] },
            },
            "web": { "nothing": { "per_s": [1000.0] }, "tcp": { "per_s": [950.0] } },
        })
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let report = section(&measured(1400.0, 20.0)).unwrap();
        assert_eq!(report.missed(), 0);
        let text = report.text();
        assert!(
            text.contains("| stallscope tcp | 1400 (1400-4200) | 1.400 | 50 |"),
            "{text}"
        );
        assert!(
            text.contains("| 90000 | 180 (180-180) | 20 (20-20) | 9.0 | 222 |"),
            "{text}"
        );
        assert!(
            text.contains("| stallscope tcp | 950 (950-950) | 0.950 |"),
            "{text}"
        );
    }

    #[test]
    fn goals_are_missed_by_number() {
        assert_eq!(section(&measured(1600.0, 20.0)).unwrap().missed(), 1);
        // Beyond 25 ms; 500,000 at 100 ms are then quicker for each.
        assert_eq!(section(&measured(1400.0, 26.0)).unwrap().missed(), 1);
        // 111 ns and 200 ns for a socket.
        assert_eq!(section(&measured(1400.0, 10.0)).unwrap().missed(), 1);
    }

    #[test]
    fn the_rest_of_the_page_stays() {
        let report = section(&measured(1400.0, 20.0)).unwrap();
        let first = report.page("# Page\n\nNotes.\n");
        assert!(first.starts_with("# Page\n\nNotes.\n\n<!--"), "{first}");
        let second = format!("{first}\nMore notes.\n");
        assert_eq!(report.page(&second), second);
    }

    #[test]
    fn a_result_without_numbers_is_refused() {
        assert!(section(&json!({})).is_err());
    }
}
