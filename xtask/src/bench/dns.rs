//! `bench dns`: what watching DNS costs a question and stallscope itself, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, in_rounds, number, ratios},
};

/// What was attached: name in the result, and in words.
const VARIANTS: [(&str, &str); 3] = [
    ("nothing", "nothing attached"),
    ("dns", "stallscope dns"),
    ("live", "stallscope dns, a page each second"),
];

/// CPU time of the tool's own threads at 20,000 questions a second, of one CPU.
const OWN_CPU: f64 = 0.02;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    Ok(Section {
        verb: "dns",
        title: "DNS",
        head: head(
            measured,
            "who asks and answers is pinned to the last CPU, what watches to the first",
        ),
        tables: vec![table(measured)?],
        verdicts: verdicts(measured)?,
        keys: keys(measured),
    })
}

fn table(measured: &Value) -> Result<Table> {
    let all = &measured["exchanges"];
    let names = measured["names"]
        .as_u64()
        .context("the result lacks the number of names")?;
    let rows = VARIANTS.iter().filter_map(|(id, name)| {
        let row = &all[*id];
        let spread = |of: &str| Spread::of(&values(&row[of]));
        let over = |of: &str, to: &Value| in_rounds(&row[of], to, |a, b| a / b);
        Some(vec![
            (*name).to_owned(),
            spread("dns_ns")?.rounded(),
            spread("other_ns")?.rounded(),
            number(over("dns_ns", &row["other_ns"]), 3),
            number(over("dns_ns", &all["nothing"]["dns_ns"]), 3),
            spread("per_s")?.rounded(),
            number(spread("own_cpu").map(|own| own.median * 100.0), 2),
        ])
    });
    Ok(Table {
        caption: format!(
            "A question and its answer over loopback, by one thread that does both (four calls, all of them watched): CPU \
             time in ns, median of the rounds (least-most), with the port of DNS and with another one, of which the calls \
             alone are watched. {names} names in turn, A and AAAA; every question and answer must be in the \
             tool's report. Last, at a pace, the CPU time of the tool's own threads."
        ),
        head: vec![
            "",
            "port 53",
            "port 54",
            "53 / 54",
            "/ nothing",
            "questions/s at a pace",
            "own, % of a CPU",
        ],
        rows: rows.collect(),
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let all = &measured["exchanges"];
    let own = |id: &str| {
        let own = Spread::of(&values(&all[id]["own_cpu"]));
        own.with_context(|| format!("the result lacks the tool's own time in {id}"))
    };
    let verdict = |what: &str, own: Spread| Verdict {
        what: format!("CPU time of {what} itself at 20,000 questions/s, of one CPU"),
        got: own.median,
        limit: OWN_CPU,
        unit: "",
    };
    Ok(vec![
        verdict("stallscope dns", own("dns")?),
        verdict("stallscope dns, a page each second,", own("live")?),
    ])
}

fn keys(measured: &Value) -> Vec<Key> {
    let all = &measured["exchanges"];
    let own = values(&all["dns"]["own_cpu"]);
    vec![
        Key {
            name: "dns: question and answer: watched / nothing attached".to_owned(),
            values: ratios(&all["dns"]["dns_ns"], &all["nothing"]["dns_ns"]),
        },
        Key {
            name: "dns: own threads at 20,000 questions a second, percent of a CPU".to_owned(),
            values: own.iter().map(|share| share * 100.0).collect(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(own: f64) -> Value {
        let row = |ns: f64| json!({ "dns_ns": [ns, ns * 3.0], "other_ns": [ns / 2.0, ns * 1.5], "per_s": [2e4, 2e4] });
        let mut watched = row(8000.0);
        watched["own_cpu"] = json!([own, own]);
        json!({
            "rounds": 2, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1,
            "blocks": 6, "disturbed_blocks": 0, "names": 500,
            "exchanges": { "nothing": row(4000.0), "dns": watched, "live": watched },
        })
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let section = section(&measured(0.01)).unwrap();
        assert_eq!(section.missed(), 0);
        let text = section.text();
        assert!(
            text.contains("| 2.000 | 2.000 |") && text.contains("| 1.00 |"),
            "{text}"
        );
    }

    #[test]
    fn goals_are_missed_by_number() {
        assert_eq!(section(&measured(0.03)).unwrap().missed(), 2);
        assert!(section(&json!({})).is_err());
    }
}
