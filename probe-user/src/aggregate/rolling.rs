//! Windows that move on with time, for a view that is refreshed: the last moment, the last seconds, and all of it.
//!
//! A look at everything costs most of what the view does, so there are glances between: of what the threads do, and
//! nothing else. What runs for weeks ([`Rolling::lasting`]) has no glances and keeps nothing of all of it; its last moment
//! is complete, so that sums of these moments lack nothing.

use std::{collections::HashMap, sync::Arc};

use probe_common::{peer::PeerKey, request::Request, task::Task};

use super::{About, Aggregator, Window, calls::CallTable, lives::fitting, served::Served};
use crate::{
    attach::ProbeStatus,
    collect::{Cost, Reading},
};

/// Takes in readings, and yields windows again and again.
pub struct Rolling {
    /// `None` for what runs for weeks: it would grow.
    total: Option<Aggregator>,
    /// What is shown as the last seconds; when it is two spans long, the younger one takes its place.
    older: Part,
    younger: Part,
    /// Without calls and signals, unless `lasting`.
    last: Part,
    /// The last moment has calls and signals, too.
    lasting: bool,
    /// Requests since the last moment began that lie within all windows: they are summed once.
    served: Served,
    /// All sums of calls that are still added to.
    calls: CallTable,
    /// The peers that readings have named since the last look.
    peers: HashMap<u64, PeerKey>,
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
    /// From the look or glance before to this one; without calls and signals, unless it is [`Rolling::lasting`].
    pub last: Window,
    /// The last one to two spans.
    pub recent: Window,
}

/// What a reading says of who is who.
fn names(reading: &Reading) -> Reading {
    Reading {
        at_ns: reading.at_ns,
        peers: reading.peers.clone(),
        processes: reading.processes.clone(),
        losses: reading.losses,
        ..Reading::default()
    }
}

impl Rolling {
    /// Begins at a reading of everything; before it, `spent` had been spent. `about.start_ns` is taken from it.
    pub fn new(about: &About, base: &Reading, spent: Cost, span_ns: u64) -> Self {
        Self::begin(about, base, spent, span_ns, false)
    }

    /// The same for what runs for weeks: there is no [`Rolling::total`], and the last moment has calls and signals.
    pub fn lasting(about: &About, base: &Reading, spent: Cost, span_ns: u64) -> Self {
        Self::begin(about, base, spent, span_ns, true)
    }

    fn begin(about: &About, base: &Reading, spent: Cost, span_ns: u64, lasting: bool) -> Self {
        let mut calls = CallTable::default();
        calls.learn(&base.stats);
        let root = Aggregator::since(about.clone(), base);
        let part = || Part {
            window: root.clone(),
            spent,
            began_ns: base.at_ns,
        };
        let last = if lasting {
            part()
        } else {
            let threads = Reading {
                tasks: base.tasks.clone(),
                ..names(base)
            };
            Part {
                window: Aggregator::since(about.clone(), &threads),
                ..part()
            }
        };
        Self {
            older: part(),
            younger: part(),
            last,
            lasting,
            total: (!lasting).then_some(root),
            served: Served::default(),
            calls,
            peers: base.peers.clone(),
            span_ns,
        }
    }

    /// Takes in what came since, without a look.
    pub fn push(&mut self, reading: &Reading) {
        let tasks = Arc::new(reading.tasks.clone());
        self.take(reading, &tasks, &tasks);
    }

    /// `old` are the threads for the windows that last, `new` those for the last moment.
    fn take(&mut self, reading: &Reading, old: &Arc<Vec<Task>>, new: &Arc<Vec<Task>>) {
        let known = reading.stats.is_empty() && reading.retired.is_empty();
        let calls = (!known).then(|| {
            self.calls.end(&reading.retired);
            self.calls.learn(&reading.stats);
            &self.calls
        });
        let known = reading.peers.iter().map(|(id, key)| (*id, *key));
        self.peers.extend(known);
        let last = &mut self.last.window;
        let (whole, pieces): (Vec<&Request>, Vec<&Request>) =
            reading.requests.iter().partition(|r| last.holds(r));
        let pieces: Vec<Request> = pieces.into_iter().copied().collect();
        last.share(
            reading,
            &pieces,
            new,
            calls.filter(|_| self.lasting),
            self.lasting,
        );
        last.sum(&mut self.served, whole.into_iter());
        let parts = [&mut self.older, &mut self.younger];
        let windows = parts.into_iter().map(|part| &mut part.window);
        for window in windows.chain(&mut self.total) {
            window.share(reading, &pieces, old, calls, true);
        }
    }

