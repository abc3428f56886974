//! Where the time of requests went: by part and by peer, how long they took, and the slowest as waterfalls.

use probe_common::part;

use super::{
    chart,
    ink::{self, Ink},
    table::{Cell, charts, figure, legend, table},
    writer::Html,
};
use crate::{
    aggregate::{Durations, Group, Parts, PeerTime, ProcessTime, RequestSummary, Window},
    present::{
        bar, escape, names,
        units::{count, duration, mean, percent, plural},
    },
};

/// Groups that are shown; the JSON document has all of them.
const GROUPS: usize = 5;
/// Peers of a group whose exchanges are drawn.
const DRAWN: usize = 3;

/// All groups that served something; where none did, the processes.
pub(super) fn requests(h: &mut Html, window: &Window) {
    let serving = window.groups.iter().filter(|g| g.all_requests() > 0);
    let serving: Vec<&Group> = serving.collect();
    if serving.is_empty() {
        processes(h, window);
        return;
    }
    h.nest("section", &[("id", "requests")], |h| {
        h.element("h2", &[], "Where request time went");
        let all = serving.iter().map(|g| g.all_parts());
        let used = all.fold([0; part::COUNT], |sum: Parts, parts| {
            std::array::from_fn(|i| sum[i].saturating_add(parts[i]))
        });
        keys(h, &used);
        serving.iter().take(GROUPS).for_each(|g| group(h, g));
        if serving.len() > GROUPS {
            let more = plural((serving.len() - GROUPS) as u64, "more group", "more groups");
            h.element("p", &[("class", "soft")], &format!("and {more}"));
        }
    });
}

/// What the colours of the parts mean; only those that there are.
fn keys(h: &mut Html, parts: &Parts) {
    let there = bar::LEGEND.iter().filter(|(part, ..)| parts[*part] > 0);
    legend(
        h,
        there.map(|&(part, _, words)| (ink::of_part(part), words)),
    );
}

/// Time by part as shares of a whole, in the order of the legend.
fn shares(parts: &Parts) -> Vec<(f64, Ink)> {
    let all: f64 = parts.iter().map(|&ns| ns as f64).sum();
    bar::LEGEND
        .iter()
        .map(|&(part, ..)| (parts[part] as f64 / all.max(1.0), ink::of_part(part)))
        .collect()
}

/// The same in words, for who cannot see the chart.
fn in_words(parts: &Parts) -> String {
    let all: u64 = parts.iter().sum();
    let mut by_size: Vec<(usize, u64)> = parts.iter().copied().enumerate().collect();
    by_size.sort_by_key(|p| std::cmp::Reverse(p.1));
    let words: Vec<String> = by_size
        .iter()
        .filter(|p| p.1 > 0)
        .map(|&(part, ns)| format!("{} {}", bar::words(part), percent(ns as f64 / all as f64)))
        .collect();
    words.join(", ")
}

fn strip(h: &mut Html, parts: &Parts) {
    let words = in_words(parts);
    let attributes = [("class", "strip"), ("role", "img"), ("aria-label", &*words)];
    h.nest("div", &attributes, |h| h.svg(&chart::strip(&shares(parts))));
}

fn group(h: &mut Html, group: &Group) {
    h.element("h3", &[], &names::group(&group.name, group.php_fpm));
    h.element("p", &[], &served(group));
    strip(h, &group.all_parts());
    by_part(h, group);
    peers(h, group);
    charts(h, |h| {
        let recorded = group.wall.iter_recorded();
        let buckets = recorded.map(|v| {
            let low = group.wall.lowest_equivalent(v.value_iterated_to());
            (low, v.value_iterated_to() + 1, v.count_at_value().into())
        });
        let at = |q| group.wall.value_at_quantile(q).min(longest(group));
        let (p50, p95) = (at(0.5), at(0.95));
        let caption = format!(
            "How long requests took: lines at p50 {} and p95 {}",
            duration(p50),
            duration(p95)
        );
        let buckets: Vec<(u64, u64, u64)> = buckets.collect();
        figure(
            h,
            &caption,
            &caption,
            chart::durations(&buckets, &[p50, p95]),
            &[],
        );
        let drawn = group.peers.iter().filter(|p| p.exchange.len() > 1);
        for peer in drawn.take(DRAWN) {
            let name = names::peer(&peer.peer, 60);
            latency(h, &format!("Calls to {name}"), &peer.exchange);
        }
    });
    workers(h, group);
    slowest(h, group);
}

