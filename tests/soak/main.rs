//! What runs for weeks, for half an hour or more under churn, with incident A in it: `cargo xtask soak` starts it.

use std::{process::ExitCode, time::Duration};

use probe_tests::soak::{self, Book, Outcome, Plan};

/// Memory is flat when the last quarter has no more than this beyond the second one: a tenth, and a MB ...
const GROWS_BY: f64 = 1.1;
const GROWS_BYTES: f64 = 1e6;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let minutes = args.next().and_then(|arg| arg.parse().ok());
    let minutes: u64 = minutes.unwrap_or(30);
    let serve = args.next().is_some_and(|verb| verb == "serve");
    let length = Duration::from_secs(minutes * 60);
    let plan = Plan {
        length,
        incident_at: length * 2 / 3,
        incident: (length / 10).min(Duration::from_secs(90)),
        before: Duration::from_secs(120),
        sample: Duration::from_secs(10),
        serve,
        binary: args.next().map(Into::into),
    };
    match soak::run(&plan) {
        Ok(outcome) => match judge(&outcome) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was seen; true when memory was flat, the books balance, and the minute before the incident is there.
fn judge(outcome: &Outcome) -> bool {
    for line in outcome.log.lines() {
        println!("  | {line}");
    }
    let (cpu, ran) = outcome.cpu;
    println!("ran          {:.0} s", ran.as_secs_f64());
    println!(
        "CPU          {:.2} s, {:.2} % of a core",
        cpu.as_secs_f64(),
        100.0 * cpu.as_secs_f64() / ran.as_secs_f64()
    );
    println!(
        "churn        {} rounds, {} requests",
        outcome.churn, outcome.requests
    );
    println!("found after  {:.1} s", outcome.found_after.as_secs_f64());
    println!("before       {:.1} s", outcome.before.as_secs_f64());
    println!(
        "recording    {} bytes; ring {} bytes",
        outcome.recording_bytes, outcome.ring_bytes
    );
    println!("losses       {}", outcome.losses);
    println!("cost         {}", outcome.cost);
    let quarter = |n: usize| -> f64 {
        let samples = &outcome.rss;
        let (from, to) = (samples.len() * n / 4, samples.len() * (n + 1) / 4);
        let mut bytes: Vec<u64> = samples[from..to].iter().map(|(_, bytes)| *bytes).collect();
        bytes.sort_unstable();
        bytes
            .get(bytes.len() / 2)
            .map_or(0.0, |bytes| *bytes as f64)
    };
    let each = (outcome.rss.len() / 30).max(1);
    let samples = outcome.rss.iter().step_by(each);
    let samples: Vec<String> = samples
        .map(|(at, bytes)| format!("{}s:{:.1}", at.as_secs(), *bytes as f64 / 1e6))
        .collect();
    println!("RSS, MB      {}", samples.join(" "));
    let quarters = [0, 1, 2, 3].map(quarter);
    println!(
        "quarters, MB {}",
        quarters.map(|q| format!("{:.1}", q / 1e6)).join(" ")
    );
    let flat = quarters[3] <= quarters[1] * GROWS_BY + GROWS_BYTES;
    let minute = outcome.before >= Duration::from_secs(60);
    for book in &outcome.books {
        println!("{book}");
    }
    let balanced = outcome.books.iter().all(Book::is_balanced);
    println!("flat: {flat}; balanced: {balanced}; the minute before it: {minute}");
    flat && balanced && minute
}
