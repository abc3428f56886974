//! T03: the accept queue or the SYN queue of a listener overflows.

mod advice;
mod syn;
#[cfg(test)]
mod tests;
mod words;

use super::{
    Cause, Doc, Rule, Stage, Subject, Verdict,
    tcp::{self, MAX_FINDINGS, same_workers},
};
use crate::{
    aggregate::{
        ProcessTime, Window,
        tcp::{FailedConnects, ListenQueue, Process, Tcp},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};

/// The rule.
pub const RULE: Rule = Rule {
    id: "T03",
    name: "accept-queue",
    summary: "the accept queue or the SYN queue of a listener overflows",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["tcp_census"],
    causes: &[
        Cause::of("W01", same_workers),
        Cause::of("S01", same_workers),
        Cause::of("U02", same_workers),
        Cause::of("W02", same_workers),
    ],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "For each listening socket, TCP or Unix: the connections that wait for accept() against the most that \
may wait, how often it was full, and what was turned away. TCP: handshakes dropped, the kernel's \
ListenOverflows, which each socket's own counter of drops tells apart once a second. Unix: connects that failed with EAGAIN, from the \
calls themselves. It fires on the first one turned away in the window.

It tells three causes apart by the time from the end of the handshake to accept(), and by how often the queue \
was full: when connections wait for at least 100 ms, the process accepts too slowly, and a longer queue only makes \
clients wait longer; when they wait less, but the queue was full at half of the looks, more arrive than the \
process accepts; otherwise it keeps up, and the bursts are larger than the queue.

Dropped SYNs (TCPReqQFullDrop) and SYN cookies are told apart: they mean that handshakes begin faster than \
they end, as in a SYN flood. Cookies beside an accept queue that overflows are not told: both queues have \
the same limit.

When the workers of a pool wait for a slow peer (W01) and their queue overflows, T03 is listed as a symptom \
of that.

Severity: critical when at least 1 % of the arrivals are turned away, warning when fewer are or when how many were \
accepted is not known, info when the \
queue was full at half of the looks and nothing was turned away. SYN queue: warning when handshakes were \
dropped, info when SYN cookies kept them.",
    matters: "A TCP client whose handshake is dropped is not told: it tries again after 1 s, 3 s, 7 s, so its page \
takes seconds longer while the server looks idle. On a Unix socket a connect() that may not block fails with \
EAGAIN at once, which nginx logs as \"connect() to unix:... failed (11: Resource temporarily unavailable)\" \
and answers with 502.

The limit is the backlog that the process gave to listen(), silently cut to net.core.somaxconn: a large \
backlog alone does nothing.",
    confirm: "Recv-Q of a listening socket is what waits now, Send-Q the limit; the counters say what was dropped:

    ss -ltn
    ss -lx
    nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPReqQFullDrop

The limit belongs to the network namespace: in a container, ask inside it.

    sysctl net.core.somaxconn",
    try_: "When connections wait long for accept(): more workers, or less work in each before the next accept(); \
find out what the workers wait for (W01) first. When they do not: a longer queue, as long as what waits in it \
is accepted within a second. That takes the backlog of the application and net.core.somaxconn together, and listen() called again: nginx does so on reload (listen \
... backlog=N), PHP-FPM only on restart (listen.backlog = N).

net.ipv4.tcp_abort_on_overflow=1 makes the kernel reset a connection instead of dropping the end of its \
handshake: clients fail at once instead of trying again. It mends nothing.",
    wrong: "A TCP client that is dropped tries again, so there are more drops than clients. The kernel \
counts overflows for all listeners together, and each listener's drops of all kinds: where several \
dropped within a second, each has its part by its drops, and the confidence says so.

A Unix client that blocks in connect() waits instead of failing, and is not counted. The queue itself is \
looked at once a second: a short burst that fits is not seen, and is none of anyone's business.",
};

/// At one in a hundred, users meet it every few pages.
const MANY_SHARE: f64 = 0.01;
/// A process that accepts as soon as it is woken takes microseconds, on a busy machine a few milliseconds. A
/// tenth of a second is what a user still takes for immediate.
const SLOW_ACCEPT_NS: u64 = 100_000_000;
/// So many looks that find the queue full are no chance.
const MIN_LOOKS: u64 = 3;

/// How a process keeps up with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// It lets connections wait.
    Slow,
    /// It accepts at once, and still the queue stands full.
    Overrun,
    /// It keeps up on average.
    Bursts,
}

