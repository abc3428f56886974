//! What the screens make their rows, heads and details of: cells with what they are sorted by, wrapped lines.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use crate::{
    aggregate::Window,
    present::{
        layout::{KEEP, cell, wrap},
        page::without,
        tui::{Column, Data, Order, Row, Theme, Tone, Width, widths},
        udp::per_s,
        units::{count, duration},
    },
};

/// Columns of the labels in details.
const LABEL: usize = 14;
/// A line is not broken into pieces narrower than this.
const NARROWEST: usize = 20;

/// A column of text.
pub const fn words(title: &'static str, width: Width, rank: u8) -> Column {
    Column {
        title,
        width,
        right: false,
        rank,
    }
}

/// A column of numbers, so many cells wide.
pub const fn figures(title: &'static str, cells: u16, rank: u8) -> Column {
    Column {
        title,
        width: Width::Cells(cells),
        right: true,
        rank,
    }
}

/// A cell and what it is sorted by.
pub struct Cell(Line<'static>, Order);

impl Cell {
    /// The same in a tone.
    pub fn tone(mut self, theme: &Theme, tone: Tone) -> Self {
        self.0.style = theme.style(tone);
        self
    }
}

/// Text, sorted by the alphabet.
pub fn text(shown: impl Into<String>) -> Cell {
    let shown = shown.into();
    let order = Order::Text(shown.to_lowercase());
    Cell(Line::from(shown), order)
}

/// Anything that is sorted by a number.
pub fn number(shown: impl Into<String>, by: f64) -> Cell {
    Cell(Line::from(shown.into()), Order::Number(by))
}

/// What is drawn with signs of its own, sorted by a number.
pub fn drawn(line: impl Into<Line<'static>>, by: f64) -> Cell {
    Cell(line.into(), Order::Number(by))
}

/// A number of things; empty for none.
pub fn some(n: u64) -> Cell {
    let shown = if n > 0 { count(n) } else { String::new() };
    number(shown, n as f64)
}

/// A duration that may not be known.
pub fn time(ns: Option<u64>) -> Cell {
    let shown = ns.map_or_else(String::new, duration);
    number(shown, ns.map_or(-1.0, |ns| ns as f64))
}

/// A row.
pub fn row(key: String, cells: impl IntoIterator<Item = Cell>) -> Row {
    let mut row = Row {
        key,
        ..Row::default()
    };
    for Cell(line, order) in cells {
        row.cells.push(line);
        row.order.push(order);
    }
    row
}

/// How wide column `at` becomes where there is room for `width` cells; 0 where it is left out.
pub fn room(columns: &[Column], at: usize, width: u16) -> usize {
    widths(columns, width)
        .get(at)
        .copied()
        .flatten()
        .map_or(0, usize::from)
}

/// Lines, wrapped.
pub struct Lines {
    lines: Vec<Line<'static>>,
    width: usize,
    theme: Theme,
}

impl Lines {
    /// None yet; each is to be at most `width` cells wide.
    pub fn new(width: u16, theme: &Theme) -> Self {
        Self {
            lines: Vec::new(),
            width: usize::from(width),
            theme: *theme,
        }
    }

    /// A heading; an empty line is before it, unless it is the first.
    pub fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        self.push(text, self.theme.style(Tone::Strong));
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) {
        for line in broken(text, self.width) {
            self.push(&line, Style::new());
        }
    }

    /// The same, less important.
    pub fn faint(&mut self, text: &str) {
        let style = self.theme.style(Tone::Faint);
        for line in broken(text, self.width) {
            self.push(&line, style);
        }
    }

    /// A label and what it is of; nothing when that is empty.
    pub fn labelled(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        // Where it is narrow, the text stands below.
        let (indent, below) = match self.width {
            w if w >= LABEL + NARROWEST => (LABEL, false),
            _ => (2, true),
        };
        let strong = self.theme.style(Tone::Strong);
        if below {
            self.push(label, strong);
        }
        for (n, line) in broken(text, self.width.saturating_sub(indent))
            .into_iter()
            .enumerate()
        {
            let first = if n == 0 && !below { label } else { "" };
            let spans = [Span::styled(cell(first, indent), strong), Span::raw(line)];
            self.lines.push(Line::from_iter(spans));
        }
    }

    /// A table: columns as wide as what is in them, the first shrinks where there is no room.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        let length = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = heads.iter().map(|head| length(head)).collect();
        for row in rows {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = length(text).max(*width);
            }
        }
        let others: usize = widths.iter().skip(1).map(|w| w + 2).sum();
        if let Some(first) = widths.first_mut() {
            *first = (*first).min(self.width.saturating_sub(others).max(NARROWEST / 2));
        }
        let strong = self.theme.style(Tone::Strong);
        let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        self.push(&joined(&heads, &widths), strong);
        for row in rows {
            self.push(&joined(row, &widths), Style::new());
        }
    }

    /// A line as it is, cut to the width.
    fn push(&mut self, text: &str, style: Style) {
        let text = text.replace(KEEP, " ");
        self.lines.push(Line::styled(cut(&text, self.width), style));
    }

    /// All of them.
    pub fn done(self) -> Vec<Line<'static>> {
        self.lines
    }
}

