//! Ephemeral ports: how many are left from one local address to one destination, and where it goes.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use probe_common::{peer::flag, tcp::CensusKey};

use super::{
    MAX_TCP_ROWS, Ports, Settings, States,
    flows::Flow,
    states::{local_of, peer_of},
    time_wait::TIME_WAIT_NS,
};
use crate::{aggregate::Peer, bounded::has_room, collect::tcp::Census};

/// How long a TIME_WAIT socket must have been silent before tcp_tw_reuse gives its port away, s
/// (net/ipv4/tcp_ipv4.c, `tcp_twsk_unique`; since 6.14 net.ipv4.tcp_tw_reuse_delay, whose default it is).
const REUSE_AFTER_S: f64 = 1.0;
/// The default of net.ipv4.ip_local_port_range, for where it cannot be read.
const PORT_RANGE: (u16, u16) = (32768, 60999);

/// Rows followed over the window; further ones are known at the last census only.
const MAX_ROWS: usize = 16_384;

/// Outbound sockets over the window.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbound {
    /// When the first census was, CLOCK_MONOTONIC ns; `None` before it.
    first_ns: Option<u64>,
    rows: HashMap<CensusKey, Course>,
}

/// One row over the window.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    /// At the first census.
    first: States,
    /// The most at once, and the most that were not in TIME_WAIT.
    peak: u64,
    peak_held: u64,
}

impl Outbound {
    /// Takes in a census.
    pub fn push(&mut self, census: &Census) {
        let first = self.first_ns.is_none();
        self.first_ns.get_or_insert(census.at_ns);
        for (key, counts) in census.rows.iter().filter(|(key, _)| is_outbound(key)) {
            if !has_room(&self.rows, key, MAX_ROWS) {
                continue;
            }
            let states = States::of_row(counts);
            let course = self.rows.entry(*key).or_default();
            if first {
                course.first = states;
            }
            course.peak = course.peak.max(states.total());
            let held = states.total() - states.time_wait;
            course.peak_held = course.peak_held.max(held);
        }
    }

    /// When the first census was, CLOCK_MONOTONIC ns.
    pub fn first_ns(&self) -> Option<u64> {
        self.first_ns
    }
}

fn is_outbound(key: &CensusKey) -> bool {
    key.flags & (flag::INBOUND | flag::LISTENER) == 0
}

/// What the ports of a window rest on.
pub(super) struct Facts<'a> {
    pub settings: &'a Settings,
    /// Ports that someone listens on.
    pub listened: BTreeSet<u16>,
    pub flows: &'a HashMap<Peer, Flow>,
    /// Connects that found no port: first (CLOCK_MONOTONIC ns) and number, by destination.
    pub failures: HashMap<Peer, (u64, u64)>,
    pub start_ns: u64,
    /// Length of the window, s.
    pub seconds: f64,
}

