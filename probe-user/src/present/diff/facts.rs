//! What a report says, as far as two are compared: the only place of `diff` that knows a report's shape. Its texts are
//! escaped already, wherever it was read from.

use std::collections::HashSet;

use probe_common::{hist, part};

use crate::{
    diagnose::{
        Severity,
        compare::{
            About, Distribution, Facts, Found, Limit, Measure, Sample, Served, Span,
            measures::{self, Section, What},
        },
    },
    present::{
        escape,
        json::{
            Bucket, CulpritJson, DnsJson, FilesJson, FindingJson, GroupJson, JournalJson,
            PeerTimeJson, Report, StatesJson, TcpJson, TeamJson, UdpJson,
        },
    },
};

/// Rows of each list that are looked at: more than any report holds, unless somebody made it by hand.
const MAX: usize = 4096;
/// How deep symptoms may lie below each other.
const DEEP: usize = 16;

/// What a report says.
pub fn facts(report: &Report) -> Facts {
    let window = &report.window;
    let probe = |p: &crate::present::json::ProbeJson| {
        let why = || {
            p.reason
                .as_ref()
                .map_or_else(|| "no reason given".to_owned(), ToString::to_string)
        };
        (p.id.to_string(), (p.state == "off").then(why))
    };
    let mut facts = Facts {
        host: name(&report.host.name),
        kernel: name(&report.host.kernel),
        tool_version: name(&report.tool.version),
        target: name(&window.target),
        start_unix_ns: window.start_unix_ns,
        duration_ns: window.duration_ns,
        redacted: report.redacted,
        watched: watched(report),
        probes: report.probes.iter().take(MAX).map(probe).collect(),
        losses: report
            .losses
            .iter()
            .take(MAX)
            .map(|l| (l.what.to_string(), l.means.to_string(), l.count))
            .collect(),
        not_judged: report
            .not_judged
            .iter()
            .take(MAX)
            .map(|n| (n.rule.to_string(), n.missing.to_string()))
            .collect(),
        ..Facts::default()
    };
    for finding in report.findings.iter().take(MAX) {
        found(&mut facts.findings, finding, DEEP);
    }
    for group in report.signals.requests.iter().take(MAX) {
        requests(&mut facts, group);
    }
    let ns = window.duration_ns;
    if let Some(t) = &report.tcp {
        tcp(&mut facts, t, ns);
    }
    if let Some(u) = &report.udp {
        udp(&mut facts, u, ns);
    }
    if let Some(d) = &report.dns {
        dns(&mut facts, d, ns);
    }
    if let Some(f) = &report.files {
        files(&mut facts, f, ns);
    }
    if let Some(j) = &report.journal {
        journal(&mut facts, j, ns);
    }
    facts
}

/// A name in at most [`escape::MAX`] characters.
fn name(text: &str) -> String {
    escape::again(text, escape::MAX).into_owned()
}

fn watched(report: &Report) -> HashSet<Section> {
    let mut all = HashSet::from([Section::Requests]);
    for (section, is) in [
        (Section::Tcp, report.tcp.is_some()),
        (Section::Udp, report.udp.is_some()),
        (Section::Dns, report.dns.is_some()),
        (Section::Files, report.files.is_some()),
        (Section::Journal, report.journal.is_some()),
    ] {
        if is {
            all.insert(section);
        }
    }
    all
}

/// A finding, then its symptoms.
fn found(all: &mut Vec<Found>, f: &FindingJson, deep: usize) {
    if all.len() >= MAX {
        return;
    }
    all.push(Found {
        rule: name(&f.rule),
        title: name(&f.title),
        severity: match f.severity.as_str() {
            "critical" => Severity::Critical,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        },
        culprit: culprit(&f.culprit),
        explains: f.explains.clamp(0.0, 1.0),
        explains_what: name(&f.explains_what),
        limits: f
            .measured
            .iter()
            .take(MAX)
            .map(|m| Limit {
                observed: m.observed,
                threshold: m.threshold,
            })
            .collect(),
    });
    if deep > 0 {
        for symptom in &f.symptoms {
            found(all, symptom, deep - 1);
        }
    }
}

/// Who is to blame. Process ids are left out: they are others in the next run.
fn culprit(c: &CulpritJson) -> String {
    let mut words = Vec::new();
    if let Some(name) = &c.group {
        words.push(group(name, c.php_fpm));
    }
    if let Some(peer) = &c.peer {
        words.push(name(&peer.name));
    }
    if let Some(place) = &c.place {
        let directory = place.directory.as_ref().unwrap_or(&place.mount_point);
        words.push(name(directory));
    }
    words.join(", ")
}

