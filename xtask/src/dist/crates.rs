//! The crates that are linked into the binary: those of normal dependencies, with the features that are on; neither build
//! scripts nor what runs in the compiler.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::sh;

/// A crate of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// As in the registry.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression.
    pub licence: String,
    /// SHA-256 of what the registry has, as Cargo.lock pins it.
    pub checksum: String,
    /// Where its sources are.
    pub folder: PathBuf,
}

/// All of them, sorted.
pub fn linked(target: &str) -> Result<Vec<Crate>> {
    let tree = sh::output(sh::cargo().args([
        "tree",
        "--locked",
        "--package=probe-user",
        "--edges=normal,no-proc-macro",
        "--prefix=none",
        "--format={p}|{l}",
        "--target",
        target,
    ]))?;
    let lock =
        fs::read_to_string(sh::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let checksums = checksums(&lock);
    let folders = folders(target)?;
    let mut crates = Vec::new();
    for (name, version, licence) in parse(&tree) {
        let id = (name, version);
        // Ours have no checksum.
        let Some(checksum) = checksums.get(&id) else {
            continue;
        };
        let folder = folders.get(&id);
        let folder = folder.with_context(|| format!("cargo metadata does not name {}", id.0))?;
        ensure!(
            !licence.is_empty(),
            "{} {} names no licence: look it up before it is handed out",
            id.0,
            id.1
        );
        crates.push(Crate {
            name: id.0,
            version: id.1,
            licence,
            checksum: checksum.clone(),
            folder: folder.clone(),
        });
    }
    crates.sort();
    crates.dedup();
    Ok(crates)
}

/// Name, version and licence of the lines of `cargo tree`.
fn parse(tree: &str) -> Vec<(String, String, String)> {
    let lines = tree.lines().filter_map(|line| {
        let (package, licence) = line.split_once('|')?;
        let mut words = package.split(' ');
        let name = words.next()?.to_owned();
        let version = words.next()?.strip_prefix('v')?.to_owned();
        // The star marks what was shown before.
        let licence = licence.trim_end_matches(" (*)").replace(" / ", "/");
        Some((name, version, licence.replace('/', " OR ")))
    });
    lines.collect()
}

/// Checksums of Cargo.lock by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut out = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let mut lines = package.lines().map(|line| line.split_once(" = "));
            let value = lines.find_map(|pair| pair.filter(|(key, _)| *key == name));
            value.map(|(_, value)| value.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            out.insert((name, version), checksum);
        }
    }
    out
}

/// Folders of all packages by name and version.
fn folders(target: &str) -> Result<BTreeMap<(String, String), PathBuf>> {
    let text = sh::output(
        sh::cargo()
            .args(["metadata", "--locked", "--format-version=1"])
            .args(["--filter-platform", target]),
    )?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("cargo metadata names no packages")?;
    let mut out = BTreeMap::new();
    for package in packages {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let mut folder = PathBuf::from(text("manifest_path"));
        folder.pop();
        out.insert((text("name"), text("version")), folder);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_is_a_crate_however_it_spells_its_licence() {
        let tree = "probe-user v0.1.0 (/w)|MIT OR Apache-2.0\nfnv v1.0.7|Apache-2.0 / MIT\nfnv v1.0.7|MIT/Apache-2.0 (*)\n\n";
        let expected = |name: &str, version: &str, licence: &str| {
            (name.to_owned(), version.to_owned(), licence.to_owned())
        };
        assert_eq!(
            parse(tree),
            [
                expected("probe-user", "0.1.0", "MIT OR Apache-2.0"),
                expected("fnv", "1.0.7", "Apache-2.0 OR MIT"),
                expected("fnv", "1.0.7", "MIT OR Apache-2.0"),
            ]
        );
    }

    #[test]
    fn only_what_a_registry_has_is_pinned_by_a_checksum() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"12ab\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&("a".to_owned(), "1.0.0".to_owned())], "12ab");
    }
}
