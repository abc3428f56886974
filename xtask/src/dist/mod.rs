//! `dist`: what is handed out, in target/dist: one static binary that runs on any Linux, a Debian package, what both are made
//! of, and their digests.

mod crates;
mod deb;
mod licences;
mod sbom;
mod trial;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::{apt, build, digest, object, sh};

/// musl: a static glibc loads the node's own name service modules into itself when it looks a host up, and ends where they are
/// of another version.
const TARGET: &str = "x86_64-unknown-linux-musl";
/// Its section of Cargo.toml.
const PROFILE: &str = "dist";
/// What the binary is to stay below.
const GOAL_BYTES: usize = 8_000_000;
/// For the linker.
const NO_UNWIND: &str = "xtask/src/dist/no-unwind.ld";
/// For images: built with target/dist as its context.
const CONTAINERFILE: &str = "packaging/Containerfile";

/// Options of `dist`.
#[derive(clap::Args)]
pub struct Options {
    /// Take the committed kernel object instead of building a fresh one (needs stable Rust only)
    #[arg(long)]
    committed_object: bool,
    /// Take this static binary instead of building one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Then install, run, upgrade and purge the package in a Debian of its own (needs root; fetched once)
    #[arg(long = "try")]
    trial: bool,
}

/// What is known about a release.
pub struct Release {
    /// As in Cargo.toml.
    version: String,
    /// When it was made, s since the Unix epoch: the time of the commit, so that the same sources give the same bytes.
    epoch: u64,
    /// Every crate that is in the binary.
    crates: Vec<crates::Crate>,
    /// target/dist.
    out: PathBuf,
}

/// Makes everything in target/dist, and prints sizes and digests.
pub fn run(options: &Options) -> Result<()> {
    let built = match &options.binary {
        Some(path) => path.clone(),
        None => binary(options)?,
    };
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    ensure!(
        !needs_interpreter(&bytes)?,
        "{} still needs a dynamic loader",
        built.display()
    );
    let release = Release::here()?;
    let out = &release.out;
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let binary = out.join("stallscope");
    fs::copy(&built, &binary).with_context(|| format!("cannot write {}", binary.display()))?;
    fs::copy(sh::root().join(CONTAINERFILE), out.join("Containerfile"))
        .with_context(|| format!("cannot copy {CONTAINERFILE}"))?;
    let third_party = licences::text(&release.crates)?;
    write(&out.join("THIRD-PARTY.txt"), third_party.as_bytes())?;
    let sbom = sbom::json(&release, &digest::hex(&Sha256::digest(&bytes)))?;
    write(&out.join("stallscope.cdx.json"), sbom.as_bytes())?;
    let package = deb::build(&release, &binary, &third_party)?;
    let sums = sums(out)?;
    write(&out.join("SHA256SUMS"), sums.as_bytes())?;
    println!("{}", out.display());
    println!(
        "size    {:.1} MB ({} bytes), static",
        bytes.len() as f64 / 1e6,
        bytes.len()
    );
    if bytes.len() >= GOAL_BYTES {
        println!(
            "        more than the {GOAL_BYTES} bytes that it is to stay below: `nm --size-sort` of an unstripped build \
             (CARGO_PROFILE_DIST_STRIP=none) tells why"
        );
    }
    print!("{sums}");
    if options.trial {
        trial::run(&release, &package)?;
    }
    Ok(())
}

/// Builds the static binary.
fn binary(options: &Options) -> Result<PathBuf> {
    let object = if options.committed_object {
        digest::check()?;
        sh::root().join(object::COMMITTED)
    } else {
        build::object()?
    };
    has_target()?;
    // A folder of its own, beside the static test programs.
    let folder = sh::target_dir()?.join("static");
    let script = sh::root().join(NO_UNWIND);
    let flags = [
        "-Cforce-unwind-tables=no".to_owned(),
        format!("-Clink-arg=-Wl,-T,{}", script.display()),
    ];
    sh::run(
        sh::cargo()
            .args([
                "build",
                "--locked",
                "--package=probe-user",
                "--bin=stallscope",
            ])
            .args(["--profile", PROFILE, "--target", TARGET])
            .arg("--target-dir")
            .arg(&folder)
            // Encoded, as a path may have spaces.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env(object::VARIABLE, &object),
    )?;
    Ok(folder.join(TARGET).join(PROFILE).join("stallscope"))
}

/// Installs Rust's own library and a C compiler for the target, where they are missing.
fn has_target() -> Result<()> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]);
    let folder = sh::output(command.current_dir(sh::root()))?;
    if !Path::new(folder.trim()).is_dir() {
        let mut rustup = Command::new("rustup");
        sh::run(rustup.args(["target", "add", TARGET])).with_context(|| {
            format!("Rust's library for {TARGET} is missing, and rustup did not bring it")
        })?;
    }
    if sh::find("musl-gcc").is_none() {
        apt::install(
            &["musl-tools"],
            "to compile zstd and ring for the static binary",
        )?;
    }
    Ok(())
}

impl Release {
    fn here() -> Result<Self> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: epoch()?,
            crates: crates::linked(TARGET)?,
            out: sh::target_dir()?.join("dist"),
        })
    }
}

/// SOURCE_DATE_EPOCH, or the time of the commit.
fn epoch() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => sh::output(
            Command::new("git")
                .args(["log", "-1", "--format=%ct"])
                .current_dir(sh::root()),
        )
        .context("this is no git repository: set SOURCE_DATE_EPOCH to the time of the release")?,
    };
    let text = text.trim();
    text.parse()
        .with_context(|| format!("{text:?} is no time in seconds"))
}

/// Writes a file, naming it when that fails.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// What `sha256sum` prints for the files in a folder, sorted.
fn sums(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default();
            let bytes = fs::read(&path)?;
            let hex = digest::hex(&Sha256::digest(bytes));
            files.push((name.to_string_lossy().into_owned(), hex));
        }
    }
    files.sort();
    let line = |(name, hex): &(String, String)| format!("{hex}  {name}\n");
    Ok(files.iter().map(line).collect())
}

/// The target that the stable compiler builds for by itself.
pub fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
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
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(needs_interpreter(&shell).unwrap());
        assert!(needs_interpreter(&shell[..60]).is_err());
        assert!(needs_interpreter(b"#!/bin/sh\n").is_err());
    }
}
