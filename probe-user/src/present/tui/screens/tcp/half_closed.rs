//! FIN_WAIT_2: we closed, they did not.

use ratatui::text::Line;

use super::{CENSUS, OWNERS, empty, peers::key, tcp};
use crate::{
    aggregate::tcp::HalfClosed,
    present::{
        tcp::{
            per_s,
            words::{peer, process, quantiles},
        },
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{Lines, figures, head, number, room, row, some, text, words},
        },
        units::{count, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "half-closed",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| {
        empty(
            data,
            CENSUS,
            "No socket in fin_wait_2, where the other side has not closed,",
        )
    },
};

const COLUMNS: &[Column] = &[
    words("they did not close", Width::Fill(21), 0),
    figures("orphans", 8, 0),
    figures("held", 8, 0),
    figures("entered", 8, 2),
    figures("age p50", 8, 1),
    figures("age p99", 8, 3),
    figures("stayed p50", 10, 4),
    figures("stayed p99", 10, 5),
    words("held by", Width::Fill(20), 6),
];

fn there(h: &&HalfClosed) -> bool {
    h.orphaned + h.held > 0
}

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(tcp) = tcp(data)
        && tcp.half_closed.iter().any(|h| there(&h))
    {
        let timeout = tcp.settings.fin_timeout_s;
        facts.extend(timeout.map(|s| format!("tcp_fin_timeout {s}")));
        let orphans = (tcp.counters.orphans, tcp.settings.max_orphans);
        if let (Some(now), Some(most)) = orphans {
            facts.push(format!("orphans {} of {}", count(now), count(most.into())));
        }
        if tcp.half_closed_left_out > 0 {
            let n = plural(tcp.half_closed_left_out, "more socket", "more sockets");
            facts.push(format!("{n}, of unknown age"));
        }
    }
    head(&facts, &data.recent, &[CENSUS[0], OWNERS], width, theme)
}

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let columns = room(COLUMNS, 0, width);
    let rows = tcp.half_closed.iter().filter(there).map(|h| {
        let (age50, age99) = quantiles(&h.age);
        let (left50, left99) = quantiles(&h.left);
        let holder = h.holders.first().map(|(p, ..)| process(p));
        row(
            key(&h.peer),
            [
                text(peer(&h.peer, columns)),
                some(h.orphaned),
                some(h.held),
                number(per_s(h.entered_per_s), h.entered_per_s),
                number(age50, h.age.quantile(0.5) as f64),
                number(age99, h.age.quantile(0.99) as f64),
                number(left50, h.left.quantile(0.5) as f64),
                number(left99, h.left.quantile(0.99) as f64),
                text(holder.unwrap_or_default()),
            ],
        )
    });
    rows.collect()
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(tcp) = tcp(data) else {
        return lines.done();
    };
    let Some(h) = tcp.half_closed.iter().find(|h| key(&h.peer) == of) else {
        return lines.done();
    };
    lines.heading(&peer(&h.peer, 108));
    let sockets = format!(
        "{} that no process holds, {} held; {} at most",
        count(h.orphaned),
        count(h.held),
        count(h.peak)
    );
    lines.labelled("In fin_wait_2", &sockets);
    for (label, durations) in [("Their age", &h.age), ("Stayed", &h.left)] {
        let (p50, p99) = quantiles(durations);
        if !p50.is_empty() {
            lines.labelled(label, &format!("p50 {p50}, p99 {p99}"));
        }
    }
    if !h.holders.is_empty() {
        lines.heading("Held by");
        let row = |(p, n, fd): &(_, u64, i32)| vec![process(p), count(*n), fd.to_string()];
        let rows: Vec<Vec<String>> = h.holders.iter().map(row).collect();
        lines.table(&["process", "sockets", "such as fd"], &rows);
    }
    lines.done()
}
