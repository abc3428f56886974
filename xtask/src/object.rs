//! The kernel object: compiles `probe-ebpf` so that equal sources give equal bytes on any machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{sh, toolchain::Toolchain};

/// The committed object, from the top folder.
pub const COMMITTED: &str = "probe-user/bpf/stallscope.bpf.o";

/// The environment variable through which probe-user's build script takes an object other than the
/// committed one.
pub const VARIABLE: &str = "STALLSCOPE_BPF_OBJECT";

/// The arguments that cargo gets; they are part of the digest.
pub const ARGUMENTS: &[&str] = &[
    "build",
    "--locked",
    "--release",
    "--package=probe-ebpf",
    "--target=bpfel-unknown-none",
    "-Zbuild-std=core",
];

/// The flags that rustc gets beside the path remappings; they are part of the digest. Panics carry no
/// file and line: the kernel cannot show them, and they would put paths into the object.
pub const FLAGS: &[&str] = &["-Zlocation-detail=none"];

/// Builds the object with `toolchain` and returns its path, which stays the same. The file is written
/// only when its bytes change.
pub fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    let folder = sh::target_dir()?.join("bpf");
    let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
    flags.extend(
        remappings(toolchain)
            .iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
    );

    let mut cargo = toolchain.compiler.cargo();
    cargo
        .args(ARGUMENTS)
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        // Through the environment, not through a flag: flags end up in the hashes of crates.
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
    sh::run(&mut cargo).context("the kernel side does not compile")?;

    let built = folder.join("bpfel-unknown-none/release/stallscope-bpf");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let object = folder.join("stallscope.bpf.o");
    sh::write_if_changed(&object, &bytes)?;
    Ok(object)
}

/// Has `cargo` embed this object. When it is the committed one, byte for byte, nothing names it: cargo would compile everything again
/// that was compiled before without a name, as by `check`.
pub fn embed<'a>(cargo: &'a mut Command, object: &Path) -> &'a mut Command {
    let committed = fs::read(sh::root().join(COMMITTED)).ok();
    match committed.is_some() && committed == fs::read(object).ok() {
        true => cargo.env_remove(VARIABLE),
        false => cargo.env(VARIABLE, object),
    }
}

/// Paths of this machine, and what stands for them in the object.
fn remappings(toolchain: &Toolchain) -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut pairs: Vec<(PathBuf, &str)> = home.into_iter().map(|home| (home, "/cargo")).collect();
    pairs.push((sh::root(), "/stallscope"));
    let sources = toolchain.compiler.sysroot.join("lib/rustlib/src/rust");
    // Debian's is a link; rustc sees either form.
    if let Ok(real) = sources.canonicalize() {
        pairs.push((real, "/rust"));
    }
    pairs.push((sources, "/rust"));
    pairs
}
