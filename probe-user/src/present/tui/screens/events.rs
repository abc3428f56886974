//! What happened, one line each, the newest on top.

use ratatui::text::Line;

use crate::present::tui::{
    Column, Data, Event, Row, Screen, Section, Theme, Width, history, no_below, no_head,
    screens::cells::{Lines, number, row, text, words},
};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "events",
    sections: &[Section {
        title: "events",
        columns: COLUMNS,
        head: no_head,
        rows,
        detail,
        empty,
    }],
    below: no_below,
};

const COLUMNS: &[Column] = &[
    words("time (UTC)", Width::Cells(10), 1),
    words("what", Width::Fill(20), 0),
];

fn rows(data: &Data, _: u16, theme: &Theme) -> Vec<Row> {
    let newest = data.events.iter().rev();
    newest
        .map(|event| {
            let time = number(history::clock(event.unix_ns), event.unix_ns as f64);
            let what = text(event.text.clone()).tone(theme, event.tone);
            row(key_of(event), [time, what])
        })
        .collect()
}

/// Old ones are dropped, so that their numbers change.
fn key_of(event: &Event) -> String {
    format!("{} {}", event.unix_ns, event.text)
}

/// The whole of it.
fn detail(data: &Data, key: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let found = data.events.iter().find(|event| key == key_of(event));
    let mut lines = Lines::new(width, theme);
    if let Some(event) = found {
        lines.heading(&format!("{} UTC", history::clock(event.unix_ns)));
        lines.text(&event.text);
    }
    lines.done()
}

fn empty(_: &Data) -> String {
    "Nothing has happened yet: no finding began or ended, nothing was lost, no worker came or went."
        .to_owned()
}
