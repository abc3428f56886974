//! `setup`: makes sure that something here can compile the kernel side. Other verbs call it; when
//! nothing is missing it needs neither network nor root and says nothing.

use std::{fmt::Write as _, process::Command};

use anyhow::{Result, bail};

use crate::{
    apt, sh,
    toolchain::{self, Compiler, Toolchain},
};

/// Which bpf-linker gets installed where none fits. Its LLVM features are listed in [`LINKER_LLVM`].
const LINKER_VERSION: &str = "0.13.0";
/// LLVM majors that this bpf-linker can be built with.
const LINKER_LLVM: [u32; 3] = [21, 22, 23];

/// What installs the other tool chain.
const RUSTUP_BY_HAND: &str =
    "rustup toolchain install nightly --component rust-src && cargo install bpf-linker";

/// Options of `setup`.
#[derive(clap::Args)]
pub struct Options {
    /// Also install what the tests use (tests/packages.txt)
    #[arg(long)]
    tests: bool,
}

/// Sets up, and says what it found.
pub fn run(options: &Options) -> Result<()> {
    let found = ensure()?;
    if options.tests {
        test_packages()?;
    }
    println!("kernel side: {found}");
    Ok(())
}

/// Finds a tool chain for the kernel side, installing what is missing where that is possible.
pub fn ensure() -> Result<Toolchain> {
    let wanted = toolchain::wanted()?;
    let found = toolchain::detect(wanted.as_deref())?;
    if let Some(complete) = found.complete {
        return Ok(complete);
    }
    if wanted.as_deref() == Some(toolchain::RUSTUP) || !apt::is_here() {
        bail!("{}", advice(&found.notes));
    }
    for note in &found.notes {
        println!("setup: {note}");
    }
    install_debian()
}

fn install_debian() -> Result<Toolchain> {
    let compiler = match Compiler::debian() {
        Ok(compiler) => compiler,
        Err(_) => install_compiler()?,
    };
    if let Some(linker) = toolchain::find_linker(&compiler)?.0 {
        return Ok(Toolchain { compiler, linker });
    }
    let llvm = compiler.llvm;
    let Some(&llvm) = LINKER_LLVM.iter().find(|&&major| major >= llvm) else {
        bail!(
            "{compiler} uses LLVM {llvm}, newer than bpf-linker {LINKER_VERSION} knows: raise LINKER_VERSION in xtask/src/setup.rs"
        );
    };
    let headers = format!("llvm-{llvm}-dev");
    let why = "to build bpf-linker";
    apt::install(&apt::missing(&[&headers]), why)?;

    let folder = toolchain::tools_dir()?;
    let mut install = sh::cargo();
    install
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            LINKER_VERSION,
            "--no-default-features",
            // The work is LLVM's, which is optimised in any case: it links as fast, and is here in 52 s instead of 88.
            "--debug",
        ])
        .args(["--features", &format!("llvm-{llvm}"), "--root"])
        .arg(&folder)
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"))
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env_remove("RUSTFLAGS");
    println!(
        "setup: installing bpf-linker {LINKER_VERSION} into {} (to link the kernel side): LLVM_PREFIX=/usr/lib/llvm-{llvm} {}",
        folder.display(),
        sh::show(&install)
    );
    sh::run(&mut install)?;
    match toolchain::find_linker(&compiler)? {
        (Some(linker), _) => Ok(Toolchain { compiler, linker }),
        (None, notes) => bail!(
            "bpf-linker was installed but cannot link what {compiler} makes: {}",
            notes.join("; ")
        ),
    }
}

/// Installs Debian's compiler with its sources, or brings both to a version that serves.
fn install_compiler() -> Result<Compiler> {
    let serves = || {
        apt::candidate("rustc-web")
            .is_some_and(|version| toolchain::is_at_least(&version, toolchain::OLDEST))
    };
    if !serves() {
        apt::update(&format!(
            "the present ones have no rustc-web {} or later",
            toolchain::OLDEST
        ))?;
    }
    if !serves() {
        bail!(
            "this machine's package sources have no rustc-web {} or later: add the release's security \
             updates to them (on Debian 12, bookworm-security), or use rustup: {}",
            toolchain::OLDEST,
            RUSTUP_BY_HAND
        );
    }
    apt::install(&["rustc-web", "rust-web-src"], "to compile the kernel side")?;
    Compiler::debian()
}

fn advice(notes: &[String]) -> String {
    let mut text = String::from("nothing here can compile the kernel side.");
    for note in notes {
        text.push_str("\n  ");
        text.push_str(note);
    }
    let _ = write!(
        text,
        "\nInstall one of:\n  \
         Debian 12 or later   apt-get install rustc-web rust-web-src, then run this again\n  \
         rustup, anywhere     {RUSTUP_BY_HAND}\n\
         Or build without: `cargo build --release` embeds the committed kernel object and needs stable Rust only."
    );
    text
}

/// Installs what the tests need and is missing, from `tests/packages.txt`: one `package  # why` a line.
pub fn test_packages() -> Result<()> {
    let list = sh::root().join("tests/packages.txt");
    let text = std::fs::read_to_string(&list).unwrap_or_default();
    let packages = parse_packages(&text);
    if packages.is_empty() {
        return Ok(());
    }
    if !apt::is_here() {
        let absent: Vec<&str> = packages.iter().map(|(package, _)| *package).collect();
        println!(
            "setup: this is no Debian machine; the tests use {}",
            absent.join(", ")
        );
        return Ok(());
    }
    let names: Vec<&str> = packages.iter().map(|(package, _)| *package).collect();
    let missing = apt::missing(&names);
    for (package, why) in packages
        .iter()
        .filter(|(package, _)| missing.contains(package))
    {
        println!("setup: the tests use {package}: {why}");
    }
    apt::install(&missing, "for the tests")
}

fn parse_packages(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| {
            let (package, why) = line.split_once('#').unwrap_or((line, ""));
            let package = package.trim();
            (!package.is_empty()).then_some((package, why.trim()))
        })
        .collect()
}

/// A short line about a program's version, for the digest and for reports.
pub fn version_of(program: &std::path::Path) -> String {
    sh::quiet(Command::new(program).arg("--version"))
        .map_or_else(|| "unknown".into(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_packages;

    #[test]
    fn packages_are_read_with_their_reasons() {
        let text = "# what the tests use\n\nnginx-light  # the proxy\nwrk\n";
        assert_eq!(
            parse_packages(text),
            [("nginx-light", "the proxy"), ("wrk", "")]
        );
    }
}
