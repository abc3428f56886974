//! Journals in a [`Window`](super::Window): commits, fsync, and who sleeps behind them.

use super::identity::Processes;
use crate::collect::journal::JournalReading;

/// All about it in one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Journal {}

/// It in the window so far.
#[derive(Clone, Debug, Default)]
pub(super) struct JournalFold {}

impl JournalFold {
    /// Takes in the reading that the window starts at: its sums are the base.
    pub fn set_base(&mut self, _: &JournalReading) {}

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, _: JournalReading) {}

    /// For a window that begins where this one ends: the sums so far are its base.
    pub fn successor(&self) -> Self {
        Self::default()
    }

    /// The result. `span` is the window's start and end, CLOCK_MONOTONIC ns.
    pub fn finish(&self, _span: (u64, u64), _: &Processes) -> Journal {
        Journal {}
    }
}
