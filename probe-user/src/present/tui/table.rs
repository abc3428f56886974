//! The table that every screen is made of: which rows are shown, in which order, and which one is chosen.

use ratatui::text::Line;

use super::{Data, Order, Row, Section, Theme, widths};

/// What a user has chosen in a table.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The row; `None` while it is the first one, whichever that is.
    key: Option<String>,
    /// Where that is, among those shown.
    at: usize,
    /// The first one on the screen.
    top: usize,
    /// Sorted by this column; `None` for the section's own order.
    pub sort: Option<usize>,
    /// The other way around.
    pub reversed: bool,
    /// Only rows with this text in them.
    pub filter: String,
}

/// A row and its further lines.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The first of its rows.
    pub start: usize,
    /// How many.
    pub lines: usize,
}

/// The rows of a table as they are shown.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Lines above.
    pub head: Vec<Line<'static>>,
    /// How wide each column is.
    pub widths: Vec<Option<u16>>,
    /// All rows.
    pub rows: Vec<Row>,
    /// Those shown, in order.
    pub shown: Vec<Group>,
    /// How many there are without a filter.
    pub all: usize,
}

impl Listing {
    /// The rows of a section in so many cells.
    pub fn new(section: &Section, data: &Data, width: u16, theme: &Theme) -> Self {
        Self {
            head: (section.head)(data, width, theme),
            widths: widths(section.columns, width),
            rows: (section.rows)(data, width, theme),
            ..Self::default()
        }
    }

    /// Sorts and filters, and finds the chosen row again.
    pub fn arrange(&mut self, choice: &mut Choice) {
        self.shown.clear();
        for (at, row) in self.rows.iter().enumerate() {
            match self.shown.last_mut() {
                Some(group) if self.rows[group.start].key == row.key => group.lines += 1,
                _ => self.shown.push(Group {
                    start: at,
                    lines: 1,
                }),
            }
        }
        self.all = self.shown.len();
        let rows = &self.rows;
        if !choice.filter.is_empty() {
            let wanted = choice.filter.to_lowercase();
            self.shown.retain(|group| {
                let mut lines = rows[group.start..group.start + group.lines].iter();
                lines.any(|row| contains(row, &wanted))
            });
        }
        if let Some(column) = choice.sort {
            self.shown
                .sort_by(|a, b| compare(&rows[a.start], &rows[b.start], column));
        }
        if choice.reversed {
            self.shown.reverse();
        }
        let found = choice.key.as_ref().and_then(|key| {
            let mut shown = self.shown.iter();
            shown.position(|group| rows[group.start].key == *key)
        });
        match (&choice.key, found) {
            (None, _) => choice.at = 0,
            (Some(_), Some(at)) => choice.at = at,
            // It is gone: what took its place is chosen.
            (Some(_), None) => self.choose(choice, choice.at),
        }
    }

    /// Chooses the row at a place, or the nearest one.
    fn choose(&self, choice: &mut Choice, at: usize) {
        choice.at = at.min(self.shown.len().saturating_sub(1));
        choice.key = match choice.at {
            0 => None,
            _ => self.key_at(choice.at),
        };
    }

    fn key_at(&self, at: usize) -> Option<String> {
        let group = self.shown.get(at)?;
        Some(self.rows[group.start].key.clone())
    }

    /// The key of the chosen row; `None` when there is no row.
    pub fn chosen(&self, choice: &Choice) -> Option<String> {
        self.key_at(choice.at)
    }

    /// The number of the chosen row, from 1.
    pub fn place(&self, choice: &Choice) -> usize {
        choice.at + 1
    }

    /// Goes so many rows down (or up).
    pub fn step(&self, choice: &mut Choice, by: isize) {
        self.choose(choice, choice.at.saturating_add_signed(by));
    }

    /// Scrolls so that the chosen row is among `height` lines.
    pub fn scroll(&self, choice: &mut Choice, height: usize) {
        choice.top = choice.top.min(self.shown.len().saturating_sub(1));
        if choice.at < choice.top {
            choice.top = choice.at;
        }
        let lines = |from: usize, to: usize| -> usize {
            let groups = self.shown.iter().take(to).skip(from);
            groups.map(|g| g.lines).sum()
        };
        // From the chosen row upwards, as many as there is room for.
        let mut first = choice.at;
        let mut used = lines(first, first + 1);
        while first > 0 && used + self.shown[first - 1].lines <= height {
            first -= 1;
            used += self.shown[first].lines;
        }
        choice.top = choice.top.max(first);
        // No empty lines at the end while there are rows above.
        let mut below = lines(choice.top, self.shown.len());
        while choice.top > 0 && below + self.shown[choice.top - 1].lines <= height {
            choice.top -= 1;
            below += self.shown[choice.top].lines;
        }
    }

    /// The rows in `height` lines: (place among those shown, row, whether it is the chosen one), from the top.
    pub fn visible<'a>(
        &'a self,
        choice: &'a Choice,
        height: usize,
    ) -> impl Iterator<Item = (usize, &'a Row, bool)> {
        let groups = self.shown.iter().enumerate().skip(choice.top);
        groups
            .flat_map(move |(at, group)| {
                let rows = &self.rows[group.start..group.start + group.lines];
                rows.iter().map(move |row| (at, row, at == choice.at))
            })
            .take(height)
    }

    /// Lines that all rows take.
    pub fn lines(&self) -> usize {
        self.shown.iter().map(|g| g.lines).sum()
    }

    /// Chooses the row in line `line` of the screen; true when it was chosen before.
    pub fn click(&self, choice: &mut Choice, line: usize, height: usize) -> bool {
        let hit = self.visible(choice, height).nth(line);
        let Some((at, _, chosen)) = hit else {
            return false;
        };
        self.choose(choice, at);
        chosen
    }

    /// The column at so many cells from the left.
    pub fn column_at(&self, x: u16) -> Option<usize> {
        let mut left = 0;
        for (at, width) in self.widths.iter().enumerate() {
            let Some(width) = width else { continue };
            if (left..left + width).contains(&x) {
                return Some(at);
            }
            left += width + 1;
        }
        None
    }
}

