//! U02: lookups are repeated, slow, or never answered, and processes wait for them.

mod advice;
#[cfg(test)]
mod tests;
mod words;

use std::net::SocketAddr;

use super::{
    Cause, Doc, Rule, Stage, Subject, Verdict,
    tcp::{self, MAX_FINDINGS},
    udp_rcvbuf_drop,
};
use crate::{
    aggregate::{
        Group, Peer, Window,
        dns::{Dns, GroupId, Row, Server, Sums, Waiting},
        udp::Dropping,
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, REQUEST_TIME, Severity},
};
use probe_common::{loss::slot, part};

/// The rule.
pub const RULE: Rule = Rule {
    id: "U02",
    name: "dns-storm",
    summary: "DNS lookups time out, come in storms, or are answered slowly",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["dns"],
    causes: &[Cause::of("U01", dropped_there)],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "Questions to port 53 (UDP and TCP) by the process that asks: names, types, servers, answers, retries, and \
the waits that ended without an answer, whose length is time lost. A question is a duplicate when anyone on the node \
asked for the same name and type less than a second before.

It fires when waits time out, when questions stay without an answer or are refused, when half of the answers \
take at least 200 ms, or when a storm of duplicates makes the slowest hundredth take 100 ms. It tells apart: questions \
that the server's socket on this machine dropped (U01 is then the cause, and U02 its symptom), a storm of identical \
questions, a server that does not answer, one that nobody listens on, and a slow one. A client that asks \
often, and gets its answers quickly, is left alone.

Severity: warning from 1 in 1,000 questions without an answer in time, when time-outs take 1 % of a group's time (that \
of its requests, where it serves some), or when half of the answers take a second; critical from 1 in 100, or 5 % of \
the time; info below, and for fewer than 5 of them.",
    matters: "A resolver library waits 5 s for an answer before it asks again (resolv.conf, timeout:5), and PHP, Python \
and most programs wait with it: a worker that lost one datagram serves nobody for 5 s, while the CPU idles and every \
log is silent. The libraries keep no answers: a page that looks up the same host ten times asks ten times.",
    confirm: "Watch the questions, and the calls of one of the processes (sendmmsg, then poll with 5000 ms):

    tcpdump -lni any udp port 53
    timeout 10 strace -f -T -e trace=network,poll,ppoll -p PID
    nsenter --mount --target PID cat /etc/resolv.conf

With systemd-resolved, `resolvectl statistics` has its cache's hits and time-outs.",
    try_: "From the safest on: keep what was looked up (a persistent connection needs no lookup at all; a cache in \
the process, or nscd or a resolver on loopback beside it); ask less (a name with a dot at its end, or ndots:1, is \
not tried with every search domain); make a lost question cheaper (options timeout:1 attempts:3 in resolv.conf, with \
a second server); then mend the server: its buffer (U01), its threads, its own upstream.",
    wrong: "Lookups that are no DNS messages of the process are not seen: those through nscd or systemd-resolved's own \
socket (nss-resolve, varlink), DNS over TLS or HTTPS, io_uring. Where nsswitch.conf names `resolve`, glibc's \
lookups appear as systemd-resolved's.

A program with an event loop (Go, Node.js, c-ares) retries from a timer: its questions are counted, but what \
waiting for them costs is not known. Go uses a new socket for each try: its retries are questions of their own that \
stay unanswered. A process that gives up a lookup that it does not need any more leaves it unanswered as well.

Questions of processes that are not followed (see the targets) are not seen.",
};

/// One in a thousand: at a few lookups a page, one page in some hundreds hangs for seconds.
const WARNING_SHARE: f64 = 0.001;
/// One in a hundred: the 99th percentile of the lookups is a time-out.
const CRITICAL_SHARE: f64 = 0.01;
/// Of the time of a group: a hundredth is worth mending, a twentieth is felt at any load.
const WARNING_TIME_SHARE: f64 = 0.01;
/// See [`WARNING_TIME_SHARE`].
const CRITICAL_TIME_SHARE: f64 = 0.05;
/// So few time-outs prove no pattern: a datagram is lost now and then.
const FEW: u64 = 5;
/// A name that no cache has takes some round trips around the world: 20 to 150 ms. When half of all lookups take
/// longer than this, distance is not why.
const SLOW_NS: u64 = 200_000_000;
/// A second is what users take for hanging.
const VERY_SLOW_NS: u64 = 1_000_000_000;
/// A tenth of a second: an answer from a cache takes a hundredth of that at most.
const STORM_SLOW_NS: u64 = 100_000_000;
/// More than half: most of the questions need not have been asked.
const STORM_SHARE: f64 = 0.5;
/// What a socket's default buffer of 212,992 bytes has room for, in questions that take 768 bytes each with
/// the kernel's overhead: a burst of more than that overflows a resolver that is busy for so long.
const STORM_BURST: f64 = 277.0;
/// So long no healthy lookup takes: a thread that has waited for longer at the end of the window counts as lost time.
const OVERDUE_NS: u64 = 1_000_000_000;
/// A server that answers fewer than this share does not work at all.
const SILENT_SHARE: f64 = 0.1;
/// Of what stays unanswered, so much must have been dropped in the server's socket to call that the cause: where a
/// reader stands still, what fills its buffer is not dropped, and not answered either.
const DROPPED_SHARE: f64 = 0.1;
/// What the first of [`Finding::measured`] is.
const UNANSWERED: &str = "questions without an answer in time";

