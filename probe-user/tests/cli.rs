//! The built binary from outside: exit codes, one-line errors, closed pipes. Needs no root; what needs the
//! lack of it drops it.

use std::{
    fs,
    io::ErrorKind,
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
};

fn stallscope(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stallscope"));
    command
        .args(args)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    stallscope(args).output().expect("the binary starts")
}

/// What it printed, after checking the exit code and that stderr is empty.
fn good(args: &[&str]) -> String {
    let output = run(args);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {complaint}");
    assert_eq!(complaint, "", "{args:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one line of a failure, after checking the exit code and that stdout is empty.
fn bad(output: &Output) -> String {
    let complaint = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert_eq!(output.stdout, b"", "{complaint}");
    let line = complaint
        .strip_prefix("stallscope: ")
        .and_then(|rest| rest.strip_suffix('\n'))
        .unwrap_or_else(|| panic!("{complaint:?}"));
    assert!(!line.contains(char::is_control), "{complaint:?}");
    line.to_owned()
}

fn as_nobody(args: &[&str]) -> Output {
    let mut command = stallscope(args);
    if fs::metadata("/proc/self")
        .map(|m| std::os::unix::fs::MetadataExt::uid(&m))
        .ok()
        == Some(0)
    {
        // Not every directory on the way to the build may be open to others: a copy in an open place is.
        let dir = tempfile::tempdir().expect("a directory");
        let copy = dir.path().join("stallscope");
        fs::copy(env!("CARGO_BIN_EXE_stallscope"), &copy).expect("a copy");
        open(dir.path());
        open(&copy);
        command = Command::new(&copy);
        command
            .args(args)
            .stdin(Stdio::null())
            .uid(65534)
            .gid(65534);
        // Until whoever forked meanwhile has become another program, it holds the copy open as we did.
        loop {
            match command.output() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => continue,
                output => return output.expect("the copy starts"),
            }
        }
    }
    command.output().expect("the binary starts")
}

fn open(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn help_and_version_are_answered() {
    assert!(good(&["--version"]).starts_with("stallscope 0."));
    let help = good(&["--help"]);
    for word in [
        "diagnose",
        "record",
        "replay",
        "diff",
        "count",
        "workers",
        "doctor",
        "explain",
        "Start here:",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(!help.contains('\u{1b}'), "colour into a pipe");
    for command in [
        "diagnose", "count", "workers", "doctor", "explain", "rules", "man",
    ] {
        assert!(
            good(&[command, "--help"]).contains("Examples:"),
            "{command}"
        );
    }
}

#[test]
fn without_a_terminal_the_live_view_says_what_to_do_instead() {
    let line = bad(&run(&[]));
    assert!(
        line.contains("needs a terminal") && line.contains("stallscope diagnose"),
        "{line}"
    );
}

#[test]
fn bad_arguments_are_one_line_and_exit_2() {
    for (args, part) in [
        (&["diagnose", "--duration", "0"][..], "it is 0"),
        (&["diagnose", "--duration", "0s"], "it is 0"),
        (&["diagnose", "--duration", "-1s"], "it is negative"),
        (&["diagnose", "--duration", "25h"], "longer than 24h"),
        (&["diagnose", "--duration", "soon"], "500ms, 10s, 2m or 1h"),
        (&["diagnose", "--duration", "1\u{1b}[2Js"], r"\u{1b}[2Js"),
        (&["diagnose", "--duration"], "--duration"),
        (&["diagnose", "--pid", "-1"], "1..=4194304"),
        (&["diagnose", "--nonsense"], "--nonsense"),
        (&["diagnosis"], "'diagnose'"),
        (&["count"], "SYSCALL"),
        (&["workers", "--interval", "1ms"], "between 100ms and 1h"),
        (&["completions", "tcsh"], "tcsh"),
        (&["explain"], "RULE"),
        (&["--color", "red", "rules"], "red"),
    ] {
        let line = bad(&run(args));
        assert!(line.contains(part), "{args:?}: {line}");
    }
}

#[test]
fn a_target_that_is_not_there_is_named() {
    // No pid can be above PID_MAX_LIMIT, and this one is the limit itself.
    let line = bad(&run(&["diagnose", "--pid", "4194304"]));
    assert_eq!(line, "no process 4194304: it ended or never was");
    let line = bad(&run(&["workers", "--comm", "no such \u{7}\u{1b}x"]));
    assert!(
        line.starts_with(r"no process named no such \u{7}\u{1b}x: "),
        "{line}"
    );
    let line = bad(&run(&["diagnose", "--pool", "no-such-pool"]));
    assert!(line.starts_with("no PHP-FPM pool no-such-pool: "), "{line}");
    let line = bad(&run(&["diagnose", "--cgroup", "no/such/cgroup"]));
    assert!(line.starts_with("no cgroup \"no/such/cgroup\" "), "{line}");
}

#[test]
fn rules_are_listed_and_explained_without_root() {
    let list = good(&["rules"]);
    assert!(
        list.contains("W01") && list.contains("blocking-upstream"),
        "{list}"
    );
    let json: serde_json::Value = serde_json::from_str(&good(&["rules", "--json"])).unwrap();
    assert!(json.to_string().contains("W01"));
    let by_id = good(&["explain", "W01"]);
    assert!(by_id.contains("blocking-upstream"), "{by_id}");
    assert_eq!(by_id, good(&["explain", "blocking-upstream"]));
    assert_eq!(by_id, good(&["explain", "w01"]));
    let line = bad(&run(&["explain", "W99"]));
    assert!(line.starts_with("no rule W99: "), "{line}");
    let line = bad(&run(&["explain", "blocking-upstraem"]));
    assert_eq!(
        line,
        "no rule blocking-upstraem: did you mean blocking-upstream?"
    );
    let line = bad(&run(&["explain", "\u{1b}[31m"]));
    assert!(line.starts_with(r"no rule \u{1b}[31m: "), "{line}");
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    assert!(!good(&["explain", "W01"]).contains('\u{1b}'));
    assert!(good(&["--color", "always", "explain", "W01"]).contains('\u{1b}'));
    assert!(!good(&["explain", "W01", "--color", "never"]).contains('\u{1b}'));
}

#[test]
fn completions_and_the_manual_page_come_from_the_same_definition() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            good(&["completions", shell]).contains("no-fastcgi"),
            "{shell}"
        );
    }
    let page = good(&["man"]);
    assert!(page.contains(".TH STALLSCOPE 8"), "{page}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic_and_no_failure() {
    for args in [
        &["man"][..],
        &["rules"],
        &["explain", "W01"],
        &["--help"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = stallscope(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = output.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    for args in [&["man"][..], &["rules"], &["completions", "zsh"]] {
        let output = stallscope(args).stdout(full()).output().expect("it starts");
        let line = bad(&output);
        assert!(
            line.starts_with("cannot write the result to stdout: "),
            "{line}"
        );
    }
    // Nowhere left to complain: still no panic, still the exit code.
    let status = stallscope(&["nonsense"])
        .stdout(full())
        .stderr(full())
        .status()
        .expect("it starts");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn without_root_the_missing_capability_is_named() {
    for args in [
        &["diagnose", "--duration", "100ms"][..],
        &["workers", "--count", "1"],
        &["count", "poll", "--duration", "100ms"],
    ] {
        let line = bad(&as_nobody(args));
        assert!(line.contains("CAP_"), "{args:?}: {line}");
        assert!(line.contains("root"), "{args:?}: {line}");
    }
}

#[test]
fn the_doctor_works_without_root_and_says_why_the_rest_does_not() {
    let output = as_nobody(&["doctor"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("CAP_"), "{text}");
    assert!(text.contains("BTF"), "{text}");
    let output = as_nobody(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert!(json.get("schema_version").is_some(), "{json}");
}

#[test]
fn arguments_that_are_not_utf8_are_no_panic() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let odd = OsStr::from_bytes(b"\xff\xfe");
    for args in [
        ["diagnose", "--comm"],
        ["diagnose", "--pool"],
        ["diagnose", "--cgroup"],
        ["explain", "--"],
    ] {
        let output = stallscope(&args).arg(odd).output().expect("it starts");
        bad(&output);
    }
}
