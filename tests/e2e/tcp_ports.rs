//! T01: local ports that run out, foretold and counted, and its healthy twins.
//!
//! A client opens and closes connections at a steady rate. It closes first, so each leaves a local port in
//! TIME_WAIT for 60 s.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::Child,
    harness,
    netns::{self, Netns},
    report::{Report, culprit, diagnose, evidence},
    sys::{self, Addr},
    tcp::{self, Account, Manner, Plan, Then},
};

/// First local port of the narrowed range.
const FIRST: u16 = 40_000;

/// A server, and a client that connects to it so many times.
struct Pair {
    _netns: Netns,
    _server: Child,
    client: Child,
}

impl Pair {
    fn start(ports: u16, tw_reuse: &str, connects: u64, per_s: u32) -> anyhow::Result<Self> {
        let netns = Netns::enter()?;
        netns::set_ports(FIRST, FIRST + ports - 1)?;
        netns::set("net/ipv4/tcp_tw_reuse", tw_reuse)?;
        let to = Addr::Inet(([127, 0, 0, 2], 6379).into());
        let server = tcp::server("redis-like", std::slice::from_ref(&to), Manner::CloseLast)?;
        let plan = Plan {
            to: vec![to],
            times: connects,
            every: Duration::from_secs(1) / per_s,
            non_blocking: false,
            then: Then::CloseFirst,
        };
        let client = tcp::client("closes-first", &plan)?;
        Ok(Self {
            _netns: netns,
            _server: server,
            client,
        })
    }

    /// Watches the client from its begin to its end.
    fn whole(mut self) -> anyhow::Result<(Account, Report, Option<i32>)> {
        let tool = diagnose(self.client.pid)?;
        let account = tcp::run_client(&mut self.client)?;
        let output = tool.interrupt()?;
        Ok((account, Report::of(&output)?, output.code))
    }
}

pub fn exhaustion_is_foretold_then_counted() -> anyhow::Result<()> {
    const PORTS: u16 = 800;
    // Until the ports are gone it takes 16 s, or 40, as an emulated machine needs 10 s and more for the second run to attach; and
    // then 1.2 s of failures.
    let per_s = if harness::emulated() { 20 } else { 50 };
    let connects = u64::from(PORTS) + 10 + u64::from(per_s);
    let mut pair = Pair::start(PORTS, "0", connects, per_s)?;
    let tool = diagnose(pair.client.pid)?;
    pair.client.go()?;
    std::thread::sleep(Duration::from_secs(4));
    let asked_ns = sys::now_ns();
    let before = tool.interrupt()?;
    let tool = diagnose(pair.client.pid)?;
    let account = Account::of(&pair.client.recv()?)?;
    let during = tool.interrupt()?;

    let failed = account.failed_with(libc::EADDRNOTAVAIL);
    // When both sides close at the same moment on two CPUs, the kernel now and then keeps nothing.
    let held = u64::from(PORTS)..u64::from(PORTS) + 9;
    ensure!(
        held.contains(&account.made) && failed == account.all_failed() && failed > 0,
        "the test is wrong: {account:?}"
    );
    let report = Report::of(&before)?;
    let finding = report.finding("T01")?;
    // The tool takes some seconds to detach, but its window ends when it is asked to.
    ensure!(
        asked_ns < account.first_failure_ns
            && evidence(finding, "failed", "EADDRNOTAVAIL").is_none(),
        "the first window ended after the first failure: {account:?}, {finding}"
    );
    let left_s = evidence(finding, "ahead", "left").context("no forecast")? / 1e9;
    let true_s = (account.first_failure_ns - asked_ns) as f64 / 1e9;
    ensure!(
        (left_s - true_s).abs() < true_s / 4.0,
        "it foretold {left_s:.2} s, it was {true_s:.2} s: {finding}"
    );
    let rate = f64::from(per_s);
    for (about, text, wanted, off) in [
        ("ports", "usable", f64::from(PORTS), 0.0),
        ("rate", "opened", rate, rate / 10.0),
        ("rate", "closed first by us", rate, rate / 10.0),
    ] {
        let got = evidence(finding, about, text);
        ensure!(
            got.is_some_and(|got| (got - wanted).abs() <= off),
            "{about} {text}: {got:?}, not {wanted}: {finding}"
        );
    }
    ensure!(
        finding["severity"] == "warning" && culprit(finding) == "127.0.0.2:6379",
        "{finding}"
    );
    let pid = pair.client.pid;
    ensure!(
        finding["culprit"]["process.pid"] == pid && finding["culprit"]["group"] == "closes-first",
        "the closer is {pid}: {finding}"
    );

    let report = Report::of(&during)?;
    report.ensure_kept()?;
    let finding = report.finding("T01")?;
    let counted = evidence(finding, "failed", "EADDRNOTAVAIL");
    ensure!(
        counted == Some(failed as f64) && finding["severity"] == "critical",
        "{failed} connects failed, it counted {counted:?}: {finding}"
    );
    ensure!(finding["culprit"]["process.pid"] == pid, "{finding}");
    Ok(())
}

/// More connects than ports, but the kernel takes those over that are in TIME_WAIT for more than 1 s.
pub fn reused_ports_do_not_run_out() -> anyhow::Result<()> {
    let (account, report, code) = Pair::start(400, "2", 500, 100)?.whole()?;
    ensure!(
        account.made == 500 && account.all_failed() == 0,
        "the test is wrong: {account:?}"
    );
    report.no_finding(code)
}

/// 20 a second hold 1,200 ports in TIME_WAIT, however long it goes on.
pub fn what_levels_off_below_the_limit_is_no_finding() -> anyhow::Result<()> {
    let (account, report, code) = Pair::start(2_000, "0", 100, 20)?.whole()?;
    ensure!(account.made == 100, "the test is wrong: {account:?}");
    report.no_finding(code)
}
