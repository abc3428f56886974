//! Finds what this kernel offers, resolves offsets, loads and attaches.

mod status;

pub use status::{ProbeStatus, State};
