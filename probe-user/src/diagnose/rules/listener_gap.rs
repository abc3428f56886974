//! T08: connects fail because nobody listens on an address for a while.

#[cfg(test)]
mod tests;
mod words;

use super::{
    Doc, Rule, Stage, Subject, Verdict,
    tcp::{self, MAX_FINDINGS},
};
use crate::{
    aggregate::{
        Peer, Window,
        tcp::{Gap, Process, Tcp},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};

/// The rule.
pub const RULE: Rule = Rule {
    id: "T08",
    name: "listener-gap",
    summary: "connects fail because nobody listens on an address for a while",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["connects"],
    causes: &[],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "Connects that failed with ECONNREFUSED, or with ENOENT for a Unix path, on an address that was served \
before, or that is served again by the end of the window: a service was restarted, crashed, or started \
later than its clients. It says how long nobody listened, how many connects failed (each one is counted), \
whose, and which process came back. Connects that the end of the listener itself reset (ECONNRESET: established, \
but not accepted yet) are counted with them.

The gap begins when the listener ended, where that was seen (TCP), otherwise with the first failed connect; \
it ends with listen(), where that was seen, otherwise with the first connect that succeeds.

An address that nobody serves, before or after, is no gap: a name service cache that is not installed, an \
agent that a library looks for. Such failures are in the list of failed connects of stallscope tcp.

Severity: critical when users notice (at least 1 s long) or when nobody is back by the end of the window, \
otherwise warning; info when a single connect failed.",
    matters: "Each failed connect is a page with 502, or a job that gives up. The gap is short, so the log shows \
a handful of errors at a time when somebody restarted something, and nothing afterwards. It comes back with \
every deployment.",
    confirm: "Who listens now, and since when:

    ss -ltnp
    ss -lxp
    ps -o pid,lstart,args -p PID

The proxy's error log has the failed connects (nginx: connect() failed (111: Connection refused), connect() \
to unix:... failed (2: No such file or directory)).",
    try_: "From the safest to the most far-reaching: reload instead of restart (nginx -s reload; PHP-FPM: kill \
-USR2, systemctl reload), which keeps the listening socket; let systemd hold the socket (a .socket unit), so \
that connects wait in its queue while the service starts; start the new process before the old one ends, \
with SO_REUSEPORT or by handing over the descriptor; let the proxy try again elsewhere (proxy_next_upstream, \
fastcgi_next_upstream, with a second server); start the service before its clients (After= and Type=notify).",
    wrong: "A service that is stopped for good, on purpose, looks like one that has not come back.

On a Unix socket the listener's end is not seen: the gap is counted from the first failed connect, and may \
have begun as much earlier as the time between two connects. A service on another machine is known by the \
connects of this one alone.

A connect that is refused and tried again counts as often as it was refused.",
};

/// A second: a proxy's own retry does not bridge it, and users notice.
const LONG_NS: u64 = 1_000_000_000;
/// One failed connect may be a health check that happened to come.
const SEVERAL: u64 = 2;
/// From so many failed connects on, the first of them is close to the begin of the gap.
const DENSE: u64 = 10;

/// The gaps of one address.
struct Case<'a> {
    window: &'a Window,
    tcp: &'a Tcp,
    peer: &'a Peer,
    gaps: Vec<&'a Gap>,
    /// Connects that failed in all of them.
    failed: u64,
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
    let edges = "when exactly listeners end and come back, and who they are";
    verdict
        .not_judged
        .extend(tcp::without(window, "listens", edges));

    let mut cases: Vec<Case<'_>> = Vec::new();
    for gap in tcp.gaps.iter().filter(|gap| is_one(gap)) {
        match cases.iter_mut().find(|case| *case.peer == gap.peer) {
            Some(case) => case.add(gap),
            None => {
                let mut case = Case {
                    window,
                    tcp,
                    peer: &gap.peer,
                    gaps: Vec::new(),
                    failed: 0,
                };
                case.add(gap);
                cases.push(case);
            }
        }
    }
    cases.sort_by_key(|case| std::cmp::Reverse((case.severity(), case.failed)));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    verdict
}