    /// Gives the windows the requests that were summed for all of them.
    fn merge(&mut self) {
        let served = std::mem::take(&mut self.served);
        let by = self.last.window.processes();
        let parts = [&mut self.older, &mut self.younger];
        let windows = parts.into_iter().map(|part| &mut part.window);
        for window in windows.chain(&mut self.total) {
            window.merge(&served, by);
        }
        self.last.window.merge_own(&served);
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
        self.merge();
        self.peers = fitting(&reading.peers);
        let older = &self.older;
        let look = Look {
            recent: older
                .window
                .so_far(probes.to_vec(), cost.since(&older.spent)),
            last: self.turn(reading, probes, cost, unix_ns),
        };
        if reading.at_ns.saturating_sub(self.younger.began_ns) >= self.span_ns {
            let window = &self.younger.window;
            let next = Part {
                window: window.successor(unix_ns, reading, &self.calls),
                spent: cost,
                began_ns: reading.at_ns,
            };
            self.older = std::mem::replace(&mut self.younger, next);
        }
        look
    }

    /// Takes in a reading of threads, and shows the last moment: from the look or glance before to this one, without
    /// calls and signals.
    pub fn glance(
        &mut self,
        reading: &Reading,
        probes: &[ProbeStatus],
        cost: Cost,
        unix_ns: u64,
    ) -> Window {
        let tasks = Arc::new(reading.tasks.clone());
        self.take(reading, &Arc::default(), &tasks);
        self.merge();
        self.turn(reading, probes, cost, unix_ns)
    }

    /// The last moment ends here, and the next one begins.
    fn turn(
        &mut self,
        reading: &Reading,
        probes: &[ProbeStatus],
        cost: Cost,
        unix_ns: u64,
    ) -> Window {
        let window = &self.last.window;
        let next = if self.lasting {
            window.successor(unix_ns, reading, &self.calls)
        } else {
            let threads = Reading {
                tasks: reading.tasks.clone(),
                peers: self.peers.clone(),
                ..names(reading)
            };
            window.successor(unix_ns, &threads, &CallTable::default())
        };
        let next = Part {
            window: next,
            spent: cost,
            began_ns: reading.at_ns,
        };
        let last = std::mem::replace(&mut self.last, next);
        last.window.finish(probes.to_vec(), cost.since(&last.spent))
    }

