//! What T01 proposes, safest first, with the arithmetic; never what is set already.

use super::{Case, Holds};
use crate::diagnose::{Quantity, Remedy, rules::tcp, sentence};

/// Ports from here on are seldom those of a service: the well-known ones of databases, caches and web
/// servers lie below.
const PROPOSED_FIRST: u16 = 10_240;
/// The last port there is.
const PROPOSED_LAST: u16 = u16::MAX;
/// A port that tcp_tw_reuse may take over has been in TIME_WAIT for so long, s (tcp_twsk_unique,
/// net/ipv4/tcp_ipv4.c).
const REUSE_AFTER_S: f64 = 1.0;

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let mut list = Vec::new();
    match case.holds {
        Holds::TimeWait => {
            list.push(keep_open(case));
            list.push(other_side(case));
            list.extend(reuse(case));
        }
        Holds::Open => list.push(Remedy {
            text: "open fewer connections at once: bound the pool, close idle ones, share them (HTTP/2, \
                   a proxy that pools)"
                .into(),
            risk: "callers wait for a free connection when the pool is too small".to_owned(),
            ..Remedy::default()
        }),
        Holds::Unanswered => list.push(Remedy {
            text: "find out why the other side does not answer (down, filtered, its SYN queue full), and give \
                   connects a time-out: unanswered, each holds its port for about 2 minutes (tcp_syn_retries)"
                .into(),
            risk: "none; a time-out that is too short gives up on slow answers".to_owned(),
            ..Remedy::default()
        }),
        Holds::NotClosed => list.push(Remedy {
            text: "mend the process that connects: it must close() a connection when it reads its end".into(),
            risk: "none here; a restart frees the ports until then".to_owned(),
            ..Remedy::default()
        }),
        Holds::HalfClosed => list.push(Remedy {
            text: "see rule T02: the other side does not close its connections".into(),
            risk: "none here".to_owned(),
            ..Remedy::default()
        }),
    }
    list.extend(wider_range(case));
    list.push(more_addresses(case));
    list
}

fn keep_open(case: &Case<'_>) -> Remedy {
    let ports = case.ports;
    let who = ports.closer.as_ref().or(ports.opener.as_ref());
    let mut text = sentence!["keep connections open, in a pool or with keep-alive"];
    if let Some(who) = who {
        text.0.push(", in ".into());
        text.0.extend(tcp::process(who));
        let how = if tcp::is_called(who, "nginx") {
            ": `keepalive 32;` in the upstream block, with proxy_http_version 1.1 and an empty Connection \
             header (FastCGI: fastcgi_keep_conn on)"
        } else if tcp::is_called(who, "php") {
            ": persistent connections (pconnect, PDO::ATTR_PERSISTENT), one curl handle for all calls"
        } else {
            ""
        };
        text.0.push(how.into());
    }
    let at_once = (ports.states.established + ports.states.syn_sent).max(1);
    Remedy {
        text,
        arithmetic: Some(sentence![
            "holds about as many ports as connections are open at once, ",
            Quantity::count(at_once as f64),
            ", instead of ",
            Quantity::count(case.used as f64),
        ]),
        risk: "idle connections take memory on both sides, and one that the other side has closed must be \
               opened again"
            .to_owned(),
        ..Remedy::default()
    }
}

fn other_side(case: &Case<'_>) -> Remedy {
    Remedy {
        text: sentence![
            "let ",
            &case.ports.peer,
            " close first (read to the end before closing): TIME_WAIT is then on its side",
        ],
        arithmetic: Some("a port is free when both sides have closed, not 60 s later".into()),
        risk: "this side waits for the other's end; the other side keeps a small entry for 60 s, but no port"
            .to_owned(),
        ..Remedy::default()
    }
}

/// True where tcp_tw_reuse acts on this destination already.
pub(super) fn reuse_is_on(case: &Case<'_>) -> bool {
    let settings = &case.tcp.settings;
    settings.timestamps != Some(0) && reuse_is_set(case)
}

/// The setting alone, without the timestamps that it needs.
fn reuse_is_set(case: &Case<'_>) -> bool {
    let ports = case.ports;
    let loopback =
        tcp::is_loopback(&ports.peer) || ports.local.is_some_and(|local| local.is_loopback());
    match case.tcp.settings.tw_reuse {
        Some(1) => true,
        Some(2) => loopback,
        _ => false,
    }
}

