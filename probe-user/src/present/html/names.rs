//! UDP and DNS: sockets that drop, who asks whom for what, and how long answers take.

use std::net::SocketAddr;

use super::{
    chart::{self, Form, Series},
    ink,
    requests::latency,
    section::{About, section},
    table::{Cell, charts, figure, table},
    writer::Html,
};
use crate::{
    aggregate::{
        Window,
        dns::{Dns, Sums},
        udp::{Dropping, QueueUse, Udp},
    },
    diagnose::{Diagnosis, Unit},
    present::{
        dns::{group, notes, question},
        names, page,
        udp::{agreement, lasts, unseen, whose},
        units::{bytes, count, duration, mean, percent, plural},
    },
};

/// Sockets whose queue and drops are drawn.
const DRAWN: usize = 4;

const UDP: About = About {
    id: "udp",
    title: "UDP",
    rules: &["U01"],
};
const DNS: About = About {
    id: "dns",
    title: "DNS",
    rules: &["U02"],
};

/// UDP.
pub(super) fn udp(h: &mut Html, window: &Window, diagnosis: &Diagnosis) {
    let Some(udp) = window.udp.as_deref() else {
        return;
    };
    section(h, &UDP, diagnosis, &unseen(udp, window), |h| {
        charts(h, |h| {
            for socket in udp.sockets.iter().take(DRAWN) {
                dropping(h, socket, window.duration_ns);
            }
        });
        sockets(h, udp);
        queues(h, udp);
    });
}

/// Drops and the queue of a socket over time.
fn dropping(h: &mut Html, s: &Dropping, length_ns: u64) {
    let local = s.local;
    let sums = s.timeline.iter().map(|p| (p.at_ns, p.since_start[0]));
    let drops = Series {
        ink: ink::LIMIT,
        form: Form::Bars,
        points: chart::rates(sums, length_ns),
    };
    let caption = format!(
        "Drops a second at {local}: {} in all, {}/s at worst",
        count(s.drops),
        mean(s.peak_per_s)
    );
    let svg = chart::over_time(length_ns, Unit::PerSecond, &[drops], None);
    figure(h, &caption, &caption, svg, &[]);
    let queue = Series {
        ink: ink::FIRST,
        form: Form::Line,
        points: s.queue.iter().map(|p| (p.at_ns, p.bytes as f64)).collect(),
    };
    let limit = s.rcvbuf_bytes;
    let caption = match limit {
        Some(limit) => format!("Queue of {local}, and its limit of {}", bytes(limit)),
        None => format!("Queue of {local}"),
    };
    let svg = chart::over_time(length_ns, Unit::Bytes, &[queue], limit.map(|l| l as f64));
    figure(h, &caption, &caption, svg, &[]);
}

fn sockets(h: &mut Html, udp: &Udp) {
    let heads = [
        "Sockets that drop",
        "drops",
        "at worst",
        "buffer",
        "lasts",
        "whose",
    ];
    table(h, &heads, &udp.sockets, "sockets", |s| {
        vec![
            Cell::Name(s.local.to_string()),
            Cell::Number(count(s.drops)),
            Cell::Number(format!("{}/s", mean(s.peak_per_s))),
            Cell::Number(s.rcvbuf_bytes.map_or_else(|| "?".to_owned(), bytes)),
            Cell::Number(lasts(s)),
            Cell::Text(whose(s)),
        ]
    });
    if let Some(text) = agreement(&udp.agreement).filter(|_| !udp.sockets.is_empty()) {
        h.element("p", &[("class", "soft")], &text);
    }
}

fn queues(h: &mut Html, udp: &Udp) {
    let heads = ["Waiting to be read", "at most", "", "limit"];
    table(h, &heads, &udp.queues, "sockets", |q: &QueueUse| {
        vec![
            Cell::Name(ends(q.local, q.remote)),
            Cell::Strip(vec![(q.fill(), ink::FIRST)]),
            Cell::Number(bytes(q.max_bytes)),
            Cell::Number(q.rcvbuf_bytes.map_or_else(|| "?".to_owned(), bytes)),
        ]
    });
}

