//! TCP: states, peers, processes, ports, queues, failed connects.

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "tcp",
    sections: &[],
    below: no_below,
};
