//! S02 and S03 on a page that makes small style sheets: who, where, how many, compared with the page's own count; and
//! the end of the inodes, foretold before it comes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    ext4::Ext4,
    report::{Report, evidence, measured},
    tool::Tool,
    web::{self, FastCgi, Settings, Stack},
};
use serde_json::Value;

/// Files that one visit makes.
const FILES: u64 = 300;

fn stack(pool: &str) -> anyhow::Result<Stack> {
    Stack::start(Settings {
        pool,
        workers: 2,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })
}

fn page(dir: &Path, cached: bool) -> String {
    let cached = u8::from(cached);
    format!("/css.php?dir={}&n={FILES}&cached={cached}", dir.display())
}

/// What the page says that it made: files and bytes.
fn made(answers: &[web::Answer]) -> anyhow::Result<(u64, u64)> {
    let mut sums = (0, 0);
    for answer in answers {
        let json: Value = serde_json::from_str(&answer.body)?;
        sums.0 += json["made"].as_u64().context("made")?;
        sums.1 += json["bytes"].as_u64().context("bytes")?;
    }
    Ok(sums)
}

/// Findings of a rule about a pool, and those that they are the cause of.
fn about<'a>(report: &'a Report, rule: &str, pool: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    let mut open: Vec<&Value> = report.findings().iter().collect();
    while let Some(finding) = open.pop() {
        open.extend(finding["symptoms"].as_array().into_iter().flatten());
        let id = finding["rule"].as_str().unwrap_or_default();
        if id.starts_with(rule) && finding["culprit"]["group"] == pool {
            found.push(finding);
        }
    }
    found
}

/// Lets the workers reach the end of what they do after the answer.
fn settle() {
    std::thread::sleep(Duration::from_millis(200));
}

pub fn a_page_that_makes_300_files_is_named_with_its_directory() -> anyhow::Result<()> {
    const VISITS: usize = 12;
    let pool = format!("css{}", std::process::id());
    let place = tempfile::tempdir()?;
    web::open_to_all(place.path())?;
    // A name is hostile input.
    let dir = place.path().join("c\u{e9}sar cache");
    web::writable_to_all(&dir)?;
    let stack = stack(&pool)?;
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    let url = page(&dir, false)
        .replace(' ', "%20")
        .replace('\u{e9}', "%C3%A9");
    let answers = web::get_many(stack.addr, &url, VISITS, 2)?;
    settle();
    let output = tool.interrupt()?;
    let (files, bytes) = made(&answers)?;
    ensure!(files == FILES * VISITS as u64, "the page made {files}");

    let report = Report::of(&output)?;
    let found = about(&report, "S02", &pool);
    ensure!(
        found.len() == 1,
        "{} of S02: {}",
        found.len(),
        report.brief()
    );
    let finding = found[0];
    let place = &finding["culprit"]["place"];
    ensure!(
        place["file.directory"]
            .as_str()
            .is_some_and(|d| Path::new(d) == dir),
        "{} is not {}: {finding}",
        place["file.directory"],
        dir.display()
    );
    for (what, expected) in [("created", files), ("per request", FILES), ("removed", 0)] {
        let told = evidence(finding, "files", what);
        ensure!(
            told == Some(expected as f64),
            "{what}: {told:?}, not {expected}: {finding}"
        );
    }
    for (what, expected) in [("known of", files), ("in all", bytes)] {
        let told = evidence(finding, "sizes", what);
        ensure!(
            told == Some(expected as f64),
            "{what}: {told:?}, not {expected}: {finding}"
        );
    }
    let window_s = finding["window_ns"].as_f64().context("window")? / 1e9;
    let rate = evidence(finding, "files", "rate").context("rate")?;
    let exact = files as f64 / window_s;
    ensure!(
        (rate - exact).abs() <= 0.01 * exact,
        "{rate}/s, not {exact}/s"
    );
    ensure!(finding["severity"] == "warning", "{}", finding["severity"]);
    ensure!(output.code == Some(1), "exit code {:?}", output.code);
    Ok(())
}

pub fn a_page_that_reads_a_cache_is_no_finding() -> anyhow::Result<()> {
    let pool = format!("cached{}", std::process::id());
    let place = tempfile::tempdir()?;
    web::open_to_all(place.path())?;
    let dir = place.path().join("cache");
    web::writable_to_all(&dir)?;
    let stack = stack(&pool)?;
    let first = web::get_many(stack.addr, &page(&dir, true), 1, 1)?;
    ensure!(made(&first)?.0 == FILES, "the cache is not filled");
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    let answers = web::get_many(stack.addr, &page(&dir, true), 200, 2)?;
    settle();
    let output = tool.interrupt()?;
    ensure!(made(&answers)?.0 == 0, "the cache is not used");
    let report = Report::of(&output)?;
    for rule in ["S02", "S03"] {
        let found = about(&report, rule, &pool);
        ensure!(found.is_empty(), "{found:?}");
    }
    ensure!(
        report.group(&pool)?.number("requests")? == 200,
        "{}",
        report.brief()
    );
    Ok(())
}

