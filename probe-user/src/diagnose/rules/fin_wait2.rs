//! T02: half-closed sockets pile up towards one peer.

#[cfg(test)]
mod tests;
mod words;

use super::{
    Doc, Rule, Stage, Subject, Verdict,
    tcp::{self, MAX_FINDINGS},
};
use crate::{
    aggregate::{
        Durations, Window,
        tcp::{HalfClosed, Tcp},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};

/// The rule.
pub const RULE: Rule = Rule {
    id: "T02",
    name: "fin-wait2",
    summary: "half-closed sockets (FIN_WAIT_2) pile up towards one peer",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["tcp_census"],
    causes: &[],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "Sockets in FIN_WAIT_2: this side has closed, the other side has acknowledged it and does not close. \
It fires when at least 100 of them towards one address are older than 3 s, and when these are at least a \
tenth of all that came into the state while the oldest of them was there.

Orphaned and held ones are told apart. An orphan belongs to no process any more: the process called close(). \
A held one still has a descriptor: the process called shutdown() and keeps reading. Age is real: it is taken \
from the kernel's timer for orphans, and from following the socket for held ones (a lower bound for those \
that were there before watching began).

A busy server that closes first has many sockets in FIN_WAIT_2 for a short time: as many as it closes in a \
round trip plus the time that the clients take to notice. They are young, and no finding. A few slow clients \
behind a busy address (a load balancer, a NAT) are no tenth of its connections.

Severity: warning; critical when the orphans of the node are at 90 % of tcp_max_orphans.",
    matters: "An orphan goes away by itself after tcp_fin_timeout (60 s by default), but until then it takes \
memory and, where this side connected, a local port. Past tcp_max_orphans the kernel resets connections that \
a process has closed, with data that was not sent yet. A held one has no timer at all: it stays, with its \
descriptor, for as long as the process keeps it, and the process runs out of descriptors in the end.",
    confirm: "Orphans show a timer (timer:(timewait,...)) and no process, held ones the process:

    ss -tanop state fin-wait-2
    ss -tanop state fin-wait-2 dst 203.0.113.5

On the peer's machine the same connections are in CLOSE_WAIT, with the process that should close them:

    ss -tanp state close-wait",
    try_: "Held sockets: the process that holds them must close them. After shutdown() it should wait for the \
other side's end for a bounded time only (HAProxy: timeout client-fin and timeout server-fin; nginx: \
lingering_timeout; in one's own code: a read time-out after shutdown()). A restart frees them at once.

Orphans: the program at the other end must close when it reads the end of the stream. Until it does, a lower \
net.ipv4.tcp_fin_timeout makes orphans go sooner. It does not touch held sockets, nor TIME_WAIT, which lasts a \
fixed 60 s.",
    wrong: "A process may half-close on purpose, and read a long answer for minutes (a backup through a pipe, \
ssh, a client that sends its request with an end): 100 such connections to one address look like a leak. What \
it reads meanwhile is not seen.

Public clients are judged by address: 400 browsers that leave one connection each are 400 peers, none of which \
is at fault.

A window shorter than 3 s cannot tell how old held sockets are that were there before it; the rule then says \
that it could not judge.",
};

/// A peer that reads its sockets sees the end after a round trip (0.3 s around the world) and closes; three
/// lost segments in a row add 2 s (retransmitted after 0.3, 0.6 and 1.2 s). Older ones wait for something else.
const OLD_NS: u64 = 3_000_000_000;
/// A tenth of the 1,024 descriptors that a process may have by default; fewer cost nothing that anyone feels.
const MANY: u64 = 100;
/// With nine of ten closed in time, the peer closes its connections: the rest are slow or vanished clients
/// behind its address.
const STUCK_SHARE: f64 = 0.1;
/// From here on an ordinary burst takes the kernel past tcp_max_orphans.
const NEARLY_FULL: f64 = 0.9;
/// The proposed tcp_fin_timeout, s: five times what the slowest healthy peer takes ([`OLD_NS`]).
const PROPOSED_FIN_TIMEOUT_S: u32 = 15;

/// What was measured about one peer.
struct Case<'a> {
    window: &'a Window,
    tcp: &'a Tcp,
    half: &'a HalfClosed,
    /// Sockets there that are older than [`OLD_NS`].
    old: u64,
    /// These as a share of all that came into the state while the oldest was there.
    stuck: f64,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    let tcp = match tcp::watched(window) {
        Ok(tcp) if tcp.timeline.is_empty() => {
            verdict.not_judged.push("no census was taken".to_owned());
            return verdict;
        }
        Ok(tcp) => tcp,
        Err(why) => {
            verdict.not_judged.push(why);
            return verdict;
        }
    };
    let mut cases: Vec<_> = tcp
        .half_closed
        .iter()
        .map(|half| Case::new(window, tcp, half))
        .filter(|case| case.old >= MANY && case.stuck >= STUCK_SHARE)
        .collect();
    cases.sort_by_key(|case| std::cmp::Reverse(case.old));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    if verdict.findings.is_empty() {
        verdict.not_judged.extend(too_short(window, tcp));
    } else if !tcp.owners_known {
        let who = "which processes hold half-closed sockets";
        verdict
            .not_judged
            .extend(tcp::without(window, "socket_owners", who));
    }
    verdict
}

