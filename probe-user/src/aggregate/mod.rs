//! Readings become a [`Window`]: plain data about a stretch of time. No I/O, no clock.

mod calls;
pub mod dns;
mod durations;
pub mod files;
mod fold;
mod identity;
pub mod journal;
mod lives;
mod peer;
mod quick;
mod requests;
mod rolling;
mod series;
mod served;
pub mod tcp;
mod team;
mod threads;
mod timed;
pub mod udp;
mod window;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use crate::collect::Cost;
pub use durations::Durations;
pub use fold::{About, Aggregator};
pub use identity::group_name;
pub use peer::Peer;
pub use rolling::{Look, Rolling};
pub use series::Grown;
pub use team::Team;
pub use timed::Timed;
pub use window::*;
