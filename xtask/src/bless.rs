//! `bless`: rebuilds everything that is generated and committed, so that a change shows in review.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{build, digest, object, setup, sh};

/// Tests that compare a committed text with the generated one write it instead when this is set.
const VARIABLE: &str = "BLESS";
/// Those tests: the arguments of `cargo test` that select them.
const GENERATED: [&[&str]; 2] = [
    &["--test=abi"],
    &[
        "--lib",
        "--",
        "docs_rules",
        "json::generated",
        "metrics::generated",
    ],
];

/// Options of `bless`.
#[derive(clap::Args)]
pub struct Options {
    /// Only the kernel object and its digest
    #[arg(long)]
    object: bool,
}

/// Rebuilds, and says what changed.
pub fn run(options: &Options) -> Result<()> {
    let toolchain = setup::ensure()?;
    let built = object::build(&toolchain)?;
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let described = format!(
        "{}, {}",
        toolchain.compiler.version,
        setup::version_of(&toolchain.linker)
    );
    for (name, bytes) in [
        (object::COMMITTED, bytes.clone()),
        (digest::DIGEST, digest::text(&bytes, &described)?.into()),
    ] {
        let changed = sh::write_if_changed(&sh::root().join(name), &bytes)?;
        println!(
            "bless: {name} {}",
            if changed { "written" } else { "unchanged" }
        );
    }
    if options.object {
        return Ok(());
    }
    for tests in GENERATED {
        sh::run(generated(tests)?.env(VARIABLE, "1"))?;
    }
    Ok(())
}

/// Fails when a committed generated file differs from what would be generated now.
pub fn check() -> Result<()> {
    for tests in GENERATED {
        sh::run(generated(tests)?.env_remove(VARIABLE))?;
    }
    Ok(())
}

fn generated(tests: &[&str]) -> Result<Command> {
    let mut cargo = build::cargo_test()?;
    cargo.arg("--quiet").args(tests);
    Ok(cargo)
}
