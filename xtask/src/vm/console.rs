//! What the guest says on its serial console, and what that means. The other side is `xtask/vm-init`.

use std::collections::BTreeSet;
use std::time::Duration;

/// Starts every line that is for us and not a program's output.
const MARK: &str = "@vm ";

/// A job that ran, or began, in the guest.
#[derive(Debug, Default, PartialEq)]
pub struct Job {
    /// Its name in the job list.
    pub name: String,
    /// What it printed.
    pub lines: Vec<String>,
    /// Its exit code (128 and the signal when killed); none when it did not end.
    pub code: Option<i32>,
    /// How long it ran.
    pub took: Duration,
}

/// The whole console, read.
#[derive(Debug, Default)]
pub struct Report {
    /// The guest's uptime in seconds when it was ready.
    pub up: Option<f64>,
    /// In the order they ran.
    pub jobs: Vec<Job>,
    /// What was left behind in the kernel, by kind.
    pub left: Vec<String>,
    /// What stopped /init.
    pub fault: Option<String>,
    /// The guest came to its regular end.
    pub done: bool,
    /// Lines outside any job: the kernel's last words when it dies.
    pub other: Vec<String>,
    /// /init starts its lines on a new one, which leaves an empty line when the output ended with one already.
    blank: bool,
}

impl Report {
    /// Takes the next line; returns it when a job printed it.
    pub fn line(&mut self, line: &str) -> Vec<String> {
        let Some(mark) = line.strip_prefix(MARK) else {
            if line.is_empty() && !self.blank {
                self.blank = true;
                return Vec::new();
            }
            let mut shown = Vec::new();
            if std::mem::take(&mut self.blank) {
                shown.push(String::new());
            }
            if line.is_empty() {
                self.blank = true;
            } else {
                shown.push(line.to_owned());
            }
            return self.keep(shown);
        };
        self.blank = false;
        let mut words = mark.splitn(2, ' ');
        let rest =
            |words: &mut std::str::SplitN<'_, char>| words.next().unwrap_or_default().to_owned();
        match words.next().unwrap_or_default() {
            "up" => self.up = rest(&mut words).parse().ok(),
            "begin" => self.jobs.push(Job {
                name: rest(&mut words),
                ..Job::default()
            }),
            "end" => self.end(&rest(&mut words)),
            "left" => self.left.push(rest(&mut words)),
            "fault" => self.fault = Some(rest(&mut words)),
            "done" => self.done = true,
            _ => self.other.push(line.to_owned()),
        }
        Vec::new()
    }

    /// The job of that name.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.iter().find(|j| j.name == name)
    }

    fn keep(&mut self, shown: Vec<String>) -> Vec<String> {
        match self.jobs.last_mut().filter(|j| j.code.is_none()) {
            Some(job) => {
                job.lines.extend(shown.iter().cloned());
                shown
            }
            None => {
                self.other
                    .extend(shown.into_iter().filter(|l| !l.is_empty()));
                Vec::new()
            }
        }
    }

    /// `name code milliseconds`
    fn end(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        if let (Some(job), [name, code, ms]) = (self.jobs.last_mut(), words.as_slice())
            && job.name == *name
        {
            job.code = code.parse().ok();
            job.took = Duration::from_millis(ms.parse().unwrap_or(0));
        }
    }
}

/// The numbers in the test program's last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed.
    pub failed: u32,
    /// Tests of something that this kernel is too old for.
    pub skipped: u32,
}

/// What the test program says in the end; none when it never got there.
#[must_use]
pub fn totals(lines: &[String]) -> Option<Totals> {
    let text = lines
        .iter()
        .rev()
        .find_map(|l| l.strip_prefix("test result: "))?;
    let number = |what: &str| {
        text.split("; ")
            .find_map(|part| part.strip_suffix(what)?.rsplit(' ').next()?.parse().ok())
    };
    Some(Totals {
        passed: number(" passed")?,
        failed: number(" failed")?,
        skipped: number(" skipped")?,
    })
}

