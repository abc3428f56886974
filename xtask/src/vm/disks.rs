//! Disks with an ext4 file system for the guests: one that is fast and one that QEMU throttles. A guest has no mkfs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// Bytes of a disk; the file is sparse.
const SIZE: u64 = 64 << 20;
/// Writes a second that the slow disk does.
const SLOW: u32 = 20;

/// A disk of a guest.
#[derive(Debug)]
pub struct Disk {
    /// The image.
    pub file: PathBuf,
    /// QEMU lets no more writes a second through.
    pub writes_per_s: Option<u32>,
}

/// Makes the disks, /dev/vda and /dev/vdb of the guest: fast and slow. None where there is no mkfs.ext4.
///
/// # Errors
/// When an image cannot be written or formatted.
pub fn make(cache: &Path, kernel: &str) -> Result<Vec<Disk>> {
    let Some(mkfs) = sh::find("mkfs.ext4").or_else(|| {
        let sbin = PathBuf::from("/sbin/mkfs.ext4");
        sbin.is_file().then_some(sbin)
    }) else {
        eprintln!("vm: there is no mkfs.ext4 (package e2fsprogs): the guests get no disks");
        return Ok(Vec::new());
    };
    let disk = |(name, writes_per_s)| {
        let file = cache.join(format!("disk-{name}-{kernel}"));
        let image = File::create(&file);
        image
            .and_then(|image| image.set_len(SIZE))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut format = Command::new(&mkfs);
        // Nothing is left for the guest to write in its own time.
        format
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&file);
        sh::run(&mut format)?;
        Ok(Disk { file, writes_per_s })
    };
    [("fast", None), ("slow", Some(SLOW))]
        .into_iter()
        .map(disk)
        .collect()
}

/// Removes the images.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(disks: &[Disk]) -> Result<()> {
    disks.iter().try_for_each(|disk| {
        fs::remove_file(&disk.file)
            .with_context(|| format!("cannot remove {}", disk.file.display()))
    })
}
