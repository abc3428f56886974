//! The hook's thread: one run after the other.

use std::{
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{atomic::Ordering::Relaxed, mpsc::Receiver},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process_group},
};

use super::{super::super::output, Job, LAST_PATIENCE, PATIENCE, Shared};

/// How often it is looked whether it ended.
const PACE: Duration = Duration::from_millis(20);

/// Runs what comes until nothing can come any more.
pub fn all(told: &Receiver<Job>, shared: &Shared) {
    while let Ok(job) = told.recv() {
        shared.waiting.fetch_sub(1, Relaxed);
        if shared.end.load(Relaxed) {
            shared.failures.fetch_add(1, Relaxed);
            continue;
        }
        shared.runs.fetch_add(1, Relaxed);
        if let Err(why) = one(&job, shared, PATIENCE) {
            shared.failures.fetch_add(1, Relaxed);
            say(&why);
        }
    }
}

/// Runs it once.
///
/// # Errors
/// What became of it, in words: it could not be started, failed, or took too long.
pub fn one(job: &Job, shared: &Shared, patience: Duration) -> Result<(), String> {
    let program = job.command.first().map(String::as_str).unwrap_or_default();
    let mut child = Command::new(program)
        .args(job.command.get(1..).unwrap_or_default())
        .envs(job.variables.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        // Our own stdout may be somebody's pipe; its complaints go where ours go.
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    let stdin = child.stdin.take();
    let mut until = Instant::now() + patience;
    let waited = feed_and_wait(&mut child, stdin, job.json.as_bytes(), || {
        if shared.end.load(Relaxed) {
            until = until.min(Instant::now() + LAST_PATIENCE);
        }
        Instant::now() >= until
    });
    // What it started, and left behind, goes with it.
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    match waited {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("{program} {}", ended(status))),
        Ok(None) => {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
            Err(format!(
                "{program} took longer than {} s and was killed",
                patience.as_secs()
            ))
        }
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("{program} cannot be waited for: {error}"))
        }
    }
}

/// Writes to its stdin as it reads, and waits for its end; `None` when that does not come in time. Not to read is its right.
fn feed_and_wait(
    child: &mut Child,
    stdin: Option<ChildStdin>,
    mut bytes: &[u8],
    mut is_late: impl FnMut() -> bool,
) -> io::Result<Option<ExitStatus>> {
    let mut stdin = stdin;
    if let Some(stdin) = &stdin {
        fcntl_setfl(stdin, OFlags::NONBLOCK)?;
    }
    let pace = Timespec {
        tv_sec: 0,
        tv_nsec: PACE.as_nanos() as i64,
    };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if is_late() {
            return Ok(None);
        }
        let Some(pipe) = &mut stdin else {
            std::thread::sleep(PACE);
            continue;
        };
        let _ = poll(&mut [PollFd::new(pipe, PollFlags::OUT)], Some(&pace));
        match pipe.write(bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It closed its end.
            Err(_) => bytes = &[],
        }
        if bytes.is_empty() {
            stdin = None;
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// A line of the log.
pub fn say(words: &str) {
    output::complain(&output::plain(&format!("--on-finding: {words}")));
}
