//! What watching files yields, in a place of the case's own.

use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;
use probe_common::loss;
use probe_tests::child::Child;
use stallscope::{
    attach::{self, Mode, Options, Signals},
    collect::{
        Collector,
        files::{Directory, FilesReading},
    },
};

/// Files watched, and nothing else.
pub struct FilesWatch {
    /// The library's reader.
    pub collector: Collector,
    /// Everything so far.
    pub files: FilesReading,
    /// Lost so far, by slot.
    pub losses: Vec<u64>,
}

impl FilesWatch {
    /// Attaches.
    pub fn start() -> anyhow::Result<Self> {
        let options = Options {
            mode: Mode::Signals,
            signals: Signals {
                files: true,
                ..Signals::default()
            },
            ..Options::default()
        };
        let collector = Collector::new(attach::attach(&options)?)?;
        for probe in collector.probes() {
            anyhow::ensure!(
                probe.state == attach::State::Active,
                "{} is {:?}",
                probe.id,
                probe.state
            );
        }
        Ok(Self {
            collector,
            files: FilesReading::default(),
            losses: Vec::new(),
        })
    }

    /// Lets a workload go on and waits for its answer.
    pub fn step(&mut self, child: &mut Child) -> anyhow::Result<Vec<u64>> {
        child.go()?;
        child.recv_while(|| self.collector.drain())
    }

    /// Reads everything.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let reading = self.collector.read()?;
        let files = *reading.files.unwrap_or_default();
        self.files.directories = files.directories;
        self.files.retired.extend(files.retired);
        let retired = self.files.retired.iter().cloned();
        self.files.directories.extend(retired);
        self.files.refused = files.refused;
        self.files.steps.extend(files.steps);
        self.files.uses.extend(files.uses);
        self.files.mounts = files.mounts;
        self.losses = reading.losses.to_vec();
        let failed = self.losses[loss::slot::READ_FAILED as usize];
        anyhow::ensure!(failed == 0, "{failed} reads failed");
        Ok(())
    }

    /// Runs a workload to the end of its work, and reads.
    pub fn watch(&mut self, child: &mut Child) -> anyhow::Result<Vec<u64>> {
        let answer = self.step(child)?;
        self.read()?;
        Ok(answer)
    }

    /// What a process did in a directory; nothing is a row of zeros.
    pub fn directory(&self, pid: u32, inode: u64) -> Directory {
        let of_pid = self.of(pid).into_iter().filter(|d| d.inode == inode);
        let (by_path, rows): (Vec<_>, Vec<_>) = of_pid.partition(|d| d.by_path != 0);
        assert!(rows.len() <= 1, "one row each: {rows:#?}");
        let one = rows.first().or(by_path.first()).copied();
        Directory {
            unlinked: rows.iter().chain(&by_path).map(|d| d.unlinked).sum(),
            ..one.cloned().unwrap_or_default()
        }
    }

    /// What a process did anywhere.
    pub fn of(&self, pid: u32) -> Vec<&Directory> {
        let all = self.files.directories.iter();
        all.filter(|d| d.pid == pid).collect()
    }
}

/// A directory of the case's own, on the file system that temporary files are on. Dropping it removes it.
pub struct Place(pub PathBuf);

impl Place {
    /// Makes it.
    pub fn new() -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("stallscope-files-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path.canonicalize()?))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Inode of what a path names.
pub fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("metadata").ino()
}

fn c(text: &[u8]) -> CString {
    CString::new(text).expect("no NUL")
}

/// A mount namespace of the caller's own, whose mounts nobody else sees.
pub fn own_mounts() {
    // SAFETY: no pointers in the first; the second is passed NUL-terminated strings.
    let r = unsafe {
        libc::unshare(libc::CLONE_NEWNS)
            | libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            )
    };
    // A root directory that is no mount (an initramfs) cannot be made private, and need not be.
    if r != 0 {
        eprintln!("own mounts: {}", std::io::Error::last_os_error());
    }
}

/// Mounts a file system.
pub fn mount(kind: &str, source: &str, at: &Path, options: &str) {
    let (kind, source) = (c(kind.as_bytes()), c(source.as_bytes()));
    let (at, options) = (c(at.as_os_str().as_bytes()), c(options.as_bytes()));
    // SAFETY: NUL-terminated strings.
    let r = unsafe {
        libc::mount(
            source.as_ptr(),
            at.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(r, 0, "mount: {}", std::io::Error::last_os_error());
}
