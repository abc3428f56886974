//! What T01 says: the sentences and the proof.

use super::{Case, Holds, Kind};
use crate::diagnose::{Evidence, Piece, Quantity, Sentence, rules::tcp, sentence};

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    match (case.kind, case.ports.seconds_left) {
        (Kind::Failing, _) => "Connects to one destination fail: no local port is left".to_owned(),
        (Kind::Ahead, Some(left)) => {
            format!("The local ports to one destination run out in {left:.0} s")
        }
        _ => "The local ports to one destination are nearly all in use".to_owned(),
    }
}

/// That more destinations are in the same state.
pub(super) fn more(n: usize) -> Sentence {
    sentence![
        "So it is with ",
        Quantity::count(n as f64),
        " more destinations."
    ]
}

/// The headline, who opens and who closes, the arithmetic, and what bears on how to read them.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case), cause(case), usable(case)];
    let settings = &case.tcp.settings;
    if case.holds == Holds::TimeWait {
        if let Some(s) = settings
            .fin_timeout_s
            .filter(|s| f64::from(*s) < tcp::TIME_WAIT_S)
        {
            lines.push(sentence![format!(
                "tcp_fin_timeout is set to {s} s here: that does nothing for TIME_WAIT, which lasts 60 s whatever \
                 it says; it bounds orphaned FIN_WAIT_2 only."
            )]);
        }
        if super::advice::reuse_is_on(case) {
            lines.push(
                "Ports in TIME_WAIT for more than 1 s are taken over already (tcp_tw_reuse), where the other side \
                 sends TCP timestamps."
                    .into(),
            );
        }
    }
    lines
}

fn headline(case: &Case<'_>) -> Sentence {
    let ports = case.ports;
    let in_use = [
        Piece::from(Quantity::count(case.used as f64)),
        " of ".into(),
        Quantity::count(ports.usable as f64).into(),
    ];
    let from = ports.local.map(|local| format!(" from {local}"));
    let to = vec![
        Piece::from(from.unwrap_or_default()),
        " to ".into(),
        Piece::from(&ports.peer),
    ];
    match case.kind {
        Kind::Failing => tcp::join([
            tcp::number_of(ports.failures, "connect", "connects").to_vec(),
            to,
            vec![" failed with EADDRNOTAVAIL: up to ".into()],
            in_use.to_vec(),
            vec![" local ports were in use.".into()],
        ]),
        Kind::Full => tcp::join([
            in_use.to_vec(),
            vec![" local ports".into()],
            to,
            vec![
                " are in use (".into(),
                Quantity::ratio(case.filled()).into(),
                ").".into(),
            ],
        ]),
        Kind::Ahead => tcp::join([
            vec!["At this rate the local ports".into()],
            to,
            vec![" run out in ".into(), left(case).into(), ": ".into()],
            in_use.to_vec(),
            vec![
                " are in use; kept up, this rate takes ".into(),
                Quantity::count(ports.levels_off_at.round()).into(),
                ".".into(),
            ],
        ]),
    }
}

fn left(case: &Case<'_>) -> Quantity {
    Quantity::ns((case.ports.seconds_left.unwrap_or(0.0) * 1e9) as u64)
}

/// Who opens, who closes first, or what else holds the ports.
fn cause(case: &Case<'_>) -> Sentence {
    let ports = case.ports;
    let holds = Quantity::count(case.holds.count(ports) as f64);
    let opener = match &ports.opener {
        Some(p) => tcp::process(p).to_vec(),
        None => vec!["A process that was not seen".into()],
    };
    if case.holds == Holds::TimeWait {
        if ports.closed_by_us_per_s <= 0.0 {
            return sentence![
                holds,
                " are in TIME_WAIT: closed by this side first, before the window began.",
            ];
        }
        let closer = match (&ports.closer, &ports.opener) {
            (Some(closer), Some(opener)) if closer == opener => vec![" and closes ".into()],
            (Some(closer), _) => {
                let mut who = vec!["; ".into()];
                who.extend(tcp::process(closer));
                who.push(" closes ".into());
                who
            }
            (None, _) => vec!["; this side closes ".into()],
        };
        let rate = Quantity::per_second(ports.closed_by_us_per_s);
        return tcp::join([
            opener,
            vec![
                " opens ".into(),
                Quantity::per_second(ports.opened_per_s).into(),
            ],
            closer,
            vec![
                rate.into(),
                " before the other side does: each stays in TIME_WAIT for 60 s, ".into(),
                rate.into(),
                " x 60 s = ".into(),
                Quantity::count((ports.closed_by_us_per_s * tcp::TIME_WAIT_S).round()).into(),
                ".".into(),
            ],
        ]);
    }
    let what = match case.holds {
        Holds::Open => " are open connections",
        Holds::Unanswered => " are connects that the other side does not answer (SYN_SENT)",
        Holds::NotClosed => {
            " were closed by the other side, and our process does not close them (CLOSE_WAIT)"
        }
        Holds::HalfClosed => {
            " were closed by us, and the other side does not close them (FIN_WAIT_2)"
        }
        Holds::TimeWait => " are in TIME_WAIT",
    };
    tcp::join([
        vec![holds.into(), what.into(), "; ".into()],
        opener,
        vec![
            " opens ".into(),
            Quantity::per_second(ports.opened_per_s).into(),
            ".".into(),
        ],
    ])
}

