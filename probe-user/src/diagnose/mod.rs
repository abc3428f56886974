//! Judges a window: rules over plain data, no I/O, no clock, no formatting for a screen.
//!
//! [`run`] goes through the catalogue in [`rules::CATALOGUE`]. A rule fires, stays quiet, or says that it
//! could not look; it never says "clear" when the probes it needs were off.

pub mod compare;
mod engine;
mod finding;
mod loss;
pub mod rules;
pub mod steady;

pub use engine::run;
pub use finding::*;
pub use loss::{Loss, loss_counts, losses};
