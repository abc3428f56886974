//! `stallscope tcp --events`: a line for each transition.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use probe_common::{
    peer::kind,
    tcp::{Transition, state, state_name},
};
use serde::Serialize;

use super::json::ProcessRef;
use crate::{
    aggregate::tcp::Process,
    diagnose,
    present::{
        escape,
        json::{self, LossJson, SCHEMA_VERSION},
        layout::{cell, right},
        units::count,
    },
};

/// What the last lines say about a state that the tracepoint ends too early.
const SWAP: &str = "fin_wait_2 -> closed within microseconds is no end: the kernel goes on with a timewait \
object, which `stallscope tcp` counts";

/// Columns of the process name (TASK_COMM_LEN less its NUL), and of the states.
const COMM: usize = 15;
const STATE: usize = 12;

/// The line above the others.
pub fn heading() -> String {
    format!(
        "{} {} {} {} {} {} {} -> {} {}\n",
        cell("TIME (UTC)", 15),
        cell("SOCKET", 16),
        right("PID", 7),
        cell("COMM", COMM),
        cell("LOCAL", ADDRESS),
        cell("REMOTE", ADDRESS),
        cell("FROM", STATE),
        cell("TO", STATE),
        right("MS", 10),
    )
}

/// Columns of an IPv4 address with its port; an IPv6 one takes more.
const ADDRESS: usize = 21;

/// One line; `unix_ns` is when it happened.
pub fn text(event: &Transition, unix_ns: u64) -> String {
    let known = event.tgid != 0;
    let pid = if known {
        event.tgid.to_string()
    } else {
        "-".to_owned()
    };
    let comm = if known {
        escape::bounded(name(event), 64)
    } else {
        "-".to_owned()
    };
    let ms = match event.dwell_ns {
        u64::MAX => "-".to_owned(),
        ns => format!("{}.{:03}", ns / 1_000_000, ns / 1000 % 1000),
    };
    let (local, remote) = addresses(event);
    format!(
        "{} {:016x} {} {} {} {} {} -> {} {}\n",
        clock(unix_ns),
        event.sock,
        right(&pid, 7),
        padded(&comm, COMM),
        padded(&local.to_string(), ADDRESS),
        padded(&remote.to_string(), ADDRESS),
        cell(state_name(event.old), STATE),
        cell(state_name(event.new), STATE),
        right(&ms, 10),
    )
}

/// True for an end of FIN_WAIT_2 that needs an explanation at the end.
pub fn needs_words(event: &Transition) -> bool {
    event.old == state::FIN_WAIT2 && event.new == state::CLOSE
}

/// The last lines: how many were shown, and what was lost. `words`: a transition [`needs_words`].
pub fn closing(shown: u64, words: bool, losses: &[u64]) -> Vec<String> {
    let mut lines = Vec::new();
    if words {
        lines.push(SWAP.to_owned());
    }
    let lost = diagnose::losses(losses);
    if lost.is_empty() {
        lines.push(format!("{} transitions shown, 0 lost", count(shown)));
    } else {
        lines.push(format!("{} transitions shown; lost:", count(shown)));
    }
    lines.extend(
        lost.iter()
            .map(|l| format!("  {} {}: {}", count(l.count), l.what, l.means)),
    );
    lines
}

/// At least as wide as asked: what is longer moves the rest to the right rather than being cut.
fn padded(text: &str, width: usize) -> String {
    cell(text, width.max(text.chars().count()))
}

fn name(event: &Transition) -> &[u8] {
    let length = event.comm.iter().position(|&b| b == 0);
    &event.comm[..length.unwrap_or(event.comm.len())]
}

fn addresses(event: &Transition) -> (SocketAddr, SocketAddr) {
    let address = |words: [u64; 2]| {
        let words = words.map(u64::to_ne_bytes);
        let bytes = words.as_flattened();
        match (
            event.kind,
            bytes.first_chunk::<4>(),
            bytes.first_chunk::<16>(),
        ) {
            (kind::INET, Some(v4), _) => IpAddr::from(*v4),
            (_, _, Some(v6)) => Ipv6Addr::from(*v6).to_canonical(),
            _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    };
    (
        SocketAddr::new(address(event.local), event.local_port),
        SocketAddr::new(address(event.remote), event.remote_port),
    )
}

/// `14:22:20.123456`.
fn clock(unix_ns: u64) -> String {
    let us = unix_ns / 1000;
    let s = us / 1_000_000;
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        s / 3600 % 24,
        s / 60 % 60,
        s % 60,
        us % 1_000_000
    )
}

