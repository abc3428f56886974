//! W01: requests spend most of their wall time waiting for one peer.

mod advice;
mod shape;
#[cfg(test)]
mod tests;
mod words;

use super::{Cause, Doc, Rule, Stage, Subject, Verdict, dns_storm};
use crate::{
    aggregate::{Group, PeerTime, Window},
    diagnose::{
        Confidence, Culprit, Finding, Level, Measured, Quantity, REQUEST_TIME, Severity, loss,
    },
};
use probe_common::part;
use shape::Shape;

/// The rule.
pub const RULE: Rule = Rule {
    id: "W01",
    name: "blocking-upstream",
    summary: "requests spend most of their wall time waiting for one peer",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Critical,
    needs: &["calls", "scheduler", "peers"],
    causes: &[Cause::of("U02", dns_storm::same_server)],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "The requests of one group of workers (a PHP-FPM pool, or the processes of one name) spend at \
least half of their wall time blocked on one peer, and the wait is long enough to matter: at least \
20 ms in each request that uses the peer.

Wall time runs from accept to close and is divided completely: on a CPU, waiting for a CPU, each peer, \
the client, disk, locks, sleep. Waiting for a CPU is never charged to a peer, although poll() looks long \
for both. Requests still open at the end of the window count with the time they have spent in it, so a \
pool that hangs in one call is seen while it hangs.

It tells three shapes apart: one slow call; many calls one after the other (each opens its connection, \
or sends its question, only after the answer to the one before); many calls at once.

Severity: info from 20 ms a request; warning from 100 ms, or when such waits keep at least 95 % of the \
workers' time busy; critical from 1 s, or from 100 ms when the workers are that busy.",
    matters: "A prefork worker serves one request at a time: while it waits, it serves no one else. The \
number of requests per second that the pool can serve is the number of workers divided by the time of a \
request, so a peer that takes 98 % of that time decides what the whole pool can do. When all workers \
wait, new connections queue, then time out at the proxy: the pool looks overloaded while the CPU idles.",
    confirm: "Take the pid of a worker from the finding and watch its calls with their durations:

    strace -f -T -e trace=network,poll,select -p PID
    ss -tnp | grep pid=PID

With a PHP-FPM slow log (request_slowlog_timeout = 1s) the PHP stack of the waiting line is written by \
the server itself.",
    try_: "From the safest to the most far-reaching: take the call out of the request (fetch in the \
background, serve the last value); ask for everything in one call, or for all at once (curl_multi, a \
pipeline, one query with IN); keep the connection open between calls; set a time-out for all calls of a \
request together, so that a slow peer costs a known time; then speak with whoever runs the peer.

More workers do not help: they wait as well, take memory, and load the peer further.",
    wrong: "Pages that are meant to wait (long polling, server-sent events, a gateway in front of \
another service) spend their time on a peer by design: W01 states the fact, the judgement is yours.

One service behind several addresses is counted by address: with its waits spread over three of them, \
none may reach half. More than 8 peers in one request are not told apart.

For a wait that has not ended when the window does, the peer is inferred from the request's exchanges so \
far; the confidence says when a finding rests on that.

A peer on the same machine may be slow because it waits for a CPU itself; see who runs there before \
blaming it.",
};

/// Half: below it something else takes the larger part, and removing this wait cannot even halve a request.
const MIN_SHARE: f64 = 0.5;
/// Below this a wait cannot be felt by a user (a frame of video is 17 ms, a round trip on the Internet 10
/// to 50), and it is what a page with a few database and cache calls takes when all is well: a 2 ms page
/// that waits 60 % of it for Redis is healthy.
const MIN_WAIT_NS: u64 = 20_000_000;
/// The tenth of a second within which an answer still seems immediate: users notice more.
const WARNING_WAIT_NS: u64 = 100_000_000;
/// A second: users lose their train of thought, and a worker serves less than one request a second.
const CRITICAL_WAIT_NS: u64 = 1_000_000_000;
/// Workers this busy have no one left for the next connection: requests queue before they are accepted.
/// One worker of 20 may be idle between two requests even so.
pub(super) const SATURATED: f64 = 0.95;
/// A wait that strikes less than this share of the requests, and holds less than this share of the workers'
/// time, is one odd page in a pool with workers to spare: an info at most.
const RARE: f64 = 0.1;
/// So few requests prove no pattern.
const FEW: u64 = 5;
/// From so many requests on, the averages no longer hang on single ones.
const MANY: u64 = 30;

/// What was measured about a group and one of its peers.
struct Case<'a> {
    window: &'a Window,
    group: &'a Group,
    peer: &'a PeerTime,
    /// Wall time of all requests, ns.
    wall_ns: u64,
    /// Requests that waited for the peer for most of their time.
    struck: u64,
    /// Share of wall time spent waiting for the peer.
    share: f64,
    /// Wait per request that used the peer, ns.
    per_request_ns: u64,
    /// Share of the workers' time that was not idle.
    busy: f64,
    /// Share of the workers' time that the waits for the peer held.
    held: f64,
    shape: Shape,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    for group in &window.groups {
        judge(window, group, &mut verdict);
    }
    if window.groups.iter().all(|g| g.all_requests() == 0) {
        verdict.not_judged.push(no_requests(window));
    }
    verdict
}

