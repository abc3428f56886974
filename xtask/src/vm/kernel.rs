//! The kernels of the matrix: fetched once as Debian packages, reduced to an image and a few modules, and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::apt::Apt;

/// One line of the matrix.
#[derive(Debug)]
pub struct Kernel {
    /// What `--kernel` takes, and what the release must start with unless it ends in `.x`.
    pub name: &'static str,
    /// The Debian suite that ships it.
    pub suite: &'static str,
    /// Booted when no kernel is named.
    pub required: bool,
}

/// All kernels, oldest first.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        suite: "bullseye",
        required: true,
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
        required: true,
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
        required: true,
    },
    Kernel {
        name: "7.x",
        suite: "sid",
        // Its emulated guest loses events to programs that the kernel skips; see docs/kernels.md.
        required: false,
    },
];

/// Loaded before anything runs. ext4 brings jbd2, whose tracepoints exist only while it is loaded, as on a real node;
/// loop carries a file system in a file, and virtio is what the disks are on. crc32c_generic is what ext4 asks modprobe
/// for, which a guest does not have.
const MODULES: &[&str] = &["loop", "crc32c_generic", "ext4", "virtio_pci", "virtio_blk"];

/// A kernel that is ready to boot.
#[derive(Debug)]
pub struct Image {
    /// As `uname -r` says it.
    pub release: String,
    /// The bzImage.
    pub vmlinuz: PathBuf,
    /// Module files in the order in which they load.
    pub modules: Vec<PathBuf>,
}

impl Kernel {
    /// The image from the cache, or else from the suite's package.
    ///
    /// # Errors
    /// When there is neither a cached image nor a way to get the package.
    pub fn image(&self, cache: &Path) -> Result<Image> {
        let dir = cache.join("kernels").join(self.name);
        if let Some(image) = cached(&dir)? {
            return Ok(image);
        }
        eprintln!(
            "vm: fetching Debian's cloud kernel of {} ({}): it is not in {} yet",
            self.suite,
            self.name,
            dir.display()
        );
        let work = cache.join(format!("work-{}", self.name));
        remove(&work)?;
        self.fetch(&work, &dir)
            .with_context(|| format!("no kernel {}", self.name))?;
        remove(&work)?;
        cached(&dir)?
            .with_context(|| format!("{} was just filled but is not complete", dir.display()))
    }

    fn fetch(&self, work: &Path, dir: &Path) -> Result<()> {
        let apt = Apt::suite(&work.join("apt"), self.suite)?;
        let packages = kernel_packages(apt.closure("linux-image-cloud-amd64")?);
        ensure!(
            !packages.is_empty(),
            "linux-image-cloud-amd64 of {} depends on no kernel package",
            self.suite
        );
        let tree = work.join("tree");
        apt.unpack(&packages, &tree)?;
        apt.close()?;
        let files = files_below(&tree)?;
        let vmlinuz = files.iter().find(|f| file_name(f).starts_with("vmlinuz"));
        let vmlinuz = vmlinuz.with_context(|| format!("no vmlinuz in {}", packages.join(", ")))?;
        let release =
            release_of(&files).context("no modules directory in the kernel's packages")?;
        let series = self.name.strip_suffix(".x").unwrap_or(self.name);
        ensure!(
            release
                .strip_prefix(series)
                .is_some_and(|rest| rest.starts_with('.')),
            "{} now ships {release}, which is no {}: the list in xtask/src/vm/kernel.rs needs an edit",
            self.suite,
            self.name
        );
        let fresh = work.join("image");
        fs::create_dir_all(fresh.join("modules"))?;
        fs::copy(vmlinuz, fresh.join("vmlinuz"))?;
        let mut order = Vec::new();
        for name in MODULES {
            add_module(name, &files, &fresh.join("modules"), &mut order)?;
        }
        fs::write(fresh.join("modules.order"), order.join("\n"))?;
        fs::write(fresh.join("modules.wanted"), MODULES.join(" "))?;
        fs::write(fresh.join("release"), release)?;
        remove(dir)?;
        fs::create_dir_all(dir.parent().context("the cache has no parent")?)?;
        // Last and in one step, so that a run cut short leaves no half image behind.
        fs::rename(&fresh, dir)
            .with_context(|| format!("cannot move the kernel to {}", dir.display()))
    }
}

