//! Tables: on a phone each row becomes a block, with the heads beside its cells.

use super::{chart, ink::Ink, writer::Html};
use crate::present::units::count;

/// Rows of a table; the JSON document has all of them.
pub(super) const ROWS: usize = 12;

/// What stands in a cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// A name of the traced system, escaped already.
    Name(String),
    /// Words.
    Text(String),
    /// A number, at the right.
    Number(String),
    /// Shares of a whole.
    Strip(Vec<(f64, Ink)>),
    /// A colour, and what it stands for.
    Key(Ink, &'static str),
}

/// A table of rows, at most [`ROWS`] of them, with a head for each column. `what` are the rows that are left out: `peers`.
pub(super) fn table<T>(
    h: &mut Html,
    heads: &[&'static str],
    all: &[T],
    what: &str,
    row: impl Fn(&T) -> Vec<Cell>,
) {
    if all.is_empty() {
        return;
    }
    let rows: Vec<Vec<Cell>> = all.iter().take(ROWS).map(row).collect();
    // Few columns far apart are hard to read across.
    let class = if heads.len() < 4 { "few" } else { "" };
    h.nest("table", &[("class", class)], |h| {
        // Where the heads have no room, this says what the rows are.
        h.element("caption", &[], heads.first().copied().unwrap_or_default());
        h.nest("thead", &[], |h| {
            h.nest("tr", &[], |h| {
                for (n, head) in heads.iter().enumerate() {
                    let number = rows
                        .iter()
                        .any(|r| matches!(r.get(n), Some(Cell::Number(_))));
                    let class = if number { "n" } else { "" };
                    h.element("th", &[("scope", "col"), ("class", class)], head);
                }
            });
        });
        h.nest("tbody", &[], |h| {
            for row in &rows {
                h.nest("tr", &[], |h| {
                    for (n, cell) in row.iter().enumerate() {
                        // The number behind a strip has the strip's head.
                        let own = heads.get(n).copied().filter(|head| !head.is_empty());
                        let before = n
                            .checked_sub(1)
                            .filter(|n| matches!(row[*n], Cell::Strip(_)));
                        let head = own.or(before.and_then(|n| heads.get(n).copied()));
                        one(h, cell, head.unwrap_or_default(), n == 0);
                    }
                });
            }
        });
    });
    if all.len() > ROWS {
        let more = count((all.len() - ROWS) as u64);
        h.element(
            "p",
            &[("class", "soft")],
            &format!("and {more} more {what}"),
        );
    }
}

fn one(h: &mut Html, cell: &Cell, head: &str, first: bool) {
    let (tag, scope): (_, &[_]) = match first {
        true => ("th", &[("scope", "row")]),
        false => ("td", &[("data-head", head)]),
    };
    match cell {
        Cell::Name(name) => h.nest(tag, scope, |h| {
            if !name.is_empty() {
                h.element("code", &[], name);
            }
        }),
        Cell::Text(text) => h.element(tag, scope, text),
        Cell::Number(text) => {
            let mut attributes = scope.to_vec();
            attributes.push(("class", "n"));
            h.element(tag, &attributes, text);
        }
        Cell::Strip(pieces) => {
            let class = [("class", "bar strip thin")];
            h.nest(tag, &class, |h| h.svg(&chart::strip(pieces)));
        }
        Cell::Key(ink, words) => h.nest(tag, scope, |h| {
            key(h, *ink);
            h.text(words);
        }),
    }
}

/// A patch of colour.
pub(super) fn key(h: &mut Html, ink: Ink) {
    h.element("i", &[("class", &format!("key {}", ink.class))], "");
}

/// What the colours of a chart stand for.
pub(super) fn legend<'a>(h: &mut Html, keys: impl IntoIterator<Item = (Ink, &'a str)>) {
    h.nest("ul", &[("class", "legend")], |h| {
        for (ink, words) in keys {
            h.nest("li", &[], |h| {
                key(h, ink);
                h.text(words);
            });
        }
    });
}

/// Charts side by side; nothing where there are none.
pub(super) fn charts(h: &mut Html, inside: impl FnOnce(&mut Html)) {
    let mut all = h.aside();
    inside(&mut all);
    if !all.is_empty() {
        h.nest("div", &[("class", "charts")], |h| h.append(all));
    }
}

/// A chart with its caption; `alt` says in words what it shows.
pub(super) fn figure(
    h: &mut Html,
    caption: &str,
    alt: &str,
    svg: Option<chart::Svg>,
    keys: &[(Ink, &str)],
) {
    let Some(svg) = svg else { return };
    h.nest("figure", &[], |h| {
        h.element("figcaption", &[], caption);
        let attributes = [("class", "chart"), ("role", "img"), ("aria-label", alt)];
        h.nest("div", &attributes, |h| h.svg(&svg));
        if !keys.is_empty() {
            legend(h, keys.iter().copied());
        }
    });
}
