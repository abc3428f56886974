//! Blocks of a measurement: each attaches something, takes its samples, and detaches.

use std::time::Duration;

use anyhow::Context as _;

use crate::bpf;

/// How long to wait for other tracing programs to go away before a block.
const PATIENCE: Duration = Duration::from_secs(20);

/// And how long for the block's own after it, which the kernel lets go of a moment after whoever attached them.
const FREED: Duration = Duration::from_secs(1);

/// Counts blocks, and those in which another tracing program was loaded.
#[derive(Default)]
pub struct Blocks {
    /// All of them.
    pub all: usize,
    /// Of those.
    pub disturbed: usize,
}

impl Blocks {
    /// Runs one block, a second time when the first fails: on a busy machine a tool may attach too late.
    pub fn run<T>(
        &mut self,
        what: &str,
        mut block: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let before = bpf::wait_until_alone(PATIENCE);
        let result = block().or_else(|error| {
            eprintln!("bench: {what}: {error:#}; trying again");
            block().with_context(|| what.to_owned())
        })?;
        self.all += 1;
        self.disturbed += usize::from(!before || !bpf::wait_until_alone(FREED));
        Ok(result)
    }
}
