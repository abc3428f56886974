//! What a guest's console means: whether all was well, and what to print about it.

use std::time::Duration;

use super::console::{self, Job, Totals};
use super::probes;
use super::qemu::Outcome;

/// Job names; the first three make a run of the tests, the last is `--exec`.
pub const DOCTOR: &str = "doctor";
/// The test program.
pub const TESTS: &str = "tests";
/// The scenarios.
pub const SCENARIOS: &str = "scenarios";
/// A command of the user's.
pub const EXEC: &str = "exec";

/// What to say about a guest.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// Times and facts, and after them what was not as it should be.
    pub lines: Vec<String>,
    /// Whether all was as it should be.
    pub good: bool,
}

/// Judges a guest that had at most `limit`.
pub fn judge(name: &str, release: &str, outcome: &Outcome, limit: Duration) -> Verdict {
    let report = &outcome.report;
    let mut lines = vec![times(name, release, outcome)];
    if let Some(doctor) = report.job(DOCTOR) {
        lines.push(format!("      {}", probes::line(&doctor.lines)));
    }
    for job in [TESTS, SCENARIOS] {
        lines.extend(
            report
                .job(job)
                .map(|job| of_tests(name, job))
                .unwrap_or_default(),
        );
    }
    let faults = faults(outcome, limit);
    lines.extend(faults.iter().map(|fault| format!("      {fault}")));
    Verdict {
        lines,
        good: faults.is_empty(),
    }
}

/// The numbers of a job that runs tests, and what was skipped, run again or failed.
fn of_tests(name: &str, job: &Job) -> Vec<String> {
    let (tests, mut lines) = (&job.lines, Vec::new());
    if let Some(Totals {
        passed,
        failed,
        skipped,
    }) = console::totals(tests)
    {
        let good = job.code == Some(0);
        let word = if good { "ok" } else { "FAILED" };
        // In the form that `cargo xtask test` adds up.
        lines.push(format!(
            "{name}: test result: {word}. {passed} passed; {failed} failed; {skipped} skipped"
        ));
    }
    lines.extend(
        console::skipped(tests)
            .iter()
            .map(|(test, why)| format!("      skipped {test}: {why}")),
    );
    lines.extend(
        console::repeated(tests)
            .iter()
            .map(|(test, why)| format!("      again {test}: {why}")),
    );
    for (test, printed) in console::failures(tests) {
        lines.push(format!("test {name}: {test} ... FAILED"));
        lines.extend(printed.iter().map(|line| format!("    {line}")));
    }
    lines
}

/// `5.10  5.10.0-32-cloud-amd64  boot 2.1 s  doctor 0.8 s  tests 9.0 s  total 12.4 s`
fn times(name: &str, release: &str, outcome: &Outcome) -> String {
    let seconds = |what: &str, d: Duration| format!("  {what} {:.1} s", d.as_secs_f64());
    let mut line = format!("{name:<5} {release}");
    line += &outcome
        .boot
        .map_or("  never booted".to_owned(), |d| seconds("boot", d));
    for job in outcome.report.jobs.iter().filter(|j| j.code.is_some()) {
        line += &seconds(&job.name, job.took);
    }
    line + &seconds("total", outcome.total)
}

/// Everything that was not as it should be.
fn faults(outcome: &Outcome, limit: Duration) -> Vec<String> {
    let report = &outcome.report;
    let mut faults = Vec::new();
    if outcome.timed_out {
        let why = if outcome.total < limit {
            "it said nothing for a long time".to_owned()
        } else {
            format!("it did not finish in {} s (--timeout)", limit.as_secs())
        };
        faults.push(format!("the guest was ended: {why}"));
    }
    faults.extend(report.fault.iter().map(|f| format!("in the guest: {f}")));
    for job in &report.jobs {
        faults.extend(job_fault(job));
    }
    faults.extend(report.left.iter().map(|l| format!("left behind: {l}")));
    if !report.done && faults.is_empty() {
        faults.push(format!(
            "the guest ended early; its console ends in: {}",
            console::last_words(&report.other)
        ));
    }
    faults
}

