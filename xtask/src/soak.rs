//! `soak`: runs `watch`, or `serve`, for long under churn, with an incident in it: whether its memory stays flat, the incident is
//! saved with what led to it, and what `serve` counts is what was made. The work is done by `tests/soak`.

use anyhow::{Result, bail};

use crate::{
    build::{self, Purpose},
    sh,
};

/// Options of `soak`.
#[derive(clap::Args)]
pub struct Options {
    /// How long, in minutes; the incident is at two thirds of it
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// `serve`, and compare what it counts with what was made
    #[arg(long)]
    serve: bool,
}

/// Builds everything and runs it.
pub fn run(options: &Options) -> Result<()> {
    let (program, stallscope) = build::with_stallscope(Purpose::Measurements, "soak")?;
    let Some(mut command) = sh::as_root(&program) else {
        bail!("watching needs root, and there is no sudo: run as root");
    };
    sh::clean_library_path(&mut command);
    let verb = if options.serve { "serve" } else { "watch" };
    sh::run(
        command
            .args([&options.minutes.to_string(), verb])
            .arg(stallscope),
    )
}
