//! `fuzz`: gives everything that reads bytes from outside what nobody would send. The targets are in `fuzz/`, in cargo-fuzz's layout;
//! they run as libFuzzer programs, with the address sanitizer, which takes a quarter of an hour to build. `--quick` runs the same
//! targets in a program that changes their seeds by chance.
//!
//! The compiler is the one that everything else is built with, as rustup's tool chains have the sanitizer; Debian's has not. What
//! the fuzzer finds worth keeping stays in `target/fuzz/corpus`, and the next run begins with it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    apt,
    build::{self, Purpose},
    dist, sh,
    side_by_side::side_by_side,
    toolchain,
};

/// Which cargo-fuzz gets installed where it is missing.
const CARGO_FUZZ: &str = "0.13.2";
/// Compilers of C++, which libFuzzer is written in; the last one is Debian's package.
const COMPILERS: [&str; 3] = ["c++", "clang++", "g++"];
/// An input that takes longer than this hangs, s. The machine may be busy with other things.
const HANGS: u32 = 25;
/// The most memory that a target may have, and ask for at once, MiB. Targets hold their readers to less.
const MEMORY: u32 = 2048;
const AT_ONCE: u32 = 1024;
/// Lines of a failure that are shown.
const SHOWN: usize = 25;

/// How the targets are compiled. What cargo-fuzz calls a release build has one codegen unit, always: stallscope alone takes more than
/// five minutes then. Assertions stay, but sums wrap, as in what is handed out: a number that nobody can have meant may end in a
/// number without meaning, but never in a panic or in memory that is not ours.
const PROFILE: [(&str, &str); 4] = [
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_DEV_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false"),
    ("CARGO_PROFILE_DEV_PANIC", "abort"),
];

/// Options of `fuzz`.
#[derive(clap::Args)]
pub struct Options {
    /// This one alone, a file of fuzz/fuzz_targets
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// How long, in seconds: all of them together, beside building them
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// Without a fuzzer: only what becomes of the seeds by chance, and no address sanitizer
    #[arg(long)]
    quick: bool,
    /// What `--quick` draws from [default: the time]
    #[arg(long, value_name = "N", requires = "quick")]
    seed: Option<u64>,
}

