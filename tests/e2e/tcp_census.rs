//! The state table against `ss` and /proc/net/tcp at the same moment, still and moving, small and flooded.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::Child,
    feature,
    netns::{self, Netns},
    sys::Addr,
    tcp::{self, Manner, Plan, Then},
    tool::{self, Output, Tool},
};
use serde_json::Value;

/// Sockets by state, in OpenTelemetry's names; states with none are absent.
type States = BTreeMap<String, u64>;

/// As `ss` spells them.
const SS: [(&str, &str); 11] = [
    ("ESTAB", "established"),
    ("SYN-SENT", "syn_sent"),
    ("SYN-RECV", "syn_received"),
    ("FIN-WAIT-1", "fin_wait_1"),
    ("FIN-WAIT-2", "fin_wait_2"),
    ("TIME-WAIT", "time_wait"),
    ("UNCONN", "closed"),
    ("CLOSE-WAIT", "close_wait"),
    ("LAST-ACK", "last_ack"),
    ("LISTEN", "listen"),
    ("CLOSING", "closing"),
];

/// In the order of the kernel's numbers (include/net/tcp_states.h), from 1.
const PROC: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait_1",
    "fin_wait_2",
    "time_wait",
    "closed",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "syn_received",
];

/// A namespace in which a new connect takes no socket out of TIME_WAIT.
fn enter() -> anyhow::Result<Netns> {
    let netns = Netns::enter()?;
    netns::set("net/ipv4/tcp_tw_reuse", "0")?;
    Ok(netns)
}

/// What `ss` shows.
fn ss() -> anyhow::Result<States> {
    let output = Command::new("ss").args(["-Htan"]).output()?;
    ensure!(output.status.success(), "ss: {output:?}");
    let mut states = States::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let word = line.split(' ').next().unwrap_or_default();
        let state = SS.iter().find(|(ss, _)| *ss == word);
        let (_, state) = state.with_context(|| format!("ss: {line}"))?;
        *states.entry((*state).to_owned()).or_default() += 1;
    }
    Ok(states)
}

/// What /proc/net/tcp and /proc/net/tcp6 show.
fn proc() -> anyhow::Result<States> {
    let mut states = States::new();
    for file in ["tcp", "tcp6"] {
        let text = match std::fs::read_to_string(format!("/proc/thread-self/net/{file}")) {
            Ok(text) => text,
            // No IPv6 on this machine.
            Err(_) if file == "tcp6" => continue,
            Err(error) => return Err(error.into()),
        };
        for line in text.lines().skip(1) {
            let state = line.split_whitespace().nth(3).context("/proc/net/tcp")?;
            let state = usize::from_str_radix(state, 16)?;
            let name = PROC.get(state - 1).context("a state beyond the last")?;
            *states.entry((*name).to_owned()).or_default() += 1;
        }
    }
    Ok(states)
}

fn states(json: &Value) -> anyhow::Result<States> {
    let all = json
        .as_object()
        .with_context(|| format!("no states: {json}"))?;
    let counts = all
        .iter()
        .map(|(name, n)| (name.clone(), n.as_u64().unwrap_or(u64::MAX)));
    Ok(counts.filter(|(_, n)| *n > 0).collect())
}

fn census(output: &Output) -> anyhow::Result<States> {
    states(&output.json()?["census"])
}

fn inet(a: [u8; 4], port: u16) -> Addr {
    Addr::Inet((a, port).into())
}

/// A client that made all its connects and holds what it holds.
fn done(to: Vec<Addr>, times: u64, non_blocking: bool, then: Then) -> anyhow::Result<Child> {
    let plan = Plan {
        to,
        times,
        every: Duration::ZERO,
        non_blocking,
        then,
    };
    let mut client = tcp::client("client", &plan)?;
    let account = tcp::run_client(&mut client)?;
    ensure!(account.made == times, "the test is wrong: {account:?}");
    Ok(client)
}

/// Sockets that stay in every state that can be held.
fn still() -> anyhow::Result<Vec<Child>> {
    let v6 = feature::has_ipv6();
    let both = |port| {
        let mut all = vec![inet([127, 0, 0, 1], port)];
        if v6 {
            all.push(Addr::Inet((std::net::Ipv6Addr::LOCALHOST, port).into()));
        }
        all
    };
    Ok(vec![
        tcp::server("keeps", &both(81), Manner::Keep)?,
        tcp::server("closes", &both(82), Manner::CloseLast)?,
        // Takes one connection, and answers no other.
        tcp::slow_server("full", &inet([127, 0, 0, 1], 83), 0, Duration::ZERO)?,
        // ESTABLISHED on both sides.
        done(both(81), 30, false, Then::Keep)?,
        // FIN_WAIT_2 held, and orphaned; CLOSE_WAIT on the other side.
        done(both(81), 12, false, Then::HalfClose)?,
        done(both(81), 14, false, Then::CloseFirst)?,
        // TIME_WAIT.
        done(both(82), 50, false, Then::CloseFirst)?,
        // One established, the rest SYN_SENT.
        done(vec![inet([127, 0, 0, 1], 83)], 6, true, Then::Keep)?,
    ])
}

