//! What happened, one line each.

use crate::present::tui::Screen;

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "events",
    sections: &[],
};
