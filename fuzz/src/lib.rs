//! Everything that reads bytes from outside, given bytes that nobody would send.
//!
//! A module is a target: its `run` takes what the fuzzer made and fails an assertion when something that must hold does not.
//! No target asks for "no panic" alone: memory stays within what the input explains ([`memory`]), what has a writer comes back
//! as it was written, and what can be said in two ways is said the same ([`fastcgi`] and [`dns`] have a plain reader beside
//! the one that is fuzzed). `cargo xtask fuzz` builds and runs them; `seeds/TARGET` has what to begin with, real data and
//! whatever once made a target fail.

pub mod btf;
pub mod dns;
pub mod escape;
pub mod fastcgi;
pub mod formats;
pub mod frames;
pub mod http;
pub mod kallsyms;
pub mod otlp;
pub mod proc;
pub mod recording;
pub mod replay;
pub mod report;
pub mod ring;
pub mod settings;

mod input;
mod memory;
mod outputs;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: memory::Counted = memory::Counted;
