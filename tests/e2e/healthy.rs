//! The healthy twin: no finding, exit code 0, and every request counted.

use std::{path::Path, time::Duration};

use anyhow::ensure;
use probe_tests::{
    report::Report,
    tool::Tool,
    web::{self, FastCgi, Settings, Stack},
};

fn stack(pool: &str, keep_conn: bool) -> anyhow::Result<Stack> {
    Stack::start(Settings {
        pool,
        workers: 4,
        fastcgi: FastCgi::Unix,
        keep_conn,
    })
}

fn pool() -> String {
    format!("fast{}", std::process::id())
}

fn diagnose(pool: &str) -> anyhow::Result<Tool> {
    Tool::start_attached(&["diagnose", "--pool", pool, "--duration", "60s", "--json"])
}

pub fn a_fast_page_at_full_load_has_no_finding() -> anyhow::Result<()> {
    let pool = pool();
    let stack = stack(&pool, false)?;
    let tool = diagnose(&pool)?;
    let before = stack.access_log()?.len();
    web::wrk(
        &format!("http://{}/fast.php", stack.addr),
        16,
        Duration::from_secs(4),
    )?;
    std::thread::sleep(Duration::from_millis(200));
    let output = tool.interrupt()?;
    let report = Report::of(&output)?;
    ensure!(
        output.code == Some(0) && report.findings().is_empty(),
        "exit code {:?}, findings: {}",
        output.code,
        report.0["findings"]
    );
    report.ensure_kept()?;
    let group = report.group(&pool)?;
    // Of the requests that wrk cut off at its end, some reached a worker and some did not.
    let log = &stack.access_log()?[before..];
    let answered = log.iter().filter(|l| l.status == 200).count() as u64;
    let requests = group.number("requests")?;
    ensure!(
        requests >= answered && requests <= log.len() as u64,
        "{requests} requests; the access log has {answered} answered ones of {}",
        log.len()
    );
    ensure!(
        requests > 1000,
        "only {requests} requests: this is no full load"
    );
    let (wall, parts) = group.wall_and_parts()?;
    ensure!(
        parts.abs_diff(wall) * 100 <= wall,
        "the parts sum to {parts} ns of {wall} ns"
    );
    Ok(())
}

pub fn every_request_is_counted() -> anyhow::Result<()> {
    const REQUESTS: usize = 3000;
    for keep_conn in [false, true] {
        let pool = pool();
        let stack = stack(&pool, keep_conn)?;
        let tool = diagnose(&pool)?;
        let before = stack.access_log()?.len();
        web::get_many(
            stack.addr,
            "/fast.php",
            REQUESTS,
            if keep_conn { 2 } else { 8 },
        )?;
        web::wait_for("the access log", Path::new(""), || {
            stack
                .access_log()
                .is_ok_and(|log| log.len() >= before + REQUESTS)
        })?;
        std::thread::sleep(Duration::from_millis(100));
        let report = Report::of(&tool.interrupt()?)?;
        let requests = report.group(&pool)?.number("requests")?;
        let lines = stack.access_log()?.len() - before;
        ensure!(
            requests == lines as u64,
            "fastcgi_keep_conn {keep_conn}: {requests} requests, {lines} lines in the access log\n{}",
            report.brief()
        );
    }
    Ok(())
}

/// A worker that waits on a connection kept from before is in a call whose begin was not seen: what that call
/// brings may be counted as incomplete, once for each worker, and nothing may be lost altogether.
pub fn connections_kept_from_before_cost_one_request_a_worker() -> anyhow::Result<()> {
    const REQUESTS: usize = 200;
    let pool = pool();
    let stack = stack(&pool, true)?;
    web::get_many(stack.addr, "/fast.php", 20, 2)?;
    let tool = diagnose(&pool)?;
    web::get_many(stack.addr, "/fast.php", REQUESTS, 2)?;
    std::thread::sleep(Duration::from_millis(100));
    let report = Report::of(&tool.interrupt()?)?;
    let group = report.group(&pool)?;
    let requests = group.number("requests")?;
    let incomplete = group.number("incomplete_requests")?;
    ensure!(
        requests <= REQUESTS as u64 && requests + 4 >= REQUESTS as u64 && incomplete <= 4,
        "{requests} requests and {incomplete} incomplete ones, made {REQUESTS}\n{}",
        report.brief()
    );
    Ok(())
}

pub fn an_idle_pool_has_no_finding() -> anyhow::Result<()> {
    let pool = pool();
    let _stack = stack(&pool, false)?;
    let tool = diagnose(&pool)?;
    std::thread::sleep(Duration::from_millis(500));
    let output = tool.interrupt()?;
    let report = Report::of(&output)?;
    ensure!(
        output.code == Some(0) && report.findings().is_empty(),
        "exit code {:?}: {}",
        output.code,
        report.brief()
    );
    // No request was seen, so it cannot say "fine".
    ensure!(
        report.0["not_judged"].to_string().contains("W01"),
        "not judged: {}",
        report.0["not_judged"]
    );
    Ok(())
}
