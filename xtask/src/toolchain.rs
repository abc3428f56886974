//! What can compile the kernel side: rustc with the sources of core, and a bpf-linker whose LLVM reads
//! what that rustc writes.
//!
//! Two are known: Debian's packages (`rustc-web`, `rust-web-src`), and a rustup nightly with `rust-src`.
//! Whether a linker fits is tried, not guessed: it links a three-line program.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{setup, sh};

/// Environment variable that picks a tool chain: [`DEBIAN`] or [`RUSTUP`].
pub const CHOICE: &str = "STALLSCOPE_TOOLCHAIN";
/// Debian's packages.
pub const DEBIAN: &str = "debian";
/// A rustup nightly.
pub const RUSTUP: &str = "rustup";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The oldest rustc that compiles the workspace, as `major.minor`.
pub const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Where a compiler comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Debian,
    Rustup(String),
}

/// A rustc that has the sources of core beside it.
#[derive(Clone, Debug)]
pub struct Compiler {
    source: Source,
    /// The first line of `rustc -V`.
    pub version: String,
    /// Major version of its LLVM.
    pub llvm: u32,
    /// Its installation folder, which paths in the object must not name.
    pub sysroot: PathBuf,
}

/// A compiler, and a linker that fits it.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// The path of bpf-linker.
    pub linker: PathBuf,
}

/// What [`detect`] found.
pub struct Found {
    /// A tool chain with nothing missing.
    pub complete: Option<Toolchain>,
    /// What is missing from those that are not complete, one line each.
    pub notes: Vec<String>,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Debian => write!(f, "{} (Debian, LLVM {})", self.version, self.llvm),
            Source::Rustup(name) => {
                write!(f, "{} (rustup {name}, LLVM {})", self.version, self.llvm)
            }
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.compiler, setup::version_of(&self.linker))
    }
}

impl Compiler {
    /// Debian's packaged compiler. Fails with one line that says what is missing.
    pub fn debian() -> Result<Self> {
        if !sh::is_executable(Path::new(DEBIAN_RUSTC)) {
            bail!("Debian's rustc is missing (package rustc-web)");
        }
        Self::examine(Source::Debian).with_context(|| {
            format!("{DEBIAN_RUSTC} does not serve (packages rustc-web, rust-web-src)")
        })
    }

    /// The rustup tool chain `name`. Fails with one line that says what is missing.
    fn rustup(name: &str) -> Result<Self> {
        Self::examine(Source::Rustup(name.to_owned()))
            .with_context(|| format!("rustup's {name} does not serve"))
    }

    fn examine(source: Source) -> Result<Self> {
        let verbose = sh::quiet(rustc_of(&source).arg("-vV")).context("it does not run")?;
        let (release, llvm) =
            parse_version(&verbose).context("`rustc -vV` tells no release and LLVM version")?;
        if !is_at_least(release, OLDEST) {
            bail!("it is rustc {release}, and {OLDEST} is the oldest that serves");
        }
        let sysroot = sh::quiet(rustc_of(&source).args(["--print", "sysroot"]))
            .context("it has no sysroot")?;
        let sysroot = PathBuf::from(sysroot.trim());
        if !sysroot
            .join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .exists()
        {
            bail!(
                "it has no sources of core (Debian: package rust-web-src; rustup: component rust-src)"
            );
        }
        let version = verbose.lines().next().unwrap_or_default().to_owned();
        Ok(Self {
            source,
            version,
            llvm,
            sysroot,
        })
    }

    /// This compiler's rustc.
    fn rustc(&self) -> Command {
        rustc_of(&self.source)
    }

    /// A cargo that compiles with this compiler and lets it use unstable options.
    pub fn cargo(&self) -> Command {
        let mut cargo = match &self.source {
            Source::Debian => {
                let mut cargo = sh::cargo();
                cargo.env("RUSTC", DEBIAN_RUSTC);
                cargo
            }
            Source::Rustup(name) => {
                let mut cargo = Command::new("rustup");
                cargo
                    .args(["run", name, "cargo"])
                    .current_dir(sh::root())
                    .env_remove("RUSTC")
                    .env_remove("CARGO");
                sh::clean_library_path(&mut cargo);
                cargo
            }
        };
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTFLAGS");
        cargo
    }
}

fn rustc_of(source: &Source) -> Command {
    let mut command = match source {
        Source::Debian => Command::new(DEBIAN_RUSTC),
        Source::Rustup(name) => {
            let mut command = Command::new("rustup");
            command.args(["run", name, "rustc"]).env_remove("RUSTC");
            command
        }
    };
    sh::clean_library_path(&mut command);
    command
}

/// The tool chain that the environment asks for, if it does.
pub fn wanted() -> Result<Option<String>> {
    match env::var(CHOICE) {
        Ok(choice) if choice == DEBIAN || choice == RUSTUP => Ok(Some(choice)),
        Ok(choice) => bail!("{CHOICE}={choice} names no tool chain: use {DEBIAN} or {RUSTUP}"),
        Err(_) => Ok(None),
    }
}

