//! A memory cgroup of a case's own (v1 or v2, whichever the machine has), in which memory runs out.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

/// Where cgroup file systems are mounted: v2 alone, v1's controller of memory, v2 beside v1.
const MOUNTS: [&str; 3] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/memory",
    "/sys/fs/cgroup/unified",
];

/// The group. It goes when this is dropped, and the processes in it have ended.
pub struct MemoryGroup {
    dir: PathBuf,
    /// Which file holds the limit.
    limit: &'static str,
    /// Which file counts kills.
    events: &'static str,
}

impl MemoryGroup {
    /// Makes one; `None` on a machine that lets nobody limit memory by cgroup.
    pub fn make() -> Option<Self> {
        MOUNTS
            .iter()
            .find_map(|mount| Self::below(Path::new(mount)))
    }

    fn below(mount: &Path) -> Option<Self> {
        // Of v2, the controller must be handed on to groups below; v1 has no such file.
        if let Ok(controllers) = fs::read_to_string(mount.join("cgroup.controllers"))
            && controllers.split_whitespace().any(|word| word == "memory")
        {
            fs::write(mount.join("cgroup.subtree_control"), "+memory").ok()?;
        }
        let dir = mount.join(format!("stallscope-test-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let files = [
            ("memory.max", "memory.events"),
            ("memory.limit_in_bytes", "memory.oom_control"),
        ];
        let there = files
            .into_iter()
            .find(|(limit, _)| dir.join(limit).exists());
        let Some((limit, events)) = there else {
            let _ = fs::remove_dir(&dir);
            return None;
        };
        Some(Self { dir, limit, events })
    }

    /// Puts a process into it.
    pub fn add(&self, pid: u32) -> anyhow::Result<()> {
        let file = self.dir.join("cgroup.procs");
        fs::write(&file, pid.to_string()).with_context(|| format!("{pid} to {}", file.display()))
    }

    /// Limits what the processes in it take from now on, bytes.
    pub fn set_limit(&self, bytes: u64) -> anyhow::Result<()> {
        let file = self.dir.join(self.limit);
        fs::write(&file, bytes.to_string()).with_context(|| file.display().to_string())
    }

    /// Processes in it that the kernel has killed because memory ran out.
    pub fn kills(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(self.dir.join(self.events))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|number| number.trim().parse().ok())
            .with_context(|| format!("no oom_kill in {text:?}"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.dir).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Makes a process the first that the kernel kills when memory runs out.
pub fn kill_first(pid: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").context("oom_score_adj")
}

/// Refuses a process any more address space than it has.
pub fn refuse_more(pid: u32) -> anyhow::Result<()> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads one limit, which outlives the call; the old one is not asked for.
    let done = unsafe {
        libc::prlimit(
            pid as i32,
            libc::RLIMIT_AS,
            &raw const none,
            std::ptr::null_mut(),
        )
    };
    ensure!(done == 0, "prlimit: {}", std::io::Error::last_os_error());
    Ok(())
}
