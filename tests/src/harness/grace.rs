//! Short grace periods while cases run.
//!
//! Of each tracepoint that is let go, the kernel waits for two grace periods of RCU, one tracepoint after the other: on an idle
//! Linux 6.18 with two CPUs a `diagnose` is gone 9 s after its end, and 3 s with expedited ones. No case is about that; those that
//! attach by the library wait for it, and those that run the tool would begin beside what the one before left. A run that is killed
//! leaves the switch on, until the machine starts anew or somebody writes 0 to it: it costs interrupts, and nothing else.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

/// Documentation/ABI/testing/sysfs-kernel-rcu (0 or 1).
const SWITCH: &str = "/sys/kernel/rcu_expedited";

static OURS: AtomicBool = AtomicBool::new(false);

/// Has them expedited until it is dropped, where the kernel has the switch and it is off.
pub struct Short;

impl Short {
    /// Switches.
    pub fn begin() -> Self {
        let off = fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "0");
        if off && fs::write(SWITCH, "1").is_ok() {
            OURS.store(true, Ordering::SeqCst);
        }
        Self
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        end();
    }
}

/// Switches back, if it was us; also for who ends the process at once.
pub fn end() {
    if OURS.swap(false, Ordering::SeqCst)
        && let Err(error) = fs::write(SWITCH, "0")
    {
        eprintln!("{SWITCH} stays 1: {error}");
    }
}