/// Held sockets that were there before a short window: their age is not known.
fn too_short(window: &Window, tcp: &Tcp) -> Option<String> {
    let most = tcp.half_closed.iter().map(|half| half.held).max()?;
    (most >= MANY && window.duration_ns < OLD_NS).then(|| {
        format!(
            "up to {most} half-closed sockets towards one address are held by processes; {:.1} s are too short \
             to know how old they are: watch for 5 s or more",
            tcp::seconds(window)
        )
    })
}

impl<'a> Case<'a> {
    fn new(window: &'a Window, tcp: &'a Tcp, half: &'a HalfClosed) -> Self {
        let old: u64 = half
            .age
            .iter()
            .filter(|(_, to, _)| *to > OLD_NS)
            .map(|(.., count)| count)
            .sum();
        let oldest_s = half.age.quantile(1.0) as f64 / 1e9;
        let entered = half.entered_per_s * oldest_s;
        let stuck = if entered > 0.0 {
            (old as f64 / entered).min(1.0)
        } else {
            1.0
        };
        Self {
            window,
            tcp,
            half,
            old,
            stuck,
        }
    }

    fn total(&self) -> u64 {
        self.half.orphaned + self.half.held
    }

    /// Most of them are held.
    fn mostly_held(&self) -> bool {
        self.half.held > self.half.orphaned
    }

    /// How near the node's orphans are to the kernel's limit: (orphans, limit), when it matters.
    fn near_limit(&self) -> Option<(u64, u64)> {
        let (now, most) = (self.tcp.counters.orphans?, self.tcp.settings.max_orphans?);
        let most = u64::from(most);
        (self.half.orphaned > 0 && now as f64 >= NEARLY_FULL * most as f64).then_some((now, most))
    }

    fn severity(&self) -> Severity {
        if self.near_limit().is_some() {
            Severity::Critical
        } else {
            Severity::Warning
        }
    }

    fn confidence(&self) -> Confidence {
        let left_out = self.tcp.half_closed_left_out;
        let doubts = [
            (left_out > 0).then(|| {
                let why = format!(
                    "{left_out} half-closed sockets were counted but not followed one by one"
                );
                (Level::Medium, why)
            }),
            self.mostly_held().then(|| {
                let why = "a process may half-close on purpose, to read a long answer";
                (Level::Medium, why.to_owned())
            }),
        ];
        tcp::confidence(
            self.window,
            &[],
            doubts.into_iter().flatten(),
            "counted in the kernel, socket by socket, with the age of each",
        )
    }
}

/// Half-closed sockets of all peers at the last census.
fn all_half_closed(tcp: &Tcp) -> u64 {
    tcp.half_closed.iter().map(|h| h.orphaned + h.held).sum()
}

fn finding(case: &Case<'_>) -> Finding {
    let half = case.half;
    let holder = half.holders.first().map(|(process, ..)| process);
    let count = |n: u64| Quantity::count(n as f64);
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains: tcp::share(case.total(), all_half_closed(case.tcp)),
        explains_what: "the half-closed sockets",
        culprit: Culprit {
            group: holder
                .map(|p| p.comm.clone())
                .filter(|name| !name.is_empty()),
            php_fpm: false,
            pid: holder.map(|p| p.pid),
            peer: Some(half.peer.clone()),
            ..Culprit::default()
        },
        measured: vec![
            Measured {
                what: "half-closed sockets towards the peer older than 3 s",
                observed: count(case.old),
                threshold: count(MANY),
            },
            Measured {
                what: "these as a share of those that came into the state meanwhile",
                observed: Quantity::ratio(case.stuck),
                threshold: Quantity::ratio(STUCK_SHARE),
            },
        ],
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: words::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: (!case.half.age.is_empty()).then(|| {
            let oldest = case.half.age.quantile(1.0);
            case.window.duration_ns.saturating_sub(oldest)
        }),
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}

/// p50 and p99 of durations, when there are any.
fn quantiles(durations: &Durations) -> Option<(Quantity, Quantity)> {
    (!durations.is_empty()).then(|| {
        (
            Quantity::ns(durations.quantile(0.5)),
            Quantity::ns(durations.quantile(0.99)),
        )
    })
}
