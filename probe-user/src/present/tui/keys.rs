//! What each key means, and the same in words for the help.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End.
    Quit,
    /// Give the terminal back to the shell until it continues us.
    Suspend,
    /// Draw everything anew.
    Repaint,
    /// Open or close the help.
    Help,
    /// Go to the screen of this number, from 0.
    Screen(usize),
    /// Go to the next screen, or the one before.
    NextScreen,
    /// See `NextScreen`.
    PreviousScreen,
    /// Go to the next table of the screen, or the one before.
    NextSection,
    /// See `NextSection`.
    PreviousSection,
    /// Up a row, or a line.
    Up,
    /// Down a row, or a line.
    Down,
    /// Up a page.
    PageUp,
    /// Down a page.
    PageDown,
    /// To the first row.
    First,
    /// To the last.
    Last,
    /// Type a filter.
    Filter,
    /// Sort by the next column.
    Sort,
    /// Turn the order around.
    Reverse,
    /// Freeze what is shown; a replay stops.
    Pause,
    /// Show all about the row.
    Open,
    /// One step back.
    Back,
    /// Save a report.
    Save,
    /// Save one with made-up names.
    SaveRedacted,
    /// A replay: twice as fast.
    Faster,
    /// A replay: half as fast.
    Slower,
    /// A replay: ten seconds on.
    Forward,
}

/// What a key means while no text is typed.
pub fn command(key: KeyEvent) -> Option<Command> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return Some(match key.code {
            KeyCode::Char('c') => Command::Quit,
            KeyCode::Char('z') => Command::Suspend,
            KeyCode::Char('l') => Command::Repaint,
            KeyCode::Char('b' | 'u') => Command::PageUp,
            KeyCode::Char('f' | 'd') => Command::PageDown,
            KeyCode::Char('p') => Command::Up,
            KeyCode::Char('n') => Command::Down,
            _ => return None,
        });
    }
    Some(match key.code {
        KeyCode::Char('q') => Command::Quit,
        KeyCode::Char('?') | KeyCode::F(1) => Command::Help,
        KeyCode::Char(digit @ '1'..='9') => Command::Screen(digit as usize - '1' as usize),
        KeyCode::Tab => Command::NextScreen,
        KeyCode::BackTab => Command::PreviousScreen,
        KeyCode::Right | KeyCode::Char('l') => Command::NextSection,
        KeyCode::Left | KeyCode::Char('h') => Command::PreviousSection,
        KeyCode::Up | KeyCode::Char('k') => Command::Up,
        KeyCode::Down | KeyCode::Char('j') => Command::Down,
        KeyCode::PageUp => Command::PageUp,
        KeyCode::PageDown => Command::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Command::First,
        KeyCode::End | KeyCode::Char('G') => Command::Last,
        KeyCode::Char('/') => Command::Filter,
        KeyCode::Char('s') => Command::Sort,
        KeyCode::Char('r') => Command::Reverse,
        KeyCode::Char('p' | ' ') => Command::Pause,
        KeyCode::Enter => Command::Open,
        KeyCode::Esc | KeyCode::Backspace => Command::Back,
        KeyCode::Char('e') => Command::Save,
        KeyCode::Char('E') => Command::SaveRedacted,
        KeyCode::Char('+' | '=') => Command::Faster,
        KeyCode::Char('-') => Command::Slower,
        KeyCode::Char('>' | '.') => Command::Forward,
        _ => return None,
    })
}

/// Every key in words.
pub const HELP: &[(&str, &str)] = &[
    ("1-7, tab", "screens; shift-tab goes back"),
    ("left right, h l", "tables of a screen"),
    ("up down, k j", "rows"),
    ("PgUp PgDn", "a page; also ctrl-b, ctrl-f"),
    (
        "Home End, g G",
        "first and last row; on the first, it stays on top",
    ),
    ("enter", "all about a row"),
    ("esc", "back; without the filter"),
    (
        "/",
        "only rows with this text in them: enter keeps it, esc does not",
    ),
    ("s", "sort by the next column; after the last, as it was"),
    ("r", "the other way around"),
    ("p, space", "freeze what is shown; watching goes on"),
    (
        "e",
        "save a report of all that was seen (HTML and JSON), here",
    ),
    ("?", "this help"),
    ("q, ctrl-c", "end"),
    ("ctrl-z", "suspend; fg comes back. ctrl-l draws anew"),
    (
        "mouse",
        "click on a screen, table, row or heading; wheel scrolls; with shift it selects text",
    ),
];

/// And those of a replay.
pub const HELP_REPLAY: &[(&str, &str)] = &[
    ("p, space", "the replay pauses, and goes on"),
    ("+ -", "twice and half as fast"),
    (">", "ten seconds on"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(code: KeyCode) -> Option<Command> {
        command(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn arrows_and_letters_mean_the_same() {
        for (code, letter) in [
            (KeyCode::Up, 'k'),
            (KeyCode::Down, 'j'),
            (KeyCode::Left, 'h'),
            (KeyCode::Right, 'l'),
            (KeyCode::Home, 'g'),
            (KeyCode::End, 'G'),
        ] {
            assert!(plain(code).is_some());
            assert_eq!(plain(code), plain(KeyCode::Char(letter)));
        }
        assert_eq!(plain(KeyCode::Char('1')), Some(Command::Screen(0)));
        assert_eq!(plain(KeyCode::Char('y')), None);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(command(interrupt), Some(Command::Quit));
    }
}
