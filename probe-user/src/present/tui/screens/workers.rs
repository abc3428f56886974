//! A line for each worker: what it does, where its time went, what it waits for.

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "workers",
    sections: &[],
    below: no_below,
};
