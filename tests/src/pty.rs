//! The binary in a terminal of its own: keys go in, and what is drawn comes out.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::process::CommandExt as _,
    },
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};

use crate::{child::Spawned, sys, tool};

/// How long something may take that takes no time on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program in a terminal.
pub struct Terminal {
    spawned: Spawned,
    /// Our side.
    master: File,
    /// The other one, kept so that its settings can be read after the program's end.
    slave: File,
    /// How it was set before the program was started.
    before: Modes,
    /// What was drawn since it was asked for last.
    drawn: Vec<u8>,
}

/// The settings of a terminal that a program may leave changed.
#[derive(Debug, PartialEq, Eq)]
struct Modes {
    input: u32,
    output: u32,
    local: u32,
}

impl Terminal {
    /// Starts the binary in a terminal of this size; `uid` is who runs it, where that is someone else.
    pub fn start(
        args: &[&str],
        (columns, rows): (u16, u16),
        uid: Option<u32>,
    ) -> anyhow::Result<Self> {
        let (master, slave) = open(columns, rows)?;
        let mut command = Command::new(tool::path()?);
        command
            .args(args)
            .env("TERM", "xterm")
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave.try_clone()?));
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        // SAFETY: both calls are allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let before = modes(&slave)?;
        Ok(Self {
            spawned: Spawned::start(&mut command)?,
            master,
            slave,
            before,
            drawn: Vec::new(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.spawned.process.id()
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) -> anyhow::Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: i32) {
        self.spawned.signal(signal);
    }

    /// Waits until this is drawn; everything is drawn anew again and again (Ctrl-L), as else only what differs is.
    pub fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.drawn.clear();
        while begun.elapsed() < PATIENCE {
            self.take(Duration::from_millis(300))?;
            if words(&self.drawn).contains(text) {
                return Ok(());
            }
            if self.spawned.process.try_wait()?.is_some() {
                break;
            }
            self.keys("\x0c")?;
        }
        bail!("no {text:?} in {:?}", words(&self.drawn))
    }

    /// Reads what is drawn, for so long.
    pub fn read_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.drawn.clear();
            self.take(left.min(Duration::from_millis(100)))?;
        }
        Ok(())
    }

    /// Reads what is drawn, for at most so long.
    fn take(&mut self, at_most: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + at_most;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let mut fds = [sys::pollfd(self.master.as_raw_fd(), libc::POLLIN)];
            if sys::poll(&mut fds, left.as_millis() as i32) != Ok(1) {
                break;
            }
            let mut bytes = [0; 4096];
            let n = self.master.read(&mut bytes)?;
            self.drawn.extend_from_slice(&bytes[..n]);
        }
        Ok(())
    }

    /// Waits for its end; what it drew last is handed back too.
    pub fn finish(&mut self) -> anyhow::Result<(ExitStatus, String)> {
        let begun = Instant::now();
        loop {
            // It cannot end while nobody reads.
            self.take(Duration::from_millis(20))?;
            if let Some(status) = self.spawned.process.try_wait()? {
                self.take(Duration::from_millis(50))?;
                return Ok((status, String::from_utf8_lossy(&self.drawn).into_owned()));
            }
            ensure!(begun.elapsed() < PATIENCE, "it does not end");
        }
    }

    /// Whether the terminal is set as it was before the program was started.
    pub fn is_as_before(&self) -> anyhow::Result<bool> {
        Ok(modes(&self.slave)? == self.before)
    }
}

/// The words of what was drawn: the cursor is moved over what is empty, so that a movement parts words as a space does.
fn words(drawn: &[u8]) -> String {
    let text = String::from_utf8_lossy(drawn);
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic());
        let (sequence, rest) = piece.split_at(end.map_or(0, |at| at + 1));
        plain.push_str(if sequence.ends_with('H') { " " } else { "" });
        plain.push_str(rest);
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn modes(terminal: &File) -> anyhow::Result<Modes> {
    // SAFETY: all zero is a valid value, and the call writes a whole one.
    let modes = unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        let r = libc::tcgetattr(terminal.as_raw_fd(), &mut modes);
        ensure!(r == 0, "tcgetattr: {}", std::io::Error::last_os_error());
        modes
    };
    Ok(Modes {
        input: modes.c_iflag,
        output: modes.c_oflag,
        local: modes.c_lflag,
    })
}

fn open(columns: u16, rows: u16) -> anyhow::Result<(File, File)> {
    let (mut master, mut slave) = (0, 0);
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: writes two descriptors, and reads a size.
    let r = unsafe {
        libc::openpty(
            &mut master,
            &mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size,
        )
    };
    ensure!(r == 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: both are new and owned by nobody else.
    let (master, slave) = unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) };
    for file in [&master, &slave] {
        // SAFETY: sets a flag of a descriptor that is open.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok((master, slave))
}