/// Builds the targets and runs each for its part of the time; fails when one does.
pub fn run(options: &Options) -> Result<()> {
    let all = targets()?;
    let chosen = match &options.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no target {name}; there are {}", all.join(", ")),
    };
    let begun = Instant::now();
    let way = match options.quick {
        true => Way::chance(options.seed)?,
        false => Way::fuzzer(options.target.as_deref())?,
    };
    println!("fuzz: built in {:.0} s", begun.elapsed().as_secs_f64());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let workers = workers.min(chosen.len());
    let share = options.seconds * workers as u64 / chosen.len() as u64;
    println!(
        "{:<12} {:>10} {:>8} {:>8}",
        "target", "inputs", "a second", "covered"
    );
    let outcomes = side_by_side(&chosen, workers, |name| {
        let outcome = fuzz(&way, name, share.max(1));
        if let Err(error) = &outcome {
            println!("{name}: {error:#}");
        }
        outcome
    });
    let failed: Vec<_> = chosen
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| outcome.is_err())
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    println!(
        "fuzz: all well, after {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Names of the targets.
fn targets() -> Result<Vec<String>> {
    let dir = sh::root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// How targets are run.
enum Way {
    /// Each is a program of libFuzzer's, in this folder.
    Fuzzer(PathBuf),
    /// One program has them all, and draws from this seed.
    Chance(PathBuf, u64),
}

impl Way {
    fn fuzzer(target: Option<&str>) -> Result<Self> {
        let programs = instrumented(target)?.join(dist::host()?).join("debug");
        ensure!(programs.is_dir(), "no programs in {}", programs.display());
        Ok(Self::Fuzzer(programs))
    }

    fn chance(seed: Option<u64>) -> Result<Self> {
        let object = build::object()?;
        let program = build::program(
            Purpose::Tests,
            "stallscope-fuzz",
            "--bin",
            "mutate",
            Some(&object),
        )?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = seed.unwrap_or(now.map_or(1, |time| time.as_secs()));
        println!("fuzz: seed {seed}");
        Ok(Self::Chance(program, seed))
    }

    /// How a target is given one input.
    fn again(&self, name: &str) -> String {
        match self {
            Self::Fuzzer(programs) => programs.join(name).display().to_string(),
            Self::Chance(program, _) => format!("{} {name}", program.display()),
        }
    }

    /// Runs a target for so many seconds.
    fn command(&self, name: &str, seconds: u64, folder: &Path) -> Result<Command> {
        let made = |what: &str| {
            let folder = folder.join(what).join(name);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            anyhow::Ok(folder)
        };
        let found = made("found")?;
        let mut command;
        match self {
            Self::Fuzzer(programs) => {
                command = Command::new(programs.join(name));
                command
                    .arg(made("corpus")?)
                    .args(seeds(name))
                    .args([
                        format!("-max_total_time={seconds}"),
                        format!("-timeout={HANGS}"),
                        format!("-rss_limit_mb={MEMORY}"),
                        format!("-malloc_limit_mb={AT_ONCE}"),
                        format!("-artifact_prefix={}/", found.display()),
                    ])
                    .args(["-print_final_stats=1", "-reload=0", "-detect_leaks=0"])
                    .env("ASAN_OPTIONS", "detect_odr_violation=0:detect_leaks=0");
            }
            Self::Chance(program, seed) => {
                command = Command::new(program);
                command
                    .args([name, &seconds.to_string(), &seed.to_string()])
                    .arg(&found)
                    .args(seeds(name));
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        sh::clean_library_path(&mut command);
        Ok(command)
    }
}

/// Where what is built and found stays.
fn folder() -> Result<PathBuf> {
    Ok(sh::target_dir()?.join("fuzz"))
}

/// Builds all targets, or one; returns the folder.
fn instrumented(target: Option<&str>) -> Result<PathBuf> {
    compiler_of_cpp()?;
    let folder = folder()?;
    let (tool_chain, sanitizer) = sanitizer()?;
    if sanitizer == "none" {
        println!(
            "fuzz: this compiler has no address sanitizer: assertions and bounds are checked, memory of unsafe code is not"
        );
    }
    let mut command = Command::new(cargo_fuzz()?);
    command
        .args(["fuzz", "build", "--fuzz-dir", "fuzz", "--dev"])
        .args(["--features", "libfuzzer"])
        .args(["--sanitizer", sanitizer, "--target-dir"])
        .arg(&folder)
        .args(target)
        .current_dir(sh::root())
        .envs(PROFILE)
        // The sanitizer and the fuzzer's instrumentation are unstable options.
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER");
    if let Some(name) = tool_chain {
        command.env("RUSTUP_TOOLCHAIN", name);
    }
    sh::clean_library_path(&mut command);
    sh::run(&mut command).context("the fuzz targets do not compile")?;
    Ok(folder)
}

/// A tool chain with the address sanitizer, `None` for the usual one, and what it can do: `address`, or `none` where none has it.
fn sanitizer() -> Result<(Option<String>, &'static str)> {
    if has_sanitizer(None) {
        return Ok((None, "address"));
    }
    let nightly = toolchain::rustup_nightlies()
        .into_iter()
        .find(|name| has_sanitizer(Some(name)));
    match nightly {
        Some(name) => Ok((Some(name), "address")),
        None => Ok((None, "none")),
    }
}

fn has_sanitizer(tool_chain: Option<&str>) -> bool {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--print", "target-libdir"])
        .current_dir(sh::root());
    if let Some(name) = tool_chain {
        rustc.env("RUSTUP_TOOLCHAIN", name);
    }
    sh::clean_library_path(&mut rustc);
    let Some(libraries) = sh::quiet(&mut rustc).and_then(|dir| fs::read_dir(dir.trim()).ok())
    else {
        return false;
    };
    libraries.flatten().any(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.starts_with("librustc-") && name.ends_with("_rt.asan.a")
    })
}

fn compiler_of_cpp() -> Result<()> {
    match COMPILERS.iter().any(|name| sh::find(name).is_some()) {
        true => Ok(()),
        false => apt::install(&["g++"], "to build libFuzzer"),
    }
}

/// cargo-fuzz, installed into the target folder where it is missing.
fn cargo_fuzz() -> Result<PathBuf> {
    let own = toolchain::tools_dir()?.join("bin/cargo-fuzz");
    if let Some(there) = sh::find("cargo-fuzz") {
        return Ok(there);
    }
    if !sh::is_executable(&own) {
        let mut install = sh::cargo();
        install
            .args(["install", "cargo-fuzz", "--locked", "--debug"])
            .args(["--version", CARGO_FUZZ, "--root"])
            .arg(toolchain::tools_dir()?)
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .env_remove("RUSTFLAGS");
        println!(
            "fuzz: installing cargo-fuzz {CARGO_FUZZ}: {}",
            sh::show(&install)
        );
        sh::run(&mut install)?;
    }
    Ok(own)
}

/// Runs one target for so many seconds, and prints what it came to.
fn fuzz(way: &Way, name: &str, seconds: u64) -> Result<()> {
    let mut command = way.command(name, seconds, &folder()?)?;
    let before = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", sh::show(&command)))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(failure(&way.again(name), name, &log));
    }
    let inputs = after(&log, "stat::number_of_executed_units:").unwrap_or(0);
    let covered = log.lines().rev().find_map(|line| after(line, " cov:"));
    let covered = covered.map_or_else(|| "-".to_owned(), |covered| covered.to_string());
    ensure!(inputs > 0, "it ran nothing: {}", last_lines(&log));
    let took = before.elapsed().max(Duration::from_millis(1));
    println!(
        "{name:<12} {inputs:>10} {:>8.0} {covered:>8}",
        inputs as f64 / took.as_secs_f64()
    );
    Ok(())
}

/// What a target begins with: its seeds, and what else the repository has of this kind.
fn seeds(name: &str) -> Vec<PathBuf> {
    let mut seeds = vec![sh::root().join("fuzz/seeds").join(name)];
    if name == "report" {
        seeds.push(sh::root().join("probe-user/tests/reports"));
    }
    seeds
}

/// What to say of a target that failed.
fn failure(again: &str, name: &str, log: &str) -> anyhow::Error {
    let input = log
        .lines()
        .find_map(|line| line.split_once("Test unit written to "));
    let how = match input {
        Some((_, input)) => {
            format!("again: {again} {input}\nmended: keep the input, cp {input} fuzz/seeds/{name}/")
        }
        None => "it left no input".to_owned(),
    };
    anyhow::anyhow!("it failed\n{}\n{how}", last_lines(log))
}

fn last_lines(log: &str) -> String {
    // What the fuzzer says of the input is longer than what it says of the failure.
    let short = log
        .lines()
        .filter(|line| line.len() < 500 && !line.starts_with('#'));
    let lines: Vec<&str> = short.collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

/// The number behind a word.
fn after(text: &str, word: &str) -> Option<u64> {
    let (_, rest) = text.split_once(word)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{after, failure, last_lines};

    const LOG: &str = "\
INFO: Running with entropic power schedule (0xFF, 100).
#2\tINITED cov: 211 ft: 212 corp: 1/4b exec/s: 0 rss: 40Mb
#97\tDONE   cov: 305 ft: 402 corp: 9/81b lim: 4 exec/s: 48 rss: 41Mb
stat::number_of_executed_units: 97
";

    #[test]
    fn what_the_fuzzer_counted_is_read() {
        assert_eq!(after(LOG, "stat::number_of_executed_units:"), Some(97));
        let covered = LOG.lines().rev().find_map(|line| after(line, " cov:"));
        assert_eq!(covered, Some(305));
        assert_eq!(after("stat::x: many", "stat::x:"), None);
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        let log = "thread panicked at src/dns.rs:4:\nassertion failed\n\
                   artifact_prefix='/t/'; Test unit written to /t/crash-1\n";
        let said = failure("/t/dns", "dns", log).to_string();
        assert!(said.contains("again: /t/dns /t/crash-1"), "{said}");
        assert!(said.contains("cp /t/crash-1 fuzz/seeds/dns/"), "{said}");
        assert!(said.contains("assertion failed"), "{said}");
    }

    #[test]
    fn of_a_long_log_the_end_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let shown = last_lines(&log);
        assert!(
            shown.starts_with("line 75\n") && shown.ends_with("line 99"),
            "{shown}"
        );
        assert_eq!(last_lines("x"), "x");
    }
}
