//! Where live output goes: tables over each other on a terminal, one after the other into a pipe.

use std::io::{self, IsTerminal, Write};

use super::{
    output::{self, Reader},
    own,
};
use crate::error::Error;

/// Where the tables go: over each other on a terminal, one after the other into a pipe.
pub struct Screen {
    terminal: bool,
    begun: bool,
}

impl Screen {
    /// Only text on a terminal is drawn over what was there.
    pub fn new(json: bool) -> Self {
        Self {
            terminal: io::stdout().is_terminal() && !json,
            begun: false,
        }
    }

    /// Rows of the screen beside `frame`; a pipe (`None`) takes all.
    pub fn rows(&self, frame: usize) -> Option<usize> {
        let (_, rows) = own::terminal_size().filter(|_| self.terminal)?;
        Some(rows.saturating_sub(frame).max(1))
    }

    /// Shows a table in place of the one before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn show(&mut self, text: &str) -> Result<Reader, Error> {
        if !self.terminal {
            return output::print(text);
        }
        let rows = own::terminal_size().map_or(usize::MAX, |(_, rows)| rows);
        let frame = frame(text, rows, !self.begun);
        self.begun = true;
        output::print(&frame)
    }
}

/// The bytes that draw `text` over what was there, without flicker and without scrolling.
fn frame(text: &str, rows: usize, first: bool) -> String {
    // The cursor is hidden while we draw; clearing the screen once keeps what was there in the history.
    let mut frame = String::from(if first {
        "\x1b[?25l\x1b[2J\x1b[H"
    } else {
        "\x1b[H"
    });
    // The last row stays free: a newline there would scroll.
    for (i, line) in text.lines().take(rows.saturating_sub(1)).enumerate() {
        if i > 0 {
            frame.push_str("\r\n");
        }
        frame.push_str(line);
        frame.push_str("\x1b[K");
    }
    frame.push_str("\r\n\x1b[J");
    frame
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.begun {
            let mut out = io::stdout().lock();
            let _ = out.write_all(b"\x1b[?25h").and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_one_before_line_by_line() {
        assert_eq!(
            frame("a\nb\n", 24, false),
            "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J"
        );
        assert!(frame("a", 24, true).starts_with("\x1b[?25l\x1b[2J"));
    }

    #[test]
    fn a_frame_never_scrolls_the_screen() {
        let text = "line\n".repeat(100);
        assert_eq!(frame(&text, 10, false).matches('\n').count(), 9);
    }
}