fn cached(dir: &Path) -> Result<Option<Image>> {
    let (Ok(release), Ok(wanted)) = (
        fs::read_to_string(dir.join("release")),
        fs::read_to_string(dir.join("modules.wanted")),
    ) else {
        return Ok(None);
    };
    if wanted != MODULES.join(" ") {
        return Ok(None);
    }
    let order = fs::read_to_string(dir.join("modules.order"))
        .context("the cached kernel has no modules.order")?;
    let modules = order
        .lines()
        .map(|name| dir.join("modules").join(name))
        .collect();
    Ok(Some(Image {
        release,
        vmlinuz: dir.join("vmlinuz"),
        modules,
    }))
}

/// The real kernel's packages among the dependencies of the meta package. Newer suites split the image in three.
fn kernel_packages(closure: Vec<String>) -> Vec<String> {
    let kinds = ["linux-image-", "linux-binary-", "linux-modules-"];
    let real = |name: &str| {
        kinds.iter().any(|k| {
            name.strip_prefix(k)
                .is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    closure
        .into_iter()
        .filter(|name| real(name) && name.ends_with("-cloud-amd64"))
        .collect()
}

/// The directory name below lib/modules.
fn release_of(files: &[PathBuf]) -> Option<String> {
    files.iter().find_map(|f| {
        let mut parts = f
            .components()
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .skip_while(|p| p != "modules");
        parts.next()?;
        parts
            .next()
            .filter(|p| p.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// Copies a module and, before it, those it depends on. A name without a file is built in.
fn add_module(name: &str, files: &[PathBuf], into: &Path, order: &mut Vec<String>) -> Result<()> {
    let target = format!("{name}.ko");
    if order.contains(&target) {
        return Ok(());
    }
    let same = |f: &&PathBuf| {
        let file = file_name(f).replace('-', "_");
        [".ko", ".ko.xz", ".ko.zst"]
            .iter()
            .any(|end| file.strip_suffix(end) == Some(name))
    };
    let Some(file) = files.iter().find(same) else {
        return Ok(());
    };
    let bytes = match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => decompress("xz", file)?,
        Some("zst") => decompress("zstd", file)?,
        _ => fs::read(file)?,
    };
    for needed in depends(&bytes) {
        add_module(&needed, files, into, order)?;
    }
    fs::write(into.join(&target), bytes)?;
    order.push(target);
    Ok(())
}

fn decompress(tool: &str, file: &Path) -> Result<Vec<u8>> {
    let done = Command::new(tool)
        .arg("-dc")
        .arg(file)
        .output()
        .with_context(|| format!("cannot start {tool} to unpack a kernel module"))?;
    if !done.status.success() {
        bail!("{tool} cannot unpack {}", file.display());
    }
    Ok(done.stdout)
}

/// The `depends=` entry of a module's .modinfo section: depmod's files are not in the packages.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|w| w == key) else {
        return Vec::new();
    };
    let rest = &module[at + key.len()..];
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    let list = String::from_utf8_lossy(&rest[..end]).replace('-', "_");
    list.split(',')
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Removes a directory that may not exist.
pub fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_packages_are_told_from_the_meta_packages() {
        let names = [
            "linux-image-cloud-amd64",
            "linux-base-cloud-amd64",
            "linux-base-7.2+deb14-cloud-amd64",
            "linux-image-7.2+deb14-cloud-amd64",
            "linux-binary-7.2+deb14-cloud-amd64",
            "linux-modules-7.2+deb14-cloud-amd64",
            "kmod",
        ];
        let found = kernel_packages(names.map(str::to_owned).to_vec());
        assert_eq!(
            found,
            [
                "linux-image-7.2+deb14-cloud-amd64",
                "linux-binary-7.2+deb14-cloud-amd64",
                "linux-modules-7.2+deb14-cloud-amd64"
            ]
        );
    }

    #[test]
    fn a_module_names_what_it_depends_on() {
        assert_eq!(
            depends(b"x\0license=GPL\0depends=crc16,mbcache,jbd2\0retpoline=Y\0"),
            ["crc16", "mbcache", "jbd2"]
        );
        assert_eq!(depends(b"x\0depends=\0intree=Y\0"), Vec::<String>::new());
        assert_eq!(depends(b"no modinfo"), Vec::<String>::new());
    }

    #[test]
    fn the_release_is_the_directory_of_the_modules() {
        let files = [
            PathBuf::from("/t/boot/vmlinuz-1"),
            PathBuf::from("/t/usr/lib/modules/6.1.0-50-cloud-amd64/kernel/fs/ext4/ext4.ko"),
        ];
        assert_eq!(release_of(&files).as_deref(), Some("6.1.0-50-cloud-amd64"));
    }
}
