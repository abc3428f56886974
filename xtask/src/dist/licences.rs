//! The licences of what is linked into the binary: their texts ask to be handed out with it.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use super::crates::Crate;

/// Every crate with its licence, then each text once, with the crates that it comes with.
pub fn text(crates: &[Crate]) -> Result<String> {
    let mut out = String::from(
        "stallscope contains these crates, under the licences named. Texts that they come with follow.\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in crates {
        writeln!(out, "{} {}: {}", one.name, one.version, one.licence)?;
        for text in texts_of(one)? {
            let users = texts.entry(text).or_default();
            users.push(format!("{} {}", one.name, one.version));
        }
    }
    for (text, users) in texts {
        writeln!(out, "\n{}\n{}\n\n{text}", "=".repeat(76), users.join(", "))?;
    }
    Ok(out)
}

/// The texts in a crate's folder, alike but for spaces at the ends of lines.
fn texts_of(of: &Crate) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(&of.folder).with_context(|| {
        format!(
            "the sources of {} are not in {}",
            of.name,
            of.folder.display()
        )
    })?;
    for entry in entries {
        let entry = entry?;
        if is_licence(&entry.file_name().to_string_lossy()) && entry.path().is_file() {
            let bytes = fs::read(entry.path())?;
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            found.push(lines.join("\n").trim().to_owned());
        }
    }
    found.sort();
    Ok(found)
}

fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let starts = [
        "LICENSE",
        "LICENCE",
        "COPYING",
        "COPYRIGHT",
        "NOTICE",
        "UNLICENSE",
    ];
    starts.iter().any(|start| name.starts_with(start)) && !name.ends_with(".RS")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_in(folder: &std::path::Path, name: &str) -> Crate {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("LICENSE-MIT"), format!("Same text. \n{}", "")).unwrap();
        fs::write(folder.join("license.rs"), "no licence").unwrap();
        Crate {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: "MIT".to_owned(),
            checksum: String::new(),
            folder,
        }
    }

    #[test]
    fn a_text_that_many_share_stands_there_once() {
        let folder = std::env::temp_dir().join(format!("licences-{}", std::process::id()));
        let text = text(&[crate_in(&folder, "a"), crate_in(&folder, "b")]).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(text.matches("Same text.").count(), 1);
        assert!(text.contains("\na 1.0.0, b 1.0.0\n") && text.contains("b 1.0.0: MIT"));
        assert!(!text.contains("no licence"));
    }
}
