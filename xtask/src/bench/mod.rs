//! `bench`: measures what stallscope costs the processes it watches, and itself, beside bpftrace.
//!
//! The measuring is done by `tests/bench`; here its numbers become ratios, verdicts and docs/bench.md.

mod report;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{build, object, sh};

use report::Report;

/// The page that the measured table goes to.
const PAGE: &str = "docs/bench.md";

/// Options of `bench`.
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

/// What to measure.
#[derive(clap::Subcommand)]
enum What {
    /// Cost of a system call: the floor, bpftrace and stallscope, interleaved; writes docs/bench.md
    Overhead(Overhead),
}

/// Options of `bench overhead`.
#[derive(clap::Args)]
struct Overhead {
    /// Rounds; every variant takes part in each, and the median of the rounds counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// CPU time of one sample of one call, ms
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=5000))]
    sample_ms: u32,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    check: bool,
    /// Print only; leave docs/bench.md as it is
    #[arg(long)]
    no_page: bool,
}

/// Measures, prints and writes.
pub fn run(options: &Options) -> Result<()> {
    let What::Overhead(options) = &options.what;
    overhead(options)
}

fn overhead(options: &Overhead) -> Result<()> {
    let object = build::object()?;
    let stallscope = build::stallscope(&object)?;
    let measured = measure(options, &object, &stallscope)?;
    let report = Report::of(&measured)?;
    print!("{}", report.text());
    if !options.no_page {
        let page = sh::root().join(PAGE);
        let old = fs::read_to_string(&page).unwrap_or_default();
        sh::write_if_changed(&page, report.page(&old).as_bytes())?;
        println!("\nwritten to {PAGE}");
    }
    if options.check && report.missed() > 0 {
        eprintln!("bench: {} goal(s) missed", report.missed());
        std::process::exit(1);
    }
    Ok(())
}

/// Builds and runs the measuring program.
fn measure(options: &Overhead, object: &Path, stallscope: &Path) -> Result<Value> {
    sh::run(
        sh::cargo()
            .args([
                "build",
                "--locked",
                "--release",
                "--package=probe-tests",
                "--bin=bench-overhead",
            ])
            .env(object::VARIABLE, object),
    )?;
    let program = sh::target_dir()?.join("release/bench-overhead");
    let Some(mut command) = sh::as_root(&program) else {
        bail!("measuring needs root, and there is no sudo: run as root");
    };
    if !sh::is_root() {
        println!("bench: measuring needs root: it runs through sudo");
    }
    sh::clean_library_path(&mut command);
    command
        .arg(options.rounds.to_string())
        .arg(options.sample_ms.to_string())
        .arg(stallscope);
    let text = sh::output(&mut command)?;
    serde_json::from_str(&text).context("the measuring program's result")
}
