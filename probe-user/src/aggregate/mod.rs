//! Readings become a [`Window`]: plain data about a stretch of time. No I/O, no clock.

mod durations;
mod fold;
mod identity;
mod peer;
mod window;

#[cfg(test)]
pub(crate) mod fixture;

pub use durations::Durations;
pub use fold::{About, Aggregator};
pub use identity::group_name;
pub use peer::Peer;
pub use window::*;
