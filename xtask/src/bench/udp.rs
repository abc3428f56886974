//! `bench udp`: what watching UDP costs a datagram that is dropped, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table, in_rounds, number, ratios},
};

/// What was attached while datagrams were dropped: name in the result, and in words.
const VARIANTS: [(&str, &str); 4] = [
    ("nothing", "nothing attached"),
    ("empty", "an empty program on udp_fail_queue_rcv_skb"),
    ("udp", "stallscope udp"),
    ("diagnose", "stallscope diagnose, all processes"),
];

/// A dropped datagram, sent alone, with `stallscope udp` over one with an empty program.
const RATIO: f64 = 1.5;
/// CPU time of the tool's own threads, of one CPU.
const OWN_CPU: f64 = 0.02;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    Ok(Section {
        verb: "udp",
        title: "UDP",
        head: head(
            measured,
            "the sender is pinned to the last CPU, what watches to the first; each datagram finds its socket full",
        ),
        tables: vec![table(measured)?],
        verdicts: verdicts(measured)?,
        keys: keys(measured),
    })
}

fn table(measured: &Value) -> Result<Table> {
    let all = &measured["drops"];
    let datagrams = measured["datagrams"]
        .as_u64()
        .context("the result lacks the number of datagrams")?;
    let rows = VARIANTS.iter().filter_map(|(id, name)| {
        let row = &all[*id];
        let spread = |of: &str| Spread::of(&values(&row[of]));
        let over = |of: &str| in_rounds(&row[of], &all["empty"][of], |a, b| a / b);
        Some(vec![
            (*name).to_owned(),
            spread("alone_ns")?.rounded(),
            number(over("alone_ns"), 3),
            spread("burst_ns")?.rounded(),
            number(over("burst_ns"), 3),
            spread("burst_per_s")?.rounded(),
            number(spread("own_cpu").map(|own| own.median * 100.0), 2),
        ])
    });
    Ok(Table {
        caption: format!(
            "A datagram over loopback to a socket whose buffer is full, the call that sends it included: CPU time in ns, \
             median of the rounds (least-most), and its ratio to the empty program in the same round. Sent alone, and \
             64 at once (UDP_SEGMENT), which is as fast as this machine drops them on one CPU. Each sample has {datagrams} \
             drops, all of which must be in the tool's report. Last, the CPU time of the tool's own threads meanwhile."
        ),
        head: vec![
            "",
            "alone",
            "/ empty program",
            "64 at once",
            "/ empty program",
            "drops/s",
            "own, % of a CPU",
        ],
        rows: rows.collect(),
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let all = &measured["drops"];
    let ratio = in_rounds(
        &all["udp"]["alone_ns"],
        &all["empty"]["alone_ns"],
        |a, b| a / b,
    );
    let own = Spread::of(&values(&all["udp"]["own_cpu"]));
    Ok(vec![
        Verdict {
            what: "dropped datagram, sent alone: stallscope udp / empty program".to_owned(),
            got: ratio.context("the result lacks drops")?,
            limit: RATIO,
            unit: "",
        },
        Verdict {
            what: "CPU time of stallscope udp itself, of one CPU".to_owned(),
            got: own.context("the result lacks the tool's own time")?.median,
            limit: OWN_CPU,
            unit: "",
        },
    ])
}

fn keys(measured: &Value) -> Vec<Key> {
    let all = &measured["drops"];
    let key = |(watched, of, how): (&str, &str, &str)| Key {
        name: format!("udp: dropped datagram, {how}: {watched} / empty program"),
        values: ratios(&all[watched][of], &all["empty"][of]),
    };
    [
        ("udp", "alone_ns", "sent alone"),
        ("udp", "burst_ns", "64 at once"),
        ("diagnose", "alone_ns", "sent alone"),
    ]
    .map(key)
    .into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(udp: f64, own: f64) -> Value {
        let row = |ns: f64| {
            json!({ "alone_ns": [ns, ns * 3.0], "burst_ns": [ns / 2.0, ns], "alone_per_s": [1.0, 1.0],
                    "burst_per_s": [2e6, 1e6] })
        };
        let mut watched = row(udp);
        watched["own_cpu"] = json!([own, own]);
        json!({
            "rounds": 2, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1,
            "blocks": 9, "disturbed_blocks": 0, "datagrams": 640_000,
            "drops": { "nothing": row(800.0), "empty": row(1000.0), "udp": watched },
        })
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let section = section(&measured(1400.0, 0.01)).unwrap();
        assert_eq!(section.missed(), 0);
        let text = section.text();
        assert!(
            text.contains("| 1.400 |") && text.contains("| 1.00 |"),
            "{text}"
        );
        assert!(!text.contains("diagnose"), "{text}");
    }

    #[test]
    fn goals_are_missed_by_number() {
        assert_eq!(section(&measured(1600.0, 0.01)).unwrap().missed(), 1);
        assert_eq!(section(&measured(1600.0, 0.03)).unwrap().missed(), 2);
        assert!(section(&json!({})).is_err());
    }
}