/// Names of the tests that failed, each with what it printed, cut to a readable length.
#[must_use]
pub fn failures(lines: &[String]) -> Vec<(&str, Vec<&str>)> {
    const SHOWN: usize = 40;
    // A run that is cut short has no list at its end; a test that prints breaks its own line.
    let at_once = lines
        .iter()
        .filter_map(|l| Some(l.strip_prefix("test ")?.split_once(" ... FAILED")?.0));
    let listed = lines.iter().filter_map(|l| l.strip_prefix("failed: "));
    let mut names: Vec<&str> = at_once.collect();
    names.extend(listed);
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    // The last one: a test that was tried again has a line for each attempt.
    let printed = |name: &str| {
        let head = format!("test {name} ... ");
        let at = lines.iter().rposition(|l| l.starts_with(&head));
        let after = lines.iter().skip(at.map_or(lines.len(), |at| at + 1));
        after
            .map(String::as_str)
            .take_while(|l| !l.starts_with("test ") && !l.starts_with("failed: "))
            .take(SHOWN)
            .collect()
    };
    names
        .into_iter()
        .map(|name| (name, printed(name)))
        .collect()
}

/// The names and reasons in `test NAME ... skipped: REASON`.
#[must_use]
pub fn skipped(lines: &[String]) -> Vec<(&str, &str)> {
    remarks(lines, " ... skipped: ")
}

/// The names and reasons in `test NAME ... again: REASON`: the test was run again, at once or at the end.
#[must_use]
pub fn repeated(lines: &[String]) -> Vec<(&str, &str)> {
    remarks(lines, " ... again: ")
}

fn remarks<'a>(lines: &'a [String], between: &str) -> Vec<(&'a str, &'a str)> {
    lines
        .iter()
        .filter_map(|l| l.strip_prefix("test ")?.split_once(between))
        .collect()
}

/// The line that says most about a guest that died: the kernel's last words, or else the last line.
#[must_use]
pub fn last_words(lines: &[String]) -> &str {
    let panic = lines
        .iter()
        .find(|l| l.contains("Kernel panic") || l.contains("BUG:"));
    panic.or(lines.last()).map_or("nothing", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Report {
        let mut report = Report::default();
        for line in text.lines() {
            report.line(line);
        }
        report
    }

    #[test]
    fn a_regular_console_becomes_jobs_with_codes() {
        let report = read(
            "SeaBIOS\n\n@vm up 1.92\n\n@vm begin doctor\nsched  active\n\nudp  off\n\n@vm end doctor 0 310\n\
                           \n@vm left BPF maps: 7\n\n@vm done\n",
        );
        assert_eq!(report.up, Some(1.92));
        assert_eq!(
            report.job("doctor").map(|j| (j.code, j.took.as_millis())),
            Some((Some(0), 310))
        );
        assert_eq!(
            report.job("doctor").map(|j| j.lines.clone()),
            Some(vec![
                "sched  active".into(),
                String::new(),
                "udp  off".into()
            ])
        );
        assert_eq!(report.left, ["BPF maps: 7"]);
        assert!(report.done && report.fault.is_none());
        assert_eq!(report.other, ["SeaBIOS"]);
    }

    #[test]
    fn what_a_test_printed_is_that_of_its_last_attempt() {
        let lines = [
            "test a ... again: 5 ms",
            "test a ... FAILED (1 ms)",
            "6 ms",
            "failed: a",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(failures(&lines), [("a", vec!["6 ms"])]);
        assert_eq!(repeated(&lines), [("a", "5 ms")]);
    }

    #[test]
    fn a_guest_that_dies_leaves_its_last_words() {
        let report = read("@vm begin tests\ntest a ... ok\nKernel panic - not syncing\n");
        assert!(!report.done);
        assert_eq!(report.job("tests").and_then(|j| j.code), None);
        assert_eq!(
            report
                .job("tests")
                .and_then(|j| j.lines.last().cloned())
                .as_deref(),
            Some("Kernel panic - not syncing")
        );
    }

    #[test]
    fn totals_come_from_the_last_line_of_the_tests() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let text = lines(
            "test a ... ok (3 ms)\ntest c ... skipped: c needs Linux 5.11, this is 5.10\ntest b ... FAILED (1 ms)\n    3 is not 4\nfailed: b\n\
             test result: FAILED. 12 passed; 1 failed; 2 skipped; finished in 0.4 s\n",
        );
        assert_eq!(
            totals(&text),
            Some(Totals {
                passed: 12,
                failed: 1,
                skipped: 2
            })
        );
        assert_eq!(failures(&text), [("b", vec!["    3 is not 4"])]);
        assert_eq!(skipped(&text), [("c", "c needs Linux 5.11, this is 5.10")]);
        assert_eq!(totals(&lines("running 3 tests\n")), None);
    }
}
