//! `bench`: measures what stallscope costs the processes it watches, and itself, beside other tools.
//!
//! The measuring is done by `tests/bench`; here its numbers become ratios, verdicts and docs/bench.md.

mod dns;
mod files;
mod report;
mod section;
mod tcp;
mod udp;

use std::fs;

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
    /// Cost of a connection, of a count of very many sockets, and of short connections to a web server; writes a
    /// section of docs/bench.md
    Tcp(Signal),
    /// Cost of a datagram that finds its socket full; writes a section of docs/bench.md
    Udp(Signal),
    /// Cost of a question and its answer, and of 20,000 a second; writes a section of docs/bench.md
    Dns(Signal),
    /// Cost of an open, with and without a creation, and of watching many; writes a section of docs/bench.md
    Files(Signal),
}

/// Options of the measurements of one signal.
#[derive(clap::Args)]
struct Signal {
    /// Rounds; every variant takes part in each, and the median of the rounds counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    check: bool,
    /// Print only; leave docs/bench.md as it is
    #[arg(long)]
    no_page: bool,
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
    match &options.what {
        What::Overhead(options) => {
            let numbers = [options.rounds.to_string(), options.sample_ms.to_string()];
            let report = Report::of(&measure("overhead", &numbers)?)?;
            print!("{}", report.text());
            write(options.no_page, |old| report.page(old))?;
            judge(options.check, report.missed());
        }
        What::Tcp(options) => signal("tcp", options, tcp::section)?,
        What::Udp(options) => signal("udp", options, udp::section)?,
        What::Dns(options) => signal("dns", options, dns::section)?,
        What::Files(options) => signal("files", options, files::section)?,
    }
    Ok(())
}

/// Measures one signal, prints and writes.
fn signal(
    what: &str,
    options: &Signal,
    section: impl Fn(&Value) -> Result<section::Section>,
) -> Result<()> {
    let section = section(&measure(what, &[options.rounds.to_string()])?)?;
    print!("{}", section.text());
    write(options.no_page, |old| section.page(old))?;
    judge(options.check, section.missed());
    Ok(())
}

/// Writes the page, of which `page` makes a new one.
fn write(no_page: bool, page: impl Fn(&str) -> String) -> Result<()> {
    if no_page {
        return Ok(());
    }
    let file = sh::root().join(PAGE);
    let old = fs::read_to_string(&file).unwrap_or_default();
    sh::write_if_changed(&file, page(&old).as_bytes())?;
    println!("\nwritten to {PAGE}");
    Ok(())
}

fn judge(check: bool, missed: usize) {
    if check && missed > 0 {
        eprintln!("bench: {missed} goal(s) missed");
        std::process::exit(1);
    }
}

/// Builds everything and runs the measuring program.
fn measure(what: &str, numbers: &[String]) -> Result<Value> {
    let object = build::object()?;
    let stallscope = build::stallscope(&object)?;
    sh::run(
        sh::cargo()
            .args([
                "build",
                "--locked",
                "--release",
                "--package=probe-tests",
                "--bin=bench",
            ])
            .env(object::VARIABLE, object),
    )?;
    let program = sh::target_dir()?.join("release/bench");
    let Some(mut command) = sh::as_root(&program) else {
        bail!("measuring needs root, and there is no sudo: run as root");
    };
    if !sh::is_root() {
        println!("bench: measuring needs root: it runs through sudo");
    }
    sh::clean_library_path(&mut command);
    command.arg(what).args(numbers).arg(stallscope);
    let text = sh::output(&mut command)?;
    serde_json::from_str(&text).context("the measuring program's result")
}
