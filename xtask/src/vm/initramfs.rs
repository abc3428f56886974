//! The guest's only file system: a cpio archive ("newc") written here, so that no tool for it has to be installed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const PLAIN: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// /dev/console, which the kernel opens for /init before anything is mounted.
const CONSOLE: (u32, u32) = (5, 1);

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An archive with the directories that /init mounts on, and its console.
    #[must_use]
    pub fn new() -> Self {
        let mut archive = Self::default();
        for dir in [
            "bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin",
            "var",
        ] {
            archive.entry(dir, DIRECTORY, (0, 0), &[]);
        }
        archive.entry("dev/console", CHARACTER_DEVICE, CONSOLE, &[]);
        archive
    }

    /// Adds a program.
    ///
    /// # Errors
    /// When `from` cannot be read, or is too large for the format.
    pub fn program(&mut self, name: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        ensure!(
            u32::try_from(bytes.len()).is_ok(),
            "{} is larger than a cpio archive can hold (4 GiB)",
            from.display()
        );
        self.entry(name, EXECUTABLE, (0, 0), &bytes);
        Ok(())
    }

    /// Adds a small plain file.
    pub fn file(&mut self, name: &str, bytes: &[u8]) {
        self.entry(name, PLAIN, (0, 0), bytes);
    }

    /// The finished archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// One "newc" entry: 13 numbers of 8 hex digits, the name, the data; each part padded to 4 bytes.
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        // `program` has checked the size; names and job files are written here and are short.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            data.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_the_trailer_ends_the_archive() {
        let mut archive = Archive::default();
        archive.file("job", b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&bytes);
        let data = text.find("hello").expect("the data is there");
        assert_eq!(data % 4, 0);
        assert_eq!(&text[6..14], "00000001");
        assert_eq!(&text[14..22], "000081a4");
        assert_eq!(&text[54..62], "00000005");
        assert!(text.contains("TRAILER!!!"));
    }
}
