//! The slowest requests, and where their time went.

use crate::present::tui::Screen;

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "requests",
    sections: &[],
};
