//! The help: every key in words.

use ratatui::text::{Line, Span};

use super::{
    Theme, Tone,
    keys::{HELP, HELP_REPLAY},
};
use crate::present::layout::{cell, wrap};

/// Columns of the keys.
const KEYS: usize = 18;

/// Its lines.
pub fn lines(replay: bool, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let width = usize::from(width).saturating_sub(KEYS + 2).max(10);
    let strong = theme.style(Tone::Strong);
    let mut out = Vec::new();
    let mut list = |title: &'static str, keys: &[(&str, &str)]| {
        if !out.is_empty() {
            out.push(Line::default());
        }
        out.push(Line::styled(title, strong));
        for (key, what) in keys {
            for (n, text) in wrap(what, width).into_iter().enumerate() {
                let key = if n == 0 { *key } else { "" };
                let key = Span::styled(cell(key, KEYS), strong);
                out.push(Line::from_iter([key, Span::raw(text)]));
            }
        }
    };
    list("Keys", HELP);
    if replay {
        list("In a replay", HELP_REPLAY);
    }
    out
}
