//! `diff` from outside: exit codes, and files that are no reports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

fn diff(before: &Path, after: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stallscope"));
    command.arg("diff").arg(before).arg(after).args(options);
    command.stdin(Stdio::null());
    command.output().expect("the binary starts")
}

/// A report of an earlier version.
fn report(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/reports")
        .join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn the_exit_code_tells_the_verdict() {
    let everything = report("1.0-everything.json");
    let same = diff(&everything, &everything, &[]);
    assert!(text(&same.stdout).starts_with("Same: "));
    assert_eq!(same.status.code(), Some(3));
    assert_eq!(text(&same.stderr), "");

    // The same requests in a tenth of the time, a day later.
    let dir = tempfile::tempdir().expect("a directory");
    let faster = dir.path().join("faster.json");
    let bytes = fs::read(&everything).expect("a report");
    let mut json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let start = json["window"]["start_unix_ns"].as_u64().expect("a number");
    json["window"]["start_unix_ns"] = (start + 86_400_000_000_000).into();
    for bucket in json["signals"]["requests"][0]["duration"]
        .as_array_mut()
        .expect("buckets")
    {
        let le = bucket["le_ns"].as_u64().expect("a number");
        bucket["le_ns"] = (le / 10).into();
    }
    fs::write(&faster, json.to_string()).expect("written");
    for (before, after, verdict, code) in [
        (&everything, &faster, "better", 0),
        (&faster, &everything, "worse", 1),
    ] {
        let output = diff(before, after, &["--json"]);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(said["verdict"], verdict, "{said}");
        assert_eq!(output.status.code(), Some(code));
    }

    let nothing = report("1.0-nothing.json");
    let output = diff(&everything, &nothing, &[]);
    assert!(text(&output.stdout).starts_with("Not comparable: "));
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn what_is_no_report_is_one_clear_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    };
    let whole = fs::read(report("1.0-everything.json")).expect("a report");
    let good = report("1.0-everything.json");
    for bad in [
        dir.path().join("missing"),
        dir.path().to_owned(),
        file("empty", b""),
        file("text", b"hello\n"),
        file("cut.json", &whole[..whole.len() / 2]),
        file("other.json", b"{\"schema_version\":\"1.0\"}"),
        file("newer.json", b"{\"schema_version\":\"7.0\"}"),
        file("cut.rec", b"stallscope rec"),
        file("broken.rec", b"stallscope rec\x1a\nno recording at all"),
        file("\x1b[2J", b"\x1b[2J"),
    ] {
        let output = diff(&good, &bad, &[]);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{bad:?}: {line}");
        assert!(line.starts_with("stallscope: "), "{bad:?}: {line}");
        assert!(
            !line.contains('\x1b') && !line.contains("panicked"),
            "{line}"
        );
        assert_eq!(text(&output.stdout), "", "{bad:?}");
    }
}

#[test]
fn names_in_a_hostile_report_cannot_act() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = fs::read_to_string(report("1.0-everything.json")).expect("a report");
    let hostile = whole
        .replace("web-07", "\\u001b[2Jweb\\u202e")
        .replace("\"www\"", "\"w\\nw\\u001b[31m\"");
    assert_ne!(hostile, whole);
    let path = dir.path().join("hostile.json");
    fs::write(&path, hostile).expect("written");
    for options in [&[][..], &["--json"]] {
        let output = diff(&report("1.0-everything.json"), &path, options);
        let said = text(&output.stdout);
        assert!(
            said.contains("\\x1b[2Jweb") || said.contains("\\\\x1b[2Jweb"),
            "{said}"
        );
        assert!(
            !said.contains('\x1b') && !said.contains('\u{202e}'),
            "{said}"
        );
    }
}
