//! What no window of the last seconds has: what happened when, and the slowest requests since the view began.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{Data, Event, Slow, Tone, findings};
use crate::{
    aggregate::{Group, Look, Window},
    attach::State,
    diagnose::{self, Diagnosis, Severity},
    present::{
        escape,
        json::rfc3339,
        names,
        units::{count, duration, plural},
    },
};

/// Events kept; the oldest go first.
pub const MAX_EVENTS: usize = 1000;
/// Slow requests kept.
pub const MAX_SLOWEST: usize = 200;
/// A finding is over when it has not been seen for this long, ns: one at its limit comes and goes.
const OVER_NS: u64 = 5_000_000_000;
/// A loss that goes on is told this often, ns.
const LOSS_NS: u64 = 10_000_000_000;

/// When a look was taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// Since watching began, ns.
    pub elapsed_ns: u64,
    /// The time of day, ns since the Unix epoch.
    pub unix_ns: u64,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct History {
    events: VecDeque<Event>,
    slowest: Vec<(u64, Slow)>,
    findings: HashMap<String, Going>,
    /// Addresses that nobody listens on.
    gaps: HashSet<String>,
    /// When the last look was taken.
    looked_ns: u64,
    losses: HashMap<&'static str, Loss>,
    lost: u64,
    workers: HashSet<(u32, u32)>,
    begun: bool,
}

/// A finding that goes on.
#[derive(Clone, Debug)]
struct Going {
    rule: &'static str,
    title: String,
    severity: Severity,
    began_ns: u64,
    seen_ns: u64,
}

/// A kind of loss: when it was told last, and what came since.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    told_ns: Option<u64>,
    untold: u64,
}

impl History {
    /// Takes in a look and what the rules say of it, and makes it what is shown.
    pub fn look(&mut self, look: Look, diagnosis: Diagnosis, now: Moment) -> Data {
        let Look { last, recent } = look;
        if !self.begun {
            self.probes(&last, now);
        }
        self.findings(&diagnosis, now);
        self.losses(&last, now);
        self.gaps(&recent, now);
        self.workers(&last, now);
        self.requests(&last, now);
        self.begun = true;
        self.looked_ns = now.at_ns;
        Data {
            last,
            recent,
            diagnosis,
            slowest: self.slowest.iter().map(|(_, slow)| slow.clone()).collect(),
            events: self.events.iter().cloned().collect(),
            lost: self.lost,
            elapsed_ns: now.elapsed_ns,
            unix_ns: now.unix_ns,
        }
    }

    /// Takes in the last moment alone, and shows it with what is known of the last seconds.
    pub fn glance(&mut self, last: Window, now: Moment, data: &mut Data) {
        self.losses(&last, now);
        self.workers(&last, now);
        self.requests(&last, now);
        data.last = last;
        data.slowest = self.slowest.iter().map(|(_, slow)| slow.clone()).collect();
        if data.events.last() != self.events.back() {
            data.events = self.events.iter().cloned().collect();
        }
        data.lost = self.lost;
        data.elapsed_ns = now.elapsed_ns;
        data.unix_ns = now.unix_ns;
    }