fn reuse(case: &Case<'_>) -> Option<Remedy> {
    let settings = &case.tcp.settings;
    let mut keys = Vec::new();
    if !reuse_is_set(case) {
        keys.push((
            "net.ipv4.tcp_tw_reuse",
            tcp::now(settings.tw_reuse),
            "1".to_owned(),
        ));
    }
    if settings.timestamps == Some(0) {
        keys.push(("net.ipv4.tcp_timestamps", "0".to_owned(), "1".to_owned()));
    }
    if keys.is_empty() {
        return None;
    }
    let rate = case.closes_wanted_per_s();
    let remedy = Remedy {
        text: "let new outgoing connects take over a port that is in TIME_WAIT for more than 1 s".into(),
        arithmetic: (rate > 0.0).then(|| {
            sentence![
                Quantity::per_second(rate),
                " x 1 s = ",
                Quantity::count((rate * REUSE_AFTER_S).ceil()),
                " ports held instead of x 60 s = ",
                Quantity::count((rate * tcp::TIME_WAIT_S).round()),
            ]
        }),
        risk: "acts on connects from here only, and only where both sides use TCP timestamps; connections \
               that come in, NAT or not, are not touched"
            .to_owned(),
        ..Remedy::default()
    };
    Some(tcp::sysctl(remedy, &keys))
}

fn wider_range(case: &Case<'_>) -> Option<Remedy> {
    let settings = &case.tcp.settings;
    let (first, last) = settings.port_range?;
    let (new_first, new_last) = (first.min(PROPOSED_FIRST), PROPOSED_LAST);
    if (new_first, new_last) == (first, last) {
        return None;
    }
    let more = u64::from(first - new_first) + u64::from(new_last - last);
    let usable = case.ports.usable + more;
    let per_minute = |ports: u64| Quantity::per_second(ports as f64 / tcp::TIME_WAIT_S);
    let mut arithmetic = sentence![
        Quantity::count(usable as f64),
        " ports instead of ",
        Quantity::count(case.ports.usable as f64),
    ];
    if case.holds == Holds::TimeWait {
        arithmetic.0.extend([
            ", / 60 s = ".into(),
            per_minute(usable).into(),
            " to each destination instead of ".into(),
            per_minute(case.ports.usable).into(),
        ]);
    }
    if case.ports.levels_off_at > usable as f64 {
        arithmetic.0.extend([
            "; not enough by itself: the present rate takes ".into(),
            Quantity::count(case.ports.levels_off_at.round()).into(),
        ]);
    }
    let range = (
        "net.ipv4.ip_local_port_range",
        format!("{first} {last}"),
        format!("{new_first} {new_last}"),
    );
    let served = served_within(case, |port| {
        (new_first..first).contains(&port) || port > last
    });
    // The reserved ports come first, so that none of them is handed out in between.
    let mut keys = Vec::new();
    if !served.is_empty() {
        let now = match &settings.reserved_ports[..] {
            [] => "(none)".to_owned(),
            list => ranges(list),
        };
        let mut all = settings.reserved_ports.clone();
        all.extend(served.iter().map(|&port| (port, port)));
        keys.push(("net.ipv4.ip_local_reserved_ports", now, ranges(&all)));
    }
    keys.push(range);
    let remedy = Remedy {
        text: "widen the range of local ports".into(),
        arithmetic: Some(arithmetic),
        risk: "a service that starts later on a port in the range may find it taken: reserve such ports, too"
            .to_owned(),
        ..Remedy::default()
    };
    Some(tcp::sysctl(remedy, &keys))
}

/// Ports that are listened on, not reserved yet, and `new` in the range; in order.
fn served_within(case: &Case<'_>, new: impl Fn(u16) -> bool) -> Vec<u16> {
    let reserved = &case.tcp.settings.reserved_ports;
    let mut list: Vec<u16> = case
        .tcp
        .listeners
        .iter()
        .filter(|l| l.tcp)
        .filter_map(|l| tcp::port(&l.address))
        .filter(|&port| new(port) && !reserved.iter().any(|&(a, b)| (a..=b).contains(&port)))
        .collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// As the setting spells it: `8080,9000-9010`.
fn ranges(list: &[(u16, u16)]) -> String {
    let all: Vec<_> = list
        .iter()
        .map(|&(from, to)| {
            if from == to {
                from.to_string()
            } else {
                format!("{from}-{to}")
            }
        })
        .collect();
    all.join(",")
}

fn more_addresses(case: &Case<'_>) -> Remedy {
    let ports = case.ports;
    let wanted = (ports.levels_off_at.max(case.used as f64) / ports.usable.max(1) as f64).ceil();
    Remedy {
        text: "spread the connects over more addresses or ports of the destination, or over more local \
               addresses"
            .into(),
        arithmetic: Some(sentence![
            "each brings ",
            Quantity::count(ports.usable as f64),
            " ports; the present rate needs ",
            Quantity::count(wanted.max(2.0)),
            " in all",
        ]),
        risk: "the service must be reachable there; more to run".to_owned(),
        ..Remedy::default()
    }
}
