//! Draws the state. Nothing is decided here, and nothing changed.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
};

use super::{
    App, Column, Row, Tone,
    app::Mode,
    header,
    page::{LEAST, MARK, Tab},
};
use crate::present::units::count;

/// Draws everything. [`App::fit`] comes first.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    // The size changed since the page was made; it is about to be made anew.
    if (area.width, area.height) != (app.page.width, app.page.height) {
        return;
    }
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return too_small(buffer, area);
    }
    put(buffer, 0, 0, area.width, &header::line(app, area.width));
    screens(buffer, app);
    rule(buffer, app);
    if app.page.table.width > 0 {
        table(buffer, app);
    }
    if app.page.reading.width > 0 {
        reading(buffer, app);
    }
    let footer = footer(app, area.width);
    put(buffer, 0, area.height - 1, area.width, &footer);
}

/// A line, cut to `width` cells with a `…`.
fn put(buffer: &mut Buffer, x: u16, y: u16, width: u16, line: &Line<'_>) {
    if width == 0 {
        return;
    }
    buffer.set_line(x, y, line, width);
    if line.width() > usize::from(width) {
        buffer[(x + width - 1, y)].set_symbol("…");
    }
}

fn too_small(buffer: &mut Buffer, area: Rect) {
    let text = [
        format!("{} x {} is too small:", area.width, area.height),
        format!("{} x {} at least", LEAST.0, LEAST.1),
    ];
    let top = area.height.saturating_sub(text.len() as u16) / 2;
    for (text, y) in text.iter().zip(top..area.height) {
        let x = area.width.saturating_sub(text.len() as u16) / 2;
        put(buffer, x, y, area.width - x, &Line::from(text.as_str()));
    }
}

/// How the one of several that is shown looks.
fn shown(app: &App) -> Style {
    app.theme
        .style(Tone::Strong)
        .add_modifier(Modifier::REVERSED)
}

fn put_tabs(buffer: &mut Buffer, y: u16, end: u16, tabs: &[Tab], style: impl Fn(usize) -> Style) {
    for (n, tab) in tabs.iter().enumerate() {
        if tab.from < end {
            let line = Line::styled(tab.words.as_str(), style(n));
            put(buffer, tab.from, y, end - tab.from, &line);
        }
    }
}

fn screens(buffer: &mut Buffer, app: &App) {
    put_tabs(buffer, 1, app.page.width, &app.page.screens, |n| {
        if n == app.screen {
            shown(app)
        } else {
            Style::new()
        }
    });
}

/// The line between the screens and the table: names of tables, and what is shown of this one.
fn rule(buffer: &mut Buffer, app: &App) {
    let page = &app.page;
    let faint = app.theme.style(Tone::Faint);
    let line = "─".repeat(page.width.into());
    put(buffer, 0, 2, page.width, &Line::styled(line, faint));
    let words = state(app);
    let length = words.chars().count() as u16;
    let free = page.width.saturating_sub(length + 4);
    let spaced = |tab: &Tab| Tab {
        words: format!(" {} ", tab.words),
        from: tab.from - 1,
        to: tab.to + 1,
    };
    let tabs: Vec<Tab> = page.sections.iter().map(spaced).collect();
    put_tabs(buffer, 2, page.width, &tabs, |n| {
        match app.section_number() == n {
            true if tabs.len() > 1 => shown(app),
            true => app.theme.style(Tone::Strong),
            false => Style::new(),
        }
    });
    // Where there is no room for both, the names matter more.
    if !words.is_empty() && tabs.last().is_none_or(|last| last.to <= free) {
        let words = Line::from(format!(" {words} "));
        put(buffer, free, 2, length + 2, &words);
    }
}

