//! U01: datagrams are dropped because a socket has no room for them.

mod advice;
mod room;
#[cfg(test)]
mod tests;
mod words;

use std::net::{IpAddr, SocketAddr};

use super::{
    Doc, Rule, Stage, Subject, Verdict,
    tcp::{self, MAX_FINDINGS},
};
use crate::{
    aggregate::{
        Peer, Window,
        tcp::Process,
        udp::{Dropping, QueuePoint, Udp},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};
use probe_common::loss::slot;

/// The rule.
pub const RULE: Rule = Rule {
    id: "U01",
    name: "udp-rcvbuf-drop",
    summary: "datagrams are dropped because a UDP socket's buffer is full",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["udp_drops"],
    causes: &[],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "Each datagram that the kernel refuses to queue for a socket, with the reason: the socket's receive \
buffer is full, or the memory of all UDP sockets together is used up. The number is exact, and the finding says \
whether the kernel's own counters (RcvbufErrors, and the drops of the socket) agree with it. It fires on the first \
one in the window. Sockets bound to the same address are judged together.

The queue is looked at ten times a second while it fills. It tells two causes apart: a queue that stands nearly \
full has a reader that is too slow; one that is mostly empty has bursts that are larger than the buffer.

Severity: warning when at least 1 in 1,000 of the datagrams that arrived was dropped, or the queue stood full at \
half of the looks; critical at 1 in 10, or at 1 in 100 where the socket answers DNS questions, as each of them \
costs its asker seconds; info otherwise.",
    matters: "Nobody is told of a dropped datagram, neither the sender nor the process. A resolver library that \
asked a question waits for its answer for 5 s before it asks again (resolv.conf, timeout:5), a metric or a log line \
is just missing, a call stutters. The process looks idle meanwhile, and so does the one that waits.",
    confirm: "Recv-Q of the socket is what is queued now, and `d` in skmem is what was dropped since the socket \
exists (skmem's `rb` is the limit). The counters are those of the network namespace since it exists:

    ss -uanmp
    nstat -az UdpRcvbufErrors UdpMemErrors UdpInErrors UdpInCsumErrors Udp6RcvbufErrors
    awk 'NR > 1 && $NF > 0 { print $2, $NF }' /proc/net/udp /proc/net/udp6

\"packet receive errors\" of netstat -su is InErrors: it also counts datagrams with a bad checksum. RcvbufErrors, and \
the drops of single sockets, are the precise ones.",
    try_: "From the safest on: make the reader faster, or let several read (SO_REUSEPORT gives each a queue of \
its own); send it less (a cache in front of it, fewer questions); let the program ask for a larger buffer \
(SO_RCVBUF), which lasts longer in a burst.

The kernel doubles what SO_RCVBUF asks for, and silently cuts the request to net.core.rmem_max first. \
net.core.rmem_default is what sockets get that do not ask: raising it costs memory for every socket that is opened \
later, and does not make a slow reader any faster: it buys the seconds that the finding states.

Where the reason is memory, net.ipv4.udp_mem (in pages) is the limit, not the buffer; find who holds the memory \
(ss -uanm) before raising it.",
    wrong: "A receiver that reads what it can and means to lose the rest (a sampler, a monitor of its own load) drops by \
design. How many datagrams a single socket receives is not counted by the kernel: the share is that of all \
datagrams of the network namespace, so a quiet socket that loses much is a small share of a busy node; its queue \
over time tells.

The kernel takes note of what was read in lumps of a quarter of the buffer: a queue that shows three quarters of its \
limit may already be full for it. Datagrams dropped elsewhere (a full interface queue, a firewall, bad checksums) are no \
concern of this rule.",
};

/// One in a thousand: who asks a thousand questions, as a page with many lookups does in a minute, meets one.
const WARNING_SHARE: f64 = 0.001;
/// One in ten: no protocol over UDP works well beyond; codecs and retries cover for a few in a hundred.
const CRITICAL_SHARE: f64 = 0.1;
/// The same for questions to a DNS server: at one in a hundred, a page with a few lookups meets a time-out of
/// seconds every few dozen views.
const CRITICAL_SHARE_DNS: f64 = 0.01;
/// What is queued at a look when the kernel sees the buffer full: it takes note of what was read in lumps of a quarter
/// of the limit (udp_rmem_release, net/ipv4/udp.c).
const NEARLY_FULL: f64 = 0.75;
/// So many looks that find the queue full are no chance.
const MIN_LOOKS: u64 = 3;
/// Port of DNS.
const DNS: u16 = 53;
/// What the first of [`Finding::measured`] is, for rules that look for a cause.
pub(super) const DROPPED: &str = "datagrams dropped because there was no room";

/// What was measured about sockets that are bound to the same address.
struct Case<'a> {
    window: &'a Window,
    udp: &'a Udp,
    /// Most drops first; never empty.
    sockets: Vec<&'a Dropping>,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    let Some(udp) = window.udp.as_deref() else {
        verdict.not_judged.push("UDP was not watched".to_owned());
        return verdict;
    };
    let parts = [
        (
            "udp_census",
            "queues over time, and the kernel's own counts",
        ),
        ("udp_owners", "which process holds a socket"),
    ];
    verdict.not_judged.extend(
        parts
            .iter()
            .filter_map(|(probe, what)| tcp::without(window, probe, what)),
    );
    let mut cases = cases(window, udp);
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    // They are about all sockets: once is enough.
    if let Some(first) = verdict.findings.first_mut() {
        first.summary.extend(words::counters(udp));
    }
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    if udp.other_drops > 0 {
        verdict.not_judged.push(format!(
            "{} datagrams dropped by sockets that found no row: whose they were is not known",
            udp.other_drops
        ));
    }
    verdict
}

