//! The verbs, in the order in which `cargo xtask --help` lists them; each is one file with `Options` and `run`.

use anyhow::Result;
use clap::Parser;

use crate::{bench, bless, build, check, dist, fuzz, lab, run, setup, soak, test, tidy, vm};

/// Builds, tests and measures stallscope.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
pub enum Verb {
    /// Build what is here, then run stallscope: `cargo xtask run -- diagnose --duration 10s`
    Run(run::Options),
    /// Run all tests: unit, kernel, end to end, and the matrix of kernels in QEMU
    Test(test::Options),
    /// Build the kernel object, then stallscope with it
    Build(build::Options),
    /// Install what compiles the kernel side, where something is missing
    Setup(setup::Options),
    /// What CI runs before the tests: tidy, stale object, format, clippy, generated files
    Check(check::Options),
    /// Check the rules about files that no compiler checks
    Tidy(tidy::Options),
    /// Rebuild everything that is generated and committed: kernel object, its digest, ABI text, docs
    Bless(bless::Options),
    /// Make the static binary for release in target/dist
    Dist(dist::Options),
    /// Measure what watching costs, beside bpftrace; write docs/bench.md
    Bench(bench::Options),
    /// Run `watch` under churn for half an hour, with an incident in it, and look at its memory
    Soak(soak::Options),
    /// Give what reads bytes from outside bytes that nobody would send, for a while
    Fuzz(fuzz::Options),
    /// Play the incidents on real servers, and healthy servers, and judge what stallscope says of them
    Lab(lab::Options),
    /// Run the kernel tests, or one command, on Debian's kernels 5.10, 6.1, 6.12 and 7.x in QEMU
    Vm(vm::Options),
}

impl Verb {
    /// Does it.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Run(options) => run::run(options),
            Self::Test(options) => test::run(options),
            Self::Build(options) => build::run(options),
            Self::Setup(options) => setup::run(options),
            Self::Check(options) => check::run(options),
            Self::Tidy(options) => tidy::run(options),
            Self::Bless(options) => bless::run(options),
            Self::Dist(options) => dist::run(options),
            Self::Bench(options) => bench::run(options),
            Self::Soak(options) => soak::run(options),
            Self::Fuzz(options) => fuzz::run(options),
            Self::Lab(options) => lab::run(options),
            Self::Vm(options) => vm::run(options),
        }
    }
}
