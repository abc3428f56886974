//! UDP sockets that drop, and who asks name servers for what.

use crate::present::tui::Screen;

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "udp/dns",
    sections: &[],
};