    /// Something else that happened; `text` is safe to be shown.
    pub fn tell(&mut self, unix_ns: u64, tone: Tone, text: String) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            unix_ns,
            tone,
            text,
        });
    }

    fn probes(&mut self, window: &Window, now: Moment) {
        for probe in &window.probes {
            if let State::Off(why) = &probe.state {
                let why = escape::name(why.as_bytes());
                let text = format!("probe {} is off: {why}", probe.id);
                self.tell(now.unix_ns, Tone::Warning, text);
            }
        }
    }

    fn findings(&mut self, diagnosis: &Diagnosis, now: Moment) {
        for (_, found) in findings::each(diagnosis) {
            let key = findings::key(found);
            let (word, tone) = (found.severity.name(), findings::severity(found.severity).1);
            let rule = found.rule.id;
            let title = findings::title(found);
            let text = match self.findings.get_mut(&key) {
                Some(going) => {
                    going.seen_ns = now.at_ns;
                    let before = std::mem::replace(&mut going.severity, found.severity);
                    if before == found.severity {
                        continue;
                    }
                    format!("{rule} is {word} now, was {}: {title}", before.name())
                }
                None => {
                    let going = Going {
                        rule,
                        title: title.clone(),
                        severity: found.severity,
                        began_ns: now.at_ns,
                        seen_ns: now.at_ns,
                    };
                    self.findings.insert(key, going);
                    format!("{rule} {word}: {title}: {}", findings::headline(found))
                }
            };
            self.tell(now.unix_ns, tone, text);
        }
        let is_over = |going: &Going| now.at_ns.saturating_sub(going.seen_ns) >= OVER_NS;
        let mut over: Vec<Going> = Vec::new();
        self.findings.retain(|_, going| {
            if is_over(going) {
                over.push(going.clone());
            }
            !is_over(going)
        });
        over.sort_by_key(|going| going.began_ns);
        for going in over {
            let after = duration(going.seen_ns.saturating_sub(going.began_ns));
            let text = format!("{} is over after {after}: {}", going.rule, going.title);
            self.tell(now.unix_ns, Tone::Good, text);
        }
    }

    fn losses(&mut self, window: &Window, now: Moment) {
        for loss in diagnose::losses(&window.losses) {
            self.lost += loss.count;
            let kept = self.losses.entry(loss.id).or_default();
            kept.untold += loss.count;
            let told = kept.told_ns;
            if told.is_none_or(|told| now.at_ns.saturating_sub(told) >= LOSS_NS) {
                kept.told_ns = Some(now.at_ns);
                let n = std::mem::take(&mut kept.untold);
                let text = format!("lost: {} {} ({})", count(n), loss.what, loss.means);
                self.tell(now.unix_ns, Tone::Warning, text);
            }
        }
    }

    /// Addresses that nobody listens on any more, and those that are served again. An address that was never seen
    /// served is no event: some programs look for a daemon that is not installed at each start.
    fn gaps(&mut self, window: &Window, now: Moment) {
        let gaps = window.tcp.iter().flat_map(|tcp| &tcp.gaps);
        let mut open = HashSet::new();
        let mut told = Vec::new();
        for gap in gaps.filter(|gap| gap.served_before || gap.start_seen) {
            let peer = names::peer(&gap.peer, 60);
            let failed: u64 = gap.failed.iter().map(|f| f.1).sum();
            let refused = plural(failed, "connect", "connects");
            let Some(end_ns) = gap.end_ns else {
                if self.gaps.insert(peer.clone()) {
                    let text = format!("nobody listens on {peer}: {refused} refused so far");
                    told.push((Tone::Critical, text));
                }
                open.insert(peer);
                continue;
            };
            let ended_ns = now.at_ns.saturating_sub(window.duration_ns) + end_ns;
            if ended_ns > self.looked_ns {
                self.gaps.remove(&peer);
                let after = duration(end_ns.saturating_sub(gap.start_ns));
                let text = format!("{peer} is listened on again after {after}, {refused} refused");
                told.push((Tone::Good, text));
            }
        }
        self.gaps.retain(|peer| open.contains(peer));
        for (tone, text) in told {
            self.tell(now.unix_ns, tone, text);
        }
    }

    /// Workers that came and went, of groups that serve requests; one line for each group and look.
    fn workers(&mut self, window: &Window, now: Moment) {
        let serves = |g: &&Group| g.php_fpm || g.all_requests() > 0;
        let mut told = Vec::new();
        for group in window.groups.iter().filter(serves) {
            let of = |p: &&crate::aggregate::ProcessTime| {
                p.group == group.name && p.process.pool.is_some() == group.php_fpm
            };
            let (mut came, mut went) = (Vec::new(), Vec::new());
            for row in window.processes.iter().filter(of) {
                let id = (row.process.pid, row.process.start_ticks);
                if row.process.ended {
                    self.workers.remove(&id);
                    went.push(id.0);
                } else if self.workers.insert(id) {
                    came.push(id.0);
                }
            }
            let name = names::group(&group.name, group.php_fpm);
            let n = |pids: &[u32]| plural(pids.len() as u64, "worker", "workers");
            for (pids, what, tone) in [(came, "new", Tone::Plain), (went, "gone", Tone::Warning)] {
                if self.begun && !pids.is_empty() {
                    let text = format!("{name}: {} {what} ({})", n(&pids), some(&pids));
                    told.push((tone, text));
                }
            }
        }
        for (tone, text) in told {
            self.tell(now.unix_ns, tone, text);
        }
    }

    fn requests(&mut self, window: &Window, now: Moment) {
        let start_ns = now.at_ns.saturating_sub(window.duration_ns);
        for group in &window.groups {
            for request in &group.slowest {
                let began_ns = start_ns.saturating_add_signed(request.start_ns);
                let ended_ns = began_ns.saturating_add(request.wall_ns);
                let slow = Slow {
                    group: group.name.clone(),
                    unix_ns: now
                        .unix_ns
                        .saturating_sub(now.at_ns.saturating_sub(ended_ns)),
                    request: request.clone(),
                };
                let same = |(began, kept): &&mut (u64, Slow)| {
                    kept.request.pid == request.pid && *began == began_ns
                };
                match self.slowest.iter_mut().find(same) {
                    Some(kept) => kept.1 = slow,
                    None => self.slowest.push((began_ns, slow)),
                }
            }
        }
        self.slowest
            .sort_by_key(|(began_ns, slow)| (std::cmp::Reverse(slow.request.wall_ns), *began_ns));
        self.slowest.truncate(MAX_SLOWEST);
    }
}

/// Some of them, and how many more.
fn some(pids: &[u32]) -> String {
    const SHOWN: usize = 4;
    let mut list: Vec<String> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    if pids.len() > SHOWN {
        list.push(format!("and {} more", pids.len() - SHOWN));
    }
    list.join(", ")
}

/// `20261121-142220`, UTC.
pub fn stamp(unix_ns: u64) -> String {
    let time = rfc3339(unix_ns);
    let kept = time
        .chars()
        .take_while(|c| *c != '.')
        .filter(|c| *c != '-' && *c != ':');
    kept.map(|c| if c == 'T' { '-' } else { c }).collect()
}

/// `14:22:20`, UTC.
pub fn clock(unix_ns: u64) -> String {
    let s = unix_ns / 1_000_000_000;
    format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}
