//! Finds what this kernel offers, resolves offsets, loads and attaches.

mod status;
pub mod tracefs;

pub use status::{ProbeStatus, State};
