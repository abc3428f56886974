//! T01: the local ports to one destination run out, or will at the present rate.

mod advice;
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
        tcp::{Ports, Tcp},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};

/// The rule.
pub const RULE: Rule = Rule {
    id: "T01",
    name: "port-exhaustion",
    summary: "the local ports to one destination run out, or will at the present rate",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["tcp_census"],
    causes: &[],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "For each local address and destination (address and port): how many local ports can be used, how \
many are in use by sockets of which state, how fast they are taken, and who takes them. It fires when \
connects failed for want of a port (EADDRNOTAVAIL) and at least half of the ports were seen in use; when \
90 % of them are in use; or when they will run out: the rate times the time that each port is held is \
more than there are, and the number grows.

Usable is the range of net.ipv4.ip_local_port_range less net.ipv4.ip_local_reserved_ports and the ports \
that someone listens on. A port in TIME_WAIT that tcp_tw_reuse may take over is not counted as in use.

A large number of sockets in TIME_WAIT is no finding. TIME_WAIT is the normal end of the side that closes \
first; it lasts 60 s, so N closes a second hold 60 x N sockets and no more. Where that is below the \
limit, nothing runs out, however long it goes on. Sockets of clients that connected to this node hold \
no port of ours at all: they share the port that is listened on.

Severity: critical when connects failed, otherwise warning.",
    matters: "A connection is known by four numbers: both addresses and both ports. To one destination only \
the local port can differ, so the range bounds how many connections there can be at once, those in \
TIME_WAIT included: 28,232 with the default range, or 470 new ones a second. Then connect() fails with \
EADDRNOTAVAIL at once, on a node that looks idle; before that, each connect searches longer for a free port.",
    confirm: "Count the sockets to the destination by state, and look at the range:

    ss -tan dst 10.0.0.8:6379 | awk '{print $1}' | sort | uniq -c
    sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports net.ipv4.tcp_tw_reuse

The error itself (Cannot assign requested address) is in the log of the process that connects, or:

    timeout 10 strace -f -e trace=connect -e status=failed -p PID",
    try_: "From the safest to the most far-reaching: keep connections open (keep-alive, a pool) in the process \
that closes first; let the other side close first, so that TIME_WAIT is there and takes no port of ours; \
net.ipv4.tcp_tw_reuse=1, which lets a new outgoing connect take over a port that is in TIME_WAIT for more \
than 1 s (it needs TCP timestamps on both sides; since Linux 4.19 the default, 2, does so on loopback only); \
a wider port range; more addresses for the destination.

Lowering tcp_fin_timeout does nothing for TIME_WAIT, which lasts a fixed 60 s: it bounds orphaned \
FIN_WAIT_2 only.",
    wrong: "The forecast takes the rate of the window to go on. A load test of 20 s, or a nightly job, may end \
before the ports do.

Sockets that were bound with bind() before connect() hold their port towards every destination, which is \
not counted: then ports run out earlier than the numbers say, and the confidence says so. EADDRNOTAVAIL \
also means that there is no local address to connect from (IPv6 switched off, for one): while less than \
half of the ports are in use the rule does not judge such failures, and says that it does not.

A peer that sends no TCP timestamps cannot be reached again from a port in TIME_WAIT, whatever \
tcp_tw_reuse says; which peers those are is not seen.",
};

/// With fewer than a tenth of the ports left, an ordinary burst takes the rest, and the kernel tries many
/// ports until it finds a free one.
const NEARLY_FULL: f64 = 0.9;
/// A failure for want of a port is believed from this share of the ports on: others may be held by sockets
/// that were bound first, or have been given back between two censuses. Below it, another cause of
/// EADDRNOTAVAIL is likelier.
const BELIEVED: f64 = 0.5;
/// So few connects in the window make a rate that says little about the next minute.
const FEW: f64 = 30.0;

/// Why it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// They will run out.
    Ahead,
    /// Hardly one is left.
    Full,
    /// Connects failed.
    Failing,
}