/// What is wrong with lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The server's socket, on this machine, dropped them.
    Dropped,
    /// Nobody listens there.
    Refused,
    /// The server answers (nearly) nothing.
    Silent,
    /// Many at once that ask the same.
    Storm,
    /// Some are lost, and nothing says where.
    Lossy,
    /// It answers late.
    Slow,
}

/// What was measured about one server.
struct Case<'a> {
    window: &'a Window,
    dns: &'a Dns,
    server: &'a Server,
    /// Its questions by group, name and type.
    rows: Vec<&'a Row>,
    /// Threads that have waited for it for longer than any healthy lookup takes.
    overdue: Vec<&'a Waiting>,
    /// The socket that it listens on, when it is here and drops.
    drops: Option<&'a Dropping>,
}

/// What waiting in vain cost a group.
struct Lost<'a> {
    group: &'a GroupId,
    /// Time, ns.
    ns: u64,
    /// Waits.
    count: u64,
    /// Its requests, when it serves some.
    served: Option<&'a Group>,
    /// All the time of its requests, or of its threads less what they were idle, ns; 0 when not known.
    of_ns: u64,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    let Some(dns) = window.dns.as_deref() else {
        verdict.not_judged.push("DNS was not watched".to_owned());
        return verdict;
    };
    let mut cases: Vec<Case<'_>> = dns
        .servers
        .iter()
        .map(|server| Case::new(window, dns, server))
        .filter(Case::fires)
        .collect();
    cases.sort_by_key(|case| std::cmp::Reverse((case.lost_ns(), case.in_vain())));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    if cases.iter().any(|case| case.shape() == Shape::Lossy)
        && let Some(why) = tcp::without(
            window,
            "udp_drops",
            "whether a server here dropped the questions that stayed unanswered",
        )
    {
        verdict.not_judged.push(why);
    }
    verdict
}

impl<'a> Case<'a> {
    fn new(window: &'a Window, dns: &'a Dns, server: &'a Server) -> Self {
        let peer = &server.peer;
        let mut drops = window.udp.iter().flat_map(|udp| &udp.sockets);
        Self {
            window,
            dns,
            server,
            rows: dns.rows.iter().filter(|row| row.server == *peer).collect(),
            overdue: dns
                .waiting
                .iter()
                .filter(|w| w.server == *peer && w.for_ns >= OVERDUE_NS)
                .collect(),
            drops: drops.find(|s| s.remote.is_none() && is_at(s.local, peer)),
        }
    }

