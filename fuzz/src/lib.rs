//! Everything that reads bytes from outside, given bytes that nobody would send.
//!
//! A module is a target: its `run` takes what the fuzzer made and fails an assertion when something that must hold does not.
//! No target asks for "no panic" alone: memory stays within what the input explains ([`memory`]), what has a writer comes back
//! as it was written, and what can be said in two ways is said the same ([`fastcgi`] and [`dns`] have a plain reader beside
//! the one that is fuzzed). `cargo xtask fuzz` builds and runs them, with `--quick` without a
//! fuzzer (`mutate`); `seeds/TARGET` has what to begin with, real data and
//! whatever once made a target fail.

/// Declares the targets, and lists them.
macro_rules! targets {
    ($($name:ident),*) => {
        $(pub mod $name;)*

        /// What runs a target, by its name.
        pub const TARGETS: &[chance::Target] = &[$((stringify!($name), $name::run)),*];
    };
}

targets!(
    btf, dns, escape, fastcgi, formats, frames, http, kallsyms, otlp, proc, recording, replay,
    report, ring, settings
);

pub mod chance;

mod input;
mod memory;
mod outputs;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: memory::Counted = memory::Counted;
