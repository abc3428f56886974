//! A line for each worker: what it does, where its time went, what it waits for.

use crate::present::tui::Screen;

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "workers",
    sections: &[],
};
