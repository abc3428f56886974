//! The first process of the guests that `cargo xtask vm` boots: sets the machine up, runs the jobs of /job in order, says on
//! the console what came of them and what they left behind, and switches the machine off.
//!
//! It is static and alone in the initramfs with the programs under test. Lines for the host start with [`MARK`]; the host's
//! side of this is `xtask/src/vm/console.rs`.

mod left;
mod setup;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starts every line that is meant for the host.
const MARK: &str = "@vm";
/// Programs and maps of an ended process are freed by kernel workers, a moment later.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the output of an ended job is waited for.
const DRAIN: Duration = Duration::from_secs(1);
/// The environment of every job.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/bin:/usr/bin"),
    ("HOME", "/root"),
    ("TMPDIR", "/tmp"),
    ("STALLSCOPE_BIN", "/bin/stallscope"),
];

fn main() {
    if std::process::id() != 1 {
        eprintln!(
            "vm-init is the first process of a guest of `cargo xtask vm`: there is nothing for it to do here"
        );
        std::process::exit(2);
    }
    if let Err(what) = run() {
        say(&format!("fault {what}"));
    }
    power_off();
}

fn run() -> Result<(), String> {
    setup::mounts()?;
    setup::modules()?;
    setup::tools()?;
    setup::loopback().map_err(|e| format!("cannot bring up lo: {e}"))?;
    say(&format!("up {}", setup::uptime()));
    let jobs = fs::read_to_string("/job").map_err(|e| format!("cannot read /job: {e}"))?;
    let before = left::State::read();
    for line in jobs.lines() {
        job(line)?;
    }
    let since = Instant::now();
    let mut difference = left::State::read().since(&before);
    while !difference.is_empty() && since.elapsed() < SETTLE {
        sleep(Duration::from_millis(50));
        difference = left::State::read().since(&before);
    }
    for line in difference {
        say(&format!("left {line}"));
    }
    say("done");
    Ok(())
}

/// One job: its name, the program and its arguments, between tabs.
fn job(line: &str) -> Result<(), String> {
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

/// Tells the host. Starts on a line of its own, whatever a program printed last.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Without a console there is nobody to tell.
    let _ = writeln!(out, "\n{MARK} {line}").and_then(|()| out.flush());
}

fn power_off() -> ! {
    // SAFETY: sync has no preconditions, tcdrain takes a descriptor number, reboot a known command.
    unsafe {
        libc::sync();
        libc::tcdrain(1);
        libc::reboot(libc::RB_POWER_OFF);
    }
    loop {
        sleep(Duration::from_secs(1));
    }
}
