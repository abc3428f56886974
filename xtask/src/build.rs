//! `build`: the kernel object, then stallscope with it; and the static programs of the tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{dist, object, setup, sh};

/// What every verb has cargo test that tests anything. Another choice gives the dependencies other features, and has them compiled again.
const TESTED: [&str; 5] = [
    "--package=xtask",
    "--package=probe-common",
    "--package=probe-user",
    "--package=probe-tests",
    "--package=stallscope-fuzz",
];

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

/// `cargo test` of everything that is tested here.
pub fn cargo_test() -> Result<Command> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--locked"]).args(TESTED);
    for_tests(&mut cargo)?;
    Ok(cargo)
}

/// Builds the release binary with the kernel object at `object` inside, and returns its path.
pub fn stallscope(object: &Path) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args([
        "build",
        "--locked",
        "--release",
        "--package=probe-user",
        "--bin=stallscope",
    ]);
    sh::run(object::embed(&mut cargo, object))?;
    Ok(sh::target_dir()?.join("release/stallscope"))
}

/// What static programs are for, which decides how they are compiled.
#[derive(Clone, Copy)]
pub enum Purpose {
    /// To be tested: compiled soon, and with nearly all of the dependencies that `cargo test` was compiled with.
    Tests,
    /// To be measured, or to run for long: compiled as `--release`, which takes much longer.
    Measurements,
}

/// The profile `dev` of whatever is tested: little is written, and fast.
const FOR_TESTS: [(&str, &str); 2] = [
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("CARGO_PROFILE_DEV_STRIP", "symbols"),
];

/// What is optimised a little in programs of [`Purpose::Tests`], and adds up as what is handed out does, without a check: numbers that make no
/// sense may come over the ring. The rest of what is at work there is not ours.
const OPTIMISED: [&str; 3] = ["probe-common", "probe-tests", "probe-user"];

/// Has cargo link statically, with these flags of rustc's beside it.
fn linked_statically(cargo: &mut Command, flags: &str) -> Result<()> {
    cargo
        // A target of its own, so that build scripts are not linked statically too.
        .args(["--target", &dist::host()?])
        .env("RUSTFLAGS", format!("-C target-feature=+crt-static{flags}"));
    Ok(())
}

/// Has cargo compile what is tested. All that does so shares what it compiles.
fn for_tests(cargo: &mut Command) -> Result<()> {
    // As a profile's `lto`, it would hold for build scripts too, which would not be those of other builds then. What a crate's parts
    // gain from one another is half of the time that probe-user takes where it is optimised.
    linked_statically(cargo, " -C lto=off")?;
    cargo.envs(FOR_TESTS);
    Ok(())
}

/// Builds the same as [`stallscope`], static as what is handed out is: for use here and in the guests alike.
pub fn static_stallscope(purpose: Purpose, object: &Path) -> Result<PathBuf> {
    program(purpose, "probe-user", "--bin", "stallscope", Some(object))
}

/// Builds a program of the tests' own, and stallscope for it, which it finds beside itself; where both are.
pub fn with_stallscope(purpose: Purpose, name: &str) -> Result<(PathBuf, PathBuf)> {
    let object = object()?;
    let stallscope = static_stallscope(purpose, &object)?;
    let program = program(purpose, "probe-tests", "--bin", name, Some(&object))?;
    Ok((program, stallscope))
}

/// Builds a program of tests that attach to a kernel.
pub fn kernel_tests(name: &str, object: &Path) -> Result<PathBuf> {
    program(Purpose::Tests, "probe-tests", "--test", name, Some(object))
}

/// Builds one static program, a `--bin` or a `--test`, and returns the path of the executable.
pub fn program(
    purpose: Purpose,
    package: &str,
    kind: &str,
    name: &str,
    object: Option<&Path>,
) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo
        .args(["build", "--package", package, kind, name])
        .args(["--locked", "--message-format=json-render-diagnostics"]);
    match purpose {
        Purpose::Tests => {
            for_tests(&mut cargo)?;
            for package in OPTIMISED {
                for setting in ["opt-level=1", "overflow-checks=false"] {
                    cargo.arg(format!("--config=profile.dev.package.{package}.{setting}"));
                }
            }
        }
        Purpose::Measurements => {
            linked_statically(&mut cargo, "")?;
            cargo
                .args(["--release", "--target-dir"])
                .arg(sh::target_dir()?.join("static"));
        }
    }
    if let Some(object) = object {
        object::embed(&mut cargo, object);
    }
    let messages = sh::output(&mut cargo)?;
    let made = executable(&messages, name)
        .with_context(|| format!("cargo made no executable {name} of {package}"))?;
    Ok(PathBuf::from(made))
}

/// The executable of the target `name` in cargo's messages, one a line; a test comes with its package's programs.
fn executable<'a>(messages: &'a str, name: &str) -> Option<&'a str> {
    let target = format!("\"name\":\"{name}\"");
    messages
        .lines()
        .filter(|line| line.contains(&target))
        .find_map(|line| {
            let (_, rest) = line.split_once("\"executable\":\"")?;
            Some(rest.split_once('"')?.0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_that_of_the_target_whatever_else_is_made() {
        let text = "{\"target\":{\"name\":\"kernel\"},\"executable\":null}\nnot json\n\
                    {\"target\":{\"name\":\"kernel\"},\"executable\":\"/t/kernel-1\"}\n\
                    {\"target\":{\"name\":\"bench\"},\"executable\":\"/t/bench\"}\n\
                    {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(text, "kernel"), Some("/t/kernel-1"));
        assert_eq!(executable(text, "stallscope"), None);
    }
}
