//! Sums of questions that can be subtracted and added up.

use crate::{
    aggregate::Durations,
    collect::{CallSum, dns::Questions},
};

/// Waits: how many, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many.
    pub count: u64,
    /// All together, ns.
    pub total_ns: u64,
    /// Each.
    pub durations: Durations,
}

impl From<&CallSum> for Waits {
    fn from(sum: &CallSum) -> Self {
        Self {
            count: sum.count,
            total_ns: sum.total_ns,
            durations: Durations::of_kernel(&sum.hist, sum.max_ns),
        }
    }
}

impl Waits {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(earlier.count),
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            durations: self.durations.since(&earlier.durations),
        }
    }

    fn add(&mut self, more: &Self) {
        self.count += more.count;
        self.total_ns += more.total_ns;
        self.durations.add(&more.durations);
    }
}

/// Questions and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Messages that ask something, retries included.
    pub asked: u64,
    /// Of these: the same was asked before, and there was no answer.
    pub retried: u64,
    /// Of `asked`, without retries: anyone on the node had asked the same less than a second before.
    pub duplicates: u64,
    /// Answers received.
    pub answered: u64,
    /// Questions that nobody listened for (the host said so by ICMP).
    pub refused: u64,
    /// Answers by RCODE.
    pub rcodes: [u64; 16],
    /// Of the answers: the name exists, and has no such record.
    pub empty: u64,
    /// Of the answers: cut off, to be asked again over TCP.
    pub truncated: u64,
    /// From a question to its answer.
    pub latency: Waits,
    /// Waits for an answer that ended without one.
    pub timed_out: Waits,
    /// Questions that a thread waits for at the window's end.
    pub waiting: u64,
    /// Questions that have no answer, and that nobody waits for any more.
    pub unanswered: u64,
}

impl From<&Questions> for Sums {
    fn from(q: &Questions) -> Self {
        Self {
            asked: q.asked,
            retried: q.retried,
            duplicates: q.duplicates,
            answered: q.answered,
            refused: q.refused,
            rcodes: q.rcodes,
            empty: q.empty,
            truncated: q.truncated,
            latency: (&q.latency).into(),
            timed_out: (&q.timed_out).into(),
            waiting: 0,
            unanswered: 0,
        }
    }
}

impl Sums {
    /// What came since `earlier`, a former state of the same sums; with `waiting` questions that are waited for now.
    pub(super) fn since(&self, earlier: &Self, waiting: u64) -> Self {
        let mut new = Self {
            asked: self.asked.saturating_sub(earlier.asked),
            retried: self.retried.saturating_sub(earlier.retried),
            duplicates: self.duplicates.saturating_sub(earlier.duplicates),
            answered: self.answered.saturating_sub(earlier.answered),
            refused: self.refused.saturating_sub(earlier.refused),
            rcodes: std::array::from_fn(|i| self.rcodes[i].saturating_sub(earlier.rcodes[i])),
            empty: self.empty.saturating_sub(earlier.empty),
            truncated: self.truncated.saturating_sub(earlier.truncated),
            latency: self.latency.since(&earlier.latency),
            timed_out: self.timed_out.since(&earlier.timed_out),
            waiting,
            unanswered: 0,
        };
        // Those that were waited for when the window began got their answer, or none, in it.
        let open = new.asked + earlier.waiting;
        new.unanswered = open.saturating_sub(new.answered + new.refused + waiting);
        new
    }

    /// True when nothing was asked, answered or waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.asked + self.answered + self.timed_out.count + self.waiting + self.refused == 0
    }

    /// Adds others.
    pub(super) fn add(&mut self, more: &Self) {
        self.asked += more.asked;
        self.retried += more.retried;
        self.duplicates += more.duplicates;
        self.answered += more.answered;
        self.refused += more.refused;
        for (sum, n) in self.rcodes.iter_mut().zip(more.rcodes) {
            *sum += n;
        }
        self.empty += more.empty;
        self.truncated += more.truncated;
        self.latency.add(&more.latency);
        self.timed_out.add(&more.timed_out);
        self.waiting += more.waiting;
        self.unanswered += more.unanswered;
    }
}
