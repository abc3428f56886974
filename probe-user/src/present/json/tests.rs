//! Windows in, JSON out.

use serde_json::Value;

use super::*;
use crate::{
    aggregate::fixture::{INCIDENT_A, window_of},
    diagnose::run,
};

fn parsed(window: &Window) -> Value {
    let text = report(window, &run(window));
    assert!(text.ends_with('\n') && text.lines().count() == 1);
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn the_contract_of_the_document() {
    let text = report(&window_of(412, INCIDENT_A), &Diagnosis::default());
    assert!(text.starts_with(r#"{"schema_version":"1.1","tool":{"name":"stallscope","#));
    let v = parsed(&window_of(412, INCIDENT_A));
    let keys: Vec<&str> = v.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = [
        "schema_version",
        "tool",
        "host",
        "window",
        "redacted",
        "signals",
        "tcp",
        "udp",
        "dns",
        "files",
        "journal",
        "findings",
        "not_judged",
        "losses",
        "cost",
        "probes",
    ];
    wanted.sort_unstable();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, wanted);
    assert_eq!(v["host"]["name"], "web-07");
    assert_eq!(v["window"]["start"], "2023-11-14T22:13:20.000Z");
    assert_eq!(v["window"]["duration_ns"], 10_000_000_000u64);
    let f = &v["findings"][0];
    assert_eq!(f["explains_what"], "the time lost in requests");
    assert_eq!(f["rule"], "W01 blocking-upstream");
    assert_eq!(f["severity"], "critical");
    assert_eq!(f["culprit"]["peer"]["network.peer.address"], "203.0.113.5");
    assert_eq!(f["culprit"]["peer"]["network.peer.port"], 443);
    assert_eq!(f["culprit"]["peer"]["network.transport"], "tcp");
    assert_eq!(f["measured"][0]["unit"], "ratio");
    assert_eq!(v["losses"], Value::Array(Vec::new()));
}

#[test]
fn parts_and_buckets_add_up() {
    let v = parsed(&window_of(412, INCIDENT_A));
    let g = &v["signals"]["requests"][0];
    let parts: u64 = g["parts"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(parts, g["wall_ns"].as_u64().unwrap());
    let in_buckets = |v: &Value| {
        v.as_array()
            .unwrap()
            .iter()
            .map(|b| b["count"].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(in_buckets(&g["duration"]), 412);
    assert_eq!(in_buckets(&g["peers"][0]["wait_per_request"]), 412);
}

#[test]
fn bytes_that_are_no_text_are_escaped() {
    let mut window = window_of(9, INCIDENT_A);
    window.groups[0].slowest[0].uri = b"/\xff\x1b[31m\"<script>".to_vec();
    window.groups[0].name = b"\xc3".to_vec();
    let v = parsed(&window);
    let g = &v["signals"]["requests"][0];
    assert_eq!(g["slowest"][0]["url.path"], "/\\xff\\x1b[31m\"<script>");
    assert_eq!(g["group"], "\\xc3");
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    for (name, window) in samples::windows() {
        let text = report(&window, &run(&window));
        let read: Report = serde_json::from_str(&text).expect(name);
        assert!(line(&read) == text, "{name}");
    }
}

#[test]
fn dates_are_right_across_leap_days_and_centuries() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000Z"),
        (1_709_251_200, "2024-03-01T00:00:00.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(seconds * 1_000_000_000), text);
    }
}