/// Someone served the address before or after; otherwise it may never have been served.
fn is_one(gap: &Gap) -> bool {
    (gap.served_before || gap.back.is_some() || gap.end_ns.is_some()) && failed_in(gap) > 0
}

fn failed_in(gap: &Gap) -> u64 {
    gap.failed.iter().map(|(_, n)| n).sum()
}

impl<'a> Case<'a> {
    fn add(&mut self, gap: &'a Gap) {
        self.failed += failed_in(gap);
        self.gaps.push(gap);
    }

    /// Length of a gap, ns; up to the end of the window when it lasts.
    fn length(&self, gap: &Gap) -> u64 {
        gap.end_ns
            .unwrap_or(self.window.duration_ns)
            .saturating_sub(gap.start_ns)
    }

    fn longest(&self) -> &'a Gap {
        let longest = self.gaps.iter().max_by_key(|gap| self.length(gap));
        longest.unwrap_or(&self.gaps[0])
    }

    /// The one that has not ended.
    fn lasting(&self) -> Option<&'a Gap> {
        self.gaps.iter().find(|gap| gap.end_ns.is_none()).copied()
    }

    /// Who came back, the last time.
    fn back(&self) -> Option<&'a Process> {
        self.gaps.iter().rev().find_map(|gap| gap.back.as_ref())
    }

    /// The service runs on this machine, as far as that is known.
    fn is_local(&self) -> bool {
        let ended_here = self.gaps.iter().any(|gap| gap.start_seen);
        !matches!(self.peer, Peer::Inet { .. })
            || tcp::is_loopback(self.peer)
            || self.back().is_some()
            || ended_here
    }

    fn severity(&self) -> Severity {
        let lasts = self.lasting().is_some();
        match self.failed {
            ..SEVERAL if lasts => Severity::Warning,
            ..SEVERAL => Severity::Info,
            _ if lasts || self.length(self.longest()) >= LONG_NS => Severity::Critical,
            _ => Severity::Warning,
        }
    }

    fn confidence(&self) -> Confidence {
        let longest = self.longest();
        let between_ns = self.length(longest) / failed_in(longest).max(1);
        let begin = (!longest.start_seen).then(|| {
            let level = if failed_in(longest) < DENSE { Level::Medium } else { Level::High };
            let why = format!(
                "the gap begins with its first failed connect: it may have begun {:.1} ms earlier, the time \
                 between two connects",
                between_ns as f64 / 1e6
            );
            (level, why)
        });
        let never = self.gaps.iter().all(|gap| !gap.served_before).then(|| {
            let why = "nobody was seen serving the address before: it may have started for the first time";
            (Level::High, why.to_owned())
        });
        tcp::confidence(
            self.window,
            tcp::CALLS,
            begin.into_iter().chain(never),
            "each failed connect was counted; nothing was lost that bears on it",
        )
    }
}

fn finding(case: &Case<'_>) -> Finding {
    let first = &case.gaps[0];
    let who = case.back().or(first.refused.first().map(|(p, _)| p));
    let count = |n: u64| Quantity::count(n as f64);
    let longest = case.length(case.longest());
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains: tcp::share(case.failed, tcp::all_failed(case.tcp, case.failed)),
        explains_what: "the failed connects",
        culprit: Culprit {
            group: who.map(|p| p.comm.clone()).filter(|name| !name.is_empty()),
            php_fpm: false,
            pid: who.map(|p| p.pid),
            peer: Some(case.peer.clone()),
            ..Culprit::default()
        },
        measured: vec![
            Measured {
                what: "connects that failed while nobody listened",
                observed: count(case.failed),
                threshold: count(1),
            },
            Measured {
                what: "the longest time that nobody listened, beside what is critical",
                observed: Quantity::ns(longest),
                threshold: Quantity::ns(LONG_NS),
            },
        ],
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: words::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: case.gaps.iter().map(|gap| gap.start_ns).min(),
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}
