//! `bench`: measures what stallscope costs the processes it watches, and itself, beside other tools.
//!
//! The measuring is done by `tests/bench`; here its numbers become ratios, verdicts and docs/bench.md. A run of everything is also kept in
//! docs/bench-history.jsonl, and what got worse since is said.

mod census;
mod dns;
mod files;
mod history;
mod overhead;
mod own;
mod php;
mod replay;
mod report;
mod ring;
mod section;
mod start;
mod tcp;
mod udp;

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    build::{self, Purpose},
    setup, sh,
};

use section::Section;

/// The page that the measured tables go to.
const PAGE: &str = "docs/bench.md";

/// Options of `bench`.
#[derive(clap::Args)]
pub struct Options {
    /// What to measure; without it everything, which is then kept in docs/bench-history.jsonl
    #[command(subcommand)]
    what: Option<What>,
    /// Exit with 1 when a goal is missed or a number is worse than in earlier runs (of a run of everything)
    #[arg(long)]
    check: bool,
    /// Print only; leave the files in docs as they are (of a run of everything)
    #[arg(long)]
    no_page: bool,
}

/// What to measure. Each writes its section of docs/bench.md.
#[derive(clap::Subcommand)]
enum What {
    /// Cost of a system call: the floor, bpftrace, perf trace, strace and stallscope, interleaved
    Overhead(Signal),
    /// Cost of a connection, and of short connections to a web server
    Tcp(Signal),
    /// Cost of a datagram that finds its socket full
    Udp(Signal),
    /// Cost of a question and its answer, and of 20,000 a second
    Dns(Signal),
    /// Cost of an open, with and without a creation, and of watching many
    Files(Signal),
    /// What nginx and PHP-FPM still answer with everything attached
    Php(Signal),
    /// Events a second through the ring, and that the rest is counted
    Ring(Signal),
    /// What a count of very many sockets takes, beside `ss`
    Census(Signal),
    /// Time to the first data and memory, beside bpftrace and libbpf-tools
    Start(Signal),
    /// What `serve` takes itself, at rest, under 20,000 requests a second, and with 10,000 live peers
    Serve(Signal),
    /// What the live view takes itself, at rest and beside 256 workers
    View(Signal),
    /// How fast recordings are read, and in how much memory
    Replay(Signal),
}

/// Options of the measurements of one signal.
#[derive(clap::Args)]
struct Signal {
    /// Rounds; every variant takes part in each, and the median of the rounds counts [default: as many as take about a minute]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    check: bool,
    /// Print only; leave docs/bench.md as it is
    #[arg(long)]
    no_page: bool,
}

/// Judges what was measured.
type Judge = fn(&Value) -> Result<Section>;

/// What is measured: its verb, the usual rounds, and who judges it. In the order of a run of everything.
const SIGNALS: [(&str, u32, Judge); 12] = [
    ("overhead", 5, overhead::section),
    ("tcp", 3, tcp::section),
    ("udp", 5, udp::section),
    ("dns", 3, dns::section),
    ("files", 2, files::section),
    ("php", 3, php::section),
    ("ring", 1, ring::section),
    ("census", 3, census::section),
    ("start", 3, start::section),
    ("serve", 1, own::serve),
    ("view", 1, own::view),
    ("replay", 3, replay::section),
];
/// Measures, prints and writes.
pub fn run(options: &Options) -> Result<()> {
    let Some(what) = &options.what else {
        return everything(options);
    };
    let (verb, signal) = what.parts();
    let programs = Programs::build()?;
    let (_, section) = programs.measure(verb, signal.rounds)?;
    print!("{}", section.text());
    if !signal.no_page {
        write(&section)?;
    }
    if signal.check && section.missed() > 0 {
        eprintln!("bench: {} goal(s) missed", section.missed());
        std::process::exit(1);
    }
    Ok(())
}

