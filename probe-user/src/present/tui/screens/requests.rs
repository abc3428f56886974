//! The slowest requests, and where their time went.

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "requests",
    sections: &[],
    below: no_below,
};