    fn sums(&self) -> &'a Sums {
        &self.server.sums
    }

    /// Questions that had no answer in time: those that nobody waits for any more, and those overdue.
    fn in_vain(&self) -> u64 {
        let s = self.sums();
        s.unanswered.max(s.timed_out.count) + self.overdue.len() as u64
    }

    /// The same as a share of all.
    fn in_vain_share(&self) -> f64 {
        tcp::share(self.in_vain(), self.sums().asked)
    }

    /// Time that threads waited in vain, ns.
    fn lost_ns(&self) -> u64 {
        let overdue: u64 = self.overdue.iter().map(|w| w.for_ns).sum();
        self.sums().timed_out.total_ns + overdue
    }

    /// Where that time went, by group; most first.
    fn lost(&self) -> Vec<Lost<'a>> {
        let mut list: Vec<Lost<'a>> = Vec::new();
        let waits = self.rows.iter().map(|row| {
            let waits = &row.sums.timed_out;
            (&row.group, waits.total_ns, waits.count)
        });
        let overdue = self.overdue.iter().map(|w| (&w.group, w.for_ns, 1));
        for (group, ns, count) in waits.chain(overdue).filter(|of| of.2 > 0) {
            match list.iter_mut().find(|lost| lost.group == group) {
                Some(lost) => {
                    lost.ns += ns;
                    lost.count += count;
                }
                None => list.push(self.loss(group, ns, count)),
            }
        }
        list.sort_by_key(|lost| std::cmp::Reverse(lost.ns));
        list
    }

    fn loss(&self, group: &'a GroupId, ns: u64, count: u64) -> Lost<'a> {
        let mut groups = self.window.groups.iter();
        let known = groups.find(|g| g.name == group.name && g.php_fpm == group.php_fpm);
        let served = known.filter(|g| g.all_requests() > 0);
        let of_ns = match (served, known) {
            (Some(g), _) => g.all_wall_ns(),
            (None, Some(g)) => g.worker_parts.iter().sum::<u64>() - g.worker_parts[part::IDLE],
            (None, None) => 0,
        };
        Lost {
            group,
            ns,
            count,
            served,
            of_ns,
        }
    }

    fn is_storm(&self) -> bool {
        let s = self.sums();
        let burst = self.dns.peak_per_s * PEAK_S;
        tcp::share(s.duplicates, s.asked) >= STORM_SHARE && burst >= STORM_BURST
    }

    fn median_ns(&self) -> u64 {
        self.sums().latency.durations.quantile(0.5)
    }

    fn is_slow(&self) -> bool {
        let s = self.sums();
        let p99 = s.latency.durations.quantile(0.99);
        s.latency.count >= FEW && self.median_ns() >= SLOW_NS
            || self.is_storm() && p99 >= STORM_SLOW_NS
    }

    fn fires(&self) -> bool {
        self.in_vain() > 0 || self.sums().refused > 0 || self.is_slow()
    }

    fn shape(&self) -> Shape {
        let s = self.sums();
        let in_vain = self.in_vain();
        let dropped = self.drops.map_or(0, |socket| socket.drops);
        if s.refused > in_vain {
            Shape::Refused
        } else if in_vain > 0 && dropped as f64 >= DROPPED_SHARE * in_vain as f64 {
            Shape::Dropped
        } else if in_vain >= FEW && (s.answered as f64) < SILENT_SHARE * s.asked as f64 {
            Shape::Silent
        } else if self.is_storm() {
            Shape::Storm
        } else if in_vain > 0 {
            Shape::Lossy
        } else {
            Shape::Slow
        }
    }

    /// The largest share of a group's time that was lost.
    fn time_share(&self) -> Option<f64> {
        let shares = self.lost();
        let shares = shares.iter().filter_map(Lost::share);
        shares.max_by(f64::total_cmp)
    }

    fn severity(&self) -> Severity {
        let s = self.sums();
        let failed = self.in_vain() + s.refused;
        let share = tcp::share(failed, s.asked);
        let slow = if self.is_slow() && self.median_ns() >= VERY_SLOW_NS {
            Severity::Warning
        } else {
            Severity::Info
        };
        if failed < FEW {
            return slow;
        }
        let time = self.time_share().unwrap_or(0.0);
        if share >= CRITICAL_SHARE || time >= CRITICAL_TIME_SHARE {
            Severity::Critical
        } else if share >= WARNING_SHARE || time >= WARNING_TIME_SHARE {
            Severity::Warning
        } else {
            slow
        }
    }

    /// The group that lost most, or asked most.
    fn group(&self) -> Option<&'a GroupId> {
        let first = self.lost().first().map(|lost| lost.group);
        first.or_else(|| self.rows.first().map(|row| &row.group))
    }

    fn example_pid(&self) -> Option<u32> {
        let group = self.group()?;
        let mut clients = self.dns.clients.iter();
        let client = clients.find(|c| c.group == *group)?;
        Some(client.example_pid)
    }

    /// Share of the time lost in requests, or of the time lost to DNS.
    fn explains(&self) -> (f64, &'static str) {
        let served = self.lost().iter().any(|lost| lost.served.is_some());
        if served {
            let lost: u64 = self
                .window
                .groups
                .iter()
                .map(|g| {
                    let parts = g.all_parts();
                    parts.iter().sum::<u64>() - parts[part::ON_CPU] - parts[part::IDLE]
                })
                .sum();
            let of_requests = self.lost();
            let of_requests = of_requests.iter().filter(|l| l.served.is_some());
            return (
                tcp::share(of_requests.map(|l| l.ns).sum(), lost),
                REQUEST_TIME,
            );
        }
        let all = |of: fn(&Sums) -> u64| of(&self.dns.total);
        match all(|s| s.timed_out.total_ns) {
            0 => (
                tcp::share(self.sums().latency.total_ns, all(|s| s.latency.total_ns)),
                "the time that lookups took",
            ),
            total => (
                tcp::share(self.lost_ns(), total.max(self.lost_ns())),
                "the time lost to lookups without an answer",
            ),
        }
    }

    fn confidence(&self) -> Confidence {
        let s = self.sums();
        let unknown = s.unanswered.saturating_sub(s.timed_out.count + s.retried);
        let doubts = [
            (self.in_vain() + s.refused > 0 && self.in_vain() + s.refused < FEW).then(|| {
                let why = format!("it rests on {} questions only", self.in_vain() + s.refused);
                (Level::Low, why)
            }),
            (s.timed_out.count == 0 && s.unanswered > 0 && self.overdue.is_empty()).then(|| {
                let why = format!(
                    "{unknown} questions have no answer, and nobody was seen to wait for one: an event loop, or \
                     lookups that were given up"
                );
                (Level::Medium, why)
            }),
        ];
        tcp::confidence(
            self.window,
            &[
                slot::DNS_QUESTIONS_FULL,
                slot::DNS_UNREADABLE,
                slot::PROGRAM_SKIPPED,
                slot::READ_FAILED,
            ],
            doubts.into_iter().flatten(),
            "each question, answer and wait was seen; nothing was lost that bears on it",
        )
    }
}