/// How many ports there are, and why.
fn usable(case: &Case<'_>) -> Sentence {
    let usable = Quantity::count(case.ports.usable as f64);
    let settings = &case.tcp.settings;
    let Some((first, last)) = settings.port_range else {
        return sentence!["Usable ports: ", usable, "; the range could not be read."];
    };
    let all = u64::from(last) + 1 - u64::from(first.min(last));
    let reserved: u64 = settings
        .reserved_ports
        .iter()
        .map(|&(from, to)| {
            let (from, to) = (from.max(first), to.min(last));
            if from <= to {
                u64::from(to - from) + 1
            } else {
                0
            }
        })
        .sum();
    let listened = all
        .saturating_sub(reserved)
        .saturating_sub(case.ports.usable);
    let mut line = sentence![
        format!("Usable ports: {first} to {last} are "),
        Quantity::count(all as f64),
    ];
    for (n, what) in [(reserved, " reserved"), (listened, " listened on")] {
        if n > 0 {
            line.0.extend([
                ", less ".into(),
                Quantity::count(n as f64).into(),
                what.into(),
            ]);
        }
    }
    if reserved + listened > 0 {
        line.0.extend([": ".into(), usable.into()]);
    }
    line.0.push(".".into());
    line
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let ports = case.ports;
    let count = |n: u64| Quantity::count(n as f64);
    let filter = tcp::filter(&ports.peer);
    let range = "sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports";
    let mut list = vec![
        tcp::item("ports", "in use", count(case.used), None),
        tcp::item(
            "ports",
            "usable",
            count(ports.usable),
            Some(range.to_owned()),
        ),
    ];
    if ports.reusable > 0 {
        list.push(tcp::item(
            "ports",
            "reusable (not in use)",
            count(ports.reusable),
            None,
        ));
    }
    for (state, word, n) in [
        ("time-wait", "TIME_WAIT", ports.states.time_wait),
        ("established", "ESTABLISHED", ports.states.established),
        ("syn-sent", "SYN_SENT", ports.states.syn_sent),
        ("fin-wait-1", "FIN_WAIT_1", ports.states.fin_wait_1),
        ("fin-wait-2", "FIN_WAIT_2", ports.states.fin_wait_2),
        ("close-wait", "CLOSE_WAIT", ports.states.close_wait),
        ("last-ack", "LAST_ACK", ports.states.last_ack),
    ] {
        if n == 0 {
            continue;
        }
        let most = n
            == case.holds.count(ports)
                + if state == "time-wait" {
                    ports.reusable
                } else {
                    0
                };
        let command = filter
            .as_ref()
            .filter(|_| most)
            .map(|filter| format!("ss -Htan state {state} {filter} | wc -l"));
        list.push(tcp::item("sockets", word, count(n), command));
    }
    let rate = Quantity::per_second;
    list.extend([
        tcp::item("rate", "opened", rate(ports.opened_per_s), None),
        tcp::item(
            "rate",
            "closed first by us",
            rate(ports.closed_by_us_per_s),
            None,
        ),
    ]);
    if ports.seconds_left.is_some() {
        list.extend([
            tcp::item("ahead", "left", left(case), None),
            tcp::item(
                "ahead",
                "levels off at",
                Quantity::count(ports.levels_off_at.round()),
                None,
            ),
        ]);
    }
    if ports.failures > 0 {
        let trace = ports.opener.as_ref().map(|p| {
            format!(
                "timeout 10 strace -f -e trace=connect -e status=failed -p {}",
                p.pid
            )
        });
        list.push(tcp::item(
            "failed",
            "EADDRNOTAVAIL",
            count(ports.failures),
            trace,
        ));
        if let Some(ns) = ports.first_failure_ns {
            list.push(tcp::item("failed", "first after", Quantity::ns(ns), None));
        }
    }
    list
}
