//! What matters: the causes, who is busy, and the signals in a few lines each.

mod causes;
mod groups;
mod signals;

use ratatui::text::Line;

use super::cells::cut;
use crate::present::tui::{Data, Screen, Theme, Tone};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "overview",
    sections: &[causes::SECTION],
    below,
};

fn below(data: &Data, width: u16, height: u16, theme: &Theme) -> Vec<Line<'static>> {
    if data.recent.duration_ns == 0 {
        return Vec::new();
    }
    let signals = signals::lines(data, width, theme);
    // The causes come first; groups get what the signals leave of two thirds.
    let room = (usize::from(height) * 2 / 3).saturating_sub(signals.len());
    let mut lines = groups::lines(data, width, room, theme);
    lines.extend(signals);
    lines
}

/// A line that parts what is below it from what is above: `── workers ───── each bar is the last second ──`.
fn rule(titles: &[(usize, &str)], note: &str, width: u16, theme: &Theme) -> Line<'static> {
    let width = usize::from(width);
    let mut line: Vec<char> = vec!['─'; width];
    let mut write = |at: usize, text: &str| {
        for (place, c) in line.iter_mut().skip(at).zip(text.chars()) {
            *place = c;
        }
    };
    for (at, title) in titles {
        write(at + 2, &format!(" {title} "));
    }
    let used = titles.iter().map(|(at, title)| at + title.len() + 4).max();
    let length = note.chars().count() + 4;
    if !note.is_empty() && used.unwrap_or(0) + length <= width {
        write(width - length, &format!(" {note} "));
    }
    Line::styled(
        cut(&line.iter().collect::<String>(), width),
        theme.style(Tone::Faint),
    )
}
