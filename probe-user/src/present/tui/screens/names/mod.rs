//! UDP sockets that drop, and who asks name servers for what.

mod clients;
mod drops;
mod lookups;
mod questions;
mod queues;
mod servers;
#[cfg(test)]
mod tests;
mod waiting;

use crate::present::tui::{Screen, no_below};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "udp/dns",
    sections: &[
        drops::SECTION,
        queues::SECTION,
        clients::SECTION,
        lookups::SECTION,
        servers::SECTION,
        waiting::SECTION,
    ],
    below: no_below,
};
