//! Files in, reports or clear answers out.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    diagnose::{Diagnosis, run},
    present::json::{SCHEMA_VERSION, report, samples},
};

fn written(name: &str) -> String {
    let mut windows = samples::windows().into_iter();
    let (_, window) = windows
        .find(|w| w.0 == name)
        .expect("there is such a sample");
    report(&window, &run(&window))
}

fn refusal(bytes: impl AsRef<[u8]>) -> String {
    let why = Report::parse(bytes.as_ref())
        .expect_err("it is no report")
        .to_string();
    assert!(why.chars().all(|c| !c.is_control()), "{why:?}");
    assert!(why.chars().count() < 400, "{why}");
    why
}

#[test]
fn unknown_fields_and_newer_minors_are_read() {
    let text = written("everything");
    let newer = text.replacen(SCHEMA_VERSION, "1.999", 1).replacen(
        r#""window":{"#,
        r#""gpu":{"a":[1,{}]},"window":{"of_later":null,"#,
        1,
    );
    let read = Report::parse(newer.as_bytes()).expect("a later minor only adds");
    assert_eq!(read.schema_version, "1.999");
    assert_eq!(
        read.findings,
        Report::parse(text.as_bytes()).unwrap().findings
    );
    let marked = [b"\xef\xbb\xbf", text.as_bytes(), b" \r\n"].concat();
    assert!(Report::parse(&marked).is_ok());
}

