//! A tool under test: started, watched until it has attached, ended as Ctrl-C does, and measured.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use probe_tests::programs;

/// How long a tool may take to detach and end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running tool.
pub struct Tool {
    process: Child,
    stdout: File,
    stderr: File,
    ended: bool,
}

/// What it left.
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Its largest resident memory, bytes.
    pub peak_rss: u64,
}

impl Tool {
    /// Starts it and waits until it has attached.
    pub fn start_attached(command: &mut Command) -> anyhow::Result<Self> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let process = command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()?;
        let mut tool = Self {
            process,
            stdout,
            stderr,
            ended: false,
        };
        tool.wait_until_attached()?;
        Ok(tool)
    }

    /// Waits until it has programs loaded, has taken over Ctrl-C (stallscope does so once everything is attached),
    /// and no descriptor has come or gone for a while.
    fn wait_until_attached(&mut self) -> anyhow::Result<()> {
        const QUIET: Duration = Duration::from_millis(400);
        let pid = self.process.id();
        let begun = Instant::now();
        let (mut last, mut since) = (0, begun);
        loop {
            if self.process.try_wait()?.is_some() {
                self.ended = true;
                bail!("it ended at once: {}", text(&mut self.stderr)?);
            }
            let descriptors =
                std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            let ready =
                !programs::held_by(pid).0.is_empty() && programs::handles(pid, libc::SIGINT);
            if descriptors != last || !ready {
                (last, since) = (descriptors, Instant::now());
            } else if since.elapsed() > QUIET {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "it does not attach");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// CPU time of its threads so far, ns.
    pub fn cpu_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id()));
        let tasks = tasks.into_iter().flatten().filter_map(Result::ok);
        // On a CPU, waiting for one, time slices.
        let ran = |task: std::fs::DirEntry| -> Option<u64> {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        tasks.filter_map(ran).sum()
    }

    /// Ends it and takes its report.
    pub fn interrupt(mut self) -> anyhow::Result<Output> {
        self.signal(libc::SIGINT);
        let peak_rss = self.reap()?;
        let stdout = text(&mut self.stdout)?;
        ensure!(
            !stdout.is_empty(),
            "it reports nothing: {}",
            text(&mut self.stderr)?
        );
        Ok(Output { stdout, peak_rss })
    }

    /// Waits for its end, which comes after it has detached; its largest resident memory, bytes.
    fn reap(&mut self) -> anyhow::Result<u64> {
        let begun = Instant::now();
        loop {
            // SAFETY: a rusage of zeroes is valid.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            let pid = self.process.id() as i32;
            // SAFETY: our own child, not yet reaped; the result is a valid rusage.
            let r =
                unsafe { libc::wait4(pid, std::ptr::null_mut(), libc::WNOHANG, &raw mut usage) };
            if r == pid {
                self.ended = true;
                return Ok(usage.ru_maxrss as u64 * 1024);
            }
            ensure!(r == 0, "wait4: {}", std::io::Error::last_os_error());
            if begun.elapsed() > PATIENCE {
                let about = |file| {
                    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
                };
                bail!("it does not end: {}\n{}", about("status"), about("stack"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: our own child, not yet reaped, so the pid is still its.
        unsafe { libc::kill(self.process.id() as i32, signal) };
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(libc::SIGKILL);
            let _ = self.reap();
        }
    }
}

/// Runs a tool that is told to end at once, and returns the time from its start to the first byte of its
/// result, ms. What some print before they attach is not a result: lines until `skip` says no are skipped.
pub fn first_data(command: &mut Command, skip: fn(&str) -> bool) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut first = None;
    let mut all = String::new();
    if let Some(mut stdout) = process.stdout.take() {
        let mut bytes = [0; 4096];
        loop {
            let n = stdout.read(&mut bytes)?;
            if n == 0 {
                break;
            }
            all.push_str(&String::from_utf8_lossy(&bytes[..n]));
            if first.is_none() && all.lines().any(|line| !skip(line)) {
                first = Some(begun.elapsed());
            }
        }
    }
    // It detaches before it ends.
    process.wait()?;
    match first {
        Some(time) => Ok(time.as_secs_f64() * 1000.0),
        None => bail!("{:?} prints nothing", command.get_program()),
    }
}

fn text(file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first line that a program prints when asked for its version; `None` when it is not installed.
pub fn version(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}
