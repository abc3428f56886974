//! All about one request: where its time went, its waits one by one, and its peers.

use probe_common::part;
use ratatui::text::Line;

use crate::{
    aggregate::{Parts, RequestSummary, WaitsFor},
    present::{
        bar, escape, names,
        tui::{Theme, screens::cells::Lines, waterfall},
        units::{count, duration, mean, percent, plural},
    },
};

/// What a request is called: its URI, or its script's file, or nothing; at most `max` characters.
pub fn name(request: &RequestSummary, max: usize) -> String {
    match request.uri.is_empty() {
        true => escape::bounded(&request.script, max),
        false => escape::bounded(&request.uri, max),
    }
}

/// What it mostly waited for, or did, and the share of its time: `203.0.113.5:443`, `on CPU`; `None` when it took no
/// time.
pub fn mostly(request: &RequestSummary, max: usize) -> Option<(String, f64)> {
    let (most, ns) = (0..part::COUNT)
        .map(|part| (part, request.parts[part]))
        .max_by_key(|&(part, ns)| (ns, std::cmp::Reverse(part)))?;
    if ns == 0 {
        return None;
    }
    let share = |ns: u64| ns as f64 / request.wall_ns.max(1) as f64;
    // The peers are sorted by the time waited for them.
    let peer = request.peers.first().filter(|p| p.wait_ns > 0);
    match peer {
        Some(peer) if most == part::NETWORK => {
            Some((names::peer(&peer.peer, max), share(peer.wait_ns)))
        }
        _ => Some((bar::words(most).to_owned(), share(ns))),
    }
}

/// All of it, of a worker of `group`. `now` is what it waits for, if it is not finished.
pub fn lines(
    request: &RequestSummary,
    group: &[u8],
    now: Option<&WaitsFor>,
    width: u16,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let mut head = Lines::new(width, theme);
    let name = match name(request, escape::MAX) {
        none if none.is_empty() => "A request without a name".to_owned(),
        name => name,
    };
    head.heading(&name);
    let open = if request.unfinished { " so far" } else { "" };
    head.text(&format!(
        "{}{open}, {}, pid {} of {}",
        duration(request.wall_ns),
        plural(request.connects.into(), "connect", "connects"),
        request.pid,
        escape::bounded(group, 64),
    ));
    head.text(&divided(&request.parts));
    if !request.uri.is_empty() {
        head.labelled("Script", &escape::name(&request.script));
    }
    if request.partial {
        head.text("It was under way when watching began: what is here is from then on.");
    }
    let mut lines = head.done();
    lines.extend(waterfall::lines(request, now, width, theme));
    let mut tail = Lines::new(width, theme);
    let rest = unlisted(request, now);
    if request.spans_lost > 0 {
        let lost = plural(request.spans_lost.into(), "later wait", "later waits");
        tail.faint(&format!("{lost} found no place in the list."));
    }
    if rest.iter().any(|ns| *ns > 0) {
        tail.faint(&format!("Not in the list: {}.", divided(&rest)));
    }
    let peers: Vec<Vec<String>> = request.peers.iter().map(|p| peer(p, request)).collect();
    if !peers.is_empty() {
        lines.extend(tail.done());
        lines.push(Line::default());
        tail = Lines::new(width, theme);
    }
    tail.table(
        &["peer", "wait", "share", "connects", "rounds", "a round"],
        &peers,
    );
    lines.extend(tail.done());
    lines
}

fn peer(peer: &crate::aggregate::RequestPeer, request: &RequestSummary) -> Vec<String> {
    let rounds = u64::from(peer.exchanges);
    vec![
        names::peer_long(&peer.peer),
        duration(peer.wait_ns),
        percent(peer.wait_ns as f64 / request.wall_ns.max(1) as f64),
        count(peer.connects.into()),
        count(rounds),
        peer.wait_ns
            .checked_div(rounds)
            .map_or_else(String::new, duration),
    ]
}

/// Time that is in no wait of the list: on a CPU, waiting for one, and waits that were too short or too many.
fn unlisted(request: &RequestSummary, now: Option<&WaitsFor>) -> Parts {
    let mut rest = request.parts;
    for span in &request.spans {
        rest[span.part] = rest[span.part].saturating_sub(span.length_ns);
    }
    if let Some(now) = now.filter(|_| request.unfinished) {
        rest[now.part] = rest[now.part].saturating_sub(now.for_ns);
    }
    // The waits of the list are in whole microseconds.
    rest.map(|ns| if ns < 1_000_000 { 0 } else { ns })
}

/// Parts in words, the largest first: `network 9.02 s (98 %), on CPU 160 ms (2 %)`.
pub fn divided(parts: &Parts) -> String {
    let total: u64 = parts.iter().sum();
    let mut by_size: Vec<(usize, u64)> = parts.iter().copied().enumerate().collect();
    by_size.retain(|(_, ns)| *ns > 0);
    by_size.sort_by_key(|&(part, ns)| (std::cmp::Reverse(ns), part));
    let share = |ns: u64| percent(ns as f64 / total as f64);
    let words = by_size
        .iter()
        .map(|&(part, ns)| format!("{} {} ({})", bar::words(part), duration(ns), share(ns)));
    match total {
        0 => "no time at all".to_owned(),
        _ => words.collect::<Vec<_>>().join(", "),
    }
}

/// So many for each of so many requests; empty for none.
pub fn per(n: u64, requests: u64) -> String {
    match (n, requests) {
        (0, _) | (_, 0) => String::new(),
        _ => mean(n as f64 / requests as f64),
    }
}