/// What was measured about one listener.
struct Case<'a> {
    window: &'a Window,
    tcp: &'a Tcp,
    queue: &'a ListenQueue,
    /// Connections accepted in the window, as far as they were seen.
    accepted: u64,
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
    let parts = [
        ("connects", "Unix listeners"),
        (
            "socket_owners",
            "how full the queues of Unix listeners are, and who owns a listener",
        ),
        ("accepts", "how long connections wait for accept()"),
    ];
    verdict.not_judged.extend(
        parts
            .iter()
            .filter_map(|(probe, what)| tcp::without(window, probe, what)),
    );

    let mut cases: Vec<_> = tcp
        .listeners
        .iter()
        .map(|queue| Case {
            window,
            tcp,
            queue,
            accepted: accepted(window, queue),
        })
        .filter(|case| case.queue.overflows > 0 || case.stands_full())
        .collect();
    cases.sort_by_key(|case| std::cmp::Reverse((case.queue.overflows, case.queue.full)));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    verdict.not_judged.extend(unassigned(tcp));
    verdict.findings.extend(syn::check(window, tcp));
    verdict
}

/// Overflows that the kernel counted and no listener did: it was closed in the window, or its counter could
/// not be read.
fn unassigned(tcp: &Tcp) -> Option<String> {
    let all = tcp.counters.listen_overflows?;
    let seen: u64 = tcp
        .listeners
        .iter()
        .filter(|l| l.tcp)
        .map(|l| l.overflows)
        .sum();
    // Drops between the look at a socket and the look at the counters make them differ a little.
    (all - all / 10 > seen).then(|| {
        format!(
            "{} of {all} handshakes dropped at a full accept queue (ListenOverflows): their listener is gone, or \
             its counter could not be read",
            all - seen
        )
    })
}

/// Connections accepted: TCP's own count, or the calls of the processes that are followed (Unix has no states
/// to count).
fn accepted(window: &Window, queue: &ListenQueue) -> u64 {
    let calls = window
        .calls
        .iter()
        .filter(|c| c.op.starts_with("accept") && c.peer == queue.address)
        .map(|c| c.count - c.errors.iter().map(|(_, n)| n).sum::<u64>().min(c.count))
        .sum();
    if queue.tcp { queue.accepted } else { calls }
}

impl<'a> Case<'a> {
    /// Full at half of the looks.
    fn stands_full(&self) -> bool {
        let q = self.queue;
        q.full >= MIN_LOOKS && q.full * 2 >= q.looks
    }

    /// Connections that came, turned away or not; `None` when nobody counted those accepted.
    fn arrivals(&self) -> Option<u64> {
        let q = self.queue;
        (self.accepted > 0).then_some(self.accepted + q.overflows)
    }

    /// Share of the arrivals that was turned away.
    fn refused(&self) -> Option<f64> {
        self.arrivals()
            .map(|all| tcp::share(self.queue.overflows, all))
    }

    fn severity(&self) -> Severity {
        match self.refused() {
            _ if self.queue.overflows == 0 => Severity::Info,
            Some(share) if share >= MANY_SHARE => Severity::Critical,
            // Fewer, or a share that nobody knows.
            _ => Severity::Warning,
        }
    }

    /// How long connections wait for accept(), ns: the 99th percentile where it was measured; otherwise what a
    /// queue that stands full takes to empty.
    fn wait_ns(&self) -> Option<u64> {
        let q = self.queue;
        if !q.wait.is_empty() {
            return Some(q.wait.quantile(0.99));
        }
        let each_ns = self.window.duration_ns.checked_div(self.accepted)?;
        self.stands_full().then_some(q.queue_max * each_ns)
    }

    /// How the process keeps up; `None` when neither waits nor a queue that stands full were seen.
    fn pace(&self) -> Option<Pace> {
        match self.wait_ns() {
            Some(ns) if ns >= SLOW_ACCEPT_NS => Some(Pace::Slow),
            _ if self.stands_full() => Some(Pace::Overrun),
            Some(_) => Some(Pace::Bursts),
            None => None,
        }
    }

