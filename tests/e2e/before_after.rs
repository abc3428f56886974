//! `diff` on a page of 24 calls in a row and the same page cached: what it says of the two is compared with what the
//! servers and the client themselves know.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    tool::{self, Output, Tool},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Settings, Stack},
};
use serde_json::Value;

/// Calls of the page that is not cached.
const CALLS: u64 = 24;
/// Each takes so long.
const DELAY: Duration = Duration::from_millis(20);
/// As many as it takes to know a 95th percentile.
const REQUESTS: usize = 108;
/// The same load before and after: a request each of these, whatever the last one takes.
const EVERY: Duration = Duration::from_millis(100);
/// More than are busy at once: nginx's log counts the wait for a free one, and a worker cannot.
const WORKERS: usize = 12;

/// A run that was watched.
struct Run {
    /// All of the report.
    whole: PathBuf,
    /// What of it is about the pool: what others do on this machine meanwhile may be better or worse as well.
    report: PathBuf,
    recording: PathBuf,
    /// 95th percentile by nginx's own log, ms.
    p95_ms: f64,
}

/// Asks for a page at a steady pace and watches it.
fn watched(stack: &Stack, pool: &str, page: &str, dir: &Path, name: &str) -> anyhow::Result<Run> {
    let file = |kind: &str| dir.join(format!("{name}.{kind}"));
    let (whole, report, recording) = (file("json"), file("pool.json"), file("rec"));
    let file = recording.to_str().context("a path that is text")?;
    let tool = Tool::start_attached(&[
        "diagnose", "--pool", pool, "-d", "60s", "--json", "--record", file,
    ])?;
    let before = stack.access_log()?.len();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..REQUESTS)
            .map(|n| {
                scope.spawn(move || {
                    let at = begun + EVERY * n as u32;
                    std::thread::sleep(at.saturating_duration_since(Instant::now()));
                    web::get(stack.addr, page)
                })
            })
            .collect();
        for ask in asks {
            let answer = ask
                .join()
                .map_err(|_| anyhow::anyhow!("a client's panic"))??;
            ensure!(answer.status == 200, "{page}: {answer:?}");
        }
        Ok(())
    })?;
    web::wait_for("the access log", Path::new(""), || {
        stack
            .access_log()
            .is_ok_and(|log| log.len() >= before + REQUESTS)
    })?;
    // The worker has a few more calls to make after its answer.
    std::thread::sleep(Duration::from_millis(100));
    let output = tool.interrupt()?;
    std::fs::write(&whole, &output.stdout)?;
    std::fs::write(&report, of_pool(output.json()?, pool).to_string())?;
    let mut took: Vec<f64> = stack.access_log()?[before..]
        .iter()
        .map(|line| line.request_ms)
        .collect();
    took.sort_by(f64::total_cmp);
    Ok(Run {
        whole,
        report,
        recording,
        p95_ms: took[took.len() * 95 / 100],
    })
}

/// A report without what is about the whole machine.
fn of_pool(mut report: Value, pool: &str) -> Value {
    for signal in ["tcp", "udp", "dns", "files", "journal"] {
        report[signal] = Value::Null;
    }
    if let Some(findings) = report["findings"].as_array_mut() {
        findings.retain(|f| f["culprit"]["group"] == pool);
    }
    report
}

fn diff(before: &Path, after: &Path, options: &[&str]) -> anyhow::Result<Output> {
    let text = |path: &Path| path.to_str().map(str::to_owned);
    let (before, after) = text(before)
        .zip(text(after))
        .context("paths that are text")?;
    let mut args = vec!["diff", &before, &after];
    args.extend(options);
    tool::run(&args)
}

/// The verdict, and the exit code that goes with it.
fn says(output: &Output, verdict: &str, code: i32) -> anyhow::Result<Value> {
    let json = output.json()?;
    ensure!(
        json["verdict"] == verdict && output.code == Some(code),
        "{} with exit code {:?} instead of {verdict}: {}\n{}",
        json["verdict"],
        output.code,
        json["why"],
        changes(&json)
    );
    Ok(json)
}

