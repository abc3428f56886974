//! Connections that wait for accept().

use ratatui::text::Line;

use super::{CENSUS, OWNERS, empty, tcp};
use crate::{
    aggregate::tcp::{Counters, ListenQueue, Settings},
    present::{
        tcp::words::{listener, process, quantiles},
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{
                Lines, figures, head, number, per_second, room, row, some, text, words,
            },
        },
        units::{count, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "queues",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, &[CENSUS[0], OWNERS, ACCEPTS], "Nobody listened"),
};

const COLUMNS: &[Column] = &[
    words("waits for accept()", Width::Fill(20), 0),
    figures("now", 6, 0),
    figures("most", 6, 1),
    figures("limit", 6, 0),
    figures("refused", 8, 0),
    figures("accepted", 8, 2),
    figures("wait p50", 8, 3),
    figures("p99", 7, 3),
    figures("handshakes", 10, 5),
    words("listens", Width::Fill(20), 4),
];
const ACCEPTS: (&str, &str) = ("accepts", "how long connections wait for accept()");

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(tcp) = tcp(data)
        && !tcp.listeners.is_empty()
    {
        let n = tcp.listeners.len() as u64 + tcp.listeners_left_out;
        facts.push(plural(n, "listener", "listeners"));
        facts.extend(counters(&tcp.counters));
        facts.extend(settings(&tcp.settings));
    }
    head(
        &facts,
        &data.recent,
        &[CENSUS[0], OWNERS, ACCEPTS],
        width,
        theme,
    )
}

/// The kernel's own counters, those that grew.
fn counters(c: &Counters) -> Vec<String> {
    let all = [
        ("ListenOverflows", c.listen_overflows),
        ("ListenDrops", c.listen_drops),
        ("TCPReqQFullDrop", c.syn_queue_drops),
        ("SyncookiesSent", c.syncookies_sent),
    ];
    let grown = all.into_iter().filter(|(_, n)| n.is_some_and(|n| n > 0));
    grown
        .map(|(name, n)| format!("{name} +{}", count(n.unwrap_or(0))))
        .collect()
}

fn settings(s: &Settings) -> Vec<String> {
    let all = [
        ("somaxconn", s.somaxconn.map(u64::from)),
        ("tcp_max_syn_backlog", s.max_syn_backlog.map(u64::from)),
        ("tcp_syncookies", s.syncookies.map(u64::from)),
        ("tcp_abort_on_overflow", s.abort_on_overflow.map(u64::from)),
    ];
    let known = all.into_iter().filter_map(|(name, n)| Some((name, n?)));
    known.map(|(name, n)| format!("{name} {n}")).collect()
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let columns = room(COLUMNS, 0, width);
    let rows = tcp.listeners.iter().map(|q| {
        let (p50, p99) = quantiles(&q.wait);
        let known = |n: u64| match q.looks {
            0 => number("-", -1.0),
            _ => number(count(n), n as f64),
        };
        row(
            key(q),
            [
                text(listener(&q.address, columns)),
                known(q.queue),
                known(q.queue_max),
                known(q.limit),
                number(refused(q), q.overflows as f64).tone(theme, Tone::Critical),
                per_second(q.accepted, &data.recent),
                number(p50, q.wait.quantile(0.5) as f64),
                number(p99, q.wait.quantile(0.99) as f64),
                some(q.syn_queue_max),
                text(q.owners.first().map(process).unwrap_or_default()),
            ],
        )
    });
    rows.collect()
}

fn refused(q: &ListenQueue) -> String {
    match (q.overflows, q.overflows_inexact) {
        (0, _) => String::new(),
        (n, true) => format!("~{}", count(n)),
        (n, false) => count(n),
    }
}

fn key(q: &ListenQueue) -> String {
    let owner = q.owners.first().map_or(0, |o| o.pid);
    format!("{:?} {owner}", q.address)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(tcp) = tcp(data) else {
        return lines.done();
    };
    let Some(q) = tcp.listeners.iter().find(|q| key(q) == of) else {
        return lines.done();
    };
    lines.heading(&listener(&q.address, 108));
    let owners: Vec<String> = q.owners.iter().map(process).collect();
    lines.labelled("Listens", &owners.join(", "));
    match q.looks {
        0 => lines.labelled("Queue", "not seen, only that connects were refused"),
        looks => {
            let queue = format!(
                "{} waiting now, {} at most, {} may; full at {} of {}",
                count(q.queue),
                count(q.queue_max),
                count(q.limit),
                count(q.full),
                plural(looks, "look", "looks")
            );
            lines.labelled("Queue", &queue);
        }
    }
    if q.tcp {
        lines.labelled("Accepted", &plural(q.accepted, "connection", "connections"));
        let (p50, p99) = quantiles(&q.wait);
        if !p50.is_empty() {
            lines.labelled("After", &format!("p50 {p50}, p99 {p99}"));
        }
        let open = plural(q.syn_queue_max, "handshake", "handshakes");
        lines.labelled("Not finished", &format!("up to {open}"));
    }
    if q.overflows > 0 {
        let or = if q.overflows_inexact {
            ", by its part of the drops at several listeners"
        } else {
            ""
        };
        lines.labelled("Refused", &format!("{}{or}", count(q.overflows)));
    }
    lines.labelled("Kernel counts", &counters(&tcp.counters).join(", "));
    lines.labelled("Settings", &settings(&tcp.settings).join(", "));
    lines.done()
}
