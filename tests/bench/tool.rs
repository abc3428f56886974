//! A tool under test: started, watched until it has attached, ended as Ctrl-C does, and measured.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read as _, Seek as _},
    os::fd::AsRawFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use probe_tests::{programs, sys};

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
    /// Standard error.
    pub stderr: String,
    /// Its largest resident memory, bytes.
    pub peak_rss: u64,
}

impl Tool {
    /// Starts it and waits until it has attached: until it has programs loaded, has taken over Ctrl-C (stallscope does so once everything is
    /// attached), and no descriptor has come or gone for a while.
    pub fn start_attached(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_until(command, |pid| {
            !programs::held_by(pid).0.is_empty() && programs::handles(pid, libc::SIGINT)
        })
    }

    /// The same for one that attaches in another way: until `attached` says so of its process, and no descriptor has come or gone for a while.
    pub fn start_until(
        command: &mut Command,
        attached: impl Fn(u32) -> bool,
    ) -> anyhow::Result<Self> {
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
        tool.wait_until(attached)?;
        Ok(tool)
    }

    fn wait_until(&mut self, attached: impl Fn(u32) -> bool) -> anyhow::Result<()> {
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
            let ready = attached(pid);
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
        cpu_ns(self.process.id())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends one that has nothing to report.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.reap(libc::SIGTERM).map(drop)
    }

    /// Ends it and takes its report, of which there must be one.
    pub fn interrupt(self) -> anyhow::Result<Output> {
        let output = self.end()?;
        ensure!(
            !output.stdout.is_empty(),
            "it reports nothing: {}",
            output.stderr
        );
        Ok(output)
    }

    /// Ends it and takes what it wrote, to wherever it did.
    pub fn end(mut self) -> anyhow::Result<Output> {
        let peak_rss = self.reap(libc::SIGINT)?;
        let (stdout, stderr) = (text(&mut self.stdout)?, text(&mut self.stderr)?);
        Ok(Output {
            stdout,
            stderr,
            peak_rss,
        })
    }

    /// Ends it, and waits until the kernel has let go of what it had loaded, which may be after its end: the next measurement must
    /// not have it as well. Its largest resident memory, bytes.
    fn reap(&mut self, signal: i32) -> anyhow::Result<u64> {
        let (of_programs, of_maps) = programs::held_by(self.process.id());
        self.signal(signal);
        let begun = Instant::now();
        loop {
            if let Some((_, usage)) = wait(&self.process, libc::WNOHANG)? {
                self.ended = true;
                programs::wait_until_let_go(&of_programs, &of_maps)?;
                return Ok(usage.ru_maxrss as u64 * 1024);
            }
            if begun.elapsed() > PATIENCE {
                let pid = self.process.id();
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
            let _ = self.reap(libc::SIGKILL);
        }
    }
}

/// CPU time of a process's threads so far, ns; that of threads that have ended is not in it.
pub fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().filter_map(Result::ok);
    // On a CPU, waiting for one, time slices.
    let ran = |task: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks.filter_map(ran).sum()
}

/// What is loaded in the kernel: programs and maps.
struct Loaded(BTreeSet<u32>, BTreeSet<u32>);

impl Loaded {
    fn now() -> Self {
        Self(programs::programs(), programs::maps())
    }

    /// Waits until there is no more than this. That it takes too long is no fault of a command that has ended: what others loaded
    /// meanwhile is among it, and the blocks say so.
    fn come_back(self) {
        let now = Self::now();
        let _ = programs::wait_until_let_go(&(&now.0 - &self.0), &(&now.1 - &self.1));
    }
}

/// What a command took from its start to its end.
pub struct Run {
    /// By the clock, ms.
    pub wall_ms: f64,
    /// CPU time of its own and of all that it started and waited for, ms.
    pub cpu_ms: f64,
    /// Standard output.
    pub stdout: String,
}

/// Runs a command to its end, and waits until the kernel has let go of what it had loaded.
pub fn to_its_end(command: &mut Command) -> anyhow::Result<Run> {
    let mut stdout = tempfile::tempfile()?;
    let before = Loaded::now();
    let begun = Instant::now();
    let process = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(Stdio::null())
        .spawn()?;
    let (status, usage) = wait(&process, 0)?.ok_or_else(|| anyhow::anyhow!("it did not end"))?;
    let wall_ms = begun.elapsed().as_secs_f64() * 1e3;
    ensure!(status == 0, "{:?} failed", command.get_program());
    before.come_back();
    Ok(Run {
        wall_ms,
        cpu_ms: cpu_ms(&usage),
        stdout: text(&mut stdout)?,
    })
}

/// Waits for a child of ours as wait4(2) does: its status and what it took, or `None` when it has not ended and `options` say not to wait.
pub fn wait(process: &Child, options: i32) -> anyhow::Result<Option<(i32, libc::rusage)>> {
    // SAFETY: a rusage of zeroes is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let (pid, mut status) = (process.id() as i32, 0);
    // SAFETY: our own child, not yet reaped; the results are a number and a valid rusage.
    let r = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
    ensure!(r >= 0, "wait4: {}", std::io::Error::last_os_error());
    Ok((r == pid).then_some((status, usage)))
}

/// CPU time, in the kernel and out of it, ms.
pub fn cpu_ms(usage: &libc::rusage) -> f64 {
    let ms = |t: libc::timeval| t.tv_sec as f64 * 1e3 + t.tv_usec as f64 / 1e3;
    ms(usage.ru_utime) + ms(usage.ru_stime)
}

/// What a tool took until there was something to read.
pub struct First {
    /// From its start to the first byte of its result, ms.
    pub ms: f64,
    /// CPU time of the whole run, which ends right after, ms.
    pub cpu_ms: f64,
    /// Its largest resident memory, bytes.
    pub peak_rss: u64,
}

/// Runs a tool until its first result is there; one that `goes_on` is ended then. What some print before they attach is not a result: lines
/// are skipped for which `skip` says so. The kernel has let go of what it had loaded when this returns.
pub fn first_data(
    command: &mut Command,
    skip: fn(&str) -> bool,
    goes_on: bool,
) -> anyhow::Result<First> {
    let before = Loaded::now();
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
            let mut readable = [sys::pollfd(stdout.as_raw_fd(), libc::POLLIN)];
            let silent = sys::poll(&mut readable, PATIENCE.as_millis() as i32) == Ok(0);
            let n = if silent { 0 } else { stdout.read(&mut bytes)? };
            if n == 0 {
                break;
            }
            if first.is_some() {
                continue;
            }
            all.push_str(&String::from_utf8_lossy(&bytes[..n]));
            if all.lines().any(|line| !skip(line)) {
                first = Some(begun.elapsed());
                if goes_on {
                    // SAFETY: our own child, not yet reaped, so the pid is still its.
                    unsafe { libc::kill(process.id() as i32, libc::SIGINT) };
                }
            }
        }
    }
    if first.is_none() {
        let _ = process.kill();
    }
    let (_, usage) = wait(&process, 0)?.ok_or_else(|| anyhow::anyhow!("it did not end"))?;
    before.come_back();
    match first {
        Some(time) => Ok(First {
            ms: time.as_secs_f64() * 1000.0,
            cpu_ms: cpu_ms(&usage),
            peak_rss: usage.ru_maxrss as u64 * 1024,
        }),
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
