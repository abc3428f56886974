//! What concerns our own process and its surroundings: cost, clocks, terminal, names.

use std::{
    fs, io,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    termios::tcgetwinsize,
    time::{ClockId, clock_gettime},
};

/// CPU time used so far by all threads, user and system, ns.
pub fn cpu_ns() -> u64 {
    clock_ns(ClockId::ProcessCPUTime)
}

/// CLOCK_MONOTONIC now, ns: the clock of the kernel side's timestamps.
pub fn monotonic_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Resident memory now, bytes; 0 where `/proc` is not mounted.
pub fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kib| kib * 1024)
}

/// Now, ns since the Unix epoch.
pub fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// Columns and rows of the terminal that stdout is; `None` when it is none.
pub fn terminal_size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    // A serial console has a terminal of 0 by 0.
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// The host's name.
pub fn host() -> String {
    line("/proc/sys/kernel/hostname")
}

/// The kernel's release, such as `6.1.0-50-amd64`.
pub fn kernel() -> String {
    line("/proc/sys/kernel/osrelease")
}

/// A name that nothing else has, made by the kernel: another one each time.
pub fn uuid() -> String {
    line("/proc/sys/kernel/random/uuid")
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_and_holding_memory_show_in_the_cost() {
        let (cpu, rss) = (cpu_ns(), rss_bytes());
        assert!(rss > 0);
        let mut block = vec![0u8; 64 << 20];
        for i in (0..block.len()).step_by(64) {
            block[i] = i as u8 | 1;
        }
        assert!(block.iter().step_by(4096).all(|&b| b & 1 == 1));
        assert!(rss_bytes() > rss + (32 << 20));
        while cpu_ns() < cpu + 1_000_000 {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn time_goes_on() {
        let before = (monotonic_ns(), unix_ns());
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(monotonic_ns() >= before.0 + 2_000_000);
        assert!(unix_ns() > before.1);
    }

    #[test]
    fn the_host_and_the_kernel_have_names() {
        assert!(!host().is_empty());
        assert!(
            kernel().starts_with(|c: char| c.is_ascii_digit()),
            "{}",
            kernel()
        );
    }

    #[test]
    fn no_name_is_made_twice() {
        assert_eq!(uuid().len(), 36);
        assert_ne!(uuid(), uuid());
    }
}
