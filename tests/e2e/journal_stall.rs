//! S01: PHP-FPM workers that sync small files on a disk with few writes a second, compared with bpftrace and with the
//! pages' own clock; and the same load on a disk without a limit.
//!
//! The file system is mounted with nodelalloc: a commit then has the files' data to write, which meets the limit of
//! the block cgroup. On 6.18 the journal's own blocks alone pass it: commits then take milliseconds, and who calls fsync waits
//! for its own data.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    bpftrace::{Commits, quantile},
    ext4::Ext4,
    report::{Report, evidence},
    tool::{Output, Tool},
    web::{self, FastCgi, Settings, Stack},
};

const WORKERS: usize = 4;
/// Files that a page writes; it syncs the last.
const FILES: usize = 4;
const OPTIONS: &str = "nodelalloc";

/// What came of a run.
struct Run {
    report: Report,
    output: Output,
    /// Commits as bpftrace timed them, in order of their length, ns.
    beside: Vec<u64>,
    /// Time in fsync by the pages' own clock, ns.
    fsync_ns: u64,
    pool: String,
}

/// Serves so many pages while `diagnose` watches the pool.
fn serve(disk: &Ext4, requests: usize) -> anyhow::Result<Run> {
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&disk.dir, all)?;
    web::open_to_all(disk.dir.parent().context("the root")?)?;
    let pool = format!("journal{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: WORKERS,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let bpftrace = Commits::start(disk.number)?;
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "90s", "--json"])?;
    let page = format!("/write.php?n={FILES}&dir={}", disk.dir.display());
    let answers = web::get_many(stack.addr, &page, requests, WORKERS)?;
    // The worker has a few more calls to make after its answer.
    std::thread::sleep(Duration::from_millis(100));
    let output = tool.interrupt()?;
    let beside = bpftrace.end()?;
    let mut fsync_ns = 0;
    for answer in &answers {
        let json: serde_json::Value = serde_json::from_str(&answer.body)
            .with_context(|| format!("{}\n{}", answer.body, stack.logs()))?;
        fsync_ns += json["fsync_ns"].as_u64().context("no fsync_ns")?;
    }
    Ok(Run {
        report: Report::of(&output)?,
        output,
        beside,
        fsync_ns,
        pool,
    })
}

pub fn a_throttled_device_is_named_with_its_victims() -> anyhow::Result<()> {
    let disk = Ext4::with(Some(20), OPTIONS)?;
    let run = serve(&disk, 5 * WORKERS)?;
    let context = || format!("{}\n{}", run.report.brief(), run.output.stderr);
    let finding = run.report.finding("S01")?;
    ensure!(
        run.output.code == Some(1) && finding["severity"] == "critical",
        "exit code {:?}: {finding}\n{}",
        run.output.code,
        context()
    );
    let culprit = &finding["culprit"];
    let (major, minor) = disk.number;
    let place = &culprit["place"];
    ensure!(
        place["device"] == format!("{major}:{minor}")
            && place["system.filesystem.mountpoint"] == disk.dir.display().to_string()
            && place["system.device"]
                .as_str()
                .is_some_and(|source| source.ends_with(&disk.device)),
        "the culprit is {culprit}"
    );
    // The victim stands first in the summary, with the function that proves it.
    let text = finding["summary"].to_string();
    ensure!(
        text.contains(&run.pool) && text.contains("jbd2_log_wait_commit"),
        "{text}"
    );

    let ended = evidence(finding, "commit", "ended").context("no commits")?;
    // One may end between the two ends of the watches.
    ensure!(
        (ended - run.beside.len() as f64).abs() <= 1.0 && ended >= 5.0,
        "{ended} commits, bpftrace saw {}",
        run.beside.len()
    );
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        let got = evidence(finding, "commit", name).context("no quantile")?;
        let beside = quantile(&run.beside, q) as f64;
        ensure!(
            (got - beside).abs() <= beside / 20.0,
            "{name} {got} ns, by bpftrace {beside} ns of {:?}",
            run.beside
        );
    }
    // The time lost behind commits lies within the pages' own time in fsync.
    let lost = finding["evidence"].as_array().into_iter().flatten();
    let lost = lost.filter(|e| e["about"] == "lost");
    let lost: f64 = lost.filter_map(|e| e["value"].as_f64()).sum();
    let own = run.fsync_ns as f64;
    ensure!(
        lost <= own * 1.05 && lost >= own / 4.0,
        "{lost} ns lost behind commits, the pages were in fsync for {own} ns"
    );
    let calls = evidence(finding, "fsync", "calls");
    ensure!(
        calls == Some((5 * WORKERS) as f64),
        "{calls:?} fsyncs: {finding}"
    );
    Ok(())
}

pub fn the_same_load_without_a_limit_is_no_finding() -> anyhow::Result<()> {
    let disk = Ext4::with(None, OPTIONS)?;
    let run = serve(&disk, 5 * WORKERS)?;
    ensure!(
        run.output.code == Some(0) && run.report.rules().is_empty(),
        "exit code {:?}, {}",
        run.output.code,
        run.report.brief()
    );
    let not_judged = run.report.0["not_judged"].as_array();
    let of_journal = not_judged.into_iter().flatten().find(|n| {
        let rule = n["rule"].as_str();
        rule.is_some_and(|rule| rule.starts_with("S01"))
    });
    ensure!(of_journal.is_none(), "not judged: {of_journal:?}");
    ensure!(!run.beside.is_empty(), "the test is wrong: no commits");
    Ok(())
}
