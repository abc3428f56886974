//! What a program may leave behind in the kernel: compared before and after all jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Commands of bpf(2) that list identifiers.
const LISTS: &[(&str, libc::c_long)] = &[("BPF programs", 11), ("BPF maps", 12), ("BPF links", 31)];
/// Settings that a tracer might switch on for itself.
const SETTINGS: &[&str] = &[
    "/proc/sys/kernel/bpf_stats_enabled",
    "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/kernel/kptr_restrict",
];

/// Sets of names by kind.
pub struct State(BTreeMap<&'static str, BTreeSet<String>>);

impl State {
    /// The state now.
    pub fn read() -> Self {
        reap();
        let mut state: BTreeMap<_, _> = LISTS
            .iter()
            .map(|(kind, command)| (*kind, bpf_ids(*command)))
            .collect();
        state.insert("mounts", lines("/proc/self/mounts"));
        state.insert(
            "modules",
            lines("/proc/modules")
                .iter()
                .map(|l| first_word(l))
                .collect(),
        );
        state.insert("pinned objects", names("/sys/fs/bpf"));
        state.insert("files in /tmp", names("/tmp"));
        state.insert("processes", processes());
        state.insert("kernel warnings", warnings());
        state.insert(
            "settings",
            SETTINGS
                .iter()
                .map(|p| format!("{p}={}", fs::read_to_string(p).unwrap_or_default().trim()))
                .collect(),
        );
        Self(state)
    }

    /// What is there now and was not before, one line per kind.
    pub fn since(&self, before: &Self) -> Vec<String> {
        let empty = BTreeSet::new();
        let fresh = |kind: &str, now: &BTreeSet<String>| {
            let new: Vec<_> = now
                .difference(before.0.get(kind).unwrap_or(&empty))
                .cloned()
                .collect();
            (!new.is_empty()).then(|| format!("{kind}: {}", new.join(", ")))
        };
        self.0
            .iter()
            .filter_map(|(kind, now)| fresh(kind, now))
            .collect()
    }
}

/// Orphans become our children: collect those that have ended.
fn reap() {
    // SAFETY: a null status pointer is allowed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

fn bpf_ids(command: libc::c_long) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    // start_id in, next_id out, open_flags.
    let mut attr = [0u32; 4];
    loop {
        // SAFETY: the kernel reads and writes within the 16 bytes it is told of.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attr.as_mut_ptr(),
                size_of_val(&attr),
            )
        };
        if done != 0 {
            return ids;
        }
        ids.insert(attr[1].to_string());
        attr[0] = attr[1];
    }
}

/// The kernel's taint flags for an oops (7) and a warning (9), which a program must not be able to cause.
fn warnings() -> BTreeSet<String> {
    let taint = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    let taint: u64 = taint.trim().parse().unwrap_or(0);
    let flags = [(7, "oops"), (9, "warning")];
    flags
        .iter()
        .filter(|(bit, _)| taint >> bit & 1 == 1)
        .map(|(_, name)| format!("{name} (see --exec 'COMMAND; dmesg')"))
        .collect()
}

fn lines(path: &str) -> BTreeSet<String> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn first_word(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_owned()
}

fn names(dir: &str) -> BTreeSet<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Processes with a command line: kernel threads have none.
fn processes() -> BTreeSet<String> {
    let own = std::process::id().to_string();
    let numbers = names("/proc")
        .into_iter()
        .filter(|n| n.bytes().all(|b| b.is_ascii_digit()) && *n != own);
    numbers
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline"))
                .ok()
                .filter(|l| !l.is_empty())?;
            let text: String = String::from_utf8_lossy(&line)
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            Some(format!("{pid} {}", text.trim()))
        })
        .collect()
}
