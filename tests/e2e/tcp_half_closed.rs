//! T02: sockets in FIN_WAIT_2, orphaned and held, and a twin whose peer closes at once.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    child::Child,
    netns::Netns,
    report::{Report, culprit, diagnose, evidence},
    sys::Addr,
    tcp::{self, Manner, Plan, Then},
};

const ORPHANED: u64 = 400;
const HELD: u64 = 100;
const TIME_WAIT: u64 = 300;

fn client(name: &str, to: &Addr, times: u64, then: Then) -> anyhow::Result<Child> {
    let plan = Plan {
        to: vec![to.clone()],
        times,
        every: Duration::ZERO,
        non_blocking: false,
        then,
    };
    let mut client = tcp::client(name, &plan)?;
    let account = tcp::run_client(&mut client)?;
    ensure!(account.made == times, "the test is wrong: {account:?}");
    Ok(client)
}

pub fn the_peer_that_does_not_close_is_named_with_who_holds() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let quiet = Addr::Inet(([127, 0, 0, 2], 8080).into());
    let prompt = Addr::Inet(([127, 0, 0, 3], 8080).into());
    let server = tcp::server("never-closes", std::slice::from_ref(&quiet), Manner::Keep)?;
    let _prompt = tcp::server("closes", std::slice::from_ref(&prompt), Manner::CloseLast)?;
    let tool = diagnose(server.pid)?;
    let _orphans = client("leaves", &quiet, ORPHANED, Then::CloseFirst)?;
    let holder = client("half-closes", &quiet, HELD, Then::HalfClose)?;
    let _others = client("goes-on", &prompt, TIME_WAIT, Then::CloseFirst)?;
    std::thread::sleep(Duration::from_secs(5));
    let output = tool.interrupt()?;
    let report = Report::of(&output)?;
    ensure!(
        output.code == Some(1),
        "{:?}\n{}",
        output.code,
        report.brief()
    );
    let finding = report.finding("T02")?;
    ensure!(
        report.rules() == ["T02 fin-wait2"] && culprit(finding) == "127.0.0.2:8080",
        "{}",
        report.brief()
    );
    for (text, wanted) in [("orphaned", ORPHANED), ("held", HELD)] {
        let got = evidence(finding, "sockets", text);
        ensure!(got == Some(wanted as f64), "{text}: {got:?}: {finding}");
    }
    ensure!(
        finding["culprit"]["process.pid"] == holder.pid
            && finding["culprit"]["group"] == "half-closes",
        "{finding}"
    );
    // One of the descriptors that it holds, for a look by hand.
    let descriptor = finding["evidence"].as_array().and_then(|all| {
        let prefix = format!("ls -l /proc/{}/fd/", holder.pid);
        let mut commands = all.iter().filter_map(|e| e["command"].as_str());
        commands.find_map(|c| c.strip_prefix(&prefix)?.parse::<u32>().ok())
    });
    let descriptor = descriptor.ok_or_else(|| anyhow::anyhow!("no descriptor: {finding}"))?;
    let link = std::fs::read_link(format!("/proc/{}/fd/{descriptor}", holder.pid))?;
    ensure!(
        link.to_string_lossy().starts_with("socket:"),
        "descriptor {descriptor} is {link:?}"
    );
    Ok(())
}

pub fn as_many_that_are_closed_at_once_are_no_finding() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let prompt = Addr::Inet(([127, 0, 0, 2], 8080).into());
    let server = tcp::server("closes", std::slice::from_ref(&prompt), Manner::CloseLast)?;
    let tool = diagnose(server.pid)?;
    let _clients = [
        client("leaves", &prompt, ORPHANED, Then::CloseFirst)?,
        client("half-closes", &prompt, HELD, Then::HalfClose)?,
    ];
    std::thread::sleep(Duration::from_secs(4));
    let output = tool.interrupt()?;
    Report::of(&output)?.no_finding(output.code)
}
