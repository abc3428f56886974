//! FIN_WAIT_2 and TIME_WAIT where the kernel side follows timewait objects: from sums since attach to the window's.

use super::flows::Sum;
use crate::{aggregate::Durations, collect::tcp::Timewait};

/// FIN_WAIT_2, TIME_WAIT.
type Sums = [Timewait; 2];

/// Sums at the start of the window, and those of the last reading that had any.
#[derive(Clone, Debug, Default)]
pub(super) struct Exact {
    base: Option<Sums>,
    now: Option<Sums>,
}

/// Stays that ended in the window.
#[derive(Clone, Debug)]
pub(super) struct Left {
    /// Timewait objects that began in the state.
    pub begun: u64,
    pub count: u64,
    pub durations: Durations,
}

impl Exact {
    /// Sums at the start of the window.
    pub fn set_base(&mut self, sums: Option<&Sums>) {
        self.base = sums.cloned();
    }

    /// Sums at a later moment; none when the reader asked for the ring only.
    pub fn learn(&mut self, sums: Option<Sums>) {
        self.now = sums.or(self.now.take());
    }

    /// Those of the window that begins now.
    pub fn successor(&self) -> Self {
        Self {
            base: self.now.clone().or_else(|| self.base.clone()),
            now: None,
        }
    }

    /// The window's FIN_WAIT_2; `None` where the probe is off. It is whole only when transitions are watched.
    pub fn fin_wait2(&self) -> Option<Left> {
        self.left(0)
    }

    /// The window's TIME_WAIT.
    pub fn time_wait(&self) -> Option<Left> {
        self.left(1)
    }

    fn left(&self, state: usize) -> Option<Left> {
        let none = Sums::default();
        let now = &self.now.as_ref()?[state];
        let base = &self.base.as_ref().unwrap_or(&none)[state];
        let (begun, from) = (now.begun.saturating_sub(base.begun), Sum::from(&base.left));
        let to = Sum::from(&now.left);
        Some(Left {
            begun,
            count: to.count.saturating_sub(from.count),
            durations: to.durations.since(&from.durations),
        })
    }
}