/// How long something took, each time.
pub(super) fn latency(h: &mut Html, what: &str, durations: &Durations) {
    let buckets: Vec<(u64, u64, u64)> = durations.iter().collect();
    let (p50, p99) = (durations.quantile(0.5), durations.quantile(0.99));
    let caption = format!(
        "{what}: {}, lines at p50 {} and p99 {}",
        count(durations.len()),
        duration(p50),
        duration(p99)
    );
    figure(
        h,
        &caption,
        &caption,
        chart::durations(&buckets, &[p50, p99]),
        &[],
    );
}

/// The longest request that finished: as it was measured, where it is among the slowest; the histogram is a little coarser.
fn longest(group: &Group) -> u64 {
    let finished = group.slowest.iter().filter(|r| !r.unfinished && !r.partial);
    let longest = finished.map(|r| r.wall_ns).max();
    longest.unwrap_or_else(|| group.wall.max())
}

/// Workers, requests, and how long those took.
fn served(group: &Group) -> String {
    let mut text = format!(
        "{}, {}",
        plural(group.workers.into(), "worker", "workers"),
        plural(group.requests, "request", "requests")
    );
    if group.incomplete > 0 {
        text.push_str(&format!(" and {} not finished", count(group.incomplete)));
    }
    if group.requests > 0 {
        let longest = longest(group);
        let at = |q| duration(group.wall.value_at_quantile(q).min(longest));
        text.push_str(&format!(
            "; p50 {}, p95 {}, p99 {}, longest {}; {} connects and {} polls a request",
            at(0.5),
            at(0.95),
            at(0.99),
            duration(longest),
            mean(group.connects as f64 / group.requests as f64),
            mean(group.polls as f64 / group.requests as f64),
        ));
    }
    text
}

fn by_part(h: &mut Html, group: &Group) {
    let parts = group.all_parts();
    let all: u64 = parts.iter().sum();
    let rows = bar::LEGEND.iter().filter(|(part, ..)| parts[*part] > 0);
    let rows: Vec<_> = rows.map(|&(part, _, words)| (part, words)).collect();
    let heads = ["Part", "share", "a request"];
    table(h, &heads, &rows, "parts", |&(part, words)| {
        vec![
            Cell::Key(ink::of_part(part), words),
            Cell::Number(percent(parts[part] as f64 / all.max(1) as f64)),
            Cell::Number(duration(parts[part] / group.all_requests().max(1))),
        ]
    });
}

fn peers(h: &mut Html, group: &Group) {
    let all = group.all_wall_ns().max(1) as f64;
    let heads = [
        "Waited for",
        "share of request time",
        "",
        "a request",
        "connects",
        "rounds",
        "call p50",
        "p99",
    ];
    let waited: Vec<&PeerTime> = group.peers.iter().filter(|p| p.wait_ns() > 0).collect();
    table(h, &heads, &waited, "peers", |p| {
        let share = p.wait_ns() as f64 / all;
        let requests = p.requests().max(1);
        let each = |n: u64| mean(n as f64 / requests as f64);
        let call = |q| match p.exchange.is_empty() {
            true => String::new(),
            false => duration(p.exchange.quantile(q)),
        };
        vec![
            Cell::Name(names::peer_long(&p.peer)),
            Cell::Strip(vec![(share, ink::NETWORK)]),
            Cell::Number(percent(share)),
            Cell::Number(duration(p.wait_ns() / requests)),
            Cell::Number(each(p.done.connects + p.open.connects)),
            Cell::Number(each(p.done.exchanges + p.open.exchanges)),
            Cell::Number(call(0.5)),
            Cell::Number(call(0.99)),
        ]
    });
}

/// How much room there is left: the workers' time, idle included.
fn workers(h: &mut Html, group: &Group) {
    let all: u64 = group.worker_parts.iter().sum();
    if all == 0 {
        return;
    }
    h.nest("p", &[], |h| {
        h.text("The time of its workers, of which ");
        h.element("b", &[], &percent(group.busy()));
        h.text(" busy");
        if group.worker_parts[part::IDLE] > 0 {
            h.text(" (the rest ");
            super::table::key(h, ink::IDLE);
            h.text("idle)");
        }
        h.text(":");
    });
    strip(h, &group.worker_parts);
}

