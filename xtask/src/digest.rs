//! What the committed kernel object was built from: one digest over everything that decides its bytes
//! but the version of the compiler, which moves without us.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{object, sh};

/// The file that says what it was built from, from the top folder.
pub const DIGEST: &str = "probe-user/bpf/stallscope.bpf.digest";

/// The package whose dependencies count.
const PACKAGE: &str = "probe-ebpf";
/// Folders whose Rust files and manifests count.
const FOLDERS: [&str; 2] = ["probe-ebpf", "probe-common"];

/// The text of the digest file for `object`, given one line about the tool chain (for information).
pub fn text(object: &[u8], toolchain: &str) -> Result<String> {
    Ok(format!(
        "# Written by `cargo xtask bless`; checked by `cargo xtask check`.\n\
         sources {}\nobject {}\n# built by {toolchain}\n",
        sources()?,
        hex(&Sha256::digest(object))
    ))
}

/// Fails unless the committed object is the one that its digest file names, built from these sources.
pub fn check() -> Result<()> {
    let read =
        |name: &str| fs::read(sh::root().join(name)).with_context(|| format!("cannot read {name}"));
    let text = String::from_utf8(read(DIGEST)?).with_context(|| format!("{DIGEST} is not text"))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .with_context(|| format!("{DIGEST} has no line `{name}`"))
    };
    if field("object ")? != hex(&Sha256::digest(read(object::COMMITTED)?)) {
        bail!(
            "{} is not the object that {DIGEST} describes: run `cargo xtask bless`",
            object::COMMITTED
        );
    }
    if field("sources ")? != sources()? {
        bail!(
            "{} is stale, its sources have changed: run `cargo xtask bless`",
            object::COMMITTED
        );
    }
    Ok(())
}

/// The digest of everything that decides the object's bytes.
fn sources() -> Result<String> {
    let root = sh::root();
    let mut all = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        all.update(format!("{name}\n{}\n", bytes.len()));
        all.update(bytes);
    };
    add("arguments", object::ARGUMENTS.join(" ").as_bytes());
    add("flags", object::FLAGS.join(" ").as_bytes());
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    add("profile", profile(&manifest).as_bytes());
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    add("dependencies", dependencies(&lock, PACKAGE)?.as_bytes());
    for folder in FOLDERS {
        let mut files = Vec::new();
        walk(&root.join(folder), &mut files)?;
        files.sort();
        for file in files {
            let name = file
                .strip_prefix(&root)
                .unwrap_or(&file)
                .to_string_lossy()
                .into_owned();
            add(
                &name,
                &fs::read(&file).with_context(|| format!("cannot read {name}"))?,
            );
        }
    }
    Ok(hex(&all.finalize()))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let is_built = path.file_name().is_some_and(|name| name == "target");
        if path.is_dir() && !is_built {
            walk(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "toml")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// The release profile's tables in the workspace manifest.
fn profile(manifest: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.starts_with("[profile.release");
        }
        if inside && !line.trim().is_empty() {
            let _ = writeln!(text, "{}", line.trim());
        }
    }
    text
}

/// The locked packages below `package`, one `name version checksum` a line, sorted.
fn dependencies(lock: &str, package: &str) -> Result<String> {
    let packages: Vec<Locked<'_>> = lock
        .split("[[package]]")
        .skip(1)
        .map(Locked::parse)
        .collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    let mut found = BTreeSet::new();
    while let Some(wanted) = open.pop() {
        if !seen.insert(wanted.clone()) {
            continue;
        }
        // A dependency reads `name`, or `name version` where the lock file holds several versions.
        let (name, version) = wanted.split_once(' ').unwrap_or((&wanted, ""));
        let locked = packages
            .iter()
            .find(|locked| locked.name == name && (version.is_empty() || locked.version == version))
            .with_context(|| format!("Cargo.lock does not hold {wanted}"))?;
        found.insert(format!(
            "{} {} {}\n",
            locked.name, locked.version, locked.checksum
        ));
        open.extend(
            locked
                .dependencies
                .iter()
                .map(|&dependency| dependency.to_owned()),
        );
    }
    Ok(found.into_iter().collect())
}

/// One entry of Cargo.lock.
struct Locked<'a> {
    name: &'a str,
    version: &'a str,
    checksum: &'a str,
    dependencies: Vec<&'a str>,
}

impl<'a> Locked<'a> {
    fn parse(entry: &'a str) -> Self {
        let field = |name: &str| {
            entry
                .lines()
                .find_map(|line| {
                    line.strip_prefix(name)?
                        .trim()
                        .strip_prefix('"')?
                        .strip_suffix('"')
                })
                .unwrap_or("")
        };
        let dependencies = entry
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
            .collect();
        Self {
            name: field("name ="),
            version: field("version ="),
            checksum: field("checksum ="),
            dependencies,
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{dependencies, profile};

    const LOCK: &str = "version = 4\n\n\
        [[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"b 2.0.0\",\n]\n\n\
        [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"11\"\n\n\
        [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"22\"\ndependencies = [\n \"a\",\n]\n\n\
        [[package]]\nname = \"c\"\nversion = \"3.0.0\"\nchecksum = \"33\"\n";

    #[test]
    fn only_packages_below_the_one_count_and_cycles_end() {
        assert_eq!(dependencies(LOCK, "a").unwrap(), "a 1.0.0 \nb 2.0.0 22\n");
        assert!(dependencies(LOCK, "d").is_err());
    }

    #[test]
    fn the_release_profile_is_cut_out_of_the_manifest() {
        let manifest = "[package]\nname = \"x\"\n\n[profile.release]\nlto = \"thin\"\n\n[profile.release.package.y]\ndebug = 0\n[lints]\nz = 1\n";
        assert_eq!(
            profile(manifest),
            "[profile.release]\nlto = \"thin\"\n[profile.release.package.y]\ndebug = 0\n"
        );
    }
}
