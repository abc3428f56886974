//! TCP: sockets by state over time, ports, queues, and what failed.

use super::{
    chart::{self, Form, Series},
    ink,
    section::{About, section},
    table::{Cell, charts, figure, table},
    writer::Html,
};
use crate::{
    aggregate::{
        Window,
        tcp::{Gap, ListenQueue, Ports, StateDwell, Tcp},
    },
    diagnose::{Diagnosis, Unit},
    present::{
        errno, names,
        tcp::{
            per_s,
            sections::{note, unseen},
            trouble::{gap_length, gap_words, port_words, was_away},
            words::{listener, peer, process, quantiles},
        },
        units::{count, duration, plural},
    },
};

const ABOUT: About = About {
    id: "tcp",
    title: "TCP",
    rules: &["T"],
};

/// All of it.
pub(super) fn tcp(h: &mut Html, window: &Window, diagnosis: &Diagnosis) {
    let Some(tcp) = window.tcp.as_deref() else {
        return;
    };
    section(h, &ABOUT, diagnosis, &unseen(tcp, window), |h| {
        states(h, tcp, window.duration_ns);
        ports(h, tcp);
        queues(h, tcp);
        failed(h, tcp, window.duration_ns);
    });
}

/// Sockets by state: over time, and how long they stay.
fn states(h: &mut Html, tcp: &Tcp, length_ns: u64) {
    let Some(now) = tcp.timeline.last().map(|p| p.states) else {
        return;
    };
    let most = |n: usize| tcp.timeline.iter().map(|p| p.states.named()[n].1).max();
    let mut drawn: Vec<(usize, &'static str)> = (now.named().iter().enumerate())
        // Listening sockets are as many as they were.
        .filter(|(n, (state, _))| *state != "listen" && most(*n) > Some(0))
        .map(|(n, (state, _))| (n, *state))
        .collect();
    drawn.sort_by_key(|&(n, _)| std::cmp::Reverse(most(n)));
    drawn.truncate(ink::SERIES.len());
    let line = |(&(n, _), &ink): (&(usize, _), &ink::Ink)| Series {
        ink,
        form: Form::Line,
        points: (tcp
            .timeline
            .iter()
            .map(|p| (p.at_ns, p.states.named()[n].1 as f64)))
        .collect(),
    };
    let series: Vec<Series> = drawn.iter().zip(&ink::SERIES).map(line).collect();
    let keys: Vec<_> = (drawn.iter().zip(ink::SERIES))
        .map(|(d, ink)| (ink, d.1))
        .collect();
    charts(h, |h| {
        let svg = chart::over_time(length_ns, Unit::Count, &series, None);
        let at_end: Vec<String> = drawn
            .iter()
            .map(|&(n, state)| format!("{state} {}", count(now.named()[n].1)))
            .collect();
        let alt = format!("sockets over time; at the end {}", at_end.join(", "));
        figure(h, "Sockets by state", &alt, svg, &keys);
    });
    let mut rows: Vec<(&'static str, u64)> = now.named().to_vec();
    rows.retain(|row| row.1 > 0);
    rows.sort_by_key(|row| std::cmp::Reverse(row.1));
    let seconds = length_ns.max(1) as f64 / 1e9;
    let none = StateDwell::default();
    let heads = [
        "State",
        "sockets",
        "entered",
        "left",
        "stayed p50",
        "p99",
        "",
    ];
    table(h, &heads, &rows, "states", |&(state, n)| {
        let dwell = tcp
            .dwell_by_state
            .iter()
            .find(|d| d.state == state)
            .unwrap_or(&none);
        let (p50, p99) = quantiles(&dwell.durations);
        vec![
            Cell::Text(state.to_owned()),
            Cell::Number(count(n)),
            Cell::Number(per_s(dwell.entered as f64 / seconds)),
            Cell::Number(per_s(dwell.count as f64 / seconds)),
            Cell::Number(p50),
            Cell::Number(p99),
            Cell::Text(note(state, &now, dwell)),
        ]
    });
}

fn ports(h: &mut Html, tcp: &Tcp) {
    let list = tcp.ports.iter().filter(|p| p.used() + p.failures > 0);
    let list: Vec<&Ports> = list.collect();
    let heads = [
        "Ports to",
        "in use",
        "",
        "of",
        "opened",
        "we close first",
        "",
    ];
    table(h, &heads, &list, "destinations", |p| {
        let (first, rest) = port_words(p);
        let share = p.used() as f64 / p.usable.max(1) as f64;
        let text = match rest.is_empty() {
            true => first,
            false => format!("{first}; {rest}"),
        };
        vec![
            Cell::Name(names::peer(&p.peer, 60)),
            Cell::Strip(vec![(share, ink::FIRST)]),
            Cell::Number(count(p.used())),
            Cell::Number(count(p.usable)),
            Cell::Number(per_s(p.opened_per_s)),
            Cell::Number(per_s(p.closed_by_us_per_s)),
            Cell::Text(text),
        ]
    });
}

fn queues(h: &mut Html, tcp: &Tcp) {
    let busy = |q: &&ListenQueue| q.overflows + q.queue_max + q.syn_queue_max + q.accepted > 0;
    let list: Vec<&ListenQueue> = tcp.listeners.iter().filter(busy).collect();
    let heads = [
        "Waiting for accept()",
        "at most",
        "",
        "limit",
        "refused",
        "accepted",
        "wait p50",
        "p99",
    ];
    table(h, &heads, &list, "listeners", |q| {
        let (p50, p99) = quantiles(&q.wait);
        let inexact = if q.overflows_inexact { "~" } else { "" };
        let known = |n: u64| {
            if q.looks > 0 {
                count(n)
            } else {
                "?".to_owned()
            }
        };
        vec![
            Cell::Name(listener(&q.address, 80)),
            Cell::Strip(vec![(
                q.queue_max as f64 / q.limit.max(1) as f64,
                ink::FIRST,
            )]),
            Cell::Number(known(q.queue_max)),
            Cell::Number(known(q.limit)),
            Cell::Number(match q.overflows {
                0 => String::new(),
                n => format!("{inexact}{}", count(n)),
            }),
            Cell::Number(match q.accepted {
                0 => String::new(),
                n => count(n),
            }),
            Cell::Number(p50),
            Cell::Number(p99),
        ]
    });
}

fn failed(h: &mut Html, tcp: &Tcp, window_ns: u64) {
    let heads = ["Failed connects to", "times", "error", "by", "from", "to"];
    table(h, &heads, &tcp.failed, "kinds of failure", |f| {
        let by = match f.process.pid {
            0 => "several processes".to_owned(),
            _ => process(&f.process),
        };
        vec![
            Cell::Name(peer(&f.peer, 80)),
            Cell::Number(count(f.count)),
            Cell::Text(errno::name(f.errno)),
            Cell::Name(by),
            Cell::Number(duration(f.first_ns)),
            Cell::Number(duration(f.last_ns)),
        ]
    });
    let gaps: Vec<&Gap> = tcp.gaps.iter().filter(was_away).collect();
    let heads = ["Nobody listened on", "for", "failed"];
    table(h, &heads, &gaps, "gaps", |g| {
        vec![
            Cell::Name(peer(&g.peer, 80)),
            Cell::Number(gap_length(g, window_ns)),
            Cell::Text(gap_words(g)),
        ]
    });
    let overflows = tcp.counters.listen_overflows.filter(|n| *n > 0);
    if let Some(n) = overflows {
        let times = plural(n, "time", "times");
        let text = format!("The kernel counted ListenOverflows {times}.");
        h.element("p", &[("class", "soft")], &text);
    }
}
