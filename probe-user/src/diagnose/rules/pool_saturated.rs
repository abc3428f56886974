//! W02: every worker of a pool is busy, and requests wait in its queue before one takes them.

mod words;

#[cfg(test)]
mod tests;

use super::{
    Cause, Doc, Rule, Stage, Subject, Verdict,
    blocking_upstream::SATURATED,
    tcp::{self, MAX_FINDINGS, same_workers},
};
use crate::{
    aggregate::{Group, Window, tcp::ListenQueue},
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};
use probe_common::part;

/// The rule.
pub const RULE: Rule = Rule {
    id: "W02",
    name: "pool-saturated",
    summary: "every worker is busy, and requests wait before one takes them",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["calls", "tcp_census", "socket_owners"],
    causes: &[
        Cause::of("W01", same_workers),
        Cause::of("S01", same_workers),
        Cause::of("U02", same_workers),
    ],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "The workers of a pool (PHP-FPM, or any processes that accept one connection at a time from a listening socket \
that they share) are busy for at least 95 % of their time, and what waits in that socket's queue waits for at least \
100 ms before a worker accepts it. Over TCP that time is measured from the end of the handshake to accept(); on a Unix \
socket, which keeps no time, it is the mean length of the queue divided by the rate at which it is served (Little's law); \
the finding says which.

Critical from 1 s on, warning below. Event loops are not judged: their workers accept before they work.",
    matters: "Users wait twice: for their turn, and for their page. The server's own times show only the second, and load and \
CPU may be low all the while, as workers that wait for something are busy too. When the queue is full, connects are \
turned away (T03), and the proxy in front gives up on those that are still in it.",
    confirm: "Recv-Q of the listening socket is what waits now, Send-Q the limit. PHP-FPM's status page says the same \
(listen queue, active processes, max children reached):

    ss -lx
    ss -ltn
    ps -o pid,stat,wchan:20,args --ppid PID",
    try_: "What the workers wait for comes first: when a slow peer (W01), a journal (S01) or a name server (U02) is found in the \
same run, this is its symptom, and goes with it. A request that takes half as long needs half the workers.

When the workers wait for something that cannot be made faster, more of them help: pm.max_children, as far as memory goes \
(the pages that each does not share, not RSS). When they run on the CPU, more workers only share it: make the page \
cheaper, cache it, or add CPUs.

A longer queue (listen.backlog) does not help: it only makes users wait longer.",
    wrong: "A batch service may keep its queue full on purpose: nobody waits for its answers. The queue is looked at about once \
a second: on a Unix socket, the mean of a short run is rough, and the confidence says so. A pool of which only some \
processes are watched (--pid) looks busier than it is.",
};

/// The tenth of a second within which an answer still seems immediate: less in the queue is what full load looks like.
const WARNING_WAIT_NS: u64 = 100_000_000;
/// A second: users lose their train of thought, before the page has even begun.
const CRITICAL_WAIT_NS: u64 = 1_000_000_000;
/// Fewer looks at a queue say nothing of its length over time.
const MIN_LOOKS: u64 = 3;
/// From so many on, their mean does not hang on single ones.
const MANY_LOOKS: u64 = 20;
/// Workers that spend this share of their time on a CPU, or waiting for one, have nothing to gain from more workers.
const ON_CPU_SHARE: f64 = 0.5;

/// What was measured about a pool and its queue.
struct Case<'a> {
    window: &'a Window,
    group: &'a Group,
    queue: &'a ListenQueue,
    /// Share of the workers' time that was not idle.
    busy: f64,
    /// How long a request waits for a worker, ns.
    wait_ns: u64,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    let tcp = match tcp::watched(window) {
        Ok(tcp) => tcp,
        Err(why) => {
            verdict.not_judged.push(why);
            return verdict;
        }
    };
    let groups = window.groups.iter().filter(|g| g.event_driven == 0);
    let mut cases: Vec<Case<'_>> = groups
        .flat_map(|group| {
            let queues = tcp.listeners.iter();
            queues.filter_map(move |queue| Case::new(window, group, queue))
        })
        .collect();
    cases.sort_by_key(|case| std::cmp::Reverse(case.wait_ns));
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    verdict
}