    /// All of it, from the beginning to the last reading; of [`Rolling::lasting`], the last one to two spans.
    pub fn total(&self, probes: &[ProbeStatus], cost: Cost) -> Window {
        let (window, cost) = match &self.total {
            Some(total) => (total, cost),
            None => (&self.older.window, cost.since(&self.older.spent)),
        };
        let mut window = window.clone();
        window.merge(&self.served, self.last.window.processes());
        window.finish(probes.to_vec(), cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::fixture::{INCIDENT_A, Page, about, reading, request, task, worker};

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

    #[test]
    fn requests_that_are_summed_once_are_in_every_window_as_if_each_had_summed_them() {
        use probe_common::request::flag;
        // The same values in other orders: a histogram that was merged knows its ends to the width of a bucket.
        let shown = |what: &dyn std::fmt::Debug| {
            let text = format!("{what:#?}");
            let ends = |line: &&str| !line.contains("max_value") && !line.contains("min_non_zero");
            text.lines().filter(ends).collect::<Vec<_>>().join("\n")
        };
        let full = |n: u64| Reading {
            processes: (1..9).map(worker).collect(),
            tasks: (1..9).map(|pid| task(pid, pid)).collect(),
            ..reading(n * S)
        };
        let flags = [
            0,
            flag::GOT_DATA,
            flag::GOT_DATA | flag::FORKED,
            flag::PARTIAL,
            flag::GOT_DATA | flag::EXITED,
            flag::GOT_DATA | flag::FASTCGI,
        ];
        let base = full(0);
        let mut alone = Aggregator::since(about(), &base);
        let mut rolling = Rolling::new(&about(), &base, Cost::default(), 100 * S);
        for n in 1..=12u64 {
            let requests = (0..50u64).map(|i| {
                let page = Page {
                    calls: (i % 4) as u32,
                    each_ns: S / 100 * (1 + i % 7),
                    // No two take the same time: which of them is shown as slow would be left open.
                    cpu_ns: n * 100 + i,
                    ..INCIDENT_A
                };
                let mut request = request(1 + (i % 9) as u32, n * S - i * S / 100, page);
                request.flags = flags[((n * 7 + i) % 11) as usize % flags.len()];
                // Some began before the window, and some ended before it.
                request.end_ns -= (i % 3) * S;
                request
            });
            let events = Reading {
                requests: requests.collect(),
                ..reading(n * S)
            };
            alone.push(events.clone());
            alone.push(full(n));
            if n % 3 == 0 {
                let glance = Reading {
                    tasks: full(n).tasks,
                    ..events
                };
                rolling.glance(&glance, &[], Cost::default(), n * S);
            } else {
                rolling.push(&events);
            }
            let look = rolling.look(&full(n), &[], Cost::default(), n * S);
            let expected = alone.clone().finish(Vec::new(), Cost::default());
            for window in [&look.recent, &rolling.total(&[], Cost::default())] {
                assert_eq!(shown(&window.groups), shown(&expected.groups));
                assert_eq!(shown(&window.processes), shown(&expected.processes));
            }
        }
        // Between two looks, too.
        let late = Reading {
            requests: vec![request(3, 13 * S, INCIDENT_A)],
            ..reading(13 * S)
        };
        let before = rolling.total(&[], Cost::default());
        rolling.push(&late);
        alone.push(late);
        let after = rolling.total(&[], Cost::default());
        let expected = alone.finish(Vec::new(), Cost::default());
        assert_eq!(shown(&after.groups), shown(&expected.groups));
        assert_ne!(shown(&after.groups), shown(&before.groups));
    }

    #[test]
    fn the_last_moments_of_what_lasts_are_complete_and_overlap_nowhere() {
        let full = |n: u64| Reading {
            processes: vec![worker(7)],
            tasks: vec![task(7, 7)],
            tcp: Some(Box::default()),
            ..reading(n * S)
        };
        let mut rolling = Rolling::lasting(&about(), &full(0), Cost::default(), 5 * S);
        let (mut requests, mut spent_ns) = (0, 0);
        for n in 1..=20 {
            rolling.push(&Reading {
                requests: vec![request(7, n * S - S / 2, INCIDENT_A)],
                ..full(n)
            });
            let look = rolling.look(&full(n), &[], Cost::default(), n * S);
            assert!(look.last.tcp.is_some());
            assert_eq!(look.last.duration_ns, S);
            requests += look.last.groups.iter().map(|g| g.requests).sum::<u64>();
            spent_ns += look.last.processes[0].parts.iter().sum::<u64>();
        }
        assert_eq!((requests, spent_ns), (20, 20 * S));
        let recent = rolling.total(&[], Cost::default());
        assert!((5 * S..=10 * S).contains(&recent.duration_ns));
    }

    #[test]
    fn a_glance_shows_the_last_moment_and_takes_nothing_from_the_others() {
        let full = |n: u64| Reading {
            processes: vec![worker(7)],
            tasks: vec![task(7, 7)],
            ..reading(n * S)
        };
        let requests = |w: &Window| w.groups.iter().map(|g| g.requests).sum::<u64>();
        let mut rolling = Rolling::new(&about(), &full(0), Cost::default(), 5 * S);
        for n in 1..=4 {
            let glance = Reading {
                requests: vec![request(7, n * S - S / 2, INCIDENT_A)],
                ..full(n)
            };
            let last = rolling.glance(&glance, &[], Cost::default(), n * S);
            assert_eq!((requests(&last), last.duration_ns), (1, S));
            let spent: u64 = last.processes[0].parts.iter().sum();
            assert_eq!(spent, S);
        }
        let look = rolling.look(&full(5), &[], Cost::default(), 5 * S);
        assert_eq!((requests(&look.last), requests(&look.recent)), (0, 4));
        let spent: u64 = look.recent.processes[0].parts.iter().sum();
        assert_eq!(spent, 5 * S);
    }
}