pub fn the_end_of_the_inodes_is_foretold() -> anyhow::Result<()> {
    /// Inodes of the file system, and visits made each second.
    const INODES: u32 = 16_000;
    const VISITS_PER_S: f64 = 4.0;
    const WATCHED: Duration = Duration::from_secs(7);
    /// How far the forecast may be off: the load of the test is not even.
    const FACTOR: f64 = 1.3;

    let pool = format!("inodes{}", std::process::id());
    let ext4 = Ext4::with_inodes(INODES)?;
    web::open_to_all(ext4.place())?;
    let dir = ext4.dir.join("css");
    web::writable_to_all(&dir)?;
    let stack = stack(&pool)?;
    let url = page(&dir, false);

    // Visits at a steady rate, until one fails.
    let began = Instant::now();
    let visit = |n: u32| -> anyhow::Result<bool> {
        let due = began + Duration::from_secs_f64(f64::from(n) / VISITS_PER_S);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        Ok(web::get(stack.addr, &url)?.status == 200)
    };
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    let mut visits = (began.elapsed().as_secs_f64() * VISITS_PER_S) as u32;
    let watched = Instant::now();
    while watched.elapsed() < WATCHED {
        ensure!(visit(visits)?, "the end has come before the forecast");
        visits += 1;
    }
    let told_at = Instant::now();
    let output = tool.interrupt()?;
    while visit(visits)? {
        visits += 1;
        ensure!(told_at.elapsed() < Duration::from_secs(60), "no end comes");
    }
    let left_s = told_at.elapsed().as_secs_f64();

    let report = Report::of(&output)?;
    let found = about(&report, "S03", &pool);
    ensure!(
        found.len() == 1,
        "{} of S03: {}",
        found.len(),
        report.brief()
    );
    let finding = found[0];
    let foretold_s = measured(finding, "time until none is left").context("no time left")? / 1e9;
    println!("foretold {foretold_s:.1} s, it took {left_s:.1} s");
    let factor = (foretold_s / left_s).max(left_s / foretold_s);
    ensure!(
        factor <= FACTOR,
        "foretold {foretold_s:.1} s, it took {left_s:.1} s: {finding}"
    );
    ensure!(evidence(finding, "ENOSPC", "openat").is_none(), "{finding}");
    let free = evidence(finding, "blocks", "free").context("blocks")?;
    let all = evidence(finding, "blocks", "in all").context("blocks")?;
    ensure!(
        free > 0.5 * all,
        "{free} of {all} bytes are free: {finding}"
    );
    let point = &finding["culprit"]["place"]["system.filesystem.mountpoint"];
    ensure!(
        point.as_str().is_some_and(|p| Path::new(p) == ext4.dir),
        "{point} is not {}",
        ext4.dir.display()
    );
    // What creates them is the cause.
    let cause = about(&report, "S02", &pool);
    ensure!(
        cause.len() == 1,
        "{} of S02: {}",
        cause.len(),
        report.brief()
    );
    let symptoms = cause[0]["symptoms"].as_array().map_or(0, Vec::len);
    ensure!(symptoms > 0, "S03 is no symptom of S02: {}", report.brief());
    Ok(())
}

pub fn refused_creations_name_who_and_where() -> anyhow::Result<()> {
    let pool = format!("full{}", std::process::id());
    let ext4 = Ext4::with_inodes(400)?;
    web::open_to_all(ext4.place())?;
    let dir = ext4.dir.join("css");
    web::writable_to_all(&dir)?;
    let stack = stack(&pool)?;
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    let url = page(&dir, false);
    let statuses: Vec<u16> = (0..3)
        .map(|_| Ok(web::get(stack.addr, &url)?.status))
        .collect::<anyhow::Result<_>>()?;
    // A look at the file system after it.
    std::thread::sleep(Duration::from_millis(1500));
    let output = tool.interrupt()?;
    ensure!(statuses == [200, 500, 500], "{statuses:?}");
    let report = Report::of(&output)?;
    let found = about(&report, "S03", &pool);
    ensure!(
        found.len() == 1,
        "{} of S03: {}",
        found.len(),
        report.brief()
    );
    // The page gives up at its first failure.
    let refused = evidence(found[0], "ENOSPC", "openat");
    ensure!(refused == Some(2.0), "{refused:?}: {}", found[0]);
    ensure!(found[0]["severity"] == "critical", "{}", found[0]);
    Ok(())
}
