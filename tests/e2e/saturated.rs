//! W02 on a pool that gets more requests than it has workers: how long they wait, compared with nginx's own log.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use probe_tests::{
    report::Report,
    tool::Tool,
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Settings, Stack},
};

const WORKERS: usize = 4;
/// So many at once: twelve of them wait.
const AT_ONCE: usize = 16;
const REQUESTS: usize = 120;

/// What waits in a Unix queue is reckoned from looks at it, one a second.
pub fn requests_wait_in_a_unix_queue() -> anyhow::Result<()> {
    check(FastCgi::Unix, 0.35)
}

/// Over TCP it is measured; the median of the tool stands beside the mean of the log.
pub fn requests_wait_in_a_tcp_queue() -> anyhow::Result<()> {
    check(FastCgi::Tcp, 0.2)
}

fn check(fastcgi: FastCgi, tolerance: f64) -> anyhow::Result<()> {
    let peer = Upstream::tcp(Behaviour::http(Duration::from_millis(50), false))?;
    let pool = format!("full{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: WORKERS,
        fastcgi,
        keep_conn: false,
    })?;
    let page = format!(
        "/calls.php?n=6&url=http://{}/&reuse=0&parallel=0",
        peer.host_port()
    );
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    let answers = web::get_many(stack.addr, &page, REQUESTS, AT_ONCE)?;
    web::wait_for("the access log", std::path::Path::new(""), || {
        stack.access_log().is_ok_and(|log| log.len() >= REQUESTS)
    })?;
    let report = Report::of(&tool.interrupt()?)?;

    // nginx's clock runs from the client's request to the end of the answer, the page's own from its first line.
    let log = stack.access_log()?;
    let whole_s: f64 = log.iter().map(|line| line.request_ms / 1e3).sum();
    let mut page_s = 0.0;
    for answer in &answers {
        let json: serde_json::Value = serde_json::from_str(&answer.body)?;
        page_s += json["page_ns"].as_f64().context("page_ns")? / 1e9;
    }
    let waited_s = (whole_s - page_s) / REQUESTS as f64;

    let first = &report.findings()[0];
    ensure!(
        first["rule"].as_str().is_some_and(|r| r.starts_with("W01")),
        "{}",
        report.brief()
    );
    let symptoms = first["symptoms"].as_array().context("symptoms")?;
    let found = symptoms
        .iter()
        .find(|f| f["rule"].as_str().is_some_and(|r| r.starts_with("W02")))
        .with_context(|| format!("no W02 below W01\n{}", report.brief()))?;
    let told_s = found["measured"][1]["observed"]
        .as_f64()
        .context("observed")?
        / 1e9;
    println!("waited {told_s:.3} s for a worker, nginx says {waited_s:.3} s");
    ensure!(
        (told_s - waited_s).abs() <= tolerance * waited_s,
        "waited {told_s} s, nginx says {waited_s} s\n{}",
        report.brief()
    );
    Ok(())
}
