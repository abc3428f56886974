//! What must be true of every table, for the tests of the screens.

use ratatui::text::Line;

use crate::present::tui::{
    Data, Palette, Screen, Theme,
    shot::{SIZES, shot},
};

/// Bytes that act on a terminal, deceive the eye, and are no text.
pub const EVIL: &[u8] = b"/a\x1b[2J/\xff\n\xe2\x80\xae\x07evil";

/// Checks every table of a screen at many widths: as many cells as columns, no key twice, details for each row, and
/// nothing in any line that acts on a terminal.
pub fn sound(screen: &Screen, data: &Data) {
    for palette in [Palette::None, Palette::Sixteen] {
        let theme = Theme { palette };
        for width in [1, 12, 38, 78, 198] {
            for section in screen.sections {
                let title = section.title;
                harmless(title, &(section.head)(data, width, &theme));
                let rows = (section.rows)(data, width, &theme);
                for (n, row) in rows.iter().enumerate() {
                    assert_eq!(row.cells.len(), section.columns.len(), "{title}");
                    assert_eq!(row.order.len(), section.columns.len(), "{title}");
                    harmless(title, &row.cells);
                    let same = |other: &_| row.key == *other;
                    assert!(
                        !rows[..n].iter().any(|r| same(&r.key)),
                        "{title}: {}",
                        row.key
                    );
                    let detail = (section.detail)(data, &row.key, width, &theme);
                    assert!(!detail.is_empty(), "{title}: nothing more of {}", row.key);
                    harmless(title, &detail);
                    if width >= 12 {
                        let widest = detail.iter().map(Line::width).max();
                        assert!(
                            widest <= Some(width.max(24).into()),
                            "{title} {width}: {widest:?}"
                        );
                    }
                }
                harmless(title, &[Line::from((section.empty)(data))]);
            }
        }
    }
}

fn harmless(title: &str, lines: &[Line<'static>]) {
    for line in lines {
        let text = line.to_string();
        let bad = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!text.chars().any(bad), "{title}: {text:?}");
    }
}

/// A table in every size, one below the other.
pub fn shots(data: &Data, keys: &str) -> String {
    let mut out = String::new();
    for size in SIZES {
        out.push_str(&format!("== {} x {}\n", size.0, size.1));
        let text = shot(data, keys, size);
        let mut empty = false;
        // The screen's own, without the head and foot that all have; of empty lines in a row, one is enough.
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.get(2..lines.len() - 1).unwrap_or_default() {
            let nothing = line.trim_matches([' ', '│']).is_empty();
            if !(empty && nothing) {
                out.push_str(line);
                out.push('\n');
            }
            empty = nothing;
        }
    }
    out
}
