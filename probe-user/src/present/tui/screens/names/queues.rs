//! Datagrams that wait to be read.

use ratatui::text::Line;

use super::drops::udp;
use crate::{
    aggregate::udp::QueueUse,
    present::{
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{Lines, figures, head, number, row, text, why_empty, words},
        },
        udp::limits,
        units::{bytes, percent, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "queues",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| {
        let watched = udp(data).is_some();
        why_empty(data, watched, "UDP is", PROBES, "Nothing waited to be read")
    },
};

const COLUMNS: &[Column] = &[
    words("waits to be read at", Width::Fill(21), 0),
    figures("now", 8, 0),
    figures("most", 8, 0),
    figures("limit", 8, 1),
    figures("full", 6, 0),
    words("connected to", Width::Fill(21), 2),
];
const PROBES: &[(&str, &str)] = &[("udp_census", "buffer limits; queues come from /proc")];

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(udp) = udp(data) {
        facts.extend(limits(&udp.settings));
        if udp.census_left_out > 0 {
            let n = plural(udp.census_left_out, "more socket", "more sockets");
            facts.push(format!("and {n}"));
        }
    }
    head(&facts, &data.recent, PROBES, width, theme)
}

fn rows(data: &Data, _: u16, _: &Theme) -> Vec<Row> {
    let queues = udp(data)
        .map(|udp| udp.queues.as_slice())
        .unwrap_or_default();
    let rows = queues.iter().map(|q| {
        let (limit, full) = match q.rcvbuf_bytes {
            Some(limit) => (bytes(limit), percent(q.fill())),
            None => ("?".to_owned(), String::new()),
        };
        row(
            key(q),
            [
                text(q.local.to_string()),
                number(bytes(q.bytes), q.bytes as f64),
                number(bytes(q.max_bytes), q.max_bytes as f64),
                number(limit, q.rcvbuf_bytes.unwrap_or(0) as f64),
                number(full, q.fill()),
                text(q.remote.map(|a| a.to_string()).unwrap_or_default()),
            ],
        )
    });
    rows.collect()
}

fn key(q: &QueueUse) -> String {
    format!("{} {:?}", q.local, q.remote)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(udp) = udp(data) else {
        return lines.done();
    };
    let Some(q) = udp.queues.iter().find(|q| key(q) == of) else {
        return lines.done();
    };
    lines.heading(&q.local.to_string());
    let limit = q.rcvbuf_bytes.map_or("?".to_owned(), bytes);
    let (now, most) = (bytes(q.bytes), bytes(q.max_bytes));
    lines.labelled("Queue", &format!("{now} now, {most} at most, {limit} may"));
    let same = |d: &&crate::aggregate::udp::Dropping| d.local == q.local;
    let dropped: u64 = udp.sockets.iter().filter(same).map(|d| d.drops).sum();
    lines.labelled("Dropped", &plural(dropped, "datagram", "datagrams"));
    let remote = q.remote.map(|a| a.to_string());
    lines.labelled("Connected to", &remote.unwrap_or_default());
    lines.labelled("Limits", &limits(&udp.settings).join(", "));
    lines.done()
}
