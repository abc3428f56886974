//! Readings become a [`Window`]: plain data about a stretch of time. No I/O, no clock.

mod window;

pub use window::*;