/// Why there is nothing to judge, and who might be worth a look all the same.
fn no_requests(window: &Window) -> String {
    let mut why = if window.groups.iter().any(|g| g.event_driven > 0) {
        "no request of a worker that serves one at a time was seen; those of event loops overlap and \
         cannot be told apart"
            .to_owned()
    } else {
        "no request was seen in the window".to_owned()
    };
    let stuck: Vec<String> = window
        .processes
        .iter()
        .filter(|p| !p.event_driven)
        .filter(|p| {
            p.waits_for
                .as_ref()
                .is_some_and(|w| w.part == part::NETWORK && w.for_ns >= window.duration_ns)
        })
        .map(|p| p.process.pid.to_string())
        .take(FEW as usize)
        .collect();
    if !stuck.is_empty() {
        // They may serve a request that began before watching did, or wait for work on purpose.
        why.push_str("; blocked on a peer through all of it: process ");
        why.push_str(&stuck.join(", "));
    }
    why
}

fn judge(window: &Window, group: &Group, verdict: &mut Verdict) {
    let wall_ns = group.all_wall_ns();
    if wall_ns == 0 {
        return;
    }
    let weighs = |wait: u64, requests: u64| {
        wait as f64 >= MIN_SHARE * wall_ns as f64 && wait / requests.max(1) >= MIN_WAIT_NS
    };
    let culprit = group
        .peers
        .iter()
        .find(|p| p.peer.is_upstream() && weighs(p.wait_ns(), p.requests()));
    if let Some(peer) = culprit {
        verdict
            .findings
            .push(finding(&Case::new(window, group, peer)));
        return;
    }
    let unnamed: u64 = group
        .peers
        .iter()
        .filter(|p| p.peer.is_unnamed())
        .map(PeerTime::wait_ns)
        .sum();
    if weighs(unnamed, group.all_requests()) {
        // No name here: names are for the outputs to escape.
        verdict.not_judged.push(format!(
            "{:.0} % of the request time of process {} and its like was waited for peers that could \
             not be told",
            100.0 * unnamed as f64 / wall_ns as f64,
            group.example_pid
        ));
    }
}

impl<'a> Case<'a> {
    fn new(window: &'a Window, group: &'a Group, peer: &'a PeerTime) -> Self {
        let wall_ns = group.all_wall_ns();
        let total: u64 = group.worker_parts.iter().sum();
        Self {
            window,
            group,
            peer,
            wall_ns,
            struck: peer.done.mostly + peer.open.mostly,
            share: peer.wait_ns() as f64 / wall_ns as f64,
            per_request_ns: peer.wait_ns() / peer.requests().max(1),
            busy: group.busy(),
            held: peer.wait_ns() as f64 / total.max(1) as f64,
            shape: Shape::of(peer),
        }
    }

    fn severity(&self) -> Severity {
        let saturated = self.busy >= SATURATED;
        let rare =
            (self.struck as f64) < RARE * self.group.all_requests() as f64 && self.held < RARE;
        if rare && !saturated {
            return Severity::Info;
        }
        match (self.per_request_ns, saturated) {
            (CRITICAL_WAIT_NS.., _) | (WARNING_WAIT_NS.., true) => Severity::Critical,
            (WARNING_WAIT_NS.., false) | (_, true) => Severity::Warning,
            _ => Severity::Info,
        }
    }

    fn confidence(&self) -> Confidence {
        let (mut level, mut reasons) = loss::ceiling(self.window);
        let requests = self.peer.requests();
        let mut lower = |to: Level, why: String| {
            level = level.min(to);
            reasons.push(why);
        };
        match self.struck {
            ..FEW => lower(
                Level::Low,
                format!("it rests on {} of the requests only", self.struck),
            ),
            FEW..MANY => lower(
                Level::Medium,
                format!("it rests on {} requests", self.struck),
            ),
            MANY.. => {}
        }
        if self.peer.assumed_ns > self.peer.wait_ns() / 2 {
            lower(
                Level::Medium,
                "most of the wait had not ended with the window: its length is measured, its peer \
                 inferred from what the requests asked last"
                    .to_owned(),
            );
        }
        if level == Level::High {
            reasons.push(format!(
                "{requests} requests, each divided completely; nothing was lost that bears on it"
            ));
        }
        Confidence { level, reasons }
    }

    /// Share of all time lost in requests of all groups: not on a CPU and not idle.
    fn explains(&self) -> f64 {
        let lost: u64 = self
            .window
            .groups
            .iter()
            .map(|g| {
                let parts = g.all_parts();
                parts.iter().sum::<u64>() - parts[part::ON_CPU] - parts[part::IDLE]
            })
            .sum();
        (self.peer.wait_ns() as f64 / lost.max(1) as f64).min(1.0)
    }
}

fn finding(case: &Case<'_>) -> Finding {
    let group = case.group;
    Finding {
        rule: RULE.reference(),
        title: case.shape.title().to_owned(),
        severity: case.severity(),
        confidence: case.confidence(),
        explains: case.explains(),
        explains_what: REQUEST_TIME,
        culprit: Culprit {
            group: Some(group.name.clone()),
            php_fpm: group.php_fpm,
            pid: Some(group.example_pid),
            peer: Some(case.peer.peer.clone()),
            ..Culprit::default()
        },
        measured: vec![
            Measured {
                what: "share of request wall time spent waiting for the peer",
                observed: Quantity::ratio(case.share),
                threshold: Quantity::ratio(MIN_SHARE),
            },
            Measured {
                what: "wait for the peer per request that uses it",
                observed: Quantity::ns(case.per_request_ns),
                threshold: Quantity::ns(MIN_WAIT_NS),
            },
        ],
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: case.peer.mostly_since_ns,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}