fn job_fault(job: &Job) -> Option<String> {
    let name = &job.name;
    let totals = console::totals(&job.lines);
    match job.code {
        None => Some(format!(
            "{name} did not end; its last words: {}",
            console::last_words(&job.lines)
        )),
        Some(0) if (name == TESTS || name == SCENARIOS) && totals.is_none_or(|t| t.passed == 0) => {
            Some("no test ran".to_owned())
        }
        // These kernels refuse nothing that is asked of them.
        Some(0) if name == DOCTOR => probes::off(&job.lines),
        Some(0) => None,
        // The line about the probes says why.
        Some(code) if name == DOCTOR => Some(format!("{name} ended with exit code {code}")),
        // The numbers have been given.
        Some(_) if totals.is_some_and(|t| t.failed > 0) => Some("tests failed".to_owned()),
        Some(code) => Some(format!(
            "{name} ended with exit code {code}; its last words: {}",
            console::last_words(&job.lines)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(console: &str) -> Verdict {
        let mut outcome = Outcome {
            boot: Some(Duration::from_millis(2100)),
            total: Duration::from_millis(3100),
            ..Outcome::default()
        };
        for line in console.lines() {
            outcome.report.line(line);
        }
        judge("5.10", "5.10.0-32", &outcome, Duration::from_secs(180))
    }

    #[test]
    fn a_good_guest_is_two_lines() {
        let verdict = check(
            "@vm up 2.0\n@vm begin tests\ntest a ... ok (1 ms)\ntest result: ok. 1 passed; 0 failed; 0 skipped; finished in 0.1 s\n@vm end tests 0 900\n@vm done\n",
        );
        assert!(verdict.good);
        assert_eq!(
            verdict.lines,
            [
                "5.10  5.10.0-32  boot 2.1 s  tests 0.9 s  total 3.1 s",
                "5.10: test result: ok. 1 passed; 0 failed; 0 skipped"
            ]
        );
    }

    #[test]
    fn a_failed_test_comes_with_what_it_printed() {
        let verdict = check(
            "@vm begin tests\ntest a ... FAILED (1 ms)\n3 is not 4\nfailed: a\ntest result: FAILED. 0 passed; 1 failed; 0 skipped; finished\n@vm end tests 101 900\n@vm done\n",
        );
        assert!(!verdict.good);
        assert_eq!(
            verdict.lines[1..],
            [
                "5.10: test result: FAILED. 0 passed; 1 failed; 0 skipped",
                "test 5.10: a ... FAILED",
                "    3 is not 4",
                "      tests failed"
            ]
        );
    }

    #[test]
    fn a_test_that_was_run_again_is_named_and_too_many_are_a_fault() {
        let console =
            "@vm begin tests\ntest a ... again: 5 ms\ntest a ... ok on attempt 2 (1 ms)\n";
        let verdict = check(&format!(
            "{console}test result: ok. 1 passed; 0 failed; 0 skipped; 1 repeated; finished\n@vm end tests 0 9\n@vm done\n"
        ));
        assert!(verdict.good);
        assert_eq!(
            verdict.lines[1..],
            [
                "5.10: test result: ok. 1 passed; 0 failed; 0 skipped",
                "      again a: 5 ms"
            ]
        );
        let verdict = check(&format!(
            "{console}test result: FAILED. 1 passed; 0 failed; 0 skipped; 1 repeated; finished\n\
             too many\n@vm end tests 101 9\n@vm done\n"
        ));
        assert!(!verdict.good);
        assert_eq!(
            verdict.lines[1..],
            [
                "5.10: test result: FAILED. 1 passed; 0 failed; 0 skipped",
                "      again a: 5 ms",
                "      tests ended with exit code 101; its last words: too many"
            ]
        );
    }

    #[test]
    fn what_is_left_behind_and_a_run_without_tests_are_faults() {
        let verdict = check(
            "@vm begin tests\ntest result: ok. 0 passed; 0 failed; 0 skipped; finished\n@vm end tests 0 9\n@vm left BPF maps: 7\n@vm done\n",
        );
        assert!(!verdict.good);
        assert_eq!(
            verdict.lines[2..],
            ["      no test ran", "      left behind: BPF maps: 7"]
        );
    }

    #[test]
    fn a_guest_that_dies_shows_its_last_words() {
        let verdict = check("@vm begin tests\ntest a ... Kernel panic - not syncing: x\n <TASK>\n");
        assert_eq!(
            verdict.lines[1..],
            ["      tests did not end; its last words: test a ... Kernel panic - not syncing: x"]
        );
        let verdict = check("qemu: no such file\n");
        assert_eq!(
            verdict.lines[1..],
            ["      the guest ended early; its console ends in: qemu: no such file"]
        );
    }
}