/// How much of a table is shown, and in which order.
fn state(app: &App) -> String {
    let (Some(choice), Some(section)) = (app.choice(), app.section()) else {
        return String::new();
    };
    let listing = &app.page.listing;
    let mut words = Vec::new();
    if !choice.filter.is_empty() {
        words.push(format!("/{}", choice.filter));
    }
    if let Some(column) = choice.sort.and_then(|at| section.columns.get(at)) {
        words.push(format!("by {}", column.title));
    }
    if choice.reversed {
        words.push("reversed".to_owned());
    }
    if !choice.filter.is_empty() {
        let (some, all) = (listing.shown.len() as u64, listing.all as u64);
        words.push(format!("{} of {}", count(some), count(all)));
    } else if listing.lines() > usize::from(app.page.rows.height) {
        let at = listing.place(choice) as u64;
        words.push(format!("{} of {}", count(at), count(listing.all as u64)));
    }
    words.join("  ")
}

fn table(buffer: &mut Buffer, app: &App) {
    let (page, listing) = (&app.page, &app.page.listing);
    let (Some(section), Some(choice)) = (app.section(), app.choice()) else {
        return;
    };
    for (line, y) in listing.head.iter().zip(page.head.top()..page.head.bottom()) {
        put(buffer, MARK, y, page.table.width - MARK, line);
    }
    if listing.shown.is_empty() {
        nothing(buffer, app);
    } else {
        if page.headings.height > 0 {
            headings(buffer, app, section.columns);
        }
        let rows = listing.visible(choice, page.rows.height.into());
        for ((_, row, chosen), y) in rows.zip(page.rows.top()..) {
            put_row(buffer, app, section.columns, row, chosen, y);
        }
    }
    for (line, y) in page.below.iter().zip(page.foot.top()..page.foot.bottom()) {
        put(buffer, 0, y, page.table.width, line);
    }
}

/// Why there is no row.
fn nothing(buffer: &mut Buffer, app: &App) {
    let page = &app.page;
    let why = match (app.section(), app.choice()) {
        (_, Some(choice)) if page.listing.all > 0 => {
            format!("Nothing has \"{}\" in it. Esc shows all.", choice.filter)
        }
        (Some(section), _) => (section.empty)(&app.data),
        (None, _) => return,
    };
    let width = page.table.width.saturating_sub(MARK + 1);
    let lines = why.lines();
    let lines = lines.flat_map(|line| crate::present::layout::wrap(line, width.into()));
    for (line, y) in lines.zip(page.headings.top()..page.rows.bottom()) {
        put(buffer, MARK, y, width, &Line::from(line));
    }
}

/// The columns that are shown: number, where, how wide.
fn places(app: &App) -> impl Iterator<Item = (usize, u16, u16)> {
    let mut x = MARK;
    let end = app.page.table.width;
    let widths = app.page.listing.widths.iter().enumerate();
    widths.filter_map(move |(at, width)| {
        let from = x;
        x += (*width)? + 1;
        (from < end).then(|| (at, from, (*width).unwrap_or(0).min(end - from)))
    })
}

fn headings(buffer: &mut Buffer, app: &App, columns: &[Column]) {
    let y = app.page.headings.y;
    let style = app.theme.style(Tone::Faint);
    let choice = app.choice();
    for (at, x, width) in places(app) {
        let Some(column) = columns.get(at) else {
            continue;
        };
        let sorted = choice.filter(|choice| choice.sort == Some(at));
        let (title, style) = match sorted {
            Some(choice) => {
                let arrow = if choice.reversed { "▴" } else { "▾" };
                (
                    format!("{}{arrow}", column.title),
                    app.theme.style(Tone::Strong),
                )
            }
            None => (column.title.to_owned(), style),
        };
        put_cell(
            buffer,
            (x, y),
            width,
            &Line::styled(title, style),
            column.right,
        );
    }
}