/// What changed, for the message of a failure.
fn changes(json: &Value) -> String {
    let rows = json["changes"].as_array().into_iter().flatten();
    let changed = rows.filter(|r| !matches!(r["judged"].as_str(), Some("alike" | "chance")));
    let rows: Vec<String> = changed.map(Value::to_string).collect();
    format!(
        "{}\n{}\n{}",
        rows.join("\n"),
        json["findings"],
        json["notes"]
    )
}

/// A row of the group itself.
fn row<'a>(json: &'a Value, what: &str) -> anyhow::Result<&'a Value> {
    let mut rows = json["changes"].as_array().into_iter().flatten();
    rows.find(|r| r["what"] == what && r["of"].is_null())
        .with_context(|| format!("no {what}: {}", changes(json)))
}

pub fn a_page_before_and_after_it_is_cached() -> anyhow::Result<()> {
    let peer = Upstream::tcp(Behaviour::http(DELAY, false))?;
    let pool = format!("diff{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: WORKERS,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let dir = tempfile::tempdir()?;
    let page = |cached| {
        let url = peer.host_port();
        format!("/catalog.php?n={CALLS}&url=http://{url}/&cached={cached}")
    };
    let watch = |cached, name| watched(&stack, &pool, &page(cached), dir.path(), name);
    let slow = watch(0, "slow")?;
    let again = watch(0, "again")?;
    let cached = watch(1, "cached")?;

    // What was mended.
    let better = diff(&slow.report, &cached.report, &["--json"])?;
    let json = says(&better, "better", 0)?;
    ensure!(
        json["same_load"] == true,
        "the load was the same: {} and {}",
        json["before"]["requests_per_s"],
        json["after"]["requests_per_s"]
    );
    let findings = json["findings"].as_array().into_iter().flatten();
    let gone = findings.filter(|f| f["change"] == "gone" && f["counts_as"] == "better");
    ensure!(
        gone.filter_map(|f| f["rule"].as_str())
            .any(|rule| rule.starts_with("W01")),
        "W01 is not gone: {}",
        json["findings"]
    );
    let connects = row(&json, "connects_per_request")?;
    ensure!(
        connects["before"]["value"] == CALLS as f64 && connects["after"]["value"] == 0.0,
        "connects per request: {connects}"
    );
    let p95 = row(&json, "request_p95")?;
    for (side, by_log_ms) in [("before", slow.p95_ms), ("after", cached.p95_ms)] {
        let ms = p95[side]["value"].as_f64().unwrap_or(0.0) / 1e6;
        // A bucket's width, nginx's whole milliseconds, and what comes before a worker accepts.
        ensure!(
            (ms - by_log_ms).abs() <= 0.03 * by_log_ms + 4.0,
            "p95 {side}: {ms:.1} ms, nginx's log says {by_log_ms:.1} ms: {p95}"
        );
    }
    let text = diff(&slow.report, &cached.report, &[])?.stdout;
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    ensure!(
        first.starts_with(&format!("Better: request time p95 of pool {pool} ")),
        "{text}"
    );
    ensure!(
        lines.any(|line| line.starts_with("Comparable: same load")),
        "{text}"
    );

    // The other way round.
    let worse = diff(&cached.report, &slow.report, &["--json"])?;
    let json = says(&worse, "worse", 1)?;
    ensure!(
        json["notes"].to_string().contains("swapped"),
        "{}",
        json["notes"]
    );

    // Against itself, as a report and as the recording of the same run.
    for other in [&slow.whole, &slow.recording] {
        let json = says(&diff(&slow.whole, other, &["--json"])?, "same", 3)?;
        ensure!(
            json["notes"][0]["kind"] == "same_run",
            "{}: {}",
            other.display(),
            json["notes"]
        );
    }

    // Two runs of one load.
    says(&diff(&slow.report, &again.report, &["--json"])?, "same", 3)?;
    // A recording of the one with a report of the other.
    let mixed = diff(&again.recording, &cached.report, &["--json"])?.json()?;
    let p95 = row(&mixed, "request_p95")?;
    ensure!(p95["judged"] == "better", "{p95}");
    Ok(())
}
