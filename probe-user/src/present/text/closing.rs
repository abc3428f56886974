//! The closing lines of the report: what stays unexplained, what was left out, lost, and spent.

use probe_common::part;

use super::labelled;
use crate::{
    aggregate::Window,
    attach::State,
    diagnose::{self, Diagnosis, REQUEST_TIME},
    present::{
        Style, escape, names,
        style::Tone,
        units::{bytes, count, duration, plural},
    },
};

/// What a request of the first finding about requests spends elsewhere.
pub(super) fn not_explained(
    out: &mut String,
    window: &Window,
    diagnosis: &Diagnosis,
    style: Style,
) {
    let Some(found) = diagnosis
        .findings
        .iter()
        .find(|f| f.explains_what == REQUEST_TIME)
    else {
        return;
    };
    let group = window.groups.iter().find(|g| {
        Some(&g.name) == found.culprit.group.as_ref() && g.php_fpm == found.culprit.php_fpm
    });
    let Some(group) = group else { return };
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
        .map(|(i, ns)| format!("{} {}", words(*i), duration(ns / requests)))
        .collect();
    let text = format!(
        "{} per request: {}",
        duration(rest / requests),
        listed.join(", ")
    );
    labelled(out, "Not explained", Tone::Strong, &text, style);
}

/// A part in words, as the rest of a request.
pub(in crate::present) fn words(part: usize) -> &'static str {
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

/// What was seen, but is not in the requests above.
pub(super) fn left_out(out: &mut String, window: &Window, style: Style) {
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
    if !pieces.is_empty() {
        labelled(out, "Left out", Tone::Strong, &pieces.join("; "), style);
    }
}

/// What was seen, and lost.
pub(in crate::present) fn coverage(out: &mut String, window: &Window, style: Style) {
    let active = window
        .probes
        .iter()
        .filter(|p| p.state == State::Active)
        .count();
    let mut text = format!("{active} of {} probes active", window.probes.len());
    let off: Vec<String> = window
        .probes
        .iter()
        .filter_map(|p| match &p.state {
            State::Off(why) => Some(format!("{}: {}", p.id, escape::name(why.as_bytes()))),
            State::Active => None,
        })
        .collect();
    if !off.is_empty() {
        text.push_str(&format!(" ({})", off.join("; ")));
    }
    let losses = diagnose::losses(&window.losses);
    if losses.is_empty() {
        text.push_str(", 0 events lost");
        labelled(out, "Saw it all", Tone::Good, &text, style);
        return;
    }
    labelled(out, "Saw", Tone::Warning, &text, style);
    for loss in losses {
        let text = format!("{} {}: {}", count(loss.count), loss.what, loss.means);
        labelled(out, "Lost", Tone::Warning, &text, style);
    }
}

/// What watching cost.
pub(in crate::present) fn cost(out: &mut String, window: &Window, style: Style) {
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
    let text = format!(
        "{cpu}, {} + {} maps",
        bytes(cost.rss_bytes),
        bytes(cost.map_bytes)
    );
    labelled(out, "Cost", Tone::Strong, &text, style);
}
