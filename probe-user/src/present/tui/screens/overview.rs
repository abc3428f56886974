//! What matters: the causes, and the signals in a line each.

use crate::present::tui::Screen;

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "overview",
    sections: &[],
};