impl What {
    fn parts(&self) -> (&'static str, &Signal) {
        match self {
            Self::Overhead(signal) => ("overhead", signal),
            Self::Tcp(signal) => ("tcp", signal),
            Self::Udp(signal) => ("udp", signal),
            Self::Dns(signal) => ("dns", signal),
            Self::Files(signal) => ("files", signal),
            Self::Php(signal) => ("php", signal),
            Self::Ring(signal) => ("ring", signal),
            Self::Census(signal) => ("census", signal),
            Self::Start(signal) => ("start", signal),
            Self::Serve(signal) => ("serve", signal),
            Self::View(signal) => ("view", signal),
            Self::Replay(signal) => ("replay", signal),
        }
    }
}

/// Measures everything, one after the other, and keeps the key numbers. What cannot be measured does not keep the rest from being.
fn everything(options: &Options) -> Result<()> {
    let programs = Programs::build()?;
    let (mut keys, mut failed, mut missed) = (Vec::new(), Vec::new(), 0);
    let (mut about, mut disturbed, mut stolen) = (None, 0, 0.0_f64);
    let begun = Instant::now();
    for (verb, ..) in SIGNALS {
        let since = Instant::now();
        match programs.measure(verb, None) {
            Ok((measured, section)) => {
                println!(
                    "{}\n({verb}: {:.0} s)\n",
                    section.text(),
                    since.elapsed().as_secs_f64()
                );
                missed += section.missed();
                disturbed += measured["disturbed_blocks"].as_u64().unwrap_or(0);
                stolen = stolen.max(measured["stolen"].as_f64().unwrap_or(0.0));
                if !options.no_page {
                    write(&section)?;
                }
                keys.extend(section.keys);
                about = Some(measured);
            }
            Err(error) => {
                eprintln!("bench: {verb}: {error:#}");
                failed.push(verb);
            }
        }
    }
    println!(
        "bench: everything took {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let mut about = about.context("nothing could be measured")?;
    about["disturbed_blocks"] = disturbed.into();
    about["stolen"] = stolen.into();
    let worse = history::add(&about, &history::kept(keys), options.no_page)?;
    for line in &worse {
        println!("WARNING: worse than before: {line}");
    }
    if !failed.is_empty() {
        bail!("could not measure {}", failed.join(", "));
    }
    if options.check && (missed > 0 || !worse.is_empty()) {
        eprintln!(
            "bench: {missed} goal(s) missed, {} number(s) worse than before",
            worse.len()
        );
        std::process::exit(1);
    }
    Ok(())
}

/// Writes what was measured to its place on the page.
fn write(section: &Section) -> Result<()> {
    let file = sh::root().join(PAGE);
    let old = fs::read_to_string(&file).unwrap_or_default();
    sh::write_if_changed(&file, section.page(&old).as_bytes())?;
    println!("\nwritten to {PAGE}");
    Ok(())
}

/// The measuring program, and the one that is measured.
struct Programs {
    bench: PathBuf,
    stallscope: PathBuf,
}

impl Programs {
    /// Builds both, and installs what is measured beside them.
    fn build() -> Result<Self> {
        if !sh::is_root() {
            println!("bench: measuring needs root: it runs through sudo");
        }
        setup::test_packages()?;
        let (bench, stallscope) = build::with_stallscope(Purpose::Measurements, "bench")?;
        Ok(Self { bench, stallscope })
    }

    /// Runs the measuring program.
    fn measure(&self, verb: &str, rounds: Option<u32>) -> Result<(Value, Section)> {
        let signal = SIGNALS.iter().find(|(name, ..)| *name == verb);
        let (_, usual, judge) = signal.context("no such measurement")?;
        let rounds = rounds.unwrap_or(*usual);
        let measured = self.run(verb, rounds)?;
        let section = judge(&measured)?;
        Ok((measured, section))
    }

    fn run(&self, verb: &str, rounds: u32) -> Result<Value> {
        let Some(mut command) = sh::as_root(&self.bench) else {
            bail!("measuring needs root, and there is no sudo: run as root");
        };
        sh::clean_library_path(&mut command);
        command.arg(verb).arg(rounds.to_string());
        command.arg(&self.stallscope);
        let text = sh::output(&mut command)?;
        serde_json::from_str(&text).context("the measuring program's result")
    }
}
