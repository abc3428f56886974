//! U01: a reader that is too slow, counted as the kernel and the workload count it; and one that keeps up.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    feature, harness,
    netns::Netns,
    report::{Report, diagnose, evidence, measured},
    tool::Tool,
    udp,
};
use serde_json::Value;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// What the reader asks for; the kernel doubles it.
const BUFFER: i32 = 32 << 10;
/// It reads at most 500 a second, ...
const PAUSE: Duration = Duration::from_millis(2);
/// ... of 2,500.
const BURST: u64 = 25;
const EVERY: Duration = Duration::from_millis(10);

/// For 1.5 s, or 6, as an emulated machine looks at sockets less often.
fn bursts() -> u64 {
    if harness::emulated() { 600 } else { 150 }
}

pub fn a_slow_reader_is_named_with_each_datagram_that_it_lost() -> anyhow::Result<()> {
    overflow(V4)
}

pub fn a_slow_reader_is_named_over_ipv6() -> anyhow::Result<()> {
    feature::require(&feature::IPV6)?;
    overflow(V6)
}

fn overflow(ip: IpAddr) -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let (mut reader, to) = udp::slow_reader("reads-slowly", ip, BUFFER, PAUSE)?;
    let tool = diagnose(reader.pid)?;
    let sent = udp::send_bursts(to, BURST, EVERY, bursts())?;
    reader.go()?;
    let read = reader.recv()?[0];
    let output = tool.interrupt()?;
    let lost = sent - read;
    ensure!(lost > 1000, "the test is wrong: {lost} of {sent} lost");
    let errors = rcvbuf_errors(ip)?;
    ensure!(errors == lost, "RcvbufErrors {errors}, {lost} missing");

    let report = Report::of(&output)?;
    let finding = report.finding("U01")?;
    let dropped = measured(finding, "dropped").map(|n| n as u64);
    ensure!(dropped == Some(lost), "{dropped:?}, not {lost}: {finding}");
    ensure!(
        evidence(finding, "dropped", "datagrams") == Some(lost as f64)
            && evidence(finding, "buffer", "bytes") == Some(f64::from(2 * BUFFER)),
        "{finding}"
    );
    let culprit = &finding["culprit"];
    ensure!(
        culprit["process.pid"] == reader.pid
            && culprit["group"] == "reads-slowly"
            && culprit["peer"]["name"] == format!("listening on udp {to}"),
        "{culprit}"
    );
    ensure!(finding["confidence"]["level"] == "high", "{finding}");
    // Too slow, not too bursty: the queue stood full.
    let looks = evidence(finding, "queue", "of").context("no looks")?;
    let full = evidence(finding, "queue", "full at looks").context("no full looks")?;
    ensure!(
        looks >= 5.0 && full >= 3.0,
        "full at {full} of {looks} looks"
    );
    socket(&report.0["udp"], to, lost, reader.pid)?;
    report.ensure_kept()?;
    ensure!(output.code != Some(0), "exit code 0 with a finding");
    Ok(())
}

/// The row of the socket, and that the three counts agree.
fn socket(udp: &Value, to: SocketAddr, lost: u64, owner: u32) -> anyhow::Result<()> {
    let rows = udp["sockets"].as_array().context("no sockets")?;
    let [row] = rows.as_slice() else {
        anyhow::bail!("{} rows: {udp}", rows.len());
    };
    ensure!(
        row["network.local.port"] == to.port()
            && row["drops"] == lost
            && row["socket_drops"] == lost
            && row["reasons"]["buffer_full"] == lost
            && row["rcvbuf_bytes"] == 2 * BUFFER
            && row["owners"][0]["process.pid"] == owner,
        "{row}"
    );
    for count in ["traced", "rcvbuf_errors", "sockets"] {
        ensure!(
            udp["agreement"][count] == lost,
            "{count}: {}",
            udp["agreement"]
        );
    }
    Ok(())
}

fn rcvbuf_errors(ip: IpAddr) -> anyhow::Result<u64> {
    if ip.is_ipv4() {
        return probe_tests::netns::counter("Udp", "RcvbufErrors");
    }
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp6")?;
    let line = text.lines().find(|l| l.starts_with("Udp6RcvbufErrors"));
    let value = line.and_then(|l| l.split_whitespace().nth(1));
    Ok(value.context("no Udp6RcvbufErrors")?.parse()?)
}

/// The page of the signal alone says the same.
pub fn the_command_says_the_same() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let (mut reader, to) = udp::slow_reader("reads-slowly", V4, BUFFER, PAUSE)?;
    let tool = Tool::start_attached(&["udp", "--duration", "60s", "--json"])?;
    let sent = udp::send_bursts(to, BURST, EVERY, bursts())?;
    reader.go()?;
    let lost = sent - reader.recv()?[0];
    let output = tool.interrupt()?;
    let json = output.json()?;
    let udp = if json["udp"].is_null() {
        &json
    } else {
        &json["udp"]
    };
    socket(udp, to, lost, reader.pid)
}

/// At full speed, with never more under way than the buffer holds.
pub fn a_reader_that_keeps_up_at_full_speed_is_no_finding() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let (reader, to) = udp::fast_reader("reads-quickly", V4)?;
    let tool = diagnose(reader.pid)?;
    let answered = udp::ask(to, 32, Duration::from_secs(3))?;
    let output = tool.interrupt()?;
    ensure!(answered > 10_000, "the test is wrong: {answered} answers");
    let report = Report::of(&output)?;
    // What else goes on on the node is not this case's.
    ensure!(
        !report.rules().iter().any(|rule| rule.starts_with('U')),
        "{}",
        report.brief()
    );
    ensure!(
        report.0["udp"]["sockets"] == Value::Array(Vec::new()),
        "{}",
        report.0["udp"]
    );
    let not_judged = report.0["not_judged"].to_string();
    ensure!(!not_judged.contains("U01"), "{not_judged}");
    Ok(())
}
