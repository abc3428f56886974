//! Reads the kernel side: ring and maps become a [`Reading`].

mod reading;

pub use reading::{Count, Process, Reading};
