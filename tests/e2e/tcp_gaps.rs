//! T08: a listener that is away for a while under load: how long, and whose connects failed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use probe_tests::{
    ensure_time,
    netns::Netns,
    report::{Report, diagnose, evidence, measured},
    sys::Addr,
    tcp::{self, Account, Plan, Then},
};

const GAP: Duration = Duration::from_millis(400);
/// From one connect of a client to its next; there are three clients.
const EVERY: Duration = Duration::from_millis(2);
/// How exact the length must be.
const EXACT_S: f64 = 0.010;

/// Restarts a listener on this address under load; the finding must equal its log and the clients' counts.
fn restart(on: &Addr, errors: &[i32]) -> anyhow::Result<()> {
    let mut server = tcp::restarting_server("restarts", on)?;
    let tool = diagnose(server.pid)?;
    let plan = Plan {
        to: vec![on.clone()],
        times: u64::MAX,
        every: EVERY,
        non_blocking: false,
        // The server closes first: no local port is held.
        then: Then::CloseLast,
    };
    let clients = ["client-a", "client-b", "client-c"];
    let mut clients = clients.map(|name| tcp::client(name, &plan));
    for client in clients.iter_mut().flatten() {
        client.go()?;
    }
    std::thread::sleep(Duration::from_millis(800));
    let log = tcp::restart(&mut server, GAP)?;
    std::thread::sleep(Duration::from_millis(800));
    let mut accounts = Vec::new();
    for client in clients.iter_mut().flatten() {
        client.go()?;
        accounts.push((client.pid, Account::of(&client.recv()?)?));
    }
    let output = tool.interrupt()?;

    let failed: u64 = accounts.iter().map(|(_, a)| a.all_failed()).sum();
    let of_these: u64 = accounts
        .iter()
        .flat_map(|(_, a)| errors.iter().map(|e| a.failed_with(*e)))
        .sum();
    ensure!(
        accounts.len() == 3 && failed == of_these && failed > 50,
        "the test is wrong: {accounts:?}"
    );
    let report = Report::of(&output)?;
    report.ensure_kept()?;
    let finding = report.finding("T08")?;
    let counted = evidence(finding, "failed", "connects");
    ensure!(
        counted == Some(failed as f64),
        "{failed} connects failed, it says {counted:?}: {finding}\n{accounts:?}"
    );
    let length_s = measured(finding, "the longest time").context("no length")? / 1e9;
    let true_s = (log.back_ns - log.closed_ns) as f64 / 1e9;
    ensure_time!(
        (length_s - true_s).abs() < EXACT_S,
        "it lasted {true_s:.4} s, it says {length_s:.4} s: {finding}"
    );
    ensure!(
        finding["culprit"]["process.pid"] == server.pid
            && finding["culprit"]["group"] == "restarts",
        "{} came back: {finding}",
        server.pid
    );
    let text = finding["summary"].to_string();
    for (pid, _) in &accounts {
        ensure!(
            text.contains(&pid.to_string()),
            "{pid} was refused as well: {finding}"
        );
    }
    Ok(())
}

pub fn a_unix_listener_that_restarts() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let dir = tempfile::tempdir()?;
    // The path without a listener, then no path.
    restart(
        &Addr::Unix(dir.path().join("php-fpm.sock")),
        &[libc::ECONNREFUSED, libc::ENOENT],
    )
}

pub fn a_tcp_listener_that_restarts() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    restart(
        &Addr::Inet(([127, 0, 0, 1], 9000).into()),
        // Reset: established, but not accepted, when the listener went.
        &[libc::ECONNREFUSED, libc::ECONNRESET],
    )
}
