//! What a screen is made of: tables, described by their columns and a function that makes the rows.

use ratatui::text::Line;

use super::{Data, Theme};

/// A screen.
pub struct Screen {
    /// In the list of screens, one or two words.
    pub title: &'static str,
    /// Its tables; the left and right keys go from one to the next.
    pub sections: &'static [Section],
    /// Lines below the table, where there is room for them; `width` and `height` are how much there is at most.
    pub below: fn(&Data, width: u16, height: u16, &Theme) -> Vec<Line<'static>>,
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
    /// Rows with the key of the one before are further lines of that one: they are chosen, sorted and filtered
    /// with it.
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

/// How wide each column becomes where there is room for `width` cells, one of them between two columns; `None` for
/// those that there is no room for.
pub fn widths(columns: &[Column], width: u16) -> Vec<Option<u16>> {
    let least = |c: &Column| match c.width {
        Width::Cells(n) | Width::Fill(n) => u32::from(n),
    };
    let mut kept: Vec<bool> = vec![true; columns.len()];
    let needed = |kept: &[bool]| {
        let there = || columns.iter().zip(kept).filter(|(_, kept)| **kept);
        let sum: u32 = there().map(|(c, _)| least(c)).sum();
        sum + (there().count() as u32).saturating_sub(1)
    };
    while needed(&kept) > u32::from(width) {
        let last = (0..columns.len())
            .filter(|&i| kept[i] && columns[i].rank > 0)
            .max_by_key(|&i| (columns[i].rank, i));
        let Some(last) = last else { break };
        kept[last] = false;
    }
    let fills = |i: usize| kept[i] && matches!(columns[i].width, Width::Fill(_));
    let number = (0..columns.len()).filter(|i| fills(*i)).count().max(1) as u32;
    let spare = u32::from(width).saturating_sub(needed(&kept));
    // The first takes what cannot be shared evenly.
    let mut odd = spare % number;
    (0..columns.len())
        .map(|i| {
            let more = if fills(i) {
                spare / number + std::mem::take(&mut odd)
            } else {
                0
            };
            kept[i].then(|| (least(&columns[i]) + more) as u16)
        })
        .collect()
}

/// No lines above a table.
pub fn no_head(_: &Data, _: u16, _: &Theme) -> Vec<Line<'static>> {
    Vec::new()
}

/// No lines below a table.
pub fn no_below(_: &Data, _: u16, _: u16, _: &Theme) -> Vec<Line<'static>> {
    Vec::new()
}

/// Nothing more to say of a row.
pub fn no_detail(_: &Data, _: &str, _: u16, _: &Theme) -> Vec<Line<'static>> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn column(width: Width, rank: u8) -> Column {
        Column {
            title: "",
            width,
            right: false,
            rank,
        }
    }

    #[test]
    fn where_there_is_no_room_the_highest_rank_goes_first() {
        const COLUMNS: [Column; 4] = [
            column(Width::Fill(10), 0),
            column(Width::Cells(5), 0),
            column(Width::Cells(7), 2),
            column(Width::Fill(8), 3),
        ];
        let at = |width| widths(&COLUMNS, width);
        assert_eq!(at(33), [Some(10), Some(5), Some(7), Some(8)]);
        assert_eq!(at(38), [Some(13), Some(5), Some(7), Some(10)]);
        assert_eq!(at(32), [Some(18), Some(5), Some(7), None]);
        assert_eq!(at(20), [Some(14), Some(5), None, None]);
        // What always stays does, even where it does not fit.
        assert_eq!(at(3), [Some(10), Some(5), None, None]);
        assert!(widths(&[], 10).is_empty());
    }
}
