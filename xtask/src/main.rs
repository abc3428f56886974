//! `cargo xtask VERB`: builds, tests and measures stallscope. Dispatch only; each verb is one file with
//! `Options` and `run`.

mod apt;
mod bench;
mod bless;
mod build;
mod check;
mod digest;
mod dist;
mod object;
mod run;
mod setup;
mod sh;
mod test;
mod tidy;
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::Parser;

/// Builds, tests and measures stallscope.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
enum Verb {
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
    /// Run the kernel tests, or one command, on Debian's kernels 5.10, 6.1, 6.12 and 7.x in QEMU
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Run(options) => run::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Build(options) => build::run(&options),
        Verb::Setup(options) => setup::run(&options),
        Verb::Check(options) => check::run(&options),
        Verb::Tidy(options) => tidy::run(&options),
        Verb::Bless(options) => bless::run(&options),
        Verb::Dist(options) => dist::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Vm(options) => vm::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}
