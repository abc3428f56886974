//! `build`: the kernel object, then stallscope with it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{object, setup, sh};

/// Options of `build`.
#[derive(clap::Args)]
pub struct Options {}

/// Builds, and prints where the binary is.
pub fn run(_: &Options) -> Result<()> {
    let binary = stallscope(&object()?)?;
    println!("{}", binary.display());
    Ok(())
}

/// Builds the kernel object from what is here, setting up first.
pub fn object() -> Result<PathBuf> {
    object::build(&setup::ensure()?)
}

/// Builds the release binary with the kernel object at `object` inside, and returns its path.
pub fn stallscope(object: &Path) -> Result<PathBuf> {
    sh::run(
        sh::cargo()
            .args([
                "build",
                "--locked",
                "--release",
                "--package=probe-user",
                "--bin=stallscope",
            ])
            .env(object::VARIABLE, object),
    )?;
    Ok(sh::target_dir()?.join("release/stallscope"))
}

/// Builds a program of the tests' own, and stallscope for it; where both are.
pub fn with_stallscope(program: &str) -> Result<(PathBuf, PathBuf)> {
    let object = object()?;
    let stallscope = stallscope(&object)?;
    sh::run(
        sh::cargo()
            .args(["build", "--locked", "--release", "--package=probe-tests"])
            .args(["--bin", program])
            .env(object::VARIABLE, object),
    )?;
    Ok((sh::target_dir()?.join("release").join(program), stallscope))
}