fn slowest(h: &mut Html, group: &Group) {
    if group.slowest.is_empty() {
        return;
    }
    h.element("h4", &[], "The slowest requests");
    let text = "Each row is a wait, from the top in the order of time: a staircase is one after the other, a block is all at once.";
    h.element("p", &[("class", "soft")], text);
    group.slowest.iter().for_each(|r| request(h, r));
}

fn request(h: &mut Html, request: &RequestSummary) {
    h.nest("figure", &[("class", "fall")], |h| {
        h.nest("figcaption", &[], |h| {
            h.element("b", &[], &duration(request.wall_ns));
            h.text(" ");
            let name = [&request.uri, &request.script]
                .into_iter()
                .find(|n| !n.is_empty());
            if let Some(name) = name {
                h.element("code", &[], &escape::bounded(name, 160));
            }
            h.text(&format!(" pid {}", request.pid));
            if request.unfinished {
                h.text(", not finished when watching ended");
            }
            if request.partial {
                h.text(", begun before watching did");
            }
            for (n, p) in request.peers.iter().take(3).enumerate() {
                h.text(if n == 0 { ". Waited for " } else { ", " });
                h.element("code", &[], &names::peer(&p.peer, 80));
                h.text(&format!(" {}", duration(p.wait_ns)));
                if p.connects > 1 {
                    h.text(&format!(" in {} connects", p.connects));
                }
            }
        });
        let wall = request.wall_ns.max(1) as f64;
        let rows: Vec<(f64, f64, Ink)> = request
            .spans
            .iter()
            .map(|s| {
                let end = s.start_ns.saturating_add(s.length_ns);
                (
                    s.start_ns as f64 / wall,
                    end as f64 / wall,
                    ink::of_part(s.part),
                )
            })
            .collect();
        let words = format!(
            "{}: {}",
            plural(rows.len() as u64, "wait", "waits"),
            in_words(&request.parts)
        );
        if rows.is_empty() {
            strip(h, &request.parts);
        } else {
            let attributes = [("role", "img"), ("aria-label", &*words)];
            h.nest("div", &attributes, |h| h.svg(&chart::waterfall(&rows)));
        }
        h.nest("div", &[("class", "ends")], |h| {
            h.element("span", &[], "0 s");
            if request.spans_lost > 0 {
                let lost = plural(request.spans_lost.into(), "more wait", "more waits");
                h.element("span", &[], &format!("{lost} not drawn"));
            }
            h.element("span", &[], &duration(request.wall_ns));
        });
    });
}

/// Where the time of processes went that serve no requests.
fn processes(h: &mut Html, window: &Window) {
    let busy = |p: &&ProcessTime| p.parts.iter().sum::<u64>() > p.parts[part::IDLE];
    let mut list: Vec<&ProcessTime> = window.processes.iter().filter(busy).collect();
    if list.is_empty() {
        return;
    }
    list.sort_by_key(|p| {
        let all: u64 = p.parts.iter().sum();
        (std::cmp::Reverse(all - p.parts[part::IDLE]), p.process.pid)
    });
    h.nest("section", &[("id", "processes")], |h| {
        h.element("h2", &[], "Where the time of processes went");
        let all = list.iter().fold([0; part::COUNT], |sum: Parts, p| {
            std::array::from_fn(|i| sum[i].saturating_add(p.parts[i]))
        });
        keys(h, &all);
        let heads = ["Process", "pid", "time", "waits now for"];
        table(h, &heads, &list, "processes", |p| {
            let waits = p.waits_for.as_ref().map_or_else(String::new, |w| {
                let what = match &w.peer {
                    Some(peer) => names::peer(peer, 60),
                    None => bar::words(w.part).to_owned(),
                };
                format!("{what}, {}", duration(w.for_ns))
            });
            vec![
                Cell::Name(escape::bounded(&p.process.comm, 32)),
                Cell::Number(p.process.pid.to_string()),
                Cell::Strip(shares(&p.parts)),
                Cell::Text(waits),
            ]
        });
    });
}