/// A group of processes, as text outputs name it.
fn group(of: &str, php_fpm: bool) -> String {
    if php_fpm {
        format!("pool {}", name(of))
    } else {
        name(of)
    }
}

fn team(of: &TeamJson) -> String {
    match &of.name {
        Some(name) => group(name, of.php_fpm),
        None => "other processes".to_owned(),
    }
}

fn about(group: &str, of: &str) -> About {
    About {
        group: group.to_owned(),
        of: name(of),
    }
}

fn add(facts: &mut Facts, what: &'static What, about: &About, sample: Sample) {
    facts.measures.push(Measure {
        what,
        about: about.clone(),
        sample,
    });
}

fn add_quantiles(
    facts: &mut Facts,
    quantiles: &[(&'static What, f64)],
    about: &About,
    of: &Distribution,
) {
    if of.is_empty() {
        return;
    }
    for &(what, q) in quantiles {
        add(facts, what, about, Sample::Quantile { of: of.clone(), q });
    }
}

/// A histogram of the kernel side: its buckets are those of [`hist`].
fn kernel(buckets: &[Bucket]) -> Distribution {
    distribution(buckets, |le| {
        hist::lower_ns(hist::bucket(le)).min(le) as f64
    })
}

/// One of requests: two digits, so that a bucket is at most a 128th of its value wide.
fn fine(buckets: &[Bucket]) -> Distribution {
    distribution(buckets, |le| le as f64 * (1.0 - 1.0 / 128.0))
}

fn distribution(buckets: &[Bucket], low: impl Fn(u64) -> f64) -> Distribution {
    let span = |b: &Bucket| match b.le_ns {
        Some(le) => Span {
            low_ns: low(le),
            high_ns: le as f64,
            count: b.count,
        },
        None => Span {
            low_ns: hist::lower_ns(hist::BUCKETS as u32 - 1) as f64,
            high_ns: f64::INFINITY,
            count: b.count,
        },
    };
    Distribution::new(buckets.iter().take(MAX).map(span).collect())
}

fn requests(facts: &mut Facts, g: &GroupJson) {
    let group = group(&g.group, g.php_fpm);
    facts.groups.push(Served {
        group: group.clone(),
        requests: g.requests,
        incomplete: g.incomplete_requests,
    });
    if g.requests == 0 {
        return;
    }
    let whole = about(&group, "");
    let wall = [
        (&measures::WALL_P50, 0.5),
        (&measures::WALL_P90, 0.9),
        (&measures::WALL_P95, 0.95),
        (&measures::WALL_P99, 0.99),
    ];
    add_quantiles(facts, &wall, &whole, &fine(&g.duration));
    let mean = |sum: u64| Sample::Mean {
        sum: sum as f64,
        of: g.requests,
    };
    add(facts, &measures::CONNECTS, &whole, mean(g.connects));
    add(facts, &measures::POLLS, &whole, mean(g.polls));
    for (name, ns) in part::NAMES.iter().zip(g.parts.parts()) {
        let of = about(&group, &name.replace('_', " "));
        add(facts, &measures::PART, &of, mean(ns));
    }
    for peer in g.peers.iter().take(MAX) {
        self::peer(facts, &group, peer, mean);
    }
}

fn peer(facts: &mut Facts, group: &str, p: &PeerTimeJson, mean: impl Fn(u64) -> Sample) {
    let of = about(group, &p.peer.name);
    let done = &p.finished;
    add(facts, &measures::PEER_TIME, &of, mean(done.wait_ns));
    add(facts, &measures::PEER_EXCHANGES, &of, mean(done.exchanges));
    add(facts, &measures::PEER_CONNECTS, &of, mean(done.connects));
    let rounds = [
        (&measures::PEER_P50, 0.5),
        (&measures::PEER_P95, 0.95),
        (&measures::PEER_P99, 0.99),
    ];
    add_quantiles(facts, &rounds, &of, &kernel(&p.exchange_duration));
}

fn tcp(facts: &mut Facts, t: &TcpJson, ns: u64) {
    type Count = fn(&StatesJson) -> u64;
    let states: [(&str, Count); 5] = [
        ("ESTABLISHED", |s| s.established),
        ("SYN_RECV", |s| s.syn_received),
        ("FIN_WAIT_2", |s| s.fin_wait_2),
        ("TIME_WAIT", |s| s.time_wait),
        ("CLOSE_WAIT", |s| s.close_wait),
    ];
    for (name, count) in states {
        let counts = || t.timeline.iter().map(|point| count(&point.census));
        if let (Some(last), Some(least), Some(most)) =
            (counts().next_back(), counts().min(), counts().max())
        {
            let level = Sample::Level { last, least, most };
            add(facts, &measures::STATE, &about("", name), level);
        }
    }
    for f in t.failed_connects.iter().take(MAX) {
        let of = about("", &format!("{}, {}", f.peer.name, f.error));
        let count = f.count;
        add(facts, &measures::FAILED, &of, Sample::Events { count, ns });
    }
    for l in t.listeners.iter().take(MAX) {
        let of = about("", &l.address.name);
        let count = l.overflows;
        add(
            facts,
            &measures::OVERFLOWS,
            &of,
            Sample::Events { count, ns },
        );
        let wait = kernel(&l.accept_wait);
        add_quantiles(facts, &[(&measures::ACCEPT_P95, 0.95)], &of, &wait);
    }
    for p in t.ports.iter().take(MAX) {
        let level = Sample::Level {
            last: p.used_peak,
            least: p.used_peak,
            most: p.used_peak,
        };
        add(facts, &measures::PORTS, &about("", &p.peer.name), level);
    }
}

fn udp(facts: &mut Facts, u: &UdpJson, ns: u64) {
    for s in u.sockets.iter().take(MAX) {
        let address = std::net::SocketAddr::new(s.ends.local_address, s.ends.local_port);
        let of = about("", &address.to_string());
        let count = s.drops;
        add(facts, &measures::DROPS, &of, Sample::Events { count, ns });
    }
    if u.other_drops > 0 {
        let count = u.other_drops;
        let of = about("", "other sockets");
        add(facts, &measures::DROPS, &of, Sample::Events { count, ns });
    }
}

fn dns(facts: &mut Facts, d: &DnsJson, ns: u64) {
    for c in d.clients.iter().take(MAX) {
        let of = about(&group(&c.group.group, c.group.php_fpm), "");
        let events = |count| Sample::Events { count, ns };
        let sums = &c.sums;
        add(facts, &measures::QUESTIONS, &of, events(sums.asked));
        add(facts, &measures::TIMEOUTS, &of, events(sums.timed_out));
        let lost = Sample::Time {
            total_ns: sums.timed_out_total_ns,
            count: sums.timed_out,
            ns,
        };
        add(facts, &measures::LOST, &of, lost);
        let answers = [(&measures::DNS_P50, 0.5), (&measures::DNS_P95, 0.95)];
        add_quantiles(facts, &answers, &of, &kernel(&sums.latency));
    }
}

fn files(facts: &mut Facts, f: &FilesJson, ns: u64) {
    for c in f.creators.iter().take(MAX) {
        let of = about("", &team(&c.work.who));
        let count = c.work.created;
        add(facts, &measures::CREATED, &of, Sample::Events { count, ns });
    }
    for r in f.refused.iter().take(MAX) {
        let at = r.mount_point.as_ref().map_or("an unknown place", |m| m);
        let of = about("", &format!("{at}, {}", r.error));
        let count = r.count;
        add(facts, &measures::REFUSED, &of, Sample::Events { count, ns });
    }
}

fn journal(facts: &mut Facts, j: &JournalJson, ns: u64) {
    for disk in j.journals.iter().take(MAX) {
        let commits = kernel(&disk.commits.total.duration);
        let of = about("", &disk.name);
        add_quantiles(facts, &[(&measures::COMMIT_P99, 0.99)], &of, &commits);
        for s in disk.syncs.iter().take(MAX) {
            let of = about("", &format!("{} on {}", team(&s.who), disk.name));
            let took = kernel(&s.calls.duration);
            add_quantiles(facts, &[(&measures::FSYNC_P99, 0.99)], &of, &took);
        }
    }
    for s in j.sleeps.iter().take(MAX) {
        let of = about("", &format!("{}, for {}", team(&s.who), s.waits_for));
        let asleep = Sample::Time {
            total_ns: s.sleeps.total_ns.saturating_add(s.asleep_ns),
            count: s.sleeps.count.saturating_add(s.asleep),
            ns,
        };
        add(facts, &measures::ASLEEP, &of, asleep);
    }
}
