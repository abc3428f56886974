//! Hand-made readings and windows for the tests.

use crate::attach::{ProbeStatus, State};

/// A probe that is active.
pub fn probe(id: &'static str) -> ProbeStatus {
    ProbeStatus {
        id,
        summary: "",
        source: String::new(),
        state: State::Active,
        seen: None,
    }
}
