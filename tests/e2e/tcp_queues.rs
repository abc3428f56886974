//! T03: an accept queue that overflows, counted as the kernel and the clients count it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use probe_tests::{
    ensure_time,
    netns::{self, Netns},
    report::{Report, diagnose, evidence},
    sys::Addr,
    tcp::{self, Plan, Then},
};
use serde_json::Value;

const BACKLOG: i32 = 8;
/// The kernel lets one more wait than the backlog says.
const FIT: u64 = BACKLOG as u64 + 1;
const CONNECTS: u64 = 40;
/// What the listener waits before each accept.
const PAUSE: Duration = Duration::from_millis(10);

fn burst(to: &Addr) -> Plan {
    Plan {
        to: vec![to.clone()],
        times: CONNECTS,
        every: Duration::ZERO,
        non_blocking: true,
        then: Then::Keep,
    }
}

/// The finding names the listener's process, its limit, and this many overflows.
fn check(finding: &Value, pid: u32, overflows: u64) -> anyhow::Result<()> {
    for (about, text, wanted) in [
        ("turned away", "overflows", overflows as f64),
        ("queue", "limit", f64::from(BACKLOG)),
        ("queue", "most waiting", FIT as f64),
    ] {
        let got = evidence(finding, about, text);
        ensure!(
            got == Some(wanted),
            "{about}, {text}: {got:?}, not {wanted}: {finding}"
        );
    }
    ensure!(
        finding["culprit"]["process.pid"] == pid && finding["culprit"]["group"] == "accepts-slowly",
        "the owner is {pid}: {finding}"
    );
    Ok(())
}

pub fn dropped_handshakes_equal_the_kernels_counter() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let on = Addr::Inet(([127, 0, 0, 1], 9000).into());
    let mut server = tcp::slow_server("accepts-slowly", &on, BACKLOG, PAUSE)?;
    let overflows = || netns::counter("TcpExt", "ListenOverflows");
    let before = overflows()?;
    let tool = diagnose(server.pid)?;
    let mut client = tcp::client("connects", &burst(&on))?;
    tcp::run_client(&mut client)?;
    // What found the queue full tries again after 1 s, and finds it full again.
    std::thread::sleep(Duration::from_millis(1_400));
    server.tell(FIT)?;
    ensure!(server.recv()? == [FIT], "the test is wrong: not accepted");
    // Ends those that still try.
    client.go()?;
    client.recv()?;
    std::thread::sleep(Duration::from_millis(100));
    let output = tool.interrupt()?;
    let grown = overflows()? - before;
    let refused = CONNECTS - FIT;
    ensure!(
        grown >= refused * 2,
        "the test is wrong: ListenOverflows grew by {grown}"
    );
    let report = Report::of(&output)?;
    let finding = report.finding("T03")?;
    check(finding, server.pid, grown)?;
    let accepted = evidence(finding, "accepted", "connections");
    ensure!(accepted == Some(FIT as f64), "{accepted:?}: {finding}");
    let wait_s = evidence(finding, "wait", "p50").context("no wait")? / 1e9;
    ensure_time!(
        (1.3..3.0).contains(&wait_s),
        "they waited 1.4 s for accept(), it says {wait_s}"
    );
    Ok(())
}

pub fn refused_unix_connects_equal_the_clients_count() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("php-fpm.sock");
    let on = Addr::Unix(path.clone());
    let mut server = tcp::slow_server("accepts-slowly", &on, BACKLOG, PAUSE)?;
    let tool = diagnose(server.pid)?;
    let mut first = tcp::client("first", &burst(&on))?;
    let mut second = tcp::client("second", &burst(&on))?;
    let mut refused = 0;
    for client in [&mut first, &mut second] {
        let account = tcp::run_client(client)?;
        let again = account.failed_with(libc::EAGAIN);
        ensure!(
            account.made == FIT && again == account.all_failed(),
            "the test is wrong: {account:?}"
        );
        refused += again;
        // The queue is seen full at a look, then emptied.
        std::thread::sleep(Duration::from_millis(1_200));
        server.tell(FIT)?;
        server.recv()?;
    }
    let report = Report::of(&tool.interrupt()?)?;
    let finding = report.finding("T03")?;
    check(finding, server.pid, refused)?;
    let text = finding.to_string();
    ensure!(
        text.contains(&path.display().to_string())
            && text.contains(&first.pid.to_string())
            && text.contains(&second.pid.to_string()),
        "the path or who was turned away is not named: {finding}"
    );
    Ok(())
}
