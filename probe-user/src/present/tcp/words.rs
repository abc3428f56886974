//! Peers, processes, durations and states in a few columns.

use crate::{
    aggregate::{
        Durations, Peer,
        tcp::{Process, States},
    },
    present::{
        escape,
        layout::KEEP,
        names,
        units::{count, duration},
    },
};

/// A listener's address: `tcp :80`, `/run/php.sock`.
pub(in crate::present) fn listener(address: &Peer, max: usize) -> String {
    match address {
        Peer::Listener { on } => escape::bounded(on, max),
        other => names::peer(other, max),
    }
}

/// A peer in `max` columns: `10.0.0.8:6379`, or `198.51.100.7 > tcp :443` for a client.
pub(in crate::present) fn peer(p: &Peer, max: usize) -> String {
    match p {
        Peer::Inbound {
            on,
            address: Some(address),
        } => format!("{address} > {}", escape::bounded(on, 20)),
        other => names::peer(other, max),
    }
}

/// A process: `nginx 812`.
pub(in crate::present) fn process(p: &Process) -> String {
    let name = escape::bounded(&p.comm, 20);
    if name.is_empty() {
        format!("pid {}", p.pid)
    } else {
        format!("{name} {}", p.pid)
    }
}

/// p50 and p99, empty when nothing is known.
pub(in crate::present) fn quantiles(durations: &Durations) -> (String, String) {
    if durations.is_empty() {
        return Default::default();
    }
    let at = |q| stay(durations.quantile(q));
    (at(0.5), at(0.99))
}

/// A duration; what is about a minute in seconds, as timers are set.
pub(in crate::present) fn stay(ns: u64) -> String {
    match ns / 1_000_000_000 {
        // Too short for any census to meet one.
        0 if ns == 0 => "~0 s".to_owned(),
        s @ 10..=180 => format!("{s} s"),
        _ => duration(ns),
    }
}

/// Sockets by state, most first: `time_wait 3,000, established 100`.
pub(in crate::present) fn states(s: &States) -> String {
    let mut named: Vec<(&str, u64)> = s.named().into_iter().filter(|n| n.1 > 0).collect();
    named.sort_by_key(|n| std::cmp::Reverse(n.1));
    let words: Vec<String> = named
        .iter()
        .map(|(state, n)| format!("{state}{KEEP}{}", count(*n)))
        .collect();
    words.join(", ")
}
