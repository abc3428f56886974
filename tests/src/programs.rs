//! What is loaded in the kernel, asked of the kernel itself (bpf(2)), not of the tool.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::ensure;

/// BPF_PROG_GET_NEXT_ID and BPF_MAP_GET_NEXT_ID of bpf(2).
const PROG_GET_NEXT_ID: i64 = 11;
const MAP_GET_NEXT_ID: i64 = 12;

/// Ids of every BPF program in the kernel.
pub fn programs() -> BTreeSet<u32> {
    ids(PROG_GET_NEXT_ID)
}

/// Ids of every BPF map in the kernel.
pub fn maps() -> BTreeSet<u32> {
    ids(MAP_GET_NEXT_ID)
}

fn ids(command: i64) -> BTreeSet<u32> {
    #[repr(C)]
    struct Attr {
        start_id: u32,
        next_id: u32,
        open_flags: u32,
        pad: [u32; 32],
    }
    let mut attr = Attr {
        start_id: 0,
        next_id: 0,
        open_flags: 0,
        pad: [0; 32],
    };
    let mut all = BTreeSet::new();
    loop {
        // SAFETY: the attribute is larger than what the command reads and writes, and its rest is 0.
        let r = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<Attr>()) };
        if r != 0 || !all.insert(attr.next_id) {
            return all;
        }
        attr.start_id = attr.next_id;
    }
}

/// Ids of the BPF programs and of the maps that a process holds descriptors of.
pub fn held_by(pid: u32) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut programs, mut maps) = (BTreeSet::new(), BTreeSet::new());
    let Ok(dir) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return (programs, maps);
    };
    for entry in dir.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (key, id) = (words.next(), words.next().and_then(|id| id.parse().ok()));
            match (key, id) {
                (Some("prog_id:"), Some(id)) => programs.insert(id),
                (Some("map_id:"), Some(id)) => maps.insert(id),
                _ => false,
            };
        }
    }
    (programs, maps)
}

/// How often the kernel skipped each BPF program that a process holds, because another was running on
/// that CPU or a map was being changed there (`recursion_misses`); programs never skipped are left out.
pub fn skipped(pid: u32) -> Vec<(u32, u64)> {
    let mut all = Vec::new();
    let Ok(dir) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return all;
    };
    for entry in dir.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim().parse::<u64>().ok()
        };
        if let (Some(id), Some(times)) = (field("prog_id:"), field("recursion_misses:"))
            && times > 0
        {
            all.push((id as u32, times));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Waits until a process has programs loaded and no more are coming: its descriptors have not changed for
/// a while. True when it has ended instead. For programs that give no better sign, see [`wait_until`].
pub fn wait_until_attached(process: &mut std::process::Child) -> anyhow::Result<bool> {
    const QUIET: Duration = Duration::from_millis(300);
    let state = std::cell::Cell::new((usize::MAX, Instant::now()));
    wait_until(process, |pid| {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let (last, since) = state.get();
        if descriptors != last || held_by(pid).0.is_empty() {
            state.set((descriptors, Instant::now()));
            return false;
        }
        since.elapsed() > QUIET
    })
}

/// Waits until `ready` says that a process has attached what it wants. True when it has ended instead.
pub fn wait_until(
    process: &mut std::process::Child,
    ready: impl Fn(u32) -> bool,
) -> anyhow::Result<bool> {
    let begun = Instant::now();
    loop {
        if process.try_wait()?.is_some() {
            return Ok(true);
        }
        if ready(process.id()) {
            return Ok(false);
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(40),
            "process {} does not attach",
            process.id()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does the process have a handler for this signal?
pub fn handles(pid: u32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Waits until the kernel has freed all of these (it does so a moment after the last reference is gone).
pub fn wait_until_gone(of_programs: &BTreeSet<u32>, of_maps: &BTreeSet<u32>) -> anyhow::Result<()> {
    gone_within(Duration::from_secs(10), of_programs, of_maps)
}

/// The same of those whose links were left behind (`attach::Attached::leave_behind`): nobody has waited for the grace periods of
/// each tracepoint.
pub fn wait_until_let_go(
    of_programs: &BTreeSet<u32>,
    of_maps: &BTreeSet<u32>,
) -> anyhow::Result<()> {
    gone_within(Duration::from_secs(60), of_programs, of_maps)
}

fn gone_within(
    limit: Duration,
    of_programs: &BTreeSet<u32>,
    of_maps: &BTreeSet<u32>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let left = (&programs() & of_programs, &maps() & of_maps);
        if left.0.is_empty() && left.1.is_empty() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < limit,
            "still loaded after {limit:?}: programs {:?}, maps {:?}",
            left.0,
            left.1
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
