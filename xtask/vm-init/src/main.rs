//! The first process of the guests that `cargo xtask vm` boots: sets the machine up, runs the jobs of /job in order, says on
//! the console what came of them and what they left behind, and switches the machine off.
//!
//! It is static and alone in the initramfs with the programs under test. Lines for the host start with [`MARK`]; the host's
//! side of this is `xtask/src/vm/console.rs`.

mod job;
mod left;
mod setup;

use std::fs;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starts every line that is meant for the host.
const MARK: &str = "@vm";
/// Programs and maps of an ended process are freed by kernel workers, a moment later.
const SETTLE: Duration = Duration::from_secs(5);

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
        job::run(line)?;
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
