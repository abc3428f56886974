//! File systems, who creates files, journals, and who sleeps behind them.

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "files/journal",
    sections: &[],
    below: no_below,
};
