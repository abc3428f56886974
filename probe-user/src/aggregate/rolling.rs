//! Windows that move on with time, for a view that is refreshed: the last moment, the last seconds, and all of it.
//!
//! A look at everything costs most of what the view does, so there are glances between: of what the threads do, and
//! nothing else.

use std::{collections::HashMap, sync::Arc};

use probe_common::{peer::PeerKey, task::Task};

use super::{About, Aggregator, Window, calls::CallTable};
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
    /// Without calls and signals.
    last: Part,
    /// All sums of calls so far.
    calls: CallTable,
    /// All peers so far: a glance names only those that are new.
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
    /// From the look or glance before to this one; without calls and signals.
    pub last: Window,
    /// The last one to two spans.
    pub recent: Window,
}

/// What a reading says of events: all but threads and sums of calls, which have their own ways.
fn events(reading: &Reading) -> Reading {
    Reading {
        at_ns: reading.at_ns,
        requests: reading.requests.clone(),
        exits: reading.exits.clone(),
        tasks: Vec::new(),
        stats: Vec::new(),
        peers: reading.peers.clone(),
        processes: reading.processes.clone(),
        tcp: reading.tcp.clone(),
        udp: reading.udp.clone(),
        dns: reading.dns.clone(),
        files: reading.files.clone(),
        journal: reading.journal.clone(),
        losses: reading.losses,
    }
}

/// The same without the signals.
fn requests(reading: &Reading) -> Reading {
    Reading {
        at_ns: reading.at_ns,
        requests: reading.requests.clone(),
        exits: reading.exits.clone(),
        peers: reading.peers.clone(),
        processes: reading.processes.clone(),
        losses: reading.losses,
        ..Reading::default()
    }
}

impl Rolling {
    /// Begins at a reading of everything; before it, `spent` had been spent. `about.start_ns` is taken from it.
    pub fn new(about: &About, base: &Reading, spent: Cost, span_ns: u64) -> Self {
        let mut calls = CallTable::default();
        calls.learn(&base.stats);
        let root = Aggregator::since(about.clone(), base);
        let part = || Part {
            window: root.clone(),
            spent,
            began_ns: base.at_ns,
        };
        let threads = Reading {
            tasks: base.tasks.clone(),
            ..requests(base)
        };
        let last = Part {
            window: Aggregator::since(about.clone(), &threads),
            ..part()
        };
        Self {
            older: part(),
            younger: part(),
            last,
            total: root,
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
        let calls = (!reading.stats.is_empty()).then(|| {
            self.calls.learn(&reading.stats);
            &self.calls
        });
        let known = reading.peers.iter().map(|(id, key)| (*id, *key));
        self.peers.extend(known);
        self.total.share(events(reading), old, calls);
        for part in [&mut self.older, &mut self.younger] {
            part.window.share(events(reading), old, calls);
        }
        self.last.window.share(requests(reading), new, None);
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
        let recent = self.older.window.clone();
        let look = Look {
            last: self.turn(reading, probes, cost, unix_ns),
            recent: recent.finish(probes.to_vec(), cost.since(&self.older.spent)),
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
        let threads = Reading {
            tasks: reading.tasks.clone(),
            peers: self.peers.clone(),
            requests: Vec::new(),
            exits: Vec::new(),
            ..requests(reading)
        };
        let window = &self.last.window;
        let next = Part {
            window: window.successor(unix_ns, &threads, &CallTable::default()),
            spent: cost,
            began_ns: reading.at_ns,
        };
        let last = std::mem::replace(&mut self.last, next);
        last.window.finish(probes.to_vec(), cost.since(&last.spent))
    }

    /// All of it, from the beginning to the last reading.
    pub fn total(&self, probes: &[ProbeStatus], cost: Cost) -> Window {
        self.total.clone().finish(probes.to_vec(), cost)
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
