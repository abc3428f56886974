//! `cargo xtask vm`: the kernel tests on Debian's kernels, in QEMU.
//!
//! Everything that comes from outside is kept in `vm/` of the target directory, so a second run needs no network. Remove
//! that directory to get newer kernels.

mod apt;

mod console;
mod initramfs;
mod kernel;
mod programs;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use console::Job;
use kernel::{KERNELS, Kernel};
use programs::{Programs, TESTS};
use qemu::{Guest, Outcome, Qemu};

use crate::sh;

/// What to boot and what to run in it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Boot this kernel only: 5.10, 6.1, 6.12 or 7.x (repeatable) [default: all]
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<String>,
    /// Run only the tests whose name contains NAME
    #[arg(long, value_name = "NAME", conflicts_with = "exec")]
    filter: Option<String>,
    /// Run this shell command instead of the tests, and print what it prints (busybox and stallscope are in the guest's /bin)
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Copy a static program into the guest's /bin (repeatable); one named stallscope is used instead of building it
    #[arg(long, value_name = "PATH")]
    binary: Vec<PathBuf>,
    /// Keep the consoles of guests that passed, too
    #[arg(long)]
    keep_log: bool,
    /// Seconds after which a guest is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    timeout: u64,
}

/// Boots the kernels one after the other.
///
/// # Errors
/// When a guest cannot be made or started, or when anything in any guest failed.
pub fn run(options: &Options) -> Result<()> {
    let kernels = select(&options.kernel)?;
    let cache = sh::target_dir()?.join("vm");
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let programs = Programs::make(options, &cache)?;
    let qemu = Qemu::find(&cache)?;
    let mut bad = Vec::new();
    for kernel in kernels {
        let good = boot(options, kernel, &qemu, &programs, &cache).unwrap_or_else(|error| {
            eprintln!("{:<5} not run: {error:#}", kernel.name);
            false
        });
        if !good {
            bad.push(kernel.name);
        }
    }
    if !bad.is_empty() {
        bail!("failed on {}", bad.join(", "));
    }
    Ok(())
}

fn select(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |name: &String| {
        let known = || {
            KERNELS
                .iter()
                .map(|k| k.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        KERNELS
            .iter()
            .find(|k| k.name == name)
            .with_context(|| format!("no kernel '{name}' in the matrix: there are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Boots one kernel, prints what came of it, and says whether all was well.
fn boot(
    options: &Options,
    kernel: &Kernel,
    qemu: &Qemu,
    programs: &Programs,
    cache: &Path,
) -> Result<bool> {
    let image = kernel.image(cache)?;
    let initramfs = cache.join(format!("initramfs-{}", kernel.name));
    fs::write(&initramfs, programs.archive(&image, &jobs(options))?)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    let log = cache.join(format!("console-{}.log", kernel.name));
    let limit = Duration::from_secs(options.timeout);
    if options.exec.is_some() {
        println!("== {} ({})", kernel.name, image.release);
    }
    let guest = Guest {
        vmlinuz: &image.vmlinuz,
        initramfs: &initramfs,
        log: &log,
        limit,
        echo: options.exec.is_some(),
    };
    let outcome = qemu.run(&guest)?;
    fs::remove_file(&initramfs)?;
    let faults = faults(&outcome, limit);
    println!("{}", summary(kernel, &image.release, &outcome));
    for fault in &faults {
        println!("      {fault}");
    }
    if faults.is_empty() && !options.keep_log {
        fs::remove_file(&log)?;
    } else {
        println!("      console: {}", log.display());
    }
    Ok(faults.is_empty())
}

/// The guest's job list, one line each: name, program, arguments, between tabs.
fn jobs(options: &Options) -> String {
    if let Some(command) = &options.exec {
        return format!(
            "exec\t/bin/sh\t-c\t{}\n",
            command.replace(['\n', '\t'], " ")
        );
    }
    let filter = options
        .filter
        .as_ref()
        .map(|f| format!("\t{f}"))
        .unwrap_or_default();
    format!("doctor\t/bin/stallscope\tdoctor\ntests\t/bin/{TESTS}\t--test-threads=1{filter}\n")
}

/// One line: kernel, boot time, tests, total time.
fn summary(kernel: &Kernel, release: &str, outcome: &Outcome) -> String {
    let seconds = |d: Duration| format!("{:.1} s", d.as_secs_f64());
    let boot = outcome.boot.map_or("never".to_owned(), seconds);
    let tests = outcome
        .report
        .job("tests")
        .and_then(|j| console::totals(&j.lines));
    let tests = tests.map_or(String::new(), |t| {
        format!("  {} passed, {} failed", t.passed, t.failed)
    });
    format!(
        "{:<5} {release}  boot {boot}  total {}{tests}",
        kernel.name,
        seconds(outcome.total)
    )
}

/// Everything that was not as it should be.
fn faults(outcome: &Outcome, limit: Duration) -> Vec<String> {
    let report = &outcome.report;
    let mut faults = Vec::new();
    if outcome.timed_out {
        faults.push(format!(
            "ended after {} s: the guest did not finish",
            limit.as_secs()
        ));
    }
    faults.extend(report.fault.iter().map(|f| format!("in the guest: {f}")));
    for job in &report.jobs {
        faults.extend(job_faults(job));
    }
    faults.extend(report.left.iter().map(|l| format!("left behind: {l}")));
    if !report.done && faults.is_empty() {
        let last = report.other.last().map_or("nothing", String::as_str);
        faults.push(format!(
            "the guest ended early; its console ends in: {last}"
        ));
    }
    faults
}

fn job_faults(job: &Job) -> Vec<String> {
    let mut faults: Vec<String> = console::failed(&job.lines)
        .iter()
        .map(|name| format!("failed: {name}"))
        .collect();
    match job.code {
        Some(0) => {}
        Some(code) => faults.push(format!("{} ended with exit code {code}", job.name)),
        None => faults.push(format!(
            "{} did not end; its last line: {}",
            job.name,
            job.lines.last().map_or("", String::as_str)
        )),
    }
    if job.name == "tests"
        && job.code == Some(0)
        && console::totals(&job.lines).is_none_or(|t| t.passed == 0)
    {
        faults.push("no test ran".to_owned());
    }
    faults
}
