//! What is on the screen and where: areas, rows and lines, made from the state before it is drawn. The mouse finds its
//! way by it too.

use ratatui::{layout::Rect, text::Line};

use super::{Data, Screen, Section, Theme, app::Mode, table::Listing};

/// Narrower or lower than this, nothing is shown but that.
pub const LEAST: (u16, u16) = (40, 8);
/// From this width on, what is open stands beside the table.
const WIDE: u16 = 150;
/// With fewer lines than this for rows, nothing stands below them.
const LOW: u16 = 10;
/// Cells before a row: the mark of the chosen one, and a space.
pub const MARK: u16 = 2;
/// Lines above the body: header, screens, tables.
const ABOVE: u16 = 3;

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Columns and rows of the screen.
    pub width: u16,
    /// See `width`.
    pub height: u16,
    /// Where the table and its lines above and below are; without width when it is covered.
    pub table: Rect,
    /// The lines above the table.
    pub head: Rect,
    /// The headings.
    pub headings: Rect,
    /// The rows.
    pub rows: Rect,
    /// The lines below.
    pub foot: Rect,
    /// Where lines are read: what is open, or the help.
    pub reading: Rect,
    /// Screens: words, and where they are.
    pub screens: Vec<Tab>,
    /// Tables of the screen, likewise.
    pub sections: Vec<Tab>,
    /// The rows.
    pub listing: Listing,
    /// Lines below the table.
    pub below: Vec<Line<'static>>,
    /// Lines that are read.
    pub lines: Vec<Line<'static>>,
    /// What was open is not there any more.
    pub gone: bool,
    /// The size for which `listing` and `below` were made.
    listed: Option<(u16, u16)>,
    /// The key and the width for which `lines` were made.
    read: Option<(String, u16)>,
}

/// Words that can be clicked on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tab {
    /// The words.
    pub words: String,
    /// Where they begin and end.
    pub from: u16,
    /// See `from`.
    pub to: u16,
}

/// `words` side by side, from `at` on, with a gap.
fn tabs(words: impl Iterator<Item = String>, mut at: u16, gap: u16) -> Vec<Tab> {
    words
        .map(|words| {
            let from = at;
            let to = from.saturating_add(words.chars().count() as u16);
            at = to.saturating_add(gap);
            Tab { words, from, to }
        })
        .collect()
}

impl Page {
    /// What it was made from is not what is shown any more.
    pub fn forget(&mut self) {
        self.listed = None;
        if let Some(read) = &mut self.read {
            read.1 = 0;
        }
    }

    /// Whether what is open stands beside the table.
    pub fn is_split(&self) -> bool {
        self.table.width > 0 && self.reading.width > 0
    }

    /// Divides the screen.
    pub fn lay_out(&mut self, width: u16, height: u16, mode: &Mode) {
        (self.width, self.height) = (width, height);
        let body = Rect::new(0, ABOVE, width, height.saturating_sub(ABOVE + 1));
        (self.table, self.reading) = match mode {
            Mode::Table | Mode::Filter => (body, Rect::default()),
            Mode::Detail(_) if width >= WIDE => {
                let left = width / 2;
                let beside = Rect {
                    x: left + 1,
                    width: width - left - 1,
                    ..body
                };
                (
                    Rect {
                        width: left,
                        ..body
                    },
                    beside,
                )
            }
            // One more column at the left, so that the text does not stick to the edge.
            Mode::Detail(_) | Mode::Help => {
                let inner = Rect {
                    x: 1,
                    width: width.saturating_sub(2),
                    ..body
                };
                (Rect::default(), inner)
            }
        };
    }

