//! Windows that move on with time, for a view that is refreshed: the last moment, the last seconds, and all of it.

use super::{About, Aggregator, Window};
use crate::{
    attach::ProbeStatus,
    collect::{Cost, Reading},
};

/// Takes in readings, and yields windows again and again.
pub struct Rolling {
    total: Aggregator,
    /// What is shown as the last seconds; when it is two spans long, the younger one takes its place.
    older: Part,
    younger: Part,
    last: Part,
    span_ns: u64,
}

/// A window under way, and what had been spent when it began.
struct Part {
    window: Aggregator,
    spent: Cost,
    began_ns: u64,
}

/// The windows at a moment.
pub struct Look {
    /// From the look before to this one.
    pub last: Window,
    /// The last one to two spans.
    pub recent: Window,
}

impl Rolling {
    /// Begins at a reading of everything; before it, `spent` had been spent. `about.start_ns` is taken from it.
    pub fn new(about: &About, base: &Reading, spent: Cost, span_ns: u64) -> Self {
        let part = || Part {
            window: Aggregator::since(about.clone(), base),
            spent,
            began_ns: base.at_ns,
        };
        Self {
            total: part().window,
            older: part(),
            younger: part(),
            last: part(),
            span_ns,
        }
    }

    /// Takes in what came since, without a look.
    pub fn push(&mut self, reading: &Reading) {
        self.total.push(reading.clone());
        for part in [&mut self.older, &mut self.younger, &mut self.last] {
            part.window.push(reading.clone());
        }
    }

    /// Takes in a reading of everything, and shows the windows that end with it. `cost` is what was spent so far,
    /// `unix_ns` the time of day.
    pub fn look(
        &mut self,
        reading: &Reading,
        probes: &[ProbeStatus],
        cost: Cost,
        unix_ns: u64,
    ) -> Look {
        self.push(reading);
        let next = Part {
            window: self.last.window.successor(unix_ns, reading),
            spent: cost,
            began_ns: reading.at_ns,
        };
        let last = std::mem::replace(&mut self.last, next);
        let recent = self.older.window.clone();
        let look = Look {
            last: last.window.finish(probes.to_vec(), cost.since(&last.spent)),
            recent: recent.finish(probes.to_vec(), cost.since(&self.older.spent)),
        };
        if reading.at_ns.saturating_sub(self.younger.began_ns) >= self.span_ns {
            let next = Part {
                window: self.younger.window.successor(unix_ns, reading),
                spent: cost,
                began_ns: reading.at_ns,
            };
            self.older = std::mem::replace(&mut self.younger, next);
        }
        look
    }

    /// All of it, from the beginning to the last reading.
    pub fn total(&self, probes: &[ProbeStatus], cost: Cost) -> Window {
        self.total.clone().finish(probes.to_vec(), cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::fixture::{INCIDENT_A, Page, about, reading, request, worker};

    const S: u64 = 1_000_000_000;

    #[test]
    fn each_window_has_what_came_in_its_time() {
        let page = Page {
            calls: 1,
            each_ns: S / 10,
            ..INCIDENT_A
        };
        let full = |n: u64| Reading {
            processes: vec![worker(7)],
            ..reading(n * S)
        };
        let mut rolling = Rolling::new(&about(), &full(0), Cost::default(), 5 * S);
        let mut seen = Vec::new();
        for n in 1..=20 {
            rolling.push(&Reading {
                requests: vec![request(7, n * S - S / 2, page)],
                ..full(n)
            });
            let look = rolling.look(&full(n), &[], Cost::default(), n * S);
            let requests = |w: &Window| w.groups.iter().map(|g| g.requests).sum::<u64>();
            assert_eq!(requests(&look.last), 1);
            assert_eq!(look.last.duration_ns, S);
            assert_eq!(requests(&look.recent), look.recent.duration_ns / S);
            seen.push(look.recent.duration_ns / S);
        }
        assert_eq!(seen[..5], [1, 2, 3, 4, 5]);
        assert!(seen[9..].iter().all(|s| (5..=10).contains(s)), "{seen:?}");
        let total = rolling.total(&[], Cost::default());
        assert_eq!(total.duration_ns, 20 * S);
    }
}