/// Looks for a complete tool chain: Debian's first, then rustup's nightlies.
pub fn detect(wanted: Option<&str>) -> Result<Found> {
    let mut compilers = Vec::new();
    if wanted != Some(RUSTUP) {
        compilers.push(Compiler::debian());
    }
    if wanted != Some(DEBIAN) {
        let nightlies = rustup_nightlies();
        if nightlies.is_empty() {
            compilers.push(Err(anyhow::anyhow!("no rustup nightly is installed")));
        }
        compilers.extend(nightlies.iter().map(|name| Compiler::rustup(name)));
    }
    let mut notes = Vec::new();
    for compiler in compilers {
        match compiler {
            Ok(compiler) => match find_linker(&compiler)? {
                (Some(linker), _) => {
                    return Ok(Found {
                        complete: Some(Toolchain { compiler, linker }),
                        notes,
                    });
                }
                (None, tried) => {
                    notes.push(format!("{compiler}: no bpf-linker that fits"));
                    notes.extend(tried);
                }
            },
            Err(error) => notes.push(format!("{error:#}")),
        }
    }
    Ok(Found {
        complete: None,
        notes,
    })
}

/// Names of the nightlies that rustup has installed.
pub fn rustup_nightlies() -> Vec<String> {
    let list = sh::quiet(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect()
}

/// Where this xtask installs bpf-linker: inside the target folder, so that nothing outside changes.
pub fn tools_dir() -> Result<PathBuf> {
    Ok(sh::target_dir()?.join("tools"))
}

/// The first bpf-linker that links what `compiler` makes, and why others do not, one line each.
pub fn find_linker(compiler: &Compiler) -> Result<(Option<PathBuf>, Vec<String>)> {
    let own = tools_dir()?.join("bin/bpf-linker");
    let candidates = sh::find("bpf-linker")
        .into_iter()
        .chain(sh::is_executable(&own).then_some(own));
    let mut notes = Vec::new();
    for linker in candidates {
        match trial(compiler, &linker)? {
            None => return Ok((Some(linker), notes)),
            Some(reason) => notes.push(format!("{} does not fit: {reason}", linker.display())),
        }
    }
    Ok((None, notes))
}

/// Compiles three lines to LLVM bitcode and links them for BPF. `None` when it works, else why not:
/// a linker with an older LLVM cannot read the bitcode, one whose shared LLVM has gone cannot start.
fn trial(compiler: &Compiler, linker: &Path) -> Result<Option<String>> {
    let folder = sh::target_dir()?.join("bpf/trial");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let source = folder.join("trial.rs");
    fs::write(
        &source,
        "#![no_std]\n#[unsafe(no_mangle)]\npub extern \"C\" fn trial() -> u32 { 7 }\n",
    )
    .with_context(|| format!("cannot write {}", source.display()))?;
    let (bitcode, object) = (folder.join("trial.bc"), folder.join("trial.o"));
    let compiled = compiler
        .rustc()
        .args([
            "--edition=2024",
            "--crate-type=lib",
            "--emit=llvm-bc",
            "-Copt-level=1",
            "-o",
        ])
        .args([&bitcode, &source])
        .output()?;
    if !compiled.status.success() {
        return Ok(Some(format!(
            "{compiler} cannot compile: {}",
            first_line(&compiled.stderr)
        )));
    }
    if object.exists() {
        fs::remove_file(&object)?;
    }
    let mut link = Command::new(linker);
    sh::clean_library_path(&mut link);
    link.args(["--target=bpfel", "--export=trial", "--output"])
        .args([&object, &bitcode]);
    match link.output() {
        Err(error) => Ok(Some(format!("it does not start: {error}"))),
        Ok(linked) if linked.status.success() && object.exists() => Ok(None),
        Ok(linked) => Ok(Some(first_line(&linked.stderr))),
    }
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it says nothing")
        .trim()
        .to_owned()
}

/// The release and the major version of LLVM in the output of `rustc -vV`.
fn parse_version(verbose: &str) -> Option<(&str, u32)> {
    let field = |name: &str| {
        verbose
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some((field("release:")?, llvm))
}

/// Compares a release such as `1.97.0-nightly`, or a Debian version, with `1.95` by major and minor.
pub fn is_at_least(release: &str, oldest: &str) -> bool {
    let numbers = |text: &str| {
        let mut parts = text
            .split(['.', '-'])
            .map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    numbers(release) >= numbers(oldest)
}

#[cfg(test)]
mod tests {
    use super::{is_at_least, parse_version};

    #[test]
    fn version_output_tells_release_and_llvm() {
        let verbose = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_version(verbose), Some(("1.96.0", 22)));
        assert_eq!(parse_version("rustc 1.96.0\n"), None);
    }

    #[test]
    fn releases_compare_by_number_not_by_text() {
        assert!(is_at_least("1.97.0-nightly", "1.95"));
        assert!(is_at_least("1.100.1", "1.95"));
        assert!(is_at_least("1.95.0", "1.95"));
        assert!(is_at_least("1.96.0+dfsg1-1~deb12u2", "1.95"));
        assert!(!is_at_least("1.63.0", "1.95"));
        assert!(!is_at_least("nonsense", "1.95"));
    }
}
