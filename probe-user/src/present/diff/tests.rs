//! Text and JSON of comparisons that were made by hand.

use insta::assert_snapshot;
use serde_json::Value;

use super::{facts as facts_of, *};
use crate::{
    diagnose::{
        Severity,
        compare::{
            Sample, compare,
            fixture::{add, events, facts, found, incident_a, later, of},
            measures,
        },
    },
    present::{Color, json::Report},
};

const NARROW: Style = Style {
    color: Color::Never,
    width: 80,
};

fn shown(before: &Facts, after: &Facts) -> String {
    let text = text(before, after, &compare(before, after), NARROW);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert_eq!(line, line.trim_end());
    }
    text
}

#[test]
fn incident_a_and_its_cure() {
    let (before, after) = incident_a();
    let text = shown(&before, &after);
    assert_snapshot!("better", text);
    let first: Vec<&str> = text.lines().take(2).collect();
    assert!(
        first[0].starts_with("Better: request time p95 of pool www 10.0 s -> 52.6 ms."),
        "{text}"
    );
    assert!(first[1].starts_with("Comparable: same load within 3 % (41.2 and 42.4 requests/s)"));
    assert_snapshot!("worse", shown(&after, &before));
}

#[test]
fn the_same() {
    let (before, _) = incident_a();
    assert_snapshot!("same", shown(&before, &before));
    assert_snapshot!(
        "same_few",
        shown(&facts(10, 100.0, 24), &later(facts(10, 115.0, 24)))
    );
}

#[test]
fn some_of_both() {
    let (before, mut after) = incident_a();
    after.findings = vec![found(
        "U01 udp-rcvbuf-drop",
        "127.0.0.1:8125",
        Severity::Warning,
    )];
    add(
        &mut after,
        &measures::DROPS,
        &of("127.0.0.1:8125"),
        events(500),
    );
    assert_snapshot!("mixed", shown(&before, &after));
}

#[test]
fn not_comparable() {
    let (before, _) = incident_a();
    assert_snapshot!("idle", shown(&before, &later(facts(0, 1.0, 0))));
}

#[test]
fn what_is_to_be_known_first() {
    let before = facts(400, 100.0, 24);
    let mut after = facts(4000, 100.0, 24);
    after.host = "web-08".to_owned();
    after.start_unix_ns -= 3600 * 1_000_000_000;
    after.duration_ns *= 3;
    after.losses = vec![(
        "finished requests not delivered".to_owned(),
        "counts are too low".to_owned(),
        3,
    )];
    let probe = after
        .probes
        .iter_mut()
        .find(|p| p.0 == "udp_drops")
        .unwrap();
    probe.1 = Some("this kernel has no such tracepoint".to_owned());
    let (mut before, mut after) = (before, after);
    for (facts, count) in [(&mut before, 100), (&mut after, 1000)] {
        let of = of("203.0.113.5:443, ECONNREFUSED");
        add(facts, &measures::FAILED, &of, events(count));
    }
    assert_snapshot!("beware", shown(&before, &after));
}

#[test]
fn what_does_not_count_is_said() {
    let (mut before, mut after) = (facts(400, 50.0, 24), later(facts(400, 50.0, 24)));
    before.findings = vec![
        found("W01 blocking-upstream", "pool www", Severity::Warning),
        found("T03 accept-queue-overflow", "tcp :80", Severity::Critical),
        found("U02 dns-storm", "pool www", Severity::Critical),
    ];
    before.findings[0].limits[0].observed = 0.52;
    after.findings = vec![found("U02 dns-storm", "pool www", Severity::Warning)];
    after.not_judged = vec![(
        "T03 accept-queue-overflow".to_owned(),
        "probe tcp_census is off: no BTF".to_owned(),
    )];
    for (facts, last) in [(&mut before, 120), (&mut after, 130)] {
        let level = Sample::Level {
            last,
            least: last,
            most: last,
        };
        add(facts, &measures::STATE, &of("CLOSE_WAIT"), level);
    }
    assert_snapshot!("doubts", shown(&before, &after));
}

#[test]
fn a_terminal_gets_colours_and_the_same_words() {
    let (before, after) = incident_a();
    let c = compare(&before, &after);
    let colour = Style {
        color: Color::Always,
        ..NARROW
    };
    let painted = text(&before, &after, &c, colour);
    let mut plain = String::new();
    let mut rest = painted.as_str();
    while let Some(at) = rest.find('\x1b') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    plain.push_str(rest);
    assert_eq!(plain, text(&before, &after, &c, NARROW));
    assert!(painted.starts_with("\x1b[32mBetter\x1b[0m: "));
}

#[test]
fn the_json_says_the_same() {
    let (before, after) = incident_a();
    let text = json(&before, &after, &compare(&before, &after));
    assert!(text.ends_with('\n') && text.lines().count() == 1);
    let v: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(v["verdict"], "better");
    assert!(v["schema_version"].is_string());
    assert_eq!(v["before"]["groups"][0]["requests"], 412);
    assert_eq!(v["findings"][0]["change"], "gone");
    assert_eq!(v["findings"][0]["counts_as"], "better");
    let row = |what: &str| {
        let rows = v["changes"].as_array().unwrap();
        rows.iter().find(|r| r["what"] == what).unwrap().clone()
    };
    let connects = row("connects_per_request");
    assert_eq!(connects["group"], "pool www");
    assert_eq!(connects["before"]["value"], 24.0);
    assert_eq!(connects["after"]["value"], 0.0);
    assert_eq!(connects["judged"], "lower");
    let p95 = row("request_p95");
    assert_eq!(
        (&p95["unit"], &p95["judged"]),
        (&"ns".into(), &"better".into())
    );
    assert!(p95["before"]["low"].as_f64().unwrap() < p95["before"]["value"].as_f64().unwrap());
}

/// Whatever numbers a file holds, there is an answer.
#[test]
fn absurd_numbers_in_a_report_do_no_harm() {
    let whole = include_str!("../../../tests/reports/1.0-everything.json");
    let read = |text: &str| facts_of(&Report::parse(text.as_bytes()).unwrap());
    let good = read(whole);
    for number in ["0", "1", "18446744073709551615"] {
        let mut value: Value = serde_json::from_str(whole).unwrap();
        every_number(&mut value, &mut |n| {
            if n.is_u64() && n.as_u64() > Some(65_535) || number != "18446744073709551615" {
                *n = number.parse().unwrap();
            }
        });
        let Ok(report) = Report::parse(value.to_string().as_bytes()) else {
            continue;
        };
        let odd = facts_of(&report);
        for (before, after) in [(&good, &odd), (&odd, &good), (&odd, &odd)] {
            let c = compare(before, after);
            assert!(!text(before, after, &c, NARROW).is_empty());
            let parsed: Value = serde_json::from_str(&json(before, after, &c)).unwrap();
            assert!(parsed["verdict"].is_string());
        }
    }
}

fn every_number(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Number)) {
    match value {
        Value::Number(n) => change(n),
        Value::Array(all) => all.iter_mut().for_each(|v| every_number(v, change)),
        Value::Object(all) => all.values_mut().for_each(|v| every_number(v, change)),
        _ => {}
    }
}
