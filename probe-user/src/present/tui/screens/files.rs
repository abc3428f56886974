//! File systems, who creates files, journals, and who sleeps behind them.

use crate::present::tui::Screen;

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "files/journal",
    sections: &[],
};