impl<'a> Case<'a> {
    fn new(window: &'a Window, group: &'a Group, queue: &'a ListenQueue) -> Option<Self> {
        let mut case = Self {
            window,
            group,
            queue,
            busy: group.busy(),
            wait_ns: 0,
        };
        if group.requests == 0 || case.busy < SATURATED || !case.is_its_queue() {
            return None;
        }
        case.wait_ns = case.measured_ns().or_else(|| case.estimated_ns())?;
        (case.wait_ns >= WARNING_WAIT_NS).then_some(case)
    }

    /// A worker of the group holds the listener.
    fn is_its_queue(&self) -> bool {
        let mut workers = self.window.processes.iter();
        workers.any(|p| {
            p.group == self.group.name
                && p.requests > 0
                && self.queue.owners.iter().any(|o| o.pid == p.process.pid)
        })
    }

    /// The median from the handshake's end to accept(), ns.
    fn measured_ns(&self) -> Option<u64> {
        (!self.queue.wait.is_empty()).then(|| self.queue.wait.quantile(0.5))
    }

    /// What a queue of this length takes to be served, ns.
    fn estimated_ns(&self) -> Option<u64> {
        let q = self.queue;
        let each_ns = self.window.duration_ns as f64 / self.group.requests as f64;
        (q.looks >= MIN_LOOKS).then(|| (self.waiting() * each_ns) as u64)
    }

    /// Connections in the queue, on average.
    fn waiting(&self) -> f64 {
        self.queue.queue_sum as f64 / self.queue.looks.max(1) as f64
    }

    /// Mean wall time of a request once a worker has it, ns.
    fn service_ns(&self) -> u64 {
        self.group.wall_ns / self.group.requests.max(1)
    }

    /// Share of the workers' time that they are on a CPU, or wait for one.
    fn on_cpu(&self) -> f64 {
        let parts = &self.group.worker_parts;
        tcp::share(
            parts[part::ON_CPU] + parts[part::RUN_QUEUE],
            parts.iter().sum(),
        )
    }

    fn severity(&self) -> Severity {
        if self.wait_ns >= CRITICAL_WAIT_NS {
            Severity::Critical
        } else {
            Severity::Warning
        }
    }

    fn confidence(&self) -> Confidence {
        let looks = self.queue.looks;
        let rough = self.measured_ns().is_none().then(|| {
            let why = format!(
                "how long a Unix queue takes is reckoned from its length, seen {looks} times"
            );
            let level = if looks >= MANY_LOOKS {
                Level::High
            } else {
                Level::Medium
            };
            (level, why)
        });
        tcp::confidence(
            self.window,
            tcp::CALLS,
            rough,
            "each request, and how long it waited for accept(), was counted",
        )
    }
}

fn finding(case: &Case<'_>) -> Finding {
    let group = case.group;
    let together = case.wait_ns + case.service_ns();
    Finding {
        rule: RULE.reference(),
        title: "Every worker is busy, and requests wait before one takes them".to_owned(),
        severity: case.severity(),
        confidence: case.confidence(),
        explains: tcp::share(case.wait_ns, together),
        explains_what: "the time from connecting to the answer",
        culprit: Culprit {
            group: Some(group.name.clone()),
            php_fpm: group.php_fpm,
            pid: Some(group.example_pid),
            peer: Some(case.queue.address.clone()),
            ..Culprit::default()
        },
        measured: vec![
            Measured {
                what: "share of the workers' time that they are busy",
                observed: Quantity::ratio(case.busy),
                threshold: Quantity::ratio(SATURATED),
            },
            Measured {
                what: "time in the queue before a worker takes a request",
                observed: Quantity::ns(case.wait_ns),
                threshold: Quantity::ns(WARNING_WAIT_NS),
            },
        ],
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: words::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: None,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}