/// The sockets that dropped for want of room, those bound to the same address together; most drops first.
fn cases<'a>(window: &'a Window, udp: &'a Udp) -> Vec<Case<'a>> {
    let mut cases: Vec<Case<'a>> = Vec::new();
    for socket in udp.sockets.iter().filter(|s| no_room(s) > 0) {
        let same = |case: &&mut Case<'_>| {
            let first = case.sockets[0];
            // Connected sockets of one process to one place differ only in the port that they were given.
            match (first.remote, socket.remote) {
                (None, None) => first.local == socket.local,
                (Some(a), Some(b)) => a == b && first.owners == socket.owners,
                _ => false,
            }
        };
        match cases.iter_mut().find(same) {
            Some(case) => case.sockets.push(socket),
            None => cases.push(Case {
                window,
                udp,
                sockets: vec![socket],
            }),
        }
    }
    cases.sort_by_key(|case| std::cmp::Reverse(case.drops()));
    cases
}

/// What a socket dropped for want of room: in its buffer, or in the memory of all.
fn no_room(socket: &Dropping) -> u64 {
    match socket.reasons {
        Some(reasons) => reasons.buffer_full + reasons.memory,
        // Its own counter does not say.
        None => socket.drops,
    }
}

impl<'a> Case<'a> {
    /// The socket that dropped most.
    fn worst(&self) -> &'a Dropping {
        self.sockets[0]
    }

    fn drops(&self) -> u64 {
        self.sockets.iter().map(|s| no_room(s)).sum()
    }

    /// Of the drops: the memory of all UDP sockets was used up.
    fn memory(&self) -> u64 {
        let reasons = self.sockets.iter().filter_map(|s| s.reasons);
        reasons.map(|r| r.memory).sum()
    }

    /// Drops a second in the worst tenth of a second of the socket that dropped most, at least.
    fn peak_per_s(&self) -> f64 {
        self.worst().peak_per_s
    }

    /// Share of all datagrams that arrived in the namespace; `None` when nobody counted those.
    fn share(&self) -> Option<f64> {
        let counters = &self.udp.counters;
        let (v4, v6) = (counters.v4.in_datagrams, counters.v6.in_datagrams);
        let read = v4.or(v6).map(|_| v4.unwrap_or(0) + v6.unwrap_or(0))?;
        let dropped: u64 = self.udp.sockets.iter().map(no_room).sum();
        Some(tcp::share(self.drops(), read + dropped))
    }

    /// The looks at the queue of the worst socket from shortly before its first drop to its last.
    fn looks(&self) -> Vec<QueuePoint> {
        /// A look in this time before the first drop belongs to it: the queue was filling.
        const BEFORE_NS: u64 = 1_000_000_000;
        let s = self.worst();
        let of = |p: &&QueuePoint| {
            p.at_ns + BEFORE_NS >= s.first_ns && p.at_ns <= s.last_ns.saturating_add(BEFORE_NS)
        };
        s.queue.iter().filter(of).copied().collect()
    }

    fn is_full(&self, point: &QueuePoint) -> bool {
        let limit = self.worst().rcvbuf_bytes;
        limit.is_some_and(|limit| point.bytes as f64 >= NEARLY_FULL * limit as f64)
    }

    /// The reader does not keep up: the queue stands full. `None` when there were too few looks to tell.
    fn slow(&self) -> Option<bool> {
        let looks = self.looks();
        self.worst().rcvbuf_bytes?;
        let full = looks.iter().filter(|p| self.is_full(p)).count() as u64;
        (looks.len() as u64 >= MIN_LOOKS).then_some(full * 2 >= looks.len() as u64)
    }

    /// The queue of the worst socket was full at half of all looks of the window.
    fn stands_full(&self) -> bool {
        let all = &self.worst().queue;
        let full = all.iter().filter(|p| self.is_full(p)).count() as u64;
        full >= MIN_LOOKS && full * 2 >= all.len() as u64
    }

    /// How long the queue of the worst socket stood full without a break, ns: between looks that found it so.
    fn full_for_ns(&self) -> u64 {
        let s = self.worst();
        let runs = s.queue.chunk_by(|a, b| self.is_full(a) == self.is_full(b));
        let full = runs.filter(|run| self.is_full(&run[0]));
        full.map(|run| run[run.len() - 1].at_ns - run[0].at_ns)
            .max()
            .unwrap_or(0)
    }

    fn is_dns(&self) -> bool {
        self.worst().local.port() == DNS && self.worst().remote.is_none()
    }

    fn severity(&self) -> Severity {
        let critical = if self.is_dns() {
            CRITICAL_SHARE_DNS
        } else {
            CRITICAL_SHARE
        };
        match self.share() {
            Some(share) if share >= critical => Severity::Critical,
            Some(share) if share >= WARNING_SHARE => Severity::Warning,
            // A share that nobody knows is taken for more than a few.
            None => Severity::Warning,
            _ if self.stands_full() => Severity::Warning,
            _ => Severity::Info,
        }
    }

    /// Who holds one of the sockets.
    fn owners(&self) -> Vec<&'a Process> {
        let mut owners: Vec<&Process> = self
            .sockets
            .iter()
            .flat_map(|s| s.owners.iter().map(|o| &o.0))
            .collect();
        owners.sort_by_key(|p| (p.comm.is_empty(), p.pid));
        owners.dedup_by_key(|p| p.pid);
        owners
    }

    fn confidence(&self) -> Confidence {
        let agreement = self.udp.agreement;
        let missed = agreement
            .rcvbuf_errors
            .zip(agreement.traced)
            .map(|(counted, traced)| counted.saturating_sub(traced))
            .filter(|missed| *missed > 0);
        let doubts = [
            missed.map(|n| {
                let why = format!(
                    "the kernel counted {n} more (RcvbufErrors), dropped before each was seen or by sockets that \
                     are not told apart"
                );
                (Level::Medium, why)
            }),
            self.worst().reasons.is_none().then(|| {
                let why = "the socket's own counter also counts bad checksums and what a filter refuses";
                (Level::Medium, why.to_owned())
            }),
        ];
        let slots = [slot::UDP_SOCKETS_FULL, slot::READ_FAILED];
        tcp::confidence(
            self.window,
            &slots,
            doubts.into_iter().flatten(),
            if agreement.rcvbuf_errors == agreement.traced {
                "each drop was seen, and the kernel's own counters say the same"
            } else {
                "each drop was seen"
            },
        )
    }
}

