//! Programs that do what they should not.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::diagnose::{
    Diagnosis,
    rules::finding_for_tests,
    steady::{Steadiness, Steady},
};

/// A script that may be run, in a folder that goes with the test.
fn script(text: &str) -> (tempfile::TempDir, Vec<String>) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hook");
    let mut file = fs::File::create(&path).unwrap();
    writeln!(file, "#!/bin/sh\ncd {}\n{text}", place.path().display()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (place, vec![path.display().to_string()])
}

fn job(command: &[String], bytes: usize) -> Job {
    let mut steady = Steady::new(Steadiness {
        windows: 1,
        gone_ns: 0,
    });
    let diagnosis = Diagnosis {
        findings: vec![finding_for_tests()],
        not_judged: Vec::new(),
    };
    steady.update(0, &diagnosis);
    let files = Files {
        report: "/saved/a.json".into(),
        recording: "/saved/a.rec".into(),
    };
    Job {
        command: command.to_vec(),
        ..Job::new(&steady.open()[0], "x".repeat(bytes).into(), Some(files))
    }
}

fn one(text: &str, bytes: usize, patience: Duration) -> (tempfile::TempDir, Result<(), String>) {
    let (place, command) = script(text);
    // Another test's fork may hold the script open for writing for a moment.
    for _ in 0..100 {
        let done = run::one(&job(&command, bytes), &Shared::default(), patience);
        match done {
            Err(why) if why.contains("os error 26") => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return (place, done),
        }
    }
    panic!("the script stays busy");
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn it_reads_the_report_and_is_told_what_it_is_about() {
    let (place, done) = one("cat > got; env > env", 3 << 20, LONG);
    done.unwrap();
    assert_eq!(
        fs::metadata(place.path().join("got")).unwrap().len(),
        3 << 20
    );
    let env = fs::read_to_string(place.path().join("env")).unwrap();
    for line in [
        "STALLSCOPE_RULE=T99",
        "STALLSCOPE_RULE_NAME=made-up",
        "STALLSCOPE_SEVERITY=info",
        "STALLSCOPE_HEADLINE=Made up",
        "STALLSCOPE_FILE=/saved/a.json",
        "STALLSCOPE_RECORDING=/saved/a.rec",
    ] {
        assert!(env.lines().any(|l| l == line), "no {line} in {env}");
    }
}

#[test]
fn not_to_read_is_no_failure_and_to_fail_is_one() {
    one("exec < /dev/null; sleep 0.2", 3 << 20, LONG).1.unwrap();
    one("exit 0", 3 << 20, LONG).1.unwrap();
    let why = one("exit 3", 10, LONG).1.unwrap_err();
    assert!(why.ends_with("ended with exit code 3"), "{why}");
    let why = one("kill -9 $$", 10, LONG).1.unwrap_err();
    assert!(why.ends_with("was ended by signal 9"), "{why}");
}

#[test]
fn what_takes_too_long_is_killed_with_all_that_it_started() {
    let begun = Instant::now();
    let text = "sleep 600 & echo $! > child; sleep 600";
    let (place, done) = one(text, 3 << 20, Duration::from_secs(1));
    let why = done.unwrap_err();
    assert!(
        why.ends_with("took longer than 1 s and was killed"),
        "{why}"
    );
    assert!(begun.elapsed() < LONG);
    let child = fs::read_to_string(place.path().join("child")).unwrap();
    let state = format!("/proc/{}/stat", child.trim());
    while let Ok(stat) = fs::read_to_string(&state) {
        // A zombie until its new parent looks.
        if stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
        {
            break;
        }
        assert!(begun.elapsed() < LONG, "{stat}");
    }
}

#[test]
fn a_program_that_cannot_be_run_is_named_before_anything_is_watched() {
    let check = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        checked(&words).map_err(|why| why.to_string())
    };
    assert_eq!(check(&[]), Ok(Vec::new()));
    let found = check(&["true", "a b"]).unwrap();
    assert!(
        found[0].ends_with("/true") && found[1] == "a b",
        "{found:?}"
    );
    for (program, part) in [
        ("/nowhere/at/all", "it is not there"),
        ("no-such-program-anywhere", "in no directory of PATH"),
        ("/etc/passwd", "may be run"),
        ("/tmp", "may be run"),
    ] {
        let why = check(&[program]).unwrap_err();
        assert!(why.contains(part) && why.contains(program), "{why}");
    }
}

#[test]
fn a_slow_program_holds_nothing_up_and_what_finds_no_place_is_counted() {
    let (_place, command) = script("sleep 600");
    let keep = Keep {
        dir: None,
        severity: crate::diagnose::Severity::Info,
        before: LONG,
        after: LONG,
        pause: LONG,
        max_bytes: 0,
        on_finding: command,
    };
    let mut hook = Hook::new(&keep).unwrap();
    let begun = Instant::now();
    for _ in 0..WAITING + 10 {
        hook.run(job(&[], 100));
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
    let mut own = Own::default();
    hook.count(&mut own);
    assert!((9..=10).contains(&own.hook_failures), "{own:?}");
    hook.close();
    // It was given a moment, and no more.
    assert!(begun.elapsed() < 2 * LAST_PATIENCE + Duration::from_secs(2));
}
