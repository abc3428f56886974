//! The kernel's tick.

/// Jiffies in a second (CONFIG_HZ): the coarse clocks have a resolution of one tick.
pub fn hz() -> u32 {
    let mut tick = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the argument is a valid timespec; the clock exists on every Linux.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut tick) };
    // 3,333,333 ns are 300 Hz, 999,848 ns (older kernels' rounding) are 1000 Hz.
    match u64::try_from(tick.tv_nsec) {
        Ok(ns) if ns > 0 => (1_000_000_000 + ns / 2).checked_div(ns).unwrap_or(0) as u32,
        _ => 250,
    }
}

/// log2 of the jiffies in a cohort of TIME_WAIT: as near to a second as a power of two comes, and at most
/// 1.1 s, so that the cohorts of a minute have slots of their own (see [`probe_common::tcp::COHORTS`]).
pub fn cohort_shift(hz: u32) -> u32 {
    (hz + hz / 10).max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use probe_common::tcp::COHORTS;

    use super::*;

    #[test]
    fn the_tick_is_one_that_kernels_are_built_with() {
        assert!([100, 250, 300, 1000].contains(&hz()), "{}", hz());
    }

    #[test]
    fn a_minute_fits_into_the_cohorts() {
        for hz in [100, 250, 300, 1000] {
            let seconds = f64::from(1 << cohort_shift(hz)) / f64::from(hz);
            assert!((0.55..=1.1).contains(&seconds), "{hz}: {seconds}");
            assert!(seconds * COHORTS as f64 > 64.0);
        }
    }
}
