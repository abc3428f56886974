//! CPU time that the hypervisor gave to other machines ("steal", proc_stat(5)): with much of it, what takes how long is not
//! what anything here does.

use std::fs;

/// With more of it than this, times are not compared: a tenth of what was wanted.
pub const MUCH: f64 = 0.1;

/// Ticks since the boot, of all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    wanted: u64,
    stolen: u64,
}

impl Ticks {
    /// Up to now; none where the kernel does not say.
    pub fn now() -> Self {
        fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| Self::of(&text))
            .unwrap_or_default()
    }

    fn of(stat: &str) -> Option<Self> {
        let numbers: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .map(|n| n.parse().unwrap_or(0))
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is part of user's.
        let [user, nice, system, _, _, irq, softirq, stolen, ..] = numbers[..] else {
            return None;
        };
        Some(Self {
            wanted: user + nice + system + irq + softirq + stolen,
            stolen,
        })
    }

    /// How much of the CPU time that was wanted since then was stolen, 0 to 1.
    pub fn share_since(self) -> f64 {
        Self::now().share(self)
    }

    fn share(self, before: Self) -> f64 {
        match self.wanted.saturating_sub(before.wanted) {
            0 => 0.0,
            wanted => self.stolen.saturating_sub(before.stolen) as f64 / wanted as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_a_share_of_what_was_wanted() {
        let before = Ticks::of("cpu  100 0 50 1000 9 0 0 10 0 0\ncpu0 1 2 3").expect("numbers");
        let after = Ticks::of("cpu  130 5 60 9000 9 3 2 60 7 7\n").expect("numbers");
        assert_eq!(after.share(before), 0.5);
        assert_eq!(after.share(after), 0.0);
        assert_eq!(Ticks::of("cpu  1 2 3\n"), None);
        assert_eq!(Ticks::of("intr 5\n"), None);
    }
}