/// The rows, the fullest first, destinations with failures before all others.
pub(super) fn ports(outbound: &Outbound, last: &Census, mut facts: Facts<'_>) -> Vec<Ports> {
    let usable = usable(facts.settings, &facts.listened);
    let mut now: HashMap<&CensusKey, States> = outbound
        .rows
        .keys()
        .map(|key| (key, States::default()))
        .collect();
    let present = last.rows.iter().filter(|(key, _)| is_outbound(key));
    now.extend(present.map(|(key, counts)| (key, States::of_row(counts))));
    let mut of_peer: HashMap<Peer, u64> = HashMap::new();
    let mut rows: Vec<(Peer, &CensusKey, States, Course)> = Vec::new();
    for (key, states) in now {
        let peer = peer_of(key);
        let course = outbound.rows.get(key).copied().unwrap_or_default();
        *of_peer.entry(peer.clone()).or_default() += course.peak.max(states.total());
        rows.push((peer, key, states, course));
    }
    rows.sort_by_cached_key(|(peer, key, states, course)| {
        let size = Reverse((states.total(), course.peak));
        (
            !facts.failures.contains_key(peer),
            size,
            peer.clone(),
            key.local,
        )
    });
    rows.truncate(MAX_TCP_ROWS);
    // The kernel enters SYN_SENT before it looks for a port (`tcp_v4_connect`). Where there is no local address, it does not.
    let portless: HashMap<Peer, u64> = facts
        .failures
        .iter()
        .filter_map(|(peer, (_, count))| {
            Some((peer.clone(), (*count).min(facts.flows.get(peer)?.failed)))
        })
        .collect();
    let first_ns = outbound.first_ns.unwrap_or(last.at_ns);
    let span_s = last.at_ns.saturating_sub(first_ns) as f64 / 1e9;
    let mut out: Vec<Ports> = rows
        .into_iter()
        .map(|(peer, key, states, course)| {
            let none = Flow::default();
            let flow = facts.flows.get(&peer).unwrap_or(&none);
            // Transitions tell destinations apart, not local addresses: each has its part by size.
            let size = course.peak.max(states.total());
            let part = size as f64 / of_peer[&peer].max(1) as f64;
            let rate = |n: u64| n as f64 * part / facts.seconds.max(1e-9);
            // Connects do not say which local address they had: the fullest row has them.
            let failures = facts.failures.remove(&peer);
            let opened = flow
                .begun
                .saturating_sub(portless.get(&peer).copied().unwrap_or(0));
            let mut ports = Ports {
                local: local_of(key),
                usable,
                states,
                opened_per_s: rate(opened),
                closed_by_us_per_s: rate(flow.closed_by_us),
                closer: flow.closer.clone(),
                opener: flow.opener.clone(),
                failures: failures.map_or(0, |f| f.1),
                first_failure_ns: failures.map(|f| f.0.saturating_sub(facts.start_ns)),
                peer,
                ..Ports::default()
            };
            let tries = match opened {
                0 => 1.0,
                _ => flow.begun as f64 / opened as f64,
            };
            forecast(&mut ports, course, span_s, tries, facts.settings);
            ports
        })
        .collect();
    // Destinations that no socket is left to.
    for (peer, (first_ns, count)) in facts.failures {
        let flow = facts.flows.get(&peer);
        out.insert(
            0,
            Ports {
                usable,
                opener: flow.and_then(|f| f.opener.clone()),
                closer: flow.and_then(|f| f.closer.clone()),
                failures: count,
                first_failure_ns: Some(first_ns.saturating_sub(facts.start_ns)),
                peer,
                ..Ports::default()
            },
        );
    }
    out
}

/// Where the number of ports in use goes. `tries`: connects for each that got a port; the others would have held one as long.
fn forecast(ports: &mut Ports, course: Course, span_s: f64, tries: f64, settings: &Settings) {
    let was = course.first;
    let reuse = reuses(settings, ports);
    let reusable = |states: &States, per_s: f64| {
        let young = (per_s * REUSE_AFTER_S).ceil() as u64;
        if reuse {
            states.time_wait.saturating_sub(young)
        } else {
            0
        }
    };
    ports.reusable = reusable(&ports.states, ports.closed_by_us_per_s);
    let used = ports.used() as f64;
    let used_before = was
        .total()
        .saturating_sub(reusable(&was, ports.closed_by_us_per_s)) as f64;
    let peak = if reuse { course.peak_held } else { course.peak };
    ports.peak = ports.used().max(peak);
    if span_s > 0.0 {
        ports.growth_per_s = (used - used_before) / span_s;
    }
    let stay_s = if reuse {
        REUSE_AFTER_S
    } else {
        TIME_WAIT_NS as f64 / 1e9
    };
    let held = ports.states.total() - ports.states.time_wait;
    ports.levels_off_at = held as f64 + ports.closed_by_us_per_s * tries * stay_s;
    let left = ports.usable as f64 - used;
    if ports.levels_off_at > ports.usable as f64 && ports.growth_per_s > 0.0 {
        ports.seconds_left = Some((left / ports.growth_per_s).max(0.0));
    }
}

/// True when the kernel gives ports in TIME_WAIT to new connects to this destination.
fn reuses(settings: &Settings, ports: &Ports) -> bool {
    let loopback = |address: IpAddr| address.is_loopback();
    let here = match &ports.peer {
        Peer::Inet { address, .. } => loopback(*address),
        _ => false,
    } || ports.local.is_some_and(loopback);
    settings.timestamps.unwrap_or(0) != 0
        && match settings.tw_reuse {
            Some(1) => true,
            Some(2) => here,
            _ => false,
        }
}

/// Ports of the range that a connect may get.
fn usable(settings: &Settings, listened: &BTreeSet<u16>) -> u64 {
    let (first, last) = settings.port_range.unwrap_or(PORT_RANGE);
    let taken = |port: &u16| {
        let reserved = &settings.reserved_ports;
        listened.contains(port) || reserved.iter().any(|(a, b)| (a..=b).contains(&port))
    };
    (first..=last).filter(|port| !taken(port)).count() as u64
}
