//! Reads the kernel side: ring and maps become a [`Reading`].

mod collector;
mod cost;
mod epoll;
mod exchanges;
mod inflight;
mod processes;
mod reading;
mod sockets;
mod sums;
pub mod tcp;

pub use collector::{Collector, monotonic_ns};
pub use cost::KernelCost;
pub use reading::{Count, Process, Reading};
pub use sums::CallSum;
