//! bpftrace beside the tool: an independent count or time of the same thing.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{child::Spawned, programs, web};

/// A bpftrace that is attached.
pub struct Bpftrace(Spawned);

impl Bpftrace {
    /// Starts a script that has so many programs, and waits until they are attached.
    pub fn start(script: &str, its_programs: usize) -> anyhow::Result<Self> {
        // It looks for tracefs, which need not be mounted: a mount of its own, which ends with it.
        let mount = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
        let mut bpftrace = Spawned::start(
            Command::new("unshare")
                .args(["-m", "sh", "-c", mount, "sh"])
                .arg(web::program("bpftrace", "bpftrace")?)
                .args(["-e", script])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let ended = programs::wait_until(&mut bpftrace.process, |pid| {
            programs::held_by(pid).0.len() == its_programs
        })?;
        ensure!(!ended, "bpftrace ended at once");
        // From loaded to attached.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self(bpftrace))
    }

    /// Ends it; answers what it printed.
    pub fn end(mut self) -> anyhow::Result<String> {
        self.0.signal(libc::SIGINT);
        let mut text = String::new();
        let stdout = self.0.process.stdout.as_mut().context("no pipe")?;
        stdout.read_to_string(&mut text)?;
        Ok(text)
    }
}
