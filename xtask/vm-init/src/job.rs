//! One program at a time, its output passed on to the console.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::say;

/// How long the output of an ended job is waited for.
const DRAIN: Duration = Duration::from_secs(1);
/// The environment of every job.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/bin:/usr/bin"),
    ("HOME", "/root"),
    ("TMPDIR", "/tmp"),
    ("STALLSCOPE_BIN", "/bin/stallscope"),
];

/// One job: its name, the program and its arguments, between tabs.
pub fn run(line: &str) -> Result<(), String> {
    let mut words = line.split('\t');
    let name = words.next().unwrap_or_default();
    let program = words
        .next()
        .ok_or_else(|| format!("job {name} names no program"))?;
    say(&format!("begin {name}"));
    let start = Instant::now();
    let fault = |e: io::Error| format!("cannot run {program}: {e}");
    let (output, input) = io::pipe().map_err(fault)?;
    let mut child = Command::new(program)
        .args(words)
        .env_clear()
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .stdout(input.try_clone().map_err(fault)?)
        .stderr(input)
        .spawn()
        .map_err(fault)?;
    let copied = copy(output);
    let status = child.wait().map_err(fault)?;
    // A process that outlives the job keeps the pipe open: it is reported later, and must not hold this up.
    let _ = copied.recv_timeout(DRAIN);
    // As a shell counts: 128 and the signal.
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    say(&format!(
        "end {name} {code} {}",
        start.elapsed().as_millis()
    ));
    Ok(())
}

/// Passes a job's output on to the console, from a pipe: on the console itself a program would behave as on a terminal.
fn copy(mut output: io::PipeReader) -> Receiver<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut buffer) {
            let mut out = io::stdout().lock();
            if out
                .write_all(&buffer[..n])
                .and_then(|()| out.flush())
                .is_err()
            {
                break;
            }
        }
        // Nobody waits any more when the output came too late.
        let _ = sender.send(());
    });
    receiver
}
