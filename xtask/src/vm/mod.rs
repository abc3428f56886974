//! `cargo xtask vm`: the kernel tests on Debian's kernels, in QEMU.
//!
//! Everything that comes from outside is kept in `vm/` of the target directory, so a second run needs no network. Remove
//! that directory to get newer kernels.

mod apt;

mod console;
mod disks;
mod initramfs;
mod kernel;
mod matrix;
mod probes;
mod programs;
mod qemu;
mod verdict;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use kernel::{Image, KERNELS, Kernel};
use programs::Programs;
use qemu::{Guest, Qemu};

use crate::{sh, side_by_side::side_by_side};

/// What to boot and what to run in it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Boot this kernel only: 5.10, 6.1, 6.12 or 7.x (repeatable) [default: all but 7.x]
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
    /// Also run the binary on workloads that have each signal's trouble
    #[arg(long, conflicts_with = "exec")]
    scenarios: bool,
    /// Deal the tests to the kernels: each runs on one of them, and each kernel has its part of them
    #[arg(long, conflicts_with_all = ["exec", "all"])]
    deal: bool,
    /// Tests and scenarios on every kernel, 7.x included; writes docs/kernel-matrix.md
    #[arg(long, conflicts_with_all = ["exec", "kernel", "filter"])]
    all: bool,
    /// Keep the consoles of guests that passed, too
    #[arg(long)]
    keep_log: bool,
    /// Seconds after which a guest is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    timeout: u64,
}

/// Boots the kernels, as many at once as there are CPUs.
///
/// # Errors
/// When a guest cannot be made or started, or when anything in any guest failed.
pub fn run(options: &Options) -> Result<()> {
    let kernels = select(options)?;
    let cache = sh::target_dir()?.join("vm");
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let _alone = lock(&cache)?;
    let programs = Programs::make(options, &cache)?;
    let qemu = Qemu::find(&cache)?;
    // One after the other, as apt's cache is one.
    let of = kernels.len();
    let images: Vec<_> = kernels
        .into_iter()
        .enumerate()
        .map(|(n, kernel)| (kernel, kernel.image(&cache), jobs(options, n, of)))
        .collect();
    let outcomes = side_by_side(&images, guests_at_once(options), |(kernel, image, jobs)| {
        let image = image.as_ref().map_err(|e| format!("{e:#}"))?;
        boot(options, kernel, image, jobs, &qemu, &programs, &cache).map_err(|e| format!("{e:#}"))
    });
    let (mut bad, mut rows) = (Vec::new(), Vec::new());
    for ((kernel, ..), outcome) in images.iter().zip(outcomes) {
        let good = match outcome {
            Ok((good, row)) => {
                rows.push(row);
                good
            }
            Err(error) => {
                eprintln!("{:<5} not run: {error}", kernel.name);
                false
            }
        };
        // What is known of the others stands in docs/kernels.md; the table says what they gave.
        if !good && (kernel.required || !options.all) {
            bad.push(kernel.name);
        }
    }
    if options.all {
        matrix::write(&rows)?;
    }
    if !bad.is_empty() {
        bail!("failed on {}", bad.join(", "));
    }
    Ok(())
}

/// A guest is one thread of the host, which has to run all the time: no more of them than there are CPUs. What a command
/// prints is read as it comes, so there only one.
fn guests_at_once(options: &Options) -> usize {
    match options.exec {
        Some(_) => 1,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Two runs at once would write the same files: the second waits for the first.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let open = || -> std::io::Result<File> {
        let file = File::create(&path)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            eprintln!("vm: waiting for another run to end ({})", path.display());
            file.lock()?;
        }
        Ok(file)
    };
    open().with_context(|| format!("cannot lock {}", path.display()))
}

fn select(options: &Options) -> Result<Vec<&'static Kernel>> {
    let names = &options.kernel;
    if names.is_empty() {
        let wanted = |k: &&Kernel| k.required || options.all;
        return Ok(KERNELS.iter().filter(wanted).collect());
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

/// Boots one kernel, prints what came of it, and says whether all was well, with its row of the table.
fn boot(
    options: &Options,
    kernel: &Kernel,
    image: &Image,
    jobs: &str,
    qemu: &Qemu,
    programs: &Programs,
    cache: &Path,
) -> Result<(bool, matrix::Row)> {
    let initramfs = cache.join(format!("initramfs-{}", kernel.name));
    fs::write(&initramfs, programs.archive(image, jobs)?)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    let log = cache.join(format!("console-{}.log", kernel.name));
    let limit = Duration::from_secs(options.timeout);
    if options.exec.is_some() {
        println!("== {} ({})", kernel.name, image.release);
    }
    let show = |line: &str| {
        if options.exec.is_some() {
            println!("{line}");
        } else if line.starts_with("test ") {
            // Progress only: the verdict names what failed.
            eprintln!("{}: {line}", kernel.name);
        }
    };
    let disks = disks::make(cache, kernel.name)?;
    let guest = Guest {
        vmlinuz: &image.vmlinuz,
        initramfs: &initramfs,
        disks: &disks,
        log: &log,
        limit,
        show: &show,
    };
    let mut outcome = qemu.run(&guest)?;
    if outcome.boot.is_none() && !outcome.timed_out {
        // Nothing of ours has run yet: an emulated machine on a busy host fails so now and then.
        println!("{}: the guest did not come up, once more", kernel.name);
        outcome = qemu.run(&guest)?;
    }
    fs::remove_file(&initramfs)?;
    disks::remove(&disks)?;
    let verdict = verdict::judge(kernel.name, &image.release, &outcome, limit);
    println!("{}", verdict.lines.join("\n"));
    if verdict.good && !options.keep_log {
        fs::remove_file(&log)?;
    } else {
        println!("      console: {}", log.display());
    }
    let row = matrix::Row::of(kernel.name, &image.release, &outcome);
    Ok((verdict.good, row))
}

/// The job list of the `n`-th guest of so many, one line each: name, program, arguments, between tabs.
fn jobs(options: &Options, n: usize, of: usize) -> String {
    if options.exec.is_some() {
        return format!("{}\t/bin/sh\t/{}\n", verdict::EXEC, programs::SCRIPT);
    }
    let filter = options
        .filter
        .as_ref()
        .map(|f| format!("\t{f}"))
        .unwrap_or_default();
    let dealt = match options.deal {
        true => format!("\t--dealt={n}/{of}"),
        false => String::new(),
    };
    let mut jobs = format!(
        "{}\t/bin/stallscope\tdoctor\t--json\n{}\t/bin/{}{dealt}{filter}\n",
        verdict::DOCTOR,
        verdict::TESTS,
        programs::TESTS
    );
    if options.with_scenarios() {
        jobs += &format!(
            "{}\t/bin/{}\t--guest{filter}\n",
            verdict::SCENARIOS,
            programs::SCENARIOS
        );
    }
    jobs
}

impl Options {
    fn with_scenarios(&self) -> bool {
        self.scenarios || self.all
    }
}
