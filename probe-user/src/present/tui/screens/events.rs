//! What happened, one line each.

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "events",
    sections: &[],
    below: no_below,
};
