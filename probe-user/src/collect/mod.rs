//! Reads the kernel side: ring and maps become a [`Reading`].

mod collector;
mod cost;
pub mod dns;
mod epoll;
mod exchanges;
pub mod files;
mod inflight;
pub mod journal;
pub mod mounts;
mod processes;
mod reading;
mod sockets;
mod sums;
pub mod tcp;
pub mod udp;

pub use collector::{Collector, monotonic_ns};
pub use cost::KernelCost;
pub use reading::{Count, Process, Reading};
pub use sums::CallSum;
