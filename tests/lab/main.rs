//! `cargo xtask lab` starts it: lists the scenarios, plays one and shows its report, or plays many and prints a table.
//!
//! `lab` lists. `lab NAME...` plays these. `--all` plays all, `--quick` those of the quick subset, `--healthy` the healthy ones.
//! `--seed N` begins with that seed (else with one of the clock's), `--runs N` plays each so often, with the seeds that follow.
//! `--markdown FILE` writes the table.

mod aigocy;
mod busico;
mod eistruttore;
mod enginery;
mod healthy;
mod mixture;
mod travol;

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail, ensure};
use probe_tests::{
    harness,
    lab::{self, Fault, Kind, Lab, Outcome, Row, Scenario, Verdict},
    stolen,
};

/// Every scenario there is.
const SCENARIOS: &[&[Scenario]] = &[
    enginery::SCENARIOS,
    eistruttore::SCENARIOS,
    travol::SCENARIOS,
    aigocy::SCENARIOS,
    busico::SCENARIOS,
    mixture::SCENARIOS,
    healthy::SCENARIOS,
];

/// What is played by `cargo xtask test`: a scenario for each signal, the loudest healthy servers, and a mixture.
const QUICK: &[&str] = &[
    "enginery",
    "eistruttore",
    "travol-ports",
    "aigocy",
    "busico-journal",
    "two-incidents",
    "healthy-redis",
    "healthy-build",
];

/// A run that is not judged, for want of a machine, is played so often; one of the quick subset that is wrong, twice.
const ATTEMPTS: usize = 3;

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    names: Vec<String>,
    all: bool,
    quick: bool,
    healthy: bool,
    seed: Option<u64>,
    runs: u64,
    markdown: Option<String>,
}

impl Asked {
    fn of(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut asked = Self {
            runs: 1,
            ..Self::default()
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--all" => asked.all = true,
                "--quick" => asked.quick = true,
                "--healthy" => asked.healthy = true,
                "--seed" => asked.seed = Some(value()?.parse().context("--seed: no number")?),
                "--runs" => asked.runs = value()?.parse().context("--runs: no number")?,
                "--markdown" => asked.markdown = Some(value()?),
                name if name.starts_with('-') => bail!("no option {name}"),
                name => asked.names.push(name.to_owned()),
            }
        }
        Ok(asked)
    }

    fn scenarios(&self) -> anyhow::Result<Vec<&'static Scenario>> {
        let all = || SCENARIOS.iter().copied().flatten();
        for name in &self.names {
            ensure!(
                all().any(|s| s.name == name),
                "no scenario {name}: `cargo xtask lab` lists them"
            );
        }
        let wanted = |s: &&Scenario| {
            self.all
                || self.quick && QUICK.contains(&s.name)
                || self.healthy && s.kind == Kind::Healthy
                || self.names.iter().any(|name| name == s.name)
        };
        Ok(all().filter(wanted).collect())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when every scenario is as it should be.
fn run() -> anyhow::Result<bool> {
    let asked = Asked::of(std::env::args().skip(1))?;
    let scenarios = asked.scenarios()?;
    if scenarios.is_empty() {
        list();
        return Ok(true);
    }
    harness::keep_mounts_to_ourselves()?;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH);
    let first = match asked.seed {
        Some(seed) => seed,
        None => now()?.as_secs(),
    };
    // Shows the report of a scenario that is asked for by its name.
    let shown = !asked.names.is_empty();
    let mut rows = Vec::new();
    for seed in first..first + asked.runs {
        for scenario in &scenarios {
            let mut row = play(scenario, seed, !asked.quick, shown)?;
            for played in 1..ATTEMPTS {
                let again = match row.verdict() {
                    Verdict::Good => false,
                    Verdict::Disturbed => true,
                    // The quick subset is played wherever the tests are run, which may be a machine that others keep busy.
                    Verdict::Wrong => asked.quick && played == 1,
                };
                if !again {
                    break;
                }
                println!("    once more:");
                row = play(scenario, seed, !asked.quick, shown)?;
            }
            rows.push(row);
        }
    }
    let count = |verdict| rows.iter().filter(|row| row.verdict() == verdict).count();
    println!("\n{}", lab::text(&rows));
    if let Some(path) = &asked.markdown {
        std::fs::write(path, lab::markdown(&rows)).with_context(|| format!("writing {path}"))?;
    }
    for row in &rows {
        match row.verdict() {
            Verdict::Good => {}
            Verdict::Disturbed => println!("not judged: lab {} --seed {}", row.name, row.seed),
            Verdict::Wrong => println!("failed: lab {} --seed {}", row.name, row.seed),
        }
    }
    // The line that `cargo xtask test` adds up.
    let bad = count(Verdict::Wrong);
    println!(
        "test result: {}. {} passed; {bad} failed; {} skipped",
        if bad == 0 { "ok" } else { "FAILED" },
        count(Verdict::Good),
        count(Verdict::Disturbed)
    );
    Ok(bad == 0)
}

fn list() {
    for kind in [Kind::Incident, Kind::Mixture, Kind::Healthy] {
        println!("{kind:?}");
        for scenario in SCENARIOS.iter().copied().flatten() {
            if scenario.kind == kind {
                println!("  {:<26} {}", scenario.name, scenario.about);
            }
        }
    }
}

fn play(scenario: &Scenario, seed: u64, full: bool, shown: bool) -> anyhow::Result<Row> {
    print!("lab {} --seed {seed} ... ", scenario.name);
    std::io::stdout().flush()?;
    let _alone = lab::alone()?;
    let (begun, ticks) = (Instant::now(), stolen::Ticks::now());
    let mut lab = Lab::new(scenario.name, seed, full)?;
    let played = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&mut lab)));
    let played = played.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
    let row = match &played {
        Ok(outcome) => Row::of(outcome),
        Err(error) => Row {
            found: "not played".to_owned(),
            faults: vec![Fault::excusable(format!("{error:#}"))],
            ..Row::default()
        },
    };
    let row = Row {
        name: scenario.name.to_owned(),
        seed,
        took: begun.elapsed(),
        stolen: ticks.share_since(),
        ..row
    };
    println!(
        "{} ({} ms)",
        match row.verdict() {
            Verdict::Good => "ok",
            Verdict::Disturbed => "not judged",
            Verdict::Wrong => "FAILED",
        },
        row.took.as_millis()
    );
    if shown || row.verdict() != Verdict::Good {
        show(&lab, &row, played.as_ref().ok());
    }
    Ok(row)
}

/// What was drawn, the report, and what is wrong.
fn show(lab: &Lab, row: &Row, outcome: Option<&Outcome>) {
    let drawn: Vec<String> = lab
        .drawn()
        .iter()
        .map(|(what, value)| format!("{what} {value}"))
        .collect();
    println!("    drawn: {}", drawn.join(", "));
    if let Some(outcome) = outcome {
        for line in outcome.said.text.lines() {
            println!("    | {line}");
        }
    }
    for truth in &row.truths {
        println!("    {truth}");
    }
    for fault in &row.faults {
        println!("    WRONG: {}", fault.says);
    }
}
