//! What every form of the report says in the same words: who was watched, that nothing is wrong, what stays unexplained,
//! what was seen and lost, and what watching cost.

use std::collections::BTreeSet;

use probe_common::part;

use super::{
    escape, json, names,
    units::{bytes, count, duration, mean, percent, plural},
};
use crate::{
    aggregate::{Group, Window},
    attach::State,
    diagnose::{self, Diagnosis, Finding, NotJudged, REQUEST_TIME},
};

/// Who was watched, and what they served: `pool www: 9 workers, 412 requests`.
pub(super) fn served(window: &Window) -> String {
    let serving: Vec<&Group> = window
        .groups
        .iter()
        .filter(|g| g.all_requests() > 0)
        .collect();
    let who = match serving.as_slice() {
        [one] => names::group(&one.name, one.php_fpm),
        _ => escape::bounded(window.target.as_bytes(), 80),
    };
    let workers: u64 = serving.iter().map(|g| u64::from(g.workers)).sum();
    let requests: u64 = serving.iter().map(|g| g.requests).sum();
    let incomplete: u64 = serving.iter().map(|g| g.incomplete).sum();
    let mut served = format!("{who}: ");
    if serving.is_empty() {
        served.push_str(&plural(
            window.processes.len() as u64,
            "process",
            "processes",
        ));
        served.push_str(", no requests");
    } else {
        served.push_str(&format!(
            "{}, {}",
            plural(workers, "worker", "workers"),
            plural(requests, "request", "requests")
        ));
        if incomplete > 0 {
            served.push_str(&format!(" and {} not finished", count(incomplete)));
        }
        if serving.len() > 1 {
            served.push_str(&format!(" in {} groups", serving.len()));
        }
    }
    served
}

/// When watching began: `2023-11-14 22:13:20 UTC`.
pub(super) fn begun(window: &Window) -> String {
    let time = json::rfc3339(window.start_unix_ns);
    let seconds = time.split('.').next().unwrap_or_default();
    format!("{} UTC", seconds.replace('T', " "))
}

/// True when at least one rule could look.
pub(super) fn judged(diagnosis: &Diagnosis) -> bool {
    // A rule may say several times that it could not look.
    let blind: BTreeSet<&str> = diagnosis.not_judged.iter().map(|n| n.rule.id).collect();
    diagnose::rules::CATALOGUE.len() > blind.len()
}

/// That nothing (else) is wrong, and how the requests fared; or that nothing could be judged.
pub(super) fn nothing_wrong(window: &Window, diagnosis: &Diagnosis) -> String {
    let seconds = window.duration_ns as f64 / 1e9;
    if !judged(diagnosis) {
        // Silence of a rule that could not look is no good news.
        return format!("No rule could be judged in {seconds:.1} s: see below.");
    }
    let mut text = if diagnosis.findings.is_empty() {
        format!("Nothing wrong found in {seconds:.1} s")
    } else {
        format!("Nothing else found in {seconds:.1} s")
    };
    let served: Vec<String> = window
        .groups
        .iter()
        .filter(|g| g.requests > 0)
        .take(3)
        .map(|g| {
            format!(
                "{} of {}, p95 {}, {} on CPU",
                plural(g.requests, "request", "requests"),
                names::group(&g.name, g.php_fpm),
                duration(g.wall.value_at_quantile(0.95)),
                percent(g.parts[part::ON_CPU] as f64 / g.wall_ns.max(1) as f64),
            )
        })
        .collect();
    if !served.is_empty() {
        text.push_str(": ");
        text.push_str(&served.join("; "));
    }
    text.push('.');
    text
}

/// What is nearest to its limit; `None` where nothing has one.
pub(super) fn closest(window: &Window) -> Option<String> {
    let mut limits: Vec<String> = busiest(window).into_iter().collect();
    limits.extend(window.tcp.iter().flat_map(|tcp| super::tcp::closest(tcp)));
    limits.extend(window.udp.iter().flat_map(|udp| super::udp::closest(udp)));
    limits.extend(window.files.iter().flat_map(|f| super::fs::closest(f)));
    (!limits.is_empty()).then(|| format!("Closest to a limit: {}.", limits.join("; ")))
}

/// How near the group with the fewest workers to spare is to having none.
fn busiest(window: &Window) -> Option<String> {
    let group = window
        .groups
        .iter()
        .filter(|g| g.all_requests() > 0)
        .max_by(|a, b| a.busy().total_cmp(&b.busy()))?;
    let workers = f64::from(group.workers);
    Some(format!(
        "{} of the {} of {} busy on average",
        mean(workers * group.busy()),
        plural(group.workers.into(), "worker", "workers"),
        names::group(&group.name, group.php_fpm),
    ))
}

/// How much a finding explains, and how sure it is: `98 % of the time lost in requests; confidence high: 412 requests`.
pub(super) fn explains(found: &Finding) -> String {
    let mut sure = format!(
        "{} of {}; confidence {}",
        percent(found.explains),
        found.explains_what,
        found.confidence.level.name()
    );
    for (n, reason) in found.confidence.reasons.iter().enumerate() {
        sure.push_str(if n == 0 { ": " } else { "; " });
        sure.push_str(reason);
    }
    sure
}