    /// Who holds the listener; those whose name is known first.
    fn owners(&self) -> Vec<&'a Process> {
        let mut list: Vec<_> = self.queue.owners.iter().collect();
        list.sort_by_key(|owner| owner.comm.is_empty());
        list
    }

    /// Unix: who was turned away.
    fn turned_away(&self) -> impl Iterator<Item = &'a FailedConnects> {
        let on = words::unix_path(self.queue);
        let failed = self.tcp.failed.iter();
        failed.filter(move |f| {
            f.errno == libc::EAGAIN as u32 && on.is_some() && words::path(&f.peer) == on
        })
    }

    fn confidence(&self) -> Confidence {
        let q = self.queue;
        let doubts = [
            q.overflows_inexact.then(|| {
                let why = "several listeners dropped handshakes at once, and the kernel counts overflows for all \
                           together: this is the part by its own drops";
                (Level::Medium, why.to_owned())
            }),
            (q.overflows > 0 && self.arrivals().is_none()).then(|| {
                let why = "how many were accepted meanwhile is not known, so neither is their share";
                (Level::Medium, why.to_owned())
            }),
            (q.overflows == 0).then(|| {
                (Level::Medium, format!("the queue was looked at {} times only", q.looks))
            }),
        ];
        let slots = if q.tcp { &[] } else { tcp::CALLS };
        tcp::confidence(
            self.window,
            slots,
            doubts.into_iter().flatten(),
            if q.tcp {
                "the kernel's own count of this socket"
            } else {
                "each failed call was counted; nothing was lost that bears on it"
            },
        )
    }

    /// Share of the handshakes dropped at all TCP listeners, or of all failed connects.
    fn explains(&self) -> (f64, &'static str) {
        let q = self.queue;
        if !q.tcp {
            let all = tcp::all_failed(self.tcp, q.overflows);
            return (tcp::share(q.overflows, all), "the failed connects");
        }
        let seen: u64 = self
            .tcp
            .listeners
            .iter()
            .filter(|l| l.tcp)
            .map(|l| l.overflows)
            .sum();
        let all = self.tcp.counters.listen_overflows.unwrap_or(0).max(seen);
        (
            tcp::share(q.overflows, all),
            "the handshakes dropped at full queues",
        )
    }
}

/// Who accepts too late: a worker that holds the listener and serves requests, with its group; else the first
/// owner. (PHP-FPM's master holds it as well, and serves none.)
fn culprit(case: &Case<'_>) -> Culprit {
    let (window, queue) = (case.window, case.queue);
    let serves = |p: &&ProcessTime| p.requests > 0 || p.current.is_some();
    let mut workers = window.processes.iter().filter(serves);
    let watched = workers.find(|p| queue.owners.iter().any(|o| o.pid == p.process.pid));
    let peer = Some(queue.address.clone());
    if let Some(worker) = watched {
        let groups = &window.groups;
        return Culprit {
            group: Some(worker.group.clone()),
            php_fpm: groups.iter().any(|g| g.name == worker.group && g.php_fpm),
            pid: Some(worker.process.pid),
            peer,
            ..Culprit::default()
        };
    }
    let owner = case.owners().first().copied();
    Culprit {
        group: owner
            .map(|p| p.comm.clone())
            .filter(|name| !name.is_empty()),
        php_fpm: false,
        pid: owner.map(|p| p.pid),
        peer,
        ..Culprit::default()
    }
}

fn finding(case: &Case<'_>) -> Finding {
    let q = case.queue;
    let (explains, explains_what) = case.explains();
    let count = |n: u64| Quantity::count(n as f64);
    let measured = if q.overflows > 0 {
        Measured {
            what: "connections turned away because the queue was full",
            observed: count(q.overflows),
            threshold: count(1),
        }
    } else {
        Measured {
            what: "share of the looks at which the queue was full",
            observed: Quantity::ratio(tcp::share(q.full, q.looks)),
            threshold: Quantity::ratio(0.5),
        }
    };
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains,
        explains_what,
        culprit: culprit(case),
        measured: vec![measured],
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: q.first_overflow_ns,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}