fn ends(local: SocketAddr, remote: Option<SocketAddr>) -> String {
    match remote {
        Some(remote) => format!("{local} to {remote}"),
        None => local.to_string(),
    }
}

/// DNS.
pub(super) fn dns(h: &mut Html, window: &Window, diagnosis: &Diagnosis) {
    let Some(dns) = window.dns.as_deref().filter(|d| d.total.asked > 0) else {
        return;
    };
    let off = page::without(window, &[("dns", "questions and answers")]);
    section(h, &DNS, diagnosis, &off, |h| {
        let total = &dns.total;
        let mut text = format!(
            "{}, {}/s at worst; {} answered",
            plural(total.asked, "question", "questions"),
            mean(dns.peak_per_s),
            count(total.answered)
        );
        if total.unanswered > 0 {
            text.push_str(&format!(", {} without an answer", count(total.unanswered)));
        }
        if total.timed_out.count > 0 {
            let lost = duration(total.timed_out.total_ns);
            text.push_str(&format!("; threads waited {lost} for nothing"));
        }
        h.element("p", &[], &(text + "."));
        charts(h, |h| over_time(h, dns, window.duration_ns));
        rows(h, dns);
    });
}

fn over_time(h: &mut Html, dns: &Dns, length_ns: u64) {
    let sums = |i: usize| {
        let points = dns.timeline.iter();
        chart::rates(points.map(|p| (p.at_ns, p.since_start[i])), length_ns)
    };
    let asked = Series {
        ink: ink::FIRST,
        form: Form::Bars,
        points: sums(0),
    };
    let answered = Series {
        ink: ink::SECOND,
        form: Form::Line,
        points: sums(1),
    };
    let alt = format!(
        "questions and answers a second over time: {} asked, {} answered",
        count(dns.total.asked),
        count(dns.total.answered)
    );
    let svg = chart::over_time(length_ns, Unit::PerSecond, &[asked, answered], None);
    let keys = [(ink::FIRST, "asked"), (ink::SECOND, "answered")];
    figure(h, "Questions and answers a second", &alt, svg, &keys);
    if !dns.total.latency.durations.is_empty() {
        latency(h, "How long answers took", &dns.total.latency.durations);
    }
}

/// Heads of the numbers of [`sums`].
const SUMS: [&str; 7] = [
    "asked",
    "same again",
    "retried",
    "no answer",
    "p50",
    "p99",
    "time lost",
];

fn sums(s: &Sums) -> impl Iterator<Item = Cell> {
    let some = |n: u64| if n > 0 { count(n) } else { String::new() };
    let at = |q| match s.latency.count {
        0 => String::new(),
        _ => duration(s.latency.durations.quantile(q)),
    };
    let texts = [
        count(s.asked),
        match s.duplicates {
            0 => String::new(),
            n => percent(n as f64 / s.asked.max(1) as f64),
        },
        some(s.retried),
        some(s.unanswered),
        at(0.5),
        at(0.99),
        match s.timed_out.total_ns {
            0 => String::new(),
            ns => duration(ns),
        },
    ];
    texts.into_iter().map(Cell::Number)
}

fn heads(first: &'static str) -> Vec<&'static str> {
    [first].into_iter().chain(SUMS).collect()
}

fn rows(h: &mut Html, dns: &Dns) {
    let with = |name: String, s: &Sums| [Cell::Name(name)].into_iter().chain(sums(s)).collect();
    let mut who = heads("Who asks");
    who.push("");
    table(h, &who, &dns.clients, "groups of processes", |c| {
        let mut row: Vec<Cell> = with(group(&c.group), &c.sums);
        row.push(Cell::Text(notes(c).join("; ")));
        row
    });
    table(h, &heads("For what"), &dns.names, "names", |n| {
        with(question(n.name.as_ref(), n.qtype, 90), &n.sums)
    });
    table(h, &heads("Whom"), &dns.servers, "servers", |s| {
        with(names::peer_long(&s.peer), &s.sums)
    });
}