/// The socket as something that is listened on: `udp :53`, `udp 127.0.0.53:53`.
fn address(local: SocketAddr) -> Peer {
    let on = if local.ip().is_unspecified() {
        format!("udp :{}", local.port())
    } else {
        format!("udp {local}")
    };
    Peer::Listener {
        on: on.into_bytes(),
    }
}

/// True when what is sent to an address by UDP arrives at the socket that a finding of U01 is about.
pub(super) fn receives(found: &Finding, address: IpAddr, port: u16) -> bool {
    let Some(Peer::Listener { on }) = &found.culprit.peer else {
        return false;
    };
    let words = std::str::from_utf8(on).unwrap_or_default();
    match words.strip_prefix("udp :") {
        Some(any) => any.parse() == Ok(port),
        None => words.strip_prefix("udp ") == Some(&*SocketAddr::new(address, port).to_string()),
    }
}

/// Who reads too late: a holder that is watched, with its group; else the first holder.
fn culprit(case: &Case<'_>) -> Culprit {
    let owners = case.owners();
    let window = case.window;
    let watched = owners.iter().find_map(|owner| {
        let mut processes = window.processes.iter();
        processes.find(|p| p.process.pid == owner.pid)
    });
    let owner = owners.first();
    let name = owner.map(|p| p.comm.clone());
    let group = watched.map(|p| p.group.clone()).or(name);
    let groups = &window.groups;
    let php_fpm = watched.is_some_and(|p| groups.iter().any(|g| g.name == p.group && g.php_fpm));
    Culprit {
        group: group.filter(|name| !name.is_empty()),
        php_fpm,
        pid: owner.map(|p| p.pid),
        peer: Some(address(case.worst().local)),
        ..Culprit::default()
    }
}

fn finding(case: &Case<'_>) -> Finding {
    let all: u64 = case.udp.sockets.iter().map(no_room).sum();
    let mut measured = vec![Measured {
        what: DROPPED,
        observed: Quantity::count(case.drops() as f64),
        threshold: Quantity::count(1.0),
    }];
    if let Some(share) = case.share() {
        measured.push(Measured {
            what: "share of the UDP datagrams that arrived",
            observed: Quantity::ratio(share),
            threshold: Quantity::ratio(WARNING_SHARE),
        });
    }
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains: tcp::share(case.drops(), all + case.udp.other_drops),
        explains_what: "the UDP datagrams dropped",
        culprit: culprit(case),
        measured,
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: case.sockets.iter().map(|s| s.first_ns).min(),
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}
