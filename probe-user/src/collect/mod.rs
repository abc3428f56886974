//! Reads the kernel side: ring and maps become a [`Reading`].

mod collector;
mod cost;
pub mod dns;
mod epoll;
mod exchanges;
pub mod files;
pub mod fuzzing;
mod inflight;
mod iterator;
pub mod journal;
pub mod mounts;
mod names;
mod pace;
mod processes;
mod reading;
pub mod recording;
mod ring;
mod root;
mod sockets;
mod sums;
mod table;
pub mod tcp;
pub mod udp;
mod watcher;

pub use collector::{Collector, monotonic_ns};
pub use cost::{Cost, KernelCost};
pub use reading::{Count, Process, Reading};
pub use sums::CallSum;
