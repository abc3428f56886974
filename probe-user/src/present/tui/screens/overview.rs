//! What matters: the causes, and the signals in a line each.

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "overview",
    sections: &[],
    below: no_below,
};