/// What a request of the first finding about requests spends elsewhere; `None` where none is about requests.
pub(super) fn not_explained(window: &Window, diagnosis: &Diagnosis) -> Option<String> {
    let found = diagnosis
        .findings
        .iter()
        .find(|f| f.explains_what == REQUEST_TIME)?;
    let group = window.groups.iter().find(|g| {
        Some(&g.name) == found.culprit.group.as_ref() && g.php_fpm == found.culprit.php_fpm
    })?;
    let blamed: u64 = group
        .peers
        .iter()
        .filter(|p| Some(&p.peer) == found.culprit.peer.as_ref())
        .map(|p| p.wait_ns())
        .sum();
    let requests = group.all_requests().max(1);
    let mut parts = group.all_parts();
    parts[part::NETWORK] = parts[part::NETWORK].saturating_sub(blamed);
    let rest: u64 = parts.iter().sum();
    let mut by_size: Vec<(usize, u64)> = parts.into_iter().enumerate().collect();
    by_size.sort_by_key(|p| std::cmp::Reverse(p.1));
    let listed: Vec<String> = by_size
        .iter()
        // What is less than a hundredth is left to the JSON document; unknown time never is.
        .filter(|(i, ns)| *ns > 0 && (ns * 100 >= rest || *i == part::UNEXPLAINED))
        .map(|(i, ns)| format!("{} {}", part_words(*i), duration(ns / requests)))
        .collect();
    Some(format!(
        "{} per request: {}",
        duration(rest / requests),
        listed.join(", ")
    ))
}

/// A part in words, as the rest of a request.
pub(super) fn part_words(part: usize) -> &'static str {
    match part {
        part::ON_CPU => "on CPU",
        part::RUN_QUEUE => "waiting for a CPU",
        part::NETWORK => "other peers",
        part::CLIENT => "the client",
        part::DISK => "disk",
        part::LOCK => "locks",
        part::SLEEP => "sleep",
        part::LOCAL => "pipes and children",
        part::IDLE => "idle",
        _ => "unknown",
    }
}

/// What was seen, but is not in the requests of the report; `None` when there is nothing.
pub(super) fn left_out(window: &Window) -> Option<String> {
    let mut pieces = Vec::new();
    for group in &window.groups {
        let name = names::group(&group.name, group.php_fpm);
        if group.event_driven > 0 {
            let loops = plural(group.event_driven.into(), "event loop", "event loops");
            pieces.push(format!(
                "{name}: {loops}, whose requests overlap and are not told apart"
            ));
        }
        if group.forked_requests > 0 {
            let n = plural(group.forked_requests, "request", "requests");
            pieces.push(format!("{name}: {n} whose worker forked"));
        }
        if group.empty_connections > 0 {
            let n = plural(group.empty_connections, "connection", "connections");
            pieces.push(format!("{name}: {n} without a request"));
        }
    }
    if window.processes_left_out > 0 {
        pieces.push(format!(
            "{} further processes",
            count(window.processes_left_out)
        ));
    }
    /// Enough to see what kind of thing it is; the JSON document has them all.
    const SHOWN: usize = 6;
    let more = pieces.len().saturating_sub(SHOWN);
    pieces.truncate(SHOWN);
    if more > 0 {
        pieces.push(format!("{more} more"));
    }
    (!pieces.is_empty()).then(|| pieces.join("; "))
}

/// That a rule could not look: `T01 port-exhaustion: TCP was not watched`.
pub(super) fn not_judged(missing: &NotJudged) -> String {
    let why = escape::name(missing.missing.as_bytes());
    format!("{}: {why}", missing.rule)
}

/// What was seen and lost.
pub(super) struct Coverage {
    /// Nothing was lost.
    pub whole: bool,
    /// Probes in a sentence.
    pub seen: String,
    /// What was lost, and what that means, each.
    pub lost: Vec<String>,
}

/// What was seen and lost.
pub(super) fn coverage(window: &Window) -> Coverage {
    let active = window
        .probes
        .iter()
        .filter(|p| p.state == State::Active)
        .count();
    let mut seen = format!("{active} of {} probes active", window.probes.len());
    let off: Vec<String> = window
        .probes
        .iter()
        .filter_map(|p| match &p.state {
            State::Off(why) => Some(format!("{}: {}", p.id, escape::name(why.as_bytes()))),
            State::Active => None,
        })
        .collect();
    if !off.is_empty() {
        seen.push_str(&format!(" ({})", off.join("; ")));
    }
    let lost: Vec<String> = diagnose::losses(&window.losses)
        .iter()
        .map(|loss| format!("{} {}: {}", count(loss.count), loss.what, loss.means))
        .collect();
    if lost.is_empty() {
        seen.push_str(", 0 events lost");
    }
    Coverage {
        whole: lost.is_empty(),
        seen,
        lost,
    }
}

/// What a reader of a redacted report has to know.
pub(super) const REDACTED: &str = "names, paths and addresses are made up, the same one for the same thing throughout; \
    ports, process ids, times and numbers are true";

/// What watching cost: `0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps`.
pub(super) fn cost(window: &Window) -> String {
    let cost = &window.cost;
    let share = |ns: u64| 100.0 * ns as f64 / window.duration_ns.max(1) as f64;
    let own = share(cost.own_cpu_ns);
    let cpu = match cost.kernel_ns {
        Some(ns) => {
            let kernel = share(ns);
            format!(
                "{:.1} % of one core (kernel {kernel:.1}, own {own:.1})",
                kernel + own
            )
        }
        None => format!("{own:.1} % of one core, and in the kernel what it does not tell"),
    };
    format!(
        "{cpu}, {} + {} maps",
        bytes(cost.rss_bytes),
        bytes(cost.map_bytes)
    )
}