pub fn a_still_table_equals_ss_and_proc() -> anyhow::Result<()> {
    let _netns = enter()?;
    let _sockets = still()?;
    std::thread::sleep(Duration::from_millis(200));
    let before = ss()?;
    let output = tool::run(&["tcp", "--duration", "1s", "--json"])?;
    let after = ss()?;
    ensure!(
        before == after && proc()? == after,
        "the test is wrong, the table moves: {before:?}, {after:?}, {:?}",
        proc()?
    );
    for state in [
        "syn_sent",
        "fin_wait_2",
        "time_wait",
        "close_wait",
        "listen",
    ] {
        ensure!(before.contains_key(state), "no {state}: {before:?}");
    }
    let counted = census(&output)?;
    ensure!(counted == before, "ss: {before:?}\ntcp: {counted:?}");
    let json = output.json()?;
    for (field, wanted) in [("fin_wait_2_held", 12), ("fin_wait_2_orphaned", 14)] {
        ensure!(
            json[field] == wanted,
            "{field}: {}, not {wanted}",
            json[field]
        );
    }
    ensure!(
        output.code == Some(0),
        "{:?} {}",
        output.code,
        output.stderr
    );
    Ok(())
}

/// The least and the most of each state in some readings.
fn span(readings: &[States]) -> BTreeMap<String, (u64, u64)> {
    let names = readings.iter().flat_map(|r| r.keys());
    names
        .map(|name| {
            let counts = readings.iter().map(|r| r.get(name).copied().unwrap_or(0));
            let (least, most) = (counts.clone().min(), counts.max());
            (name.clone(), (least.unwrap_or(0), most.unwrap_or(0)))
        })
        .collect()
}

/// Connections come and go all the time; the last count is taken at the end of the run, between readings of
/// `ss` right before and right after.
pub fn a_moving_table_is_within_the_change_that_ss_sees() -> anyhow::Result<()> {
    const READINGS: usize = 10;
    let _netns = enter()?;
    let _still = still()?;
    let to = inet([127, 0, 0, 1], 84);
    let _server = tcp::server("closes", std::slice::from_ref(&to), Manner::CloseLast)?;
    let plan = Plan {
        to: vec![to],
        times: u64::MAX,
        every: Duration::from_millis(2),
        non_blocking: false,
        then: Then::CloseFirst,
    };
    let mut clients = [tcp::client("comes", &plan)?, tcp::client("goes", &plan)?];
    for client in &mut clients {
        client.go()?;
    }
    let tool = Tool::start_attached(&["tcp", "--duration", "60s", "--json"])?;
    std::thread::sleep(Duration::from_secs(1));
    let mut readings = Vec::new();
    for _ in 0..READINGS {
        readings.push(ss()?);
    }
    let output = tool.interrupt()?;
    for _ in 0..READINGS {
        readings.push(ss()?);
    }
    let seen = span(&readings);
    let grown = seen
        .get("time_wait")
        .map_or(0, |(least, most)| most - least);
    ensure!(grown > 50, "the test is wrong: TIME_WAIT grew by {grown}");
    for (state, count) in census(&output)? {
        let (least, most) = seen.get(&state).copied().unwrap_or((0, 0));
        // A connection under way may be in a state that no reading met: two clients, both ends.
        let passing = if state == "time_wait" { 0 } else { 4 };
        ensure!(
            (least.saturating_sub(passing)..=most + passing).contains(&count),
            "{count} {state}; ss saw {least} to {most}"
        );
    }
    Ok(())
}

/// More addresses than there are rows: the rest is counted together, and nothing is missing.
pub fn a_flood_of_addresses_is_bounded_and_complete() -> anyhow::Result<()> {
    const ADDRESSES: u64 = 20_000;
    let _netns = enter()?;
    netns::set("net/ipv4/tcp_max_tw_buckets", "200000")?;
    let any = inet([0, 0, 0, 0], 80);
    let _server = tcp::server("closes", &[any], Manner::CloseLast)?;
    let to = (0..ADDRESSES).map(|n| {
        let [.., b, c] = (n as u16).to_be_bytes();
        inet([127, 1 + (n >> 16) as u8, b, c], 80)
    });
    let tool = Tool::start_attached(&["tcp", "--duration", "60s", "--json"])?;
    let _client = done(to.collect(), ADDRESSES, false, Then::CloseFirst)?;
    // The last FIN may have to be sent again.
    std::thread::sleep(Duration::from_millis(500));
    let before = ss()?;
    let output = tool.interrupt()?;
    let json = output.json()?;
    let all = states(&json["census"])?;
    ensure!(all == before, "{all:?}; ss: {before:?}");
    // When both sides close at the same moment on two CPUs, the kernel now and then keeps nothing; how often is the
    // machine's. What is left is still a flood.
    let time_wait = all.get("time_wait").copied().unwrap_or(0);
    ensure!(
        (ADDRESSES / 2..=ADDRESSES).contains(&time_wait),
        "the test is wrong: {before:?}"
    );
    let rows = json["peers"].as_array().context("no peers")?;
    ensure!(
        (100..=300).contains(&rows.len()),
        "{} rows of peers",
        rows.len()
    );
    let of_rows = rows.iter().map(|row| row["sockets"]["time_wait"].as_u64());
    let of_rows: u64 = of_rows.map(Option::unwrap_or_default).sum();
    let other = json["peers_other"]["time_wait"]
        .as_u64()
        .context("no other")?;
    ensure!(
        of_rows + other == time_wait && other > time_wait / 2,
        "{of_rows} in rows and {other} elsewhere, of {time_wait}"
    );
    let bytes = output.stdout.len();
    ensure!(bytes < 2_000_000, "{bytes} bytes of output");
    Ok(())
}
