//! `dist`: one static binary that runs on any Linux, with its size and digest.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{build, digest, object, sh};

/// Options of `dist`.
#[derive(clap::Args)]
pub struct Options {
    /// Take the committed kernel object instead of building a fresh one (needs stable Rust only)
    #[arg(long)]
    committed_object: bool,
}

/// Builds `target/dist/stallscope` and prints its path, size and SHA-256.
pub fn run(options: &Options) -> Result<()> {
    let object = if options.committed_object {
        digest::check()?;
        sh::root().join(digest::OBJECT)
    } else {
        build::object()?
    };
    let host = host()?;
    // A target of its own, so that build scripts are not linked statically too.
    let folder = sh::target_dir()?;
    sh::run(
        sh::cargo()
            .args([
                "build",
                "--locked",
                "--release",
                "--package=probe-user",
                "--bin=stallscope",
                "--target",
                &host,
            ])
            .arg("--target-dir")
            .arg(folder.join("static"))
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env(object::VARIABLE, &object),
    )?;
    let built = folder.join("static").join(host).join("release/stallscope");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if needs_interpreter(&bytes)? {
        bail!("{} still needs a dynamic loader", built.display());
    }
    let out = folder.join("dist/stallscope");
    fs::create_dir_all(folder.join("dist"))?;
    fs::copy(&built, &out).with_context(|| format!("cannot write {}", out.display()))?;
    println!("{}", out.display());
    println!(
        "size    {:.1} MB ({} bytes), static",
        bytes.len() as f64 / 1e6,
        bytes.len()
    );
    println!("sha256  {}", digest::hex(&Sha256::digest(&bytes)));
    Ok(())
}

/// The target that the stable compiler builds for by itself.
pub fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let verbose = sh::output(Command::new(rustc).arg("-vV").current_dir(sh::root()))?;
    let host = verbose
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    Ok(host.to_owned())
}

/// Whether a 64-bit little-endian ELF file has an interpreter segment, that is, is not static.
pub fn needs_interpreter(elf: &[u8]) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| {
        let bytes = elf.get(at..at + length)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0_u64, |value, &byte| value << 8 | u64::from(byte)),
        )
    };
    let headers = || -> Option<bool> {
        let table = usize::try_from(number(0x20, 8)?).ok()?;
        let (size, count) = (number(0x36, 2)? as usize, number(0x38, 2)? as usize);
        let mut found = false;
        for index in 0..count {
            found |= number(table.checked_add(index * size)?, 4)? as u32 == PT_INTERP;
        }
        Some(found)
    };
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    headers().context("the ELF file is cut off")
}

#[cfg(test)]
mod tests {
    use super::needs_interpreter;

    #[test]
    fn a_dynamic_program_is_told_from_what_is_not_one() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needs_interpreter(&own).unwrap());
        assert!(needs_interpreter(&own[..60]).is_err());
        assert!(needs_interpreter(b"#!/bin/sh\n").is_err());
    }
}
