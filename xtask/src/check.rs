//! `check`: what CI runs before the tests. Every part runs, and every failure is listed.

use anyhow::{Result, bail};

use crate::{bless, digest, sh, tidy};

/// One part of the check.
type Part = fn() -> Result<()>;

/// Options of `check`.
#[derive(clap::Args)]
pub struct Options {}

/// Runs all parts.
pub fn run(_: &Options) -> Result<()> {
    components()?;
    let parts: [(&str, Part); 5] = [
        ("tidy", tidy::check),
        ("committed kernel object", digest::check),
        ("format", format),
        ("clippy", clippy),
        ("generated files", bless::check),
    ];
    let mut failed = Vec::new();
    for (name, part) in parts {
        println!("== {name}");
        if let Err(error) = part() {
            println!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    println!("check: all well");
    Ok(())
}

/// rustfmt and clippy come with rustup's default profile, but not with its minimal one.
fn components() -> Result<()> {
    for (verb, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if sh::quiet(sh::cargo().args([verb, "--version"])).is_some() {
            continue;
        }
        if sh::find("rustup").is_none() {
            bail!("cargo {verb} is missing: install the {component} of this Rust tool chain");
        }
        println!(
            "check: installing {component} (for cargo {verb}): rustup component add {component}"
        );
        sh::run(
            std::process::Command::new("rustup")
                .args(["component", "add", component])
                .current_dir(sh::root()),
        )?;
    }
    Ok(())
}

fn format() -> Result<()> {
    sh::run(sh::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    // Everything but probe-ebpf, which only compiles for BPF.
    sh::run(sh::cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--exclude=probe-ebpf",
        "--all-targets",
        "--",
        "-Dwarnings",
    ]))
}