#[test]
fn a_newer_major_is_refused_whatever_else_it_holds() {
    assert_eq!(
        refusal(r#"{"schema_version":"2.0","tool":7,"signals":[]}"#),
        format!(
            "its format is version 2.0, and stallscope {} reads 1.x: use a newer one",
            env!("CARGO_PKG_VERSION")
        )
    );
    for odd in ["", "0.9", "x", "-1.0", "99999999999.0", "\\u001b[2J"] {
        let why = refusal(format!(r#"{{"schema_version":"{odd}"}}"#));
        assert!(why.starts_with("there is no version "), "{why}");
    }
    let now = SCHEMA_VERSION.split('.').next();
    assert_eq!(now, Some(MAJOR.to_string().as_str()));
}

#[test]
fn what_is_something_else_is_told() {
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b" \n", "it is empty"),
        (b"\0\0\0", "it is no JSON document"),
        (b"[1,2]", "it is no JSON document"),
        (b"stallscope rec\x1a\n\0", "it is a recording: "),
        (b"stallscope 0.1.0   web-07", "it is a report as text: "),
        (b"<!DOCTYPE html>", "it is a report as HTML: "),
        (b"# stallscope", "it is a report as Markdown: "),
        (b"\x1f\x8b\x08", "it is compressed (gzip)"),
        (b"\x28\xb5\x2f\xfd", "it is compressed (zstd)"),
        (b"\xff\xfe{\0", "it is text in UTF-16"),
        (b"{}", "it has no schema_version: "),
        (
            b"{\"schema_version\":1.0}",
            "it is no report: schema_version: invalid type",
        ),
        (
            b"{\"schema_version\":\"1.0\"}",
            "it is no report: missing field `tool`",
        ),
    ] {
        let said = refusal(bytes);
        assert!(said.starts_with(why), "{said}");
    }
}

#[test]
fn documents_of_other_commands_are_named() {
    let window = samples::windows().pop().expect("there are samples").1;
    let of = |command: &str| format!("it is a document of `stallscope {command}`: ");
    for (text, command) in [
        (crate::present::workers::json(&window), "workers"),
        (
            crate::present::count::json(&crate::present::count::Counted::default()),
            "count",
        ),
        (crate::present::tcp::json(&window), "tcp"),
        (
            crate::present::tcp::events::end_json(7, &[]),
            "tcp --events",
        ),
        (crate::present::udp::json(&window), "udp"),
        (crate::present::dns::json(&window), "dns"),
        (crate::present::fs::json(&window), "fs"),
        (
            crate::present::doctor::json(&crate::present::doctor::Checkup::default()),
            "doctor",
        ),
        (crate::present::rules::json(), "rules"),
        (
            format!(r#"{{"schema_version":"{SCHEMA_VERSION}","verdict":"same","findings":[]}}"#),
            "diff",
        ),
    ] {
        let why = refusal(text);
        assert!(why.starts_with(&of(command)), "{why}");
    }
}

#[test]
fn several_documents_are_not_one() {
    let line = written("nothing");
    assert!(refusal(line.repeat(3)).starts_with("it holds several documents, one a line"));
    let why = refusal(line.clone() + "and more");
    assert!(
        why.starts_with("it is no report: trailing characters (line 2, column 1)"),
        "{why}"
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let text = written("incident-a");
    let half = &text[..text.len() / 2];
    let place = format!("line 1, column {}", half.len());
    assert!(refusal(half).contains(&place), "{}", refusal(half));
    for (from, to, why) in [
        (
            "\"wall_ns\":",
            "\"wall_ns\":\"\\u001b[2J\",\"x\":",
            "signals.requests[0].wall_ns: invalid type: string",
        ),
        (
            "\"polls\":",
            "\"polls\":-",
            "signals.requests[0].polls: invalid value: integer",
        ),
        (
            "\"explains\":",
            "\"explains\":1e400,\"x\":",
            "findings[0].explains: number out of range (line 1, column ",
        ),
        (
            "\"explains\":",
            "\"explains\":NaN,\"x\":",
            "it is no report: findings",
        ),
        (
            "\"title\":",
            "\"title\":null,\"x\":",
            "findings[0].title: invalid type: null",
        ),
        (
            "\"requests\":",
            "\"requests\":{},\"x\":",
            "signals.requests: invalid type: map",
        ),
        (
            "\"group\":",
            "\"group\":\"a\",\"group\":",
            "duplicate field `group`",
        ),
        (
            "\"severity\":",
            "\"x\":",
            "findings[0]: missing field `severity`",
        ),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text);
        let said = refusal(&broken);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let text = written("nothing");
    let deep = |n: usize| {
        let nested = format!("{}{}", r#"{"symptoms":["#.repeat(n), "]}".repeat(n));
        text.replacen(r#""findings":["#, &format!(r#""findings":[{nested}"#), 1)
    };
    assert!(refusal(deep(10_000)).contains("recursion limit exceeded"));
    // What is not known is skipped without going into it.
    let nested = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let unknown = text.replacen('{', &format!("{{\"x\":{nested},"), 1);
    assert!(Report::parse(unknown.as_bytes()).is_ok());
    let many = text.replacen('{', &format!("{{\"x\":[{}0],", "0,".repeat(MAX_VALUES)), 1);
    assert_eq!(
        refusal(many),
        "it has more than 4 million values: no report is as large"
    );
    let endless = io::repeat(b' ');
    let why = Report::read(endless)
        .expect_err("it has no end")
        .to_string();
    assert_eq!(why, "it has more than 128 MiB: no report is as large");
}

#[test]
fn symptoms_may_be_nested() {
    let window = samples::windows().pop().expect("there are samples").1;
    let diagnosis = run(&window);
    let mut finding = diagnosis.findings.first().expect("it is sick").clone();
    for _ in 0..40 {
        let cause = finding.clone();
        finding.symptoms = vec![cause];
    }
    let nested = Diagnosis {
        findings: vec![finding],
        ..diagnosis
    };
    let text = report(&window, &nested);
    assert_eq!(
        Report::parse(text.as_bytes()).unwrap(),
        Report::of(&window, &nested)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever became of a file: a report, or one clear line.
    #[test]
    fn no_file_breaks_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..5u8, any::<u8>()), 1..12),
        sample in 0..6usize,
    ) {
        static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
            let windows = samples::windows().into_iter();
            windows.map(|(_, window)| report(&window, &run(&window))).collect()
        });
        let mut bytes = TEXTS[sample].clone().into_bytes();
        for (place, what, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes[at] = b"{}[],:\"\\-0eE.ntf"[usize::from(byte) % 16],
                2 => bytes.truncate(bytes.len().saturating_sub(usize::from(byte))),
                3 => drop(bytes.drain(at..(at + usize::from(byte)).min(bytes.len()))),
                _ => {
                    let piece = bytes[at..(at + usize::from(byte)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        match Report::parse(&bytes) {
            Ok(read) => {
                // What was read can be written, and says the same when it is read again.
                let again = crate::present::json::line(&read);
                prop_assert_eq!(Report::parse(again.as_bytes()).expect("it was a report"), read);
            }
            Err(_) => drop(refusal(&bytes)),
        }
    }
}