/// Seconds of a peak.
const PEAK_S: f64 = 0.1;

impl Lost<'_> {
    /// As a share of the group's time.
    fn share(&self) -> Option<f64> {
        (self.of_ns > 0).then(|| tcp::share(self.ns, self.of_ns))
    }

    /// Per request, ns.
    fn per_request_ns(&self) -> Option<u64> {
        self.served.map(|g| self.ns / g.all_requests().max(1))
    }
}

/// True when what is sent to the peer by UDP arrives at a socket bound to this address.
fn is_at(local: SocketAddr, peer: &Peer) -> bool {
    match peer {
        Peer::Inet {
            transport,
            address,
            port,
        } => {
            let here = local.ip().is_unspecified() || local.ip() == *address;
            transport == "udp" && local.port() == *port && here
        }
        _ => false,
    }
}

/// Questions that the socket of a U01 dropped stay without an answer: enough of them, to call that the cause.
fn dropped_there(cause: &Finding, found: &Finding) -> bool {
    let observed = |f: &Finding, what: &str| {
        let of = f.measured.iter().find(|m| m.what == what);
        of.map_or(0.0, |m| m.observed.value)
    };
    let Some(Peer::Inet {
        transport,
        address,
        port,
    }) = &found.culprit.peer
    else {
        return false;
    };
    let lost = observed(found, UNANSWERED);
    transport == "udp"
        && udp_rcvbuf_drop::receives(cause, *address, *port)
        && lost > 0.0
        && observed(cause, udp_rcvbuf_drop::DROPPED) >= DROPPED_SHARE * lost
}

/// Requests that wait for a DNS server (W01) do so because it does not answer. An info is no cause.
pub(super) fn same_server(cause: &Finding, found: &Finding) -> bool {
    cause.severity >= Severity::Warning
        && cause.culprit.peer.is_some()
        && cause.culprit.peer == found.culprit.peer
}

fn finding(case: &Case<'_>) -> Finding {
    let (explains, explains_what) = case.explains();
    let group = case.group();
    let s = case.sums();
    let mut measured = vec![Measured {
        what: UNANSWERED,
        observed: Quantity::count(case.in_vain() as f64),
        threshold: Quantity::count(1.0),
    }];
    if case.is_slow() {
        measured.push(Measured {
            what: "median time to an answer",
            observed: Quantity::ns(case.median_ns()),
            threshold: Quantity::ns(SLOW_NS),
        });
    }
    if s.refused > 0 {
        measured.push(Measured {
            what: "questions that nobody listened for",
            observed: Quantity::count(s.refused as f64),
            threshold: Quantity::count(1.0),
        });
    }
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains,
        explains_what,
        culprit: Culprit {
            group: group.map(|g| g.name.clone()).filter(|n| !n.is_empty()),
            php_fpm: group.is_some_and(|g| g.php_fpm),
            pid: case.example_pid(),
            peer: Some(case.server.peer.clone()),
            ..Culprit::default()
        },
        measured,
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: None,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}