#[derive(Serialize)]
struct EventJson {
    schema_version: &'static str,
    /// `transition`; the last line is of type `end`.
    r#type: &'static str,
    time_unix_ns: u64,
    socket: String,
    /// Null where the owner is not known.
    process: Option<ProcessRef>,
    #[serde(rename = "network.type")]
    family: &'static str,
    #[serde(rename = "network.local.address")]
    local_address: String,
    #[serde(rename = "network.local.port")]
    local_port: u16,
    #[serde(rename = "network.peer.address")]
    address: String,
    #[serde(rename = "network.peer.port")]
    port: u16,
    from: &'static str,
    to: &'static str,
    /// In the state left; null for a socket that was in it before we watched.
    duration_ns: Option<u64>,
}

/// The same as an object on one line.
pub fn json(event: &Transition, unix_ns: u64) -> String {
    let (local, remote) = addresses(event);
    json::line(&EventJson {
        schema_version: SCHEMA_VERSION,
        r#type: "transition",
        time_unix_ns: unix_ns,
        socket: format!("{:x}", event.sock),
        process: (event.tgid != 0).then(|| {
            ProcessRef::of(&Process {
                pid: event.tgid,
                comm: name(event).to_vec(),
            })
        }),
        family: if remote.is_ipv4() { "ipv4" } else { "ipv6" },
        local_address: local.ip().to_string(),
        local_port: event.local_port,
        address: remote.ip().to_string(),
        port: event.remote_port,
        from: state_name(event.old),
        to: state_name(event.new),
        duration_ns: (event.dwell_ns != u64::MAX).then_some(event.dwell_ns),
    })
}

#[derive(Serialize)]
struct EndJson {
    schema_version: &'static str,
    r#type: &'static str,
    transitions: u64,
    losses: Vec<LossJson>,
}

/// The last line of the JSON.
pub fn end_json(shown: u64, losses: &[u64]) -> String {
    json::line(&EndJson {
        schema_version: SCHEMA_VERSION,
        r#type: "end",
        transitions: shown,
        losses: json::losses(losses),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(comm: &[u8], tgid: u32) -> Transition {
        let mut event = Transition {
            tgid,
            sock: 0xffff_8880_1234_5678,
            dwell_ns: 1_234_567,
            local_port: 41000,
            remote_port: 80,
            old: 1,
            new: 4,
            kind: kind::INET,
            ..Transition::ZERO
        };
        event.local[0] = u64::from(u32::from_ne_bytes([10, 0, 0, 2]));
        event.remote[0] = u64::from(u32::from_ne_bytes([10, 0, 0, 8]));
        event.comm[..comm.len()].copy_from_slice(comm);
        event
    }

    #[test]
    fn a_transition_is_a_line() {
        let at = 1_700_000_000_123_456_789;
        assert_eq!(
            heading() + &text(&event(b"curl", 4711), at) + &text(&event(b"", 0), at),
            "\
TIME (UTC)      SOCKET               PID COMM            LOCAL                 REMOTE                FROM         -> TO                   MS
22:13:20.123456 ffff888012345678    4711 curl            10.0.0.2:41000        10.0.0.8:80           established  -> fin_wait_1        1.234
22:13:20.123456 ffff888012345678       - -               10.0.0.2:41000        10.0.0.8:80           established  -> fin_wait_1        1.234
"
        );
    }

    #[test]
    fn an_unknown_time_and_a_hostile_name_break_nothing() {
        let mut odd = event(b"\x1b[2J\n\xffname", 7);
        odd.dwell_ns = u64::MAX;
        (odd.kind, odd.local, odd.remote) = (kind::INET6, [u64::MAX; 2], [u64::MAX; 2]);
        let line = text(&odd, u64::MAX);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.trim_end().chars().all(|c| !c.is_control()), "{line:?}");
        assert!(line.ends_with(" -\n"), "{line:?}");
        let v: serde_json::Value = serde_json::from_str(&json(&odd, 5)).unwrap();
        assert_eq!(
            v["process"]["process.executable.name"],
            "\\x1b[2J\\x0a\\xffname"
        );
        assert!(v["duration_ns"].is_null());
        assert_eq!(v["network.type"], "ipv6");
        assert_eq!(v["from"], "established");
    }

    #[test]
    fn the_end_says_what_was_lost() {
        use probe_common::loss::slot;
        let mut losses = vec![0; slot::COUNT as usize];
        assert_eq!(
            closing(1234, false, &losses),
            ["1,234 transitions shown, 0 lost"]
        );
        losses[slot::RING_FULL as usize] = 7;
        assert!(closing(5, true, &losses)[2].starts_with("  7 "));
        let v: serde_json::Value = serde_json::from_str(&end_json(5, &losses)).unwrap();
        assert_eq!(
            (&v["type"], &v["losses"][0]["count"]),
            (&"end".into(), &7.into())
        );
    }
}