/// The first cell at the left of its column, the others at the right of theirs, two apart.
fn joined(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (at, (text, &width)) in row.iter().zip(widths).enumerate() {
        match at {
            0 => line.push_str(&cell(text, width)),
            _ => line.push_str(&format!("  {text:>width$}")),
        }
    }
    line.trim_end().to_owned()
}

/// `text` wrapped; words that are longer than a line are broken too.
fn broken(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut out = Vec::new();
    for line in wrap(text, width) {
        let line = line.replace(KEEP, " ");
        let chars: Vec<char> = line.chars().collect();
        match chars.is_empty() {
            true => out.push(String::new()),
            false => out.extend(chars.chunks(width).map(String::from_iter)),
        }
    }
    out
}

/// `text` in at most `width` cells, cut with `…`.
pub fn cut(text: &str, width: usize) -> String {
    match text.chars().count() <= width {
        true => text.to_owned(),
        false => cell(text, width),
    }
}

/// One line above a table: what counts, then (less important) what could not be seen.
pub fn head(
    facts: &[String],
    window: &Window,
    probes: &[(&str, &str)],
    width: u16,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let width = usize::from(width);
    let mut lines = Vec::new();
    if !facts.is_empty() {
        // What does not fit is left out whole.
        let mut line = String::new();
        for fact in facts {
            let gap = if line.is_empty() { "" } else { "   " };
            let longer = format!("{line}{gap}{fact}");
            if line.is_empty() || longer.chars().count() <= width {
                line = longer;
            }
        }
        lines.push(Line::from(cut(&line, width)));
    }
    let unseen = without(window, probes);
    if let Some(first) = unseen.first() {
        let more = match unseen.len() - 1 {
            0 => String::new(),
            n => format!("; and {n} more"),
        };
        let first = cut(first, width.saturating_sub(10 + more.len()));
        let text = cut(&format!("Not seen: {first}{more}"), width);
        lines.push(Line::styled(text, theme.style(Tone::Warning)));
    }
    lines
}

/// Why a table is empty: nothing was read yet, the signal is not watched, a probe is off; or `nothing` is there.
pub fn why_empty(
    data: &Data,
    watched: bool,
    signal: &str,
    probes: &[(&str, &str)],
    nothing: &str,
) -> String {
    let window = &data.recent;
    let unseen = without(window, probes);
    if window.duration_ns == 0 {
        "Nothing has been read yet.".to_owned()
    } else if !watched {
        let why = match unseen.is_empty() {
            true => String::new(),
            false => format!(": {}", unseen.join("; ")),
        };
        format!("{signal} not watched{why}.")
    } else if unseen.is_empty() {
        format!("{nothing} in the last {}.", duration(window.duration_ns))
    } else {
        format!("Not seen: {}.", unseen.join("; "))
    }
}

/// How long ago something was that was `at_ns` after the window's start: `1.2 s ago`.
pub fn ago(at_ns: u64, window: &Window) -> String {
    match window.duration_ns.saturating_sub(at_ns) {
        0 => "just now".to_owned(),
        ns => format!("{} ago", duration(ns)),
    }
}

/// A number per second; empty for none.
pub fn per_second(n: u64, window: &Window) -> Cell {
    let by = n as f64 / window.duration_ns.max(1) as f64;
    number(per_s(n, window.duration_ns), by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_detail_is_wider_than_there_is_room() {
        for width in [1, 7, 33, 34, 80] {
            let mut lines = Lines::new(width, &Theme::default());
            lines.heading("A heading that is rather long for a narrow place");
            lines.labelled(
                "Label",
                &"words and a-word-that-is-as-long-as-a-path/can/be ".repeat(3),
            );
            lines.labelled("Nothing", "");
            lines.text("some text");
            lines.table(&["who", "n"], &[vec!["x".repeat(90), "1,000".to_owned()]]);
            let lines = lines.done();
            assert!(lines.len() > 5);
            let widest = lines.iter().map(Line::width).max();
            assert!(
                widest <= Some(usize::from(width).max(17)),
                "{width}: {widest:?}"
            );
            assert!(!lines.iter().any(|l| l.to_string().starts_with("Nothing")));
        }
    }
}
