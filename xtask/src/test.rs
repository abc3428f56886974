//! `test`: the tests, on the freshly built kernel object, with one summary at the end.
//!
//! Without `--all` it is what fits into half an hour on two CPUs: every unit test, every kernel test on this machine's kernel and each
//! once more on one of the kernels in QEMU, of what needs real servers a case of each kind, and some
//! seconds of chance for each parser.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    build::{self, Purpose},
    object, setup, sh,
};

/// Options of `test`.
#[derive(clap::Args)]
pub struct Options {
    /// Every end-to-end case, every kernel test and the scenarios on every kernel, the whole lab, and a real fuzzer: some two hours
    #[arg(long)]
    all: bool,
    /// Leave out the matrix of kernels in QEMU
    #[arg(long)]
    no_vm: bool,
    /// Leave out what needs root: kernel tests, end-to-end tests and the matrix
    #[arg(long)]
    no_root: bool,
    /// Pass on to the test programs, such as a part of a test's name
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Sets up, builds and runs all stages; every stage runs even when one before it failed.
pub fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let object = build::object()?;
    let mut stages = vec![unit(options, &object)?];
    if !options.no_root {
        setup::test_packages()?;
        let of_root = Root::new(options, &object)?;
        stages.push(of_root.stage("kernel tests", "kernel", &[])?);
        // What is asked for by its name is run, whichever subset it is in.
        let quick: &[&str] = match options.all || !options.arguments.is_empty() {
            true => &[],
            false => &["--quick"],
        };
        stages.push(of_root.stage("end-to-end tests", "e2e", quick)?);
        if options.arguments.is_empty() {
            stages.push(lab(options.all)?);
        }
        if !options.no_vm {
            stages.push(matrix(options, &object, &of_root.stallscope)?);
        }
    }
    if options.arguments.is_empty() {
        stages.push(fuzz(options.all)?);
    }
    summary(&stages, start.elapsed())
}

/// Tests of what needs neither root nor a kernel.
fn unit(options: &Options, object: &Path) -> Result<Stage> {
    let mut cargo = build::cargo_test()?;
    cargo.arg("--no-fail-fast");
    object::embed(&mut cargo, object);
    cargo.arg("--").args(&options.arguments);
    Stage::run("unit tests", &mut cargo)
}

/// Tests that attach to this machine's kernel, with the programs that the guests get as well.
struct Root<'a> {
    options: &'a Options,
    object: &'a Path,
    stallscope: PathBuf,
}

impl<'a> Root<'a> {
    fn new(options: &'a Options, object: &'a Path) -> Result<Self> {
        if !sh::is_root() {
            // Known before anything is compiled for it.
            as_root("env", "kernel tests")?;
            println!("test: the kernel tests need root: they run through sudo");
        }
        Ok(Self {
            options,
            object,
            stallscope: build::static_stallscope(Purpose::Tests, object)?,
        })
    }

    /// This program of the tests, with these arguments beside the caller's.
    fn stage(&self, name: &'static str, program: &str, arguments: &[&str]) -> Result<Stage> {
        let program = build::kernel_tests(program, self.object)?;
        let mut tests = as_root("env", name)?;
        tests
            .arg(format!("STALLSCOPE_BIN={}", self.stallscope.display()))
            .arg(program)
            .args(arguments)
            .args(&self.options.arguments)
            .current_dir(sh::root());
        sh::clean_library_path(&mut tests);
        Stage::run(name, &mut tests)
    }
}

/// A command that acts as root, for a stage of this name.
fn as_root(program: impl AsRef<OsStr>, name: &str) -> Result<Command> {
    sh::as_root(program).with_context(|| {
        format!("{name} need root, and there is no sudo: run as root, or with --no-root")
    })
}

/// Scenarios with numbers that are the same each time, so that what fails can be played again: one of each kind, or all.
fn lab(all: bool) -> Result<Stage> {
    const SEED: &str = "1";
    // All of it judges what the tool costs as well.
    let purpose = match all {
        true => Purpose::Measurements,
        false => Purpose::Tests,
    };
    let (program, _) = build::with_stallscope(purpose, "lab")?;
    let name = "incidents on real servers";
    let mut lab = as_root(&program, name)?;
    sh::clean_library_path(&mut lab);
    lab.args([if all { "--all" } else { "--quick" }, "--seed", SEED]);
    Stage::run(name, &mut lab)
}

/// The same kernel tests on Debian's kernels in QEMU: each on one of them, or all on each, with the scenarios.
fn matrix(options: &Options, object: &Path, binary: &Path) -> Result<Stage> {
    let mut vm = own("vm")?;
    vm.arg(if options.all { "--scenarios" } else { "--deal" })
        .env(object::VARIABLE, object)
        .env("STALLSCOPE_BIN", binary);
    Stage::run("matrix of kernels in QEMU", &mut vm)
}