    /// The screens and tables that one can go to.
    pub fn tabs(&mut self, screens: &[Screen], shown: usize, section: usize) {
        let all = || screens.iter().enumerate();
        let full: Vec<String> = all()
            .map(|(n, s)| format!("{} {}", n + 1, s.title))
            .collect();
        let needed: usize = full.iter().map(|words| words.chars().count() + 2).sum();
        // Where there is no room for all names, the others are numbers.
        let words = all().zip(full).map(|((n, _), full)| {
            let fits = needed <= usize::from(self.width) || n == shown;
            if fits { full } else { (n + 1).to_string() }
        });
        self.screens = tabs(words, 1, 2);
        let all = screens.get(shown).map_or(&[][..], |s| s.sections);
        self.sections = tabs(all.iter().map(|s| s.title.to_owned()), 3, 3);
        // Where there is no room for all, those before the one that is shown are marks.
        for hidden in 1..=section {
            let fits = |tab: &Tab| tab.to < self.width;
            if self.sections.get(section).is_none_or(fits) {
                break;
            }
            let words = all.iter().enumerate().map(|(n, s)| match n < hidden {
                true => "‹".to_owned(),
                false => s.title.to_owned(),
            });
            self.sections = tabs(words, 3, 3);
        }
    }

    /// Makes the rows, unless they are there.
    pub fn list(
        &mut self,
        screen: Option<&Screen>,
        section: Option<&Section>,
        data: &Data,
        theme: &Theme,
    ) {
        let size = (self.table.width, self.table.height);
        if size.0 == 0 || self.listed == Some(size) {
            return;
        }
        self.listed = Some(size);
        let net = size.0.saturating_sub(MARK);
        self.listing = section.map_or_else(Listing::default, |section| {
            Listing::new(section, data, net, theme)
        });
        self.below = screen.map_or_else(Vec::new, |screen| {
            (screen.below)(data, size.0, size.1, theme)
        });
    }

    /// Divides the table's area, now that its rows are known.
    pub fn divide(&mut self) {
        let Rect { y, height, .. } = self.table;
        let lines = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let head = lines(self.listing.head.len()).min(height / 3);
        let headings = u16::from(height > head);
        let left = height - head - headings;
        // On a low screen, what matters most has it all.
        let below = if left < LOW {
            0
        } else {
            lines(self.below.len())
        };
        // The rows get what they need, and at least a third; the lines below what is left.
        let least = left.saturating_sub(below).max(left.div_ceil(3));
        let rows = if below == 0 {
            left
        } else {
            lines(self.listing.lines()).max(1).min(least)
        };
        let area = |y, height| Rect {
            y,
            height,
            ..self.table
        };
        self.head = area(y, head);
        self.headings = area(y + head, headings);
        self.rows = area(y + head + headings, rows);
        self.foot = area(y + head + headings + rows, (left - rows).min(below));
    }

    /// Makes the lines about the row of this key, unless they are there. When it is gone, they stay as they were.
    pub fn read(&mut self, key: &str, section: Option<&Section>, data: &Data, theme: &Theme) {
        let width = self.reading.width;
        let made = self.read.as_ref();
        if made.is_some_and(|(of, wide)| of == key && *wide == width) && !self.lines.is_empty() {
            return;
        }
        let same = made.is_some_and(|(of, _)| of == key) && !self.lines.is_empty();
        self.read = Some((key.to_owned(), width));
        let lines = section.map_or_else(Vec::new, |section| {
            (section.detail)(data, key, width, theme)
        });
        self.gone = lines.is_empty();
        if !self.gone || !same {
            self.lines = lines;
        }
    }

    /// The screen whose name is there.
    pub fn tab_at(&self, x: u16, y: u16) -> Option<usize> {
        at(&self.screens, x).filter(|_| y == 1)
    }

    /// The table whose name is there.
    pub fn section_at(&self, x: u16, y: u16) -> Option<usize> {
        at(&self.sections, x).filter(|_| y == 2)
    }

    /// The column whose heading is there.
    pub fn heading_at(&self, x: u16, y: u16) -> Option<usize> {
        let hit = self.headings.contains((x, y).into()) && self.table.width > 0;
        hit.then(|| self.listing.column_at(x.checked_sub(MARK)?))?
    }

    /// The line of the rows that is there.
    pub fn row_at(&self, x: u16, y: u16) -> Option<usize> {
        let hit = self.rows.contains((x, y).into()) && self.table.width > 0;
        hit.then(|| usize::from(y - self.rows.y))
    }
}

fn at(tabs: &[Tab], x: u16) -> Option<usize> {
    tabs.iter().position(|tab| (tab.from..tab.to).contains(&x))
}
