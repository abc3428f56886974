//! Runs the binary as a user would.

use std::{
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use stallscope::collect::recording::Recording;

use crate::{child::Spawned, programs, soak, web};

/// Where the binary is: `STALLSCOPE_BIN`, or beside this program or test in the target directory.
pub fn path() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("STALLSCOPE_BIN") {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "STALLSCOPE_BIN={}: no such file",
            path.display()
        );
        return Ok(path);
    }
    // target/<profile>/lab, or target/<profile>/deps/e2e-<hash> -> target/<profile>/stallscope
    let exe = std::env::current_exe()?;
    let mut beside = exe
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("stallscope"));
    match beside.find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!(
            "no stallscope binary: run `cargo build -p probe-user` first, or set STALLSCOPE_BIN to its path"
        ),
    }
}

/// A running stallscope whose output goes to files.
pub struct Tool {
    spawned: Spawned,
    stdout: std::fs::File,
    stderr: std::fs::File,
}

/// What it left.
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output as one JSON document.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| {
            format!(
                "stdout is not one JSON document: {:?}; stderr: {}",
                self.stdout, self.stderr
            )
        })
    }
}

impl Tool {
    /// Starts it.
    pub fn start(args: &[&str]) -> anyhow::Result<Self> {
        Self::start_as(&path()?, args)
    }

    /// Starts a binary that is somewhere else.
    pub fn start_as(binary: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let spawned = Spawned::start(
            Command::new(binary)
                .args(args)
                .stdin(Stdio::null())
                .stdout(stdout.try_clone()?)
                .stderr(stderr.try_clone()?),
        )?;
        Ok(Self {
            spawned,
            stdout,
            stderr,
        })
    }

    /// Starts it and waits until it is attached: it takes over Ctrl-C right after, and not before.
    pub fn start_attached(args: &[&str]) -> anyhow::Result<Self> {
        Self::start_attached_as(&path()?, args)
    }

    /// The same of a binary that is somewhere else.
    pub fn start_attached_as(binary: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let mut tool = Self::start_as(binary, args)?;
        if programs::wait_until(&mut tool.spawned.process, |pid| {
            programs::handles(pid, libc::SIGINT)
        })? {
            let output = tool.finish()?;
            bail!(
                "stallscope {args:?} ended at once ({:?}): {}",
                output.code,
                output.stderr
            );
        }
        Ok(tool)
    }

    /// Starts it with a recording, and waits until that begins: with a look at everything, from which on it counts. Being attached, it
    /// may not have read the kernel's own counters yet.
    pub fn start_recording(args: &[&str], recording: &Path) -> anyhow::Result<Self> {
        let at = recording.display().to_string();
        let tool = Self::start_attached(&[args, &["--record", &at]].concat())?;
        web::wait_for("the first look", Path::new(""), || {
            Recording::open(recording).is_ok_and(|begun| soak::first_look(begun).is_ok())
        })?;
        Ok(tool)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.spawned.process.id()
    }

    /// Ends it early, as Ctrl-C does, and takes its report.
    pub fn interrupt(mut self) -> anyhow::Result<Output> {
        self.spawned.signal(libc::SIGINT);
        self.finish()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: i32) {
        self.spawned.signal(signal);
    }

    /// Waits for its end.
    pub fn finish(&mut self) -> anyhow::Result<Output> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.spawned.process.try_wait()? {
                break status;
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(60),
                "stallscope does not end"
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |file: &mut std::fs::File| -> anyhow::Result<String> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Output {
            code: status.code(),
            stdout: text(&mut self.stdout)?,
            stderr: text(&mut self.stderr)?,
        })
    }
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> anyhow::Result<Output> {
    Tool::start(args)?.finish()
}