/// Every parser of outside bytes for some seconds: with the fuzzer, or what becomes of its seeds by chance, the same each time.
fn fuzz(all: bool) -> Result<Stage> {
    let mut fuzz = own("fuzz")?;
    match all {
        true => fuzz.args(["--seconds", "60"]),
        false => fuzz.args(["--quick", "--seed", "1", "--seconds", "30"]),
    };
    Stage::run("fuzzing", &mut fuzz)
}

/// Another verb of this program.
fn own(verb: &str) -> Result<Command> {
    let program: PathBuf = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.arg(verb).current_dir(sh::root());
    Ok(command)
}

/// What became of one stage.
struct Stage {
    name: &'static str,
    took: Duration,
    succeeded: bool,
    counts: Counts,
    failed: Vec<String>,
    again: Vec<String>,
}

/// The numbers of libtest's result lines, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Stage {
    fn run(name: &'static str, command: &mut Command) -> Result<Self> {
        println!("\n== {name}: {}", sh::show(command));
        let start = Instant::now();
        let (mut counts, mut failed, mut again) = (Counts::default(), Vec::new(), Vec::new());
        let add = |names: &mut Vec<String>, name: Option<&str>| {
            if let Some(name) = name
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
        };
        let succeeded = sh::tee(command, |line| {
            counts.add(line);
            add(&mut failed, failed_test(line));
            add(&mut again, repeated_test(line));
        })?;
        Ok(Self {
            name,
            took: start.elapsed(),
            succeeded,
            counts,
            failed,
            again,
        })
    }
}

impl Counts {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; ...`, which the matrix puts a
    /// kernel's name before; ignores others.
    fn add(&mut self, line: &str) {
        let Some((_, numbers)) = line.split_once("test result: ") else {
            return;
        };
        let mut last = 0;
        for word in numbers.split([' ', ';']).filter(|word| !word.is_empty()) {
            match word {
                "passed" => self.passed += last,
                "failed" => self.failed += last,
                // Our own harness skips where a kernel lacks a capability; nothing is ignored.
                "ignored" | "skipped" => self.ignored += last,
                number => last = number.parse().unwrap_or(0),
            }
        }
    }
}

/// The name in `test NAME ... FAILED`, or in `failed: NAME`, where a list of them ends a run.
fn failed_test(line: &str) -> Option<&str> {
    // Our own harness adds the time that a test took.
    let of_libtest = || Some(line.strip_prefix("test ")?.split_once(" ... FAILED")?.0);
    of_libtest().or_else(|| line.trim_start().strip_prefix("failed: "))
}

/// What was tried again, and why, in `test NAME ... again: REASON`, which the matrix puts a kernel's name before.
fn repeated_test(line: &str) -> Option<&str> {
    line.contains(" ... again: ").then_some(line)
}

fn summary(stages: &[Stage], took: Duration) -> Result<()> {
    let mut all = Counts::default();
    let mut succeeded = true;
    println!("\n== summary");
    for stage in stages {
        let Counts {
            passed,
            failed,
            ignored,
        } = stage.counts;
        println!(
            "{:<6} {:<28} {passed:>4} passed {failed:>3} failed {:>6.0} s",
            if stage.succeeded { "ok" } else { "FAILED" },
            stage.name,
            stage.took.as_secs_f64()
        );
        for name in &stage.failed {
            println!("         {name}");
        }
        for line in &stage.again {
            println!("         {line}");
        }
        all.passed += passed;
        // A stage that fails without a failed test (it did not compile, a VM did not boot) counts as one.
        all.failed += if stage.succeeded {
            failed
        } else {
            failed.max(1)
        };
        all.ignored += ignored;
        succeeded &= stage.succeeded;
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        if succeeded { "ok" } else { "FAILED" },
        all.passed,
        all.failed,
        all.ignored,
        took.as_secs_f64()
    );
    if !succeeded {
        std::process::exit(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Counts, failed_test, repeated_test};

    #[test]
    fn result_lines_add_up() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s");
        counts.add("5.10: test result: FAILED. 2 passed; 4 failed; 2 skipped");
        counts.add("test other ... ok");
        assert_eq!(
            counts,
            Counts {
                passed: 14,
                failed: 4,
                ignored: 3
            }
        );
    }

    #[test]
    fn failed_tests_are_named() {
        assert_eq!(
            failed_test("test calls::poll_is_counted ... FAILED"),
            Some("calls::poll_is_counted")
        );
        assert_eq!(
            failed_test("      failed: poll_is_counted"),
            Some("poll_is_counted")
        );
        assert_eq!(failed_test("test a::b ... FAILED (23 ms)"), Some("a::b"));
        assert_eq!(failed_test("test calls::poll_is_counted ... ok"), None);
    }

    #[test]
    fn what_was_tried_again_is_said_with_its_reason() {
        let line = "6.1: test a::b ... again: at the end, for 3, not 4";
        assert_eq!(repeated_test(line), Some(line));
        assert_eq!(repeated_test("test a::b ... ok at the end (7 ms)"), None);
    }
}
