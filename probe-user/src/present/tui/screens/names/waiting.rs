//! Threads that wait for an answer now.

use ratatui::text::Line;

use super::questions::{dns, empty, facts};
use crate::{
    aggregate::dns::Waiting,
    present::{
        dns::{group, question},
        names,
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{Lines, figures, number, room, row, text, words},
        },
        units::duration,
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "waiting",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| {
        empty(
            data,
            "No thread waits for an answer now, whatever was asked",
        )
    },
};

const COLUMNS: &[Column] = &[
    words("who waits", Width::Fill(14), 0),
    figures("pid", 7, 2),
    figures("thread", 7, 3),
    figures("for", 8, 0),
    words("name", Width::Fill(20), 0),
    words("server", Width::Cells(18), 1),
];
const NAME: usize = 4;

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let waiting = dns(data)
        .map(|dns| dns.waiting.as_slice())
        .unwrap_or_default();
    let columns = room(COLUMNS, NAME, width);
    let rows = waiting.iter().map(|w| {
        row(
            key(w),
            [
                text(group(&w.group)),
                number(w.pid.to_string(), w.pid.into()),
                number(w.tid.to_string(), w.tid.into()),
                number(duration(w.for_ns), w.for_ns as f64),
                text(question(w.name.as_ref(), w.qtype, columns)),
                text(names::peer(&w.server, 60)),
            ],
        )
    });
    rows.collect()
}

fn key(w: &Waiting) -> String {
    format!("{} {} {:?}", w.tid, w.qtype, w.name)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let waiting = dns(data)
        .map(|dns| dns.waiting.as_slice())
        .unwrap_or_default();
    let Some(w) = waiting.iter().find(|w| key(w) == of) else {
        return lines.done();
    };
    lines.heading(&format!("{} {}", group(&w.group), w.tid));
    lines.labelled("Waits for", &question(w.name.as_ref(), w.qtype, 256));
    lines.labelled("From", &names::peer(&w.server, 60));
    lines.labelled("Since", &format!("{} ago", duration(w.for_ns)));
    lines.done()
}
