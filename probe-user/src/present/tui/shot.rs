//! What a screen shows, as text, for the tests.

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{App, Data, Theme, draw};

/// Types `keys` (`\n` is enter, `>` the right arrow), then draws in so many columns and rows.
pub fn shot(data: &Data, keys: &str, (width, height): (u16, u16)) -> String {
    let mut app = App::new(Theme::default());
    app.data(data.clone());
    for key in keys.chars() {
        // What a key does depends on what is on the screen.
        app.fit(width, height);
        let code = match key {
            '\n' => KeyCode::Enter,
            '>' => KeyCode::Right,
            key => KeyCode::Char(key),
        };
        app.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    app.fit(width, height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &app)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(width.into()).map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// The sizes that every screen is drawn in.
pub const SIZES: [(u16, u16); 3] = [(80, 24), (200, 60), (40, 8)];
