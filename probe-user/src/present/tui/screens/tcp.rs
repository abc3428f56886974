//! TCP: states, peers, processes, ports, queues, failed connects.

use crate::present::tui::Screen;

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "tcp",
    sections: &[],
};
