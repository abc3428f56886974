//! A healthy server under full load: no finding of TCP, though its state table is full.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    netns::Netns,
    report::Report,
    tool::Tool,
    web::{self, FastCgi, Settings, Stack},
};

/// `diagnose` of a pool while `wrk` asks for a page: no finding, and the load was one.
fn no_finding(fastcgi: FastCgi, page: &str, least_per_s: f64) -> anyhow::Result<()> {
    const TIME: Duration = Duration::from_secs(4);
    let _netns = Netns::enter()?;
    let pool = format!("healthy{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: 4,
        fastcgi,
        keep_conn: false,
    })?;
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    let before = stack.access_log()?.len();
    web::wrk(&format!("http://{}{page}", stack.addr), 16, TIME)?;
    let output = tool.interrupt()?;
    let log = stack.access_log()?;
    let answered = log[before..].iter().filter(|l| l.status == 200).count();
    let (per_s, failed) = (
        answered as f64 / TIME.as_secs_f64(),
        log[before..].iter().filter(|l| l.status >= 500).count(),
    );
    ensure!(
        per_s > least_per_s && failed == 0,
        "the test is wrong: {per_s:.0} requests/s, {failed} failed\n{}",
        stack.logs()
    );
    Report::of(&output)?.no_finding(output.code)
}

pub fn keep_alive_at_full_load_has_no_finding() -> anyhow::Result<()> {
    no_finding(FastCgi::Unix, web::PLAIN, 2_000.0)
}

/// nginx opens a connection to PHP-FPM for each request, which the worker closes first.
pub fn workers_over_tcp_and_unix_have_no_finding() -> anyhow::Result<()> {
    no_finding(FastCgi::Tcp, "/fast.php", 200.0)?;
    no_finding(FastCgi::Unix, "/fast.php", 200.0)
}
