//! `bench tcp`: what watching TCP costs connections, and a web server with short ones, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, in_rounds, number, ratios},
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
/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    Ok(Section {
        verb: "tcp",
        title: "TCP",
        head: head(
            measured,
            "one thread is client and server, pinned to the last CPU; what watches is pinned to the first",
        ),
        tables: vec![cycles(measured)?, web(measured)?],
        verdicts: verdicts(measured)?,
        keys: keys(measured),
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
    let cycle = &measured["cycle"];
    let ratio = in_rounds(&cycle["tcp"]["ns"], &cycle["empty"]["ns"], |a, b| a / b);
    Ok(vec![Verdict {
        what: "cycle: stallscope tcp / empty program".to_owned(),
        got: ratio.context("the result lacks cycles")?,
        limit: CYCLE_RATIO,
        unit: "",
    }])
}

fn keys(measured: &Value) -> Vec<Key> {
    let (cycle, web) = (&measured["cycle"], &measured["web"]);
    let mut keys = Vec::new();
    for watched in ["tcp", "diagnose"] {
        keys.push(Key {
            name: format!("tcp: cycle of a connection: {watched} / empty program"),
            values: ratios(&cycle[watched]["ns"], &cycle["empty"]["ns"]),
        });
        keys.push(Key {
            name: format!("tcp: short connections: answered by nobody watched / under {watched}"),
            values: ratios(&web["nothing"]["per_s"], &web[watched]["per_s"]),
        });
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(tcp: f64) -> Value {
        json!({
            "rounds": 3, "cpus": 2, "processor": "x", "kernel": "6.1", "bpftrace": "bpftrace v0", "load": 0.1,
            "blocks": 9, "disturbed_blocks": 0, "transitions": 10,
            "cycle": {
                "nothing": { "ns": [900.0, 900.0, 2700.0] }, "empty": { "ns": [1000.0, 1000.0, 3000.0] },
                "tcp": { "ns": [tcp, tcp, tcp * 3.0] },
            },
            "web": { "nothing": { "per_s": [1000.0] }, "tcp": { "per_s": [950.0] } },
        })
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let report = section(&measured(1400.0)).unwrap();
        assert_eq!(report.missed(), 0);
        let text = report.text();
        assert!(
            text.contains("| stallscope tcp | 1400 (1400-4200) | 1.400 | 50 |"),
            "{text}"
        );
        assert!(
            text.contains("| stallscope tcp | 950 (950-950) | 0.950 |"),
            "{text}"
        );
    }

    #[test]
    fn goals_are_missed_by_number() {
        assert_eq!(section(&measured(1600.0)).unwrap().missed(), 1);
        let keys = section(&measured(1400.0)).unwrap().keys;
        assert_eq!(keys[0].values, [1.4, 1.4, 1.4]);
    }

    #[test]
    fn the_rest_of_the_page_stays() {
        let report = section(&measured(1400.0)).unwrap();
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
