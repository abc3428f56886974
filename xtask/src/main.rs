//! `cargo xtask VERB`: builds, tests and measures stallscope. Dispatch only: [`verb`] lists what there is.

mod apt;
mod bench;
mod bless;
mod build;
mod check;
mod digest;
mod dist;
mod fuzz;
mod lab;
mod object;
mod run;
mod setup;
mod sh;
mod side_by_side;
mod soak;
mod test;
mod tidy;
mod toolchain;
mod verb;
mod vm;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match verb::Verb::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}