/// What holds most of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Connections that we closed first.
    TimeWait,
    /// Connections that are open.
    Open,
    /// Connects that are not answered.
    Unanswered,
    /// Connections that the other side has closed, and our process has not.
    NotClosed,
    /// Connections that we have closed, and the other side has not.
    HalfClosed,
}

/// What was measured about one destination.
struct Case<'a> {
    window: &'a Window,
    tcp: &'a Tcp,
    ports: &'a Ports,
    kind: Kind,
    holds: Holds,
    /// The most ports in use.
    used: u64,
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
    let parts = [
        (
            "tcp_states",
            "whether ports will run out at the present rate",
        ),
        ("connects", "connects that fail for want of a port"),
    ];
    verdict.not_judged.extend(
        parts
            .iter()
            .filter_map(|(probe, what)| tcp::without(window, probe, what)),
    );
    verdict
        .not_judged
        .extend(tcp.ports.iter().filter_map(not_believed));

    let mut cases: Vec<_> = tcp
        .ports
        .iter()
        .filter_map(|p| Case::new(window, tcp, p))
        .collect();
    cases.sort_by(|a, b| b.kind.cmp(&a.kind).then(b.filled().total_cmp(&a.filled())));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    verdict
}

/// EADDRNOTAVAIL that has another cause.
fn not_believed(ports: &Ports) -> Option<String> {
    let (used, usable) = (most_used(ports), ports.usable.max(1));
    let believed = used as f64 >= BELIEVED * usable as f64;
    let Peer::Inet { address, port, .. } = &ports.peer else {
        return None;
    };
    (ports.failures > 0 && !believed).then(|| {
        format!(
            "{} connects to {} failed with EADDRNOTAVAIL, but at most {used} of {usable} ports to it were in \
             use: there may be no local address to connect from (IPv6 off?), or bind() holds the ports",
            ports.failures,
            std::net::SocketAddr::new(*address, *port),
        )
    })
}

fn most_used(ports: &Ports) -> u64 {
    ports.used().max(ports.peak)
}

impl<'a> Case<'a> {
    /// The case against a destination, if there is one.
    fn new(window: &'a Window, tcp: &'a Tcp, ports: &'a Ports) -> Option<Self> {
        let used = most_used(ports);
        let filled = used as f64 / ports.usable.max(1) as f64;
        let kind = if ports.failures > 0 && filled >= BELIEVED {
            Kind::Failing
        } else if filled >= NEARLY_FULL && ports.usable > 0 {
            Kind::Full
        } else if ports.seconds_left.is_some() && !capped(tcp, ports) {
            Kind::Ahead
        } else {
            return None;
        };
        Some(Self {
            window,
            tcp,
            ports,
            kind,
            holds: Holds::of(ports),
            used,
        })
    }

    /// Share of the usable ports that are in use, which exceeds 1 where sockets were bound to others.
    fn filled(&self) -> f64 {
        self.used as f64 / self.ports.usable.max(1) as f64
    }

    /// Connections that we would close first per second if every connect had found a port.
    fn closes_wanted_per_s(&self) -> f64 {
        let ports = self.ports;
        let in_vain = ports.failures as f64 / tcp::seconds(self.window);
        if self.kind != Kind::Failing || ports.opened_per_s <= 0.0 {
            return ports.closed_by_us_per_s;
        }
        ports.closed_by_us_per_s * (1.0 + in_vain / ports.opened_per_s)
    }

    fn severity(&self) -> Severity {
        match self.kind {
            Kind::Failing => Severity::Critical,
            Kind::Full | Kind::Ahead => Severity::Warning,
        }
    }

