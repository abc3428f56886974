//! UDP sockets that drop, and who asks name servers for what.

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "udp/dns",
    sections: &[],
    below: no_below,
};
