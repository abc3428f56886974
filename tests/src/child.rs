//! Workload processes: forked closures with a pipe each way, killed by pid when dropped.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::sys;

/// How long the parent waits for an answer of a workload.
pub const PATIENCE: Duration = Duration::from_secs(90);

fn pipe() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0i32; 2];
    // SAFETY: writes two descriptors.
    let r = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) };
    ensure!(r == 0, "pipe: {}", std::io::Error::last_os_error());
    // SAFETY: both are new and owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// The workload's end of the pipes.
pub struct Link {
    from_parent: File,
    to_parent: File,
}

impl Link {
    /// Waits for the parent's next word. Ends the process when the parent has ended.
    pub fn wait(&mut self) -> u64 {
        let mut word = [0u8; 8];
        if self.from_parent.read_exact(&mut word).is_err() {
            exit(0);
        }
        u64::from_ne_bytes(word)
    }

    /// Has the parent said a word that [`Link::wait`] would take, or ended?
    pub fn is_told(&self) -> bool {
        let mut fds = [sys::pollfd(self.from_parent.as_raw_fd(), libc::POLLIN)];
        sys::poll(&mut fds, 0) == Ok(1)
    }

    /// Sends numbers to the parent, in one write.
    pub fn send(&mut self, numbers: &[u64]) {
        let mut bytes = (numbers.len() as u64).to_ne_bytes().to_vec();
        bytes.extend(numbers.iter().flat_map(|n| n.to_ne_bytes()));
        if self.to_parent.write_all(&bytes).is_err() {
            exit(0);
        }
    }

    /// The two descriptors, for a workload that hands them over an exec.
    pub fn descriptors(&self) -> (i32, i32) {
        (self.from_parent.as_raw_fd(), self.to_parent.as_raw_fd())
    }

    /// Takes over descriptors that a program before exec had.
    ///
    /// # Safety
    /// They must be open and used by nothing else in this process.
    pub unsafe fn from_descriptors(from_parent: i32, to_parent: i32) -> Self {
        // SAFETY: as the caller promises.
        unsafe {
            Self {
                from_parent: File::from_raw_fd(from_parent),
                to_parent: File::from_raw_fd(to_parent),
            }
        }
    }
}

/// Ends the calling process at once, without destructors: what a forked child inherited is the parent's.
pub fn exit(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// A running workload. Dropping it kills it.
pub struct Child {
    /// Its process id.
    pub pid: u32,
    to_child: File,
    from_child: File,
    reaped: bool,
}

/// Runs `work` in a forked process, which ends when `work` returns.
pub fn fork(work: impl FnOnce(&mut Link)) -> anyhow::Result<Child> {
    // SAFETY: the child uses the allocator (which glibc keeps usable over fork), system calls and its
    // own memory only, and never returns.
    start(|| unsafe { libc::fork() }, work)
}

/// The same with a process id of the caller's choice (clone3 with `set_tid`, Linux 5.5), which must be
/// free. For short work only: what libc remembers about the process is the parent's.
pub fn fork_as(pid: u32, work: impl FnOnce(&mut Link)) -> anyhow::Result<Child> {
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
    }
    let pids = [pid as i32];
    let args = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: pids.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    let clone = || {
        // SAFETY: without flags clone3 is fork; the structure is complete for its size and outlives the call.
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) as i32 }
    };
    start(clone, work)
}

fn start(make: impl FnOnce() -> i32, work: impl FnOnce(&mut Link)) -> anyhow::Result<Child> {
    let (from_parent, to_child) = pipe()?;
    let (from_child, to_parent) = pipe()?;
    let pid = make();
    ensure!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: plain prctl; the workload ends with the thread that made it.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        drop((to_child, from_child));
        // The runner's hook keeps the message in the parent's memory, where nobody would see it.
        std::panic::set_hook(Box::new(|info| eprintln!("workload: {info}")));
        let mut link = Link {
            from_parent: from_parent.into(),
            to_parent: to_parent.into(),
        };
        let ended = catch_unwind(AssertUnwindSafe(|| work(&mut link)));
        exit(if ended.is_ok() { 0 } else { 101 });
    }
    Ok(Child {
        pid: pid as u32,
        to_child: to_child.into(),
        from_child: from_child.into(),
        reaped: false,
    })
}

impl Child {
    /// Lets the workload go on from its [`Link::wait`].
    pub fn go(&mut self) -> anyhow::Result<()> {
        self.tell(1)
    }

    /// The same, with a word for it.
    pub fn tell(&mut self, word: u64) -> anyhow::Result<()> {
        self.to_child
            .write_all(&word.to_ne_bytes())
            .context("the workload ended early")
    }

    /// Is an answer (or the end) waiting?
    pub fn ready(&self, timeout: Duration) -> bool {
        let mut fds = [sys::pollfd(self.from_child.as_raw_fd(), libc::POLLIN)];
        sys::poll(&mut fds, timeout.as_millis() as i32) == Ok(1)
    }

    /// The numbers that the workload sends next.
    pub fn recv(&mut self) -> anyhow::Result<Vec<u64>> {
        self.recv_while(|| {})
    }

    /// The same; `meanwhile` is called every 10 ms until they come.
    pub fn recv_while(&mut self, mut meanwhile: impl FnMut()) -> anyhow::Result<Vec<u64>> {
        let begun = Instant::now();
        while !self.ready(Duration::from_millis(10)) {
            ensure!(begun.elapsed() < PATIENCE, "the workload does not answer");
            meanwhile();
        }
        let mut word = [0u8; 8];
        if self.from_child.read_exact(&mut word).is_err() {
            bail!("the workload failed: {}", self.wait()?);
        }
        let mut bytes = vec![0; u64::from_ne_bytes(word) as usize * 8];
        self.from_child.read_exact(&mut bytes)?;
        Ok(bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|chunk| u64::from_ne_bytes(*chunk))
            .collect())
    }

    /// Waits for its end; its exit status in words.
    pub fn wait(&mut self) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: our own child, not yet reaped.
            let r = unsafe { libc::waitpid(self.pid as i32, &raw mut status, libc::WNOHANG) };
            if r == self.pid as i32 {
                self.reaped = true;
                return Ok(if libc::WIFSIGNALED(status) {
                    format!("signal {}", libc::WTERMSIG(status))
                } else {
                    format!("exit code {}", libc::WEXITSTATUS(status))
                });
            }
            ensure!(r == 0, "waitpid: {}", std::io::Error::last_os_error());
            ensure!(begun.elapsed() < PATIENCE, "the workload does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        if !self.reaped {
            // SAFETY: our own child, not yet reaped, so the pid is still its.
            unsafe { libc::kill(self.pid as i32, signal) };
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(libc::SIGKILL);
            // SAFETY: our own child.
            unsafe { libc::waitpid(self.pid as i32, std::ptr::null_mut(), 0) };
        }
    }
}

/// A program that the test started. Dropping it ends it: politely first, by pid.
pub struct Spawned {
    /// The process.
    pub process: std::process::Child,
    /// How long SIGTERM gets before SIGKILL.
    pub grace: Duration,
}

impl Spawned {
    /// Starts it; it dies with the test.
    pub fn start(command: &mut std::process::Command) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        // SAFETY: prctl is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let process = command
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self {
            process,
            grace: Duration::from_secs(3),
        })
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: i32) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // SAFETY: our own child, not yet reaped.
            unsafe { libc::kill(self.process.id() as i32, signal) };
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.signal(libc::SIGTERM);
        let begun = Instant::now();
        while begun.elapsed() < self.grace {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
