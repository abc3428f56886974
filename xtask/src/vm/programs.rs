//! The programs that go into a guest: built static here, or given by path.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::initramfs::Archive;
use super::kernel::Image;
use super::qemu::fetch;
use crate::{
    build::{self, Purpose},
    dist, object,
};

/// The test program's name in the guest's /bin.
pub const TESTS: &str = "kernel-tests";
/// The program of the scenarios, likewise.
pub const SCENARIOS: &str = "scenarios";
/// The command of `--exec`, as a shell script in the guest's root.
pub const SCRIPT: &str = "command";

/// Name in the guest's /bin, and where it is on the host.
#[derive(Debug)]
pub struct Programs {
    init: PathBuf,
    files: Vec<(String, PathBuf)>,
    script: Option<String>,
}

impl Programs {
    /// Builds what these options need.
    ///
    /// # Errors
    /// When a build fails, or a given program is not static.
    pub fn make(options: &Options, cache: &Path) -> Result<Self> {
        let init = build::program(Purpose::Tests, "vm-init", "--bin", "vm-init", None)?;
        let mut files = vec![("busybox".to_owned(), busybox(cache)?)];
        for path in &options.binary {
            let name = path
                .file_name()
                .with_context(|| format!("{} names no program", path.display()))?;
            let bytes =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let dynamic = dist::needs_interpreter(&bytes)
                .with_context(|| format!("cannot run {} in a guest", path.display()))?;
            ensure!(
                !dynamic,
                "{} is not a static program: a guest has no shared libraries",
                path.display()
            );
            files.push((name.to_string_lossy().into_owned(), path.clone()));
        }
        let given = files.iter().any(|(name, _)| name == "stallscope");
        let mentioned = options
            .exec
            .as_ref()
            .is_none_or(|c| c.contains("stallscope"));
        let tool = mentioned && !given;
        if tool || options.exec.is_none() {
            let object = std::env::var_os(object::VARIABLE)
                .map_or_else(build::object, |given| Ok(given.into()))?;
            if tool {
                let path = build::static_stallscope(Purpose::Tests, &object)?;
                files.push(("stallscope".to_owned(), path));
            }
            if options.exec.is_none() {
                let path = build::kernel_tests("kernel", &object)?;
                files.push((TESTS.to_owned(), path));
            }
            if options.with_scenarios() {
                let path = build::kernel_tests("e2e", &object)?;
                files.push((SCENARIOS.to_owned(), path));
            }
        }
        Ok(Self {
            init,
            files,
            script: options.exec.clone(),
        })
    }

    /// The guest's file system.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn archive(&self, image: &Image, jobs: &str) -> Result<Vec<u8>> {
        let mut archive = Archive::new();
        archive.program("init", &self.init)?;
        for (name, path) in &self.files {
            archive.program(&format!("bin/{name}"), path)?;
        }
        for (n, module) in image.modules.iter().enumerate() {
            archive.program(&format!("modules/{n:02}.ko"), module)?;
        }
        if let Some(script) = &self.script {
            archive.file(SCRIPT, script.as_bytes());
        }
        archive.file("job", jobs.as_bytes());
        Ok(archive.finish())
    }
}

/// Debian's static busybox: a shell and small tools for `--exec`.
fn busybox(cache: &Path) -> Result<PathBuf> {
    let root = cache.join("busybox");
    let found = || {
        ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|p| root.join(p))
            .find(|p| p.is_file())
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    eprintln!(
        "vm: fetching busybox-static for the guests' shell: it is not in {} yet",
        root.display()
    );
    fetch(cache, "busybox-static", &root, false)?;
    found().context("busybox-static has no bin/busybox")
}