fn put_row(buffer: &mut Buffer, app: &App, columns: &[Column], row: &Row, chosen: bool, y: u16) {
    for (at, x, width) in places(app) {
        let right = columns.get(at).is_some_and(|c| c.right);
        if let Some(cell) = row.cells.get(at) {
            put_cell(buffer, (x, y), width, cell, right);
        }
    }
    if chosen {
        let width = app.page.table.width;
        put(buffer, 0, y, 1, &Line::from("▌"));
        let rest = Rect::new(1, y, width - 1, 1);
        buffer.set_style(rest, Style::new().add_modifier(Modifier::REVERSED));
    }
}

fn put_cell(buffer: &mut Buffer, (x, y): (u16, u16), width: u16, line: &Line<'_>, right: bool) {
    let spare = usize::from(width).saturating_sub(line.width()) as u16;
    let from = if right { x + spare } else { x };
    put(buffer, from, y, x + width - from, line);
}

/// What is open, or the help.
fn reading(buffer: &mut Buffer, app: &App) {
    let (area, lines) = (app.page.reading, &app.page.lines);
    if app.page.is_split() {
        let faint = app.theme.style(Tone::Faint);
        for y in area.top()..area.bottom() {
            put(buffer, area.x - 1, y, 1, &Line::styled("│", faint));
        }
    }
    for (line, y) in lines.iter().skip(app.top).zip(area.top()..area.bottom()) {
        put(buffer, area.x, y, area.width, line);
    }
}

/// What was said last, or the keys that matter now.
fn footer(app: &App, width: u16) -> Line<'static> {
    if let Some((tone, text)) = &app.message {
        return Line::styled(format!(" {text}"), app.theme.style(*tone));
    }
    let filter = || app.choice().map_or("", |choice| choice.filter.as_str());
    let replay = app.playback.is_some();
    let keys: Vec<(&str, &str)> = match &app.mode {
        Mode::Filter => {
            let typed = format!(" /{}▏", filter());
            let keys = Span::styled(
                "  enter keeps it, esc does not",
                app.theme.style(Tone::Faint),
            );
            return Line::from_iter([Span::raw(typed), keys]);
        }
        Mode::Help => vec![("esc", "back"), ("up down", "scroll"), ("q", "end")],
        Mode::Detail(_) if app.page.is_split() => vec![
            ("esc", "back"),
            ("up down", "other rows"),
            ("PgUp PgDn", "scroll"),
            ("?", "help"),
            ("q", "end"),
        ],
        Mode::Detail(_) => vec![
            ("esc", "back"),
            ("up down", "scroll"),
            ("?", "help"),
            ("q", "end"),
        ],
        Mode::Table => {
            let open = if app.screen == 0 { "why" } else { "more" };
            let mut keys = vec![("enter", open), ("tab", "next")];
            if app.page.sections.len() > 1 {
                keys.push(("left right", "tables"));
            }
            keys.push(match filter().is_empty() {
                true => ("/", "filter"),
                false => ("esc", "all rows"),
            });
            keys.extend([("e", "save"), ("q", "end")]);
            if replay {
                let paused = app.playback.as_ref().is_some_and(|p| p.paused);
                let space = if paused { "go on" } else { "pause" };
                keys.extend([("space", space), ("+ -", "speed"), (">", "10 s on")]);
            } else {
                keys.push(("p", if app.frozen { "go on" } else { "freeze" }));
            }
            keys.extend([("s", "sort"), ("r", "reverse")]);
            keys
        }
    };
    let mut spans = Vec::new();
    let mut used = 0;
    if app.page.gone && matches!(app.mode, Mode::Detail(_)) {
        let text = " This is not there any more. ";
        used = text.len();
        spans.push(Span::styled(text, app.theme.style(Tone::Warning)));
    }
    for (key, what) in keys {
        let length = 2 + key.chars().count() + 1 + what.chars().count();
        if used + length > width.into() {
            break;
        }
        used += length;
        let key = Span::styled(key.to_owned(), app.theme.style(Tone::Strong));
        let what = Span::styled(format!(" {what} "), app.theme.style(Tone::Faint));
        spans.extend([Span::raw(" "), key, what]);
    }
    Line::from(spans)
}