impl Choice {
    /// Sorts by the next column that is shown; after the last in the section's own order.
    pub fn sort_next(&mut self, widths: &[Option<u16>]) {
        let from = self.sort.map_or(0, |at| at + 1);
        self.sort = (from..widths.len()).find(|&at| widths[at].is_some());
        self.reversed = false;
    }

    /// Sorts by this column; the other way around when it is sorted by it already.
    pub fn sort_by(&mut self, column: usize) {
        self.reversed = self.sort == Some(column) && !self.reversed;
        self.sort = Some(column);
    }
}

/// `wanted` is in lower case.
fn contains(row: &Row, wanted: &str) -> bool {
    row.cells
        .iter()
        .any(|cell| cell.to_string().to_lowercase().contains(wanted))
}

/// Numbers first, the largest on top; then text by the alphabet; then what has nothing to be sorted by.
fn compare(a: &Row, b: &Row, column: usize) -> std::cmp::Ordering {
    let rank = |order: Option<&Order>| match order {
        Some(Order::Number(_)) => 0,
        Some(Order::Text(_)) => 1,
        None => 2,
    };
    let (a, b) = (a.order.get(column), b.order.get(column));
    match (a, b) {
        (Some(Order::Number(a)), Some(Order::Number(b))) => b.total_cmp(a),
        (Some(Order::Text(a)), Some(Order::Text(b))) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, name: &str, n: f64) -> Row {
        Row {
            key: key.to_owned(),
            cells: vec![Line::from(name.to_owned()), Line::from(n.to_string())],
            order: vec![Order::Text(name.to_owned()), Order::Number(n)],
        }
    }

    fn listing() -> Listing {
        Listing {
            rows: vec![
                row("a", "apple", 3.0),
                row("a", "pip", 0.0),
                row("b", "Banana", 9.0),
                row("c", "cherry", 1.0),
            ],
            widths: vec![Some(6), None, Some(2)],
            ..Listing::default()
        }
    }

    fn keys(list: &Listing, choice: &Choice, height: usize) -> String {
        list.visible(choice, height)
            .map(|(_, row, chosen)| format!("{}{}", if chosen { ">" } else { "" }, row.key))
            .collect()
    }

    #[test]
    fn rows_are_sorted_and_filtered_with_their_further_lines() {
        let mut list = listing();
        let mut choice = Choice::default();
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), ">a>abc");
        choice.sort = Some(1);
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), ">baac");
        choice.reversed = true;
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), ">caab");
        choice.filter = "PIP".to_owned();
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), ">a>a");
        assert_eq!((list.shown.len(), list.all), (1, 3));
        choice.filter = "nothing".to_owned();
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), "");
        assert_eq!(list.chosen(&choice), None);
    }

    #[test]
    fn the_choice_stays_with_its_row() {
        let mut list = listing();
        let mut choice = Choice::default();
        list.arrange(&mut choice);
        list.step(&mut choice, 1);
        assert_eq!(keys(&list, &choice, 9), "aa>bc");
        choice.sort = Some(1);
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), ">baac");
        // It is gone: its neighbour is chosen. The first row is chosen by its place, not by its key.
        list.step(&mut choice, 2);
        list.rows.remove(3);
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), "b>a>a");
        list.step(&mut choice, -1);
        list.rows.insert(0, row("z", "z", 99.0));
        list.arrange(&mut choice);
        assert_eq!(keys(&list, &choice, 9), ">zbaa");
    }

    #[test]
    fn the_chosen_row_is_on_the_screen() {
        let mut list = listing();
        let mut choice = Choice::default();
        list.arrange(&mut choice);
        list.step(&mut choice, isize::MAX);
        list.scroll(&mut choice, 2);
        assert_eq!(keys(&list, &choice, 2), "b>c");
        list.step(&mut choice, -1);
        list.scroll(&mut choice, 2);
        assert_eq!(keys(&list, &choice, 2), ">bc");
        list.step(&mut choice, isize::MIN);
        list.scroll(&mut choice, 2);
        assert_eq!(keys(&list, &choice, 2), ">a>a");
        // More room than rows: no empty lines.
        list.step(&mut choice, 2);
        list.scroll(&mut choice, 9);
        assert_eq!(keys(&list, &choice, 9), "aab>c");
        for height in 0..5 {
            Listing::default().scroll(&mut Choice::default(), height);
            list.scroll(&mut choice, height);
        }
    }

    #[test]
    fn clicks_find_rows_and_columns() {
        let mut list = listing();
        let mut choice = Choice::default();
        list.arrange(&mut choice);
        assert!(!list.click(&mut choice, 2, 9));
        assert!(list.click(&mut choice, 2, 9));
        assert!(!list.click(&mut choice, 7, 9));
        assert_eq!(list.chosen(&choice).as_deref(), Some("b"));
        assert_eq!(list.column_at(5), Some(0));
        assert_eq!(list.column_at(6), None);
        assert_eq!(list.column_at(7), Some(2));
        assert_eq!(list.column_at(9), None);
        choice.sort_next(&list.widths);
        choice.sort_next(&list.widths);
        assert_eq!(choice.sort, Some(2));
        choice.sort_by(2);
        assert!(choice.reversed);
        choice.sort_next(&list.widths);
        assert_eq!((choice.sort, choice.reversed), (None, false));
    }
}
