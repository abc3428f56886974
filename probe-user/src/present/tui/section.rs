//! What a screen is made of: tables, described by their columns and a function that makes the rows.

use ratatui::text::Line;

use super::{Data, Theme};

/// A screen.
pub struct Screen {
    /// In the list of screens, one or two words.
    pub title: &'static str,
    /// Its tables; the left and right keys go from one to the next.
    pub sections: &'static [Section],
}

/// A table.
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
    /// Lines above the table; `width` is what there is room for.
    pub head: fn(&Data, u16, &Theme) -> Vec<Line<'static>>,
    /// The rows, in the order in which they are shown when no other is asked for. Every name in them is escaped.
    pub rows: fn(&Data, u16, &Theme) -> Vec<Row>,
    /// What is shown of the row of this key, when it is opened; empty when there is no more to say.
    pub detail: fn(&Data, &str, u16, &Theme) -> Vec<Line<'static>>,
    /// Why there is no row.
    pub empty: fn(&Data) -> String,
}

/// A column.
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// How wide it is.
    pub width: Width,
    /// Numbers stand at the right.
    pub right: bool,
    /// Where there is no room for all, those with the highest number go first; 0 always stays.
    pub rank: u8,
}

/// How wide a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// So many cells.
    Cells(u16),
    /// At least so many, and a share of what is left.
    Fill(u16),
}

/// A row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What it is about: the same from one look to the next, so that the choice stays with it.
    pub key: String,
    /// A cell for each column.
    pub cells: Vec<Line<'static>>,
    /// What it is sorted by, for each column.
    pub order: Vec<Order>,
}

/// What a cell is sorted by.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Order {
    /// The largest first.
    Number(f64),
    /// By the alphabet.
    Text(String),
}

/// No lines above a table.
pub fn no_head(_: &Data, _: u16, _: &Theme) -> Vec<Line<'static>> {
    Vec::new()
}

/// Nothing more to say of a row.
pub fn no_detail(_: &Data, _: &str, _: u16, _: &Theme) -> Vec<Line<'static>> {
    Vec::new()
}