    fn confidence(&self) -> Confidence {
        let ports = self.ports;
        let opened = ports.opened_per_s * tcp::seconds(self.window);
        let doubts = [
            (self.kind == Kind::Ahead && opened < FEW).then(|| {
                (
                    Level::Low,
                    format!("the rate rests on {opened:.0} connects only"),
                )
            }),
            (self.kind == Kind::Failing && self.filled() < NEARLY_FULL).then(|| {
                let why =
                    "fewer ports were seen in use than there are: others may be held by bind()";
                (Level::Medium, why.to_owned())
            }),
            (self.kind == Kind::Ahead).then(|| {
                (
                    Level::Medium,
                    "the forecast takes the present rate to go on".to_owned(),
                )
            }),
        ];
        tcp::confidence(
            self.window,
            if self.kind == Kind::Ahead {
                tcp::TRANSITIONS
            } else {
                tcp::CALLS
            },
            doubts.into_iter().flatten(),
            "counted in the kernel, socket by socket; nothing was lost that bears on it",
        )
    }

    /// Failing: share of the failed connects. Otherwise: share of the ports in use that the state named
    /// holds.
    fn explains(&self) -> (f64, &'static str) {
        let ports = self.ports;
        if self.kind == Kind::Failing {
            let all = tcp::all_failed(self.tcp, ports.failures);
            return (tcp::share(ports.failures, all), "the failed connects");
        }
        (
            tcp::share(self.holds.count(ports), ports.used()),
            "the ports in use to it",
        )
    }
}

impl Holds {
    const ALL: [Self; 5] = [
        Self::TimeWait,
        Self::Open,
        Self::Unanswered,
        Self::NotClosed,
        Self::HalfClosed,
    ];

    fn of(ports: &Ports) -> Self {
        let most = Self::ALL
            .into_iter()
            .rev()
            .max_by_key(|holds| holds.count(ports));
        most.unwrap_or(Self::Open)
    }

    /// Ports that it holds.
    fn count(self, ports: &Ports) -> u64 {
        let s = &ports.states;
        match self {
            Self::TimeWait => s.time_wait.saturating_sub(ports.reusable),
            Self::Open => s.established,
            Self::Unanswered => s.syn_sent,
            Self::NotClosed => s.close_wait,
            Self::HalfClosed => s.fin_wait_2 + s.fin_wait_1,
        }
    }
}

/// The kernel keeps no more than tcp_max_tw_buckets sockets in TIME_WAIT altogether: where these and the
/// others do not fill the ports, they never run out.
fn capped(tcp: &Tcp, ports: &Ports) -> bool {
    let others = ports.states.total() - ports.states.time_wait;
    tcp.settings
        .max_tw_buckets
        .is_some_and(|most| u64::from(most) + others < ports.usable)
}

fn finding(case: &Case<'_>) -> Finding {
    let ports = case.ports;
    let (explains, explains_what) = case.explains();
    let who = match case.holds {
        Holds::TimeWait => ports.closer.as_ref().or(ports.opener.as_ref()),
        _ => ports.opener.as_ref(),
    };
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains,
        explains_what,
        culprit: Culprit {
            group: who.map(|p| p.comm.clone()).filter(|name| !name.is_empty()),
            php_fpm: false,
            pid: who.map(|p| p.pid),
            peer: Some(ports.peer.clone()),
            ..Culprit::default()
        },
        measured: measured(case),
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: ports.first_failure_ns,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}

fn measured(case: &Case<'_>) -> Vec<Measured> {
    let ports = case.ports;
    let count = |n: u64| Quantity::count(n as f64);
    let in_use = Measured {
        what: "share of the usable ports that are in use",
        observed: Quantity::ratio(case.filled()),
        threshold: Quantity::ratio(if case.kind == Kind::Failing {
            BELIEVED
        } else {
            NEARLY_FULL
        }),
    };
    match case.kind {
        Kind::Failing => vec![
            Measured {
                what: "connects that failed for want of a port",
                observed: count(ports.failures),
                threshold: count(1),
            },
            in_use,
        ],
        Kind::Full => vec![in_use],
        Kind::Ahead => vec![Measured {
            what: "ports that the present rate takes, beside those that can be used",
            observed: Quantity::count(ports.levels_off_at),
            threshold: count(ports.usable),
        }],
    }
}
