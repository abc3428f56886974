//! All about one worker.

use std::collections::HashMap;

use ratatui::text::Line;

use super::{Worker, workers};
use crate::{
    aggregate::{Calls, Parts, Peer, Window},
    present::{
        bar as signs, escape, names,
        tui::{
            Data, Theme, bar,
            screens::{cells::Lines, requests::one},
        },
        units::{count, duration, percent, plural},
    },
};

/// Peers listed.
const PEERS: usize = 12;

/// What is shown of the worker of this key.
pub fn lines(data: &Data, key: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let list = workers(data);
    let Some(worker) = list.iter().find(|worker| worker.key() == key) else {
        return Vec::new();
    };
    let process = &worker.last.process;
    let mut lines = Lines::new(width, theme);
    lines.heading(&format!(
        "{}, pid {}, of {}: {}",
        escape::name(&process.comm),
        process.pid,
        names::group(&worker.last.group, process.pool.is_some()),
        said(worker, &data.recent)
    ));
    let waits = worker.last.waits_for.as_ref();
    if let Some(waits) = waits {
        let what = super::waited_for(waits.part, waits.peer.as_ref(), 108);
        let since = duration(waits.for_ns);
        lines.labelled("Waits for", &format!("{what}, since {since}"));
    }
    if process.ppid > 0 {
        lines.labelled("Parent", &format!("pid {}", process.ppid));
    }
    let mut lines = lines.done();
    if let Some(request) = worker.last.current.as_deref() {
        let group = &worker.last.group;
        lines.push(Line::default());
        lines.extend(one::lines(request, group, waits, width, theme));
    }
    lines.push(Line::default());
    lines.extend(times(worker, data, width, theme));
    let peers = peers(&data.recent, process.pid);
    if !peers.is_empty() {
        let mut table = Lines::new(width, theme);
        table.heading("Its peers, in that time");
        table.table(&["peer", "calls", "blocked", "longest"], &peers);
        lines.push(Line::default());
        lines.extend(table.done());
    }
    lines
}

/// What it is doing, in words.
fn said(worker: &Worker, window: &Window) -> String {
    let mut words = match worker.last.event_driven {
        true => "an event loop, whose requests cannot be told apart".to_owned(),
        false => worker.word().to_owned(),
    };
    if worker.last.threads > 1 {
        words.push_str(&format!(", {} threads", worker.last.threads));
    }
    if let Some(recent) = worker.recent {
        words.push_str(&format!(
            ", {} served in the last {}",
            plural(recent.requests, "request", "requests"),
            duration(window.duration_ns)
        ));
    }
    words
}

/// Its time by part: the last moment and the last seconds beside each other.
fn times(worker: &Worker, data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let last = &worker.last.parts;
    let none = Parts::default();
    let recent = worker.recent.map_or(&none, |recent| &recent.parts);
    let share = |parts: &Parts, part: usize| {
        let all: u64 = parts.iter().sum();
        percent(parts[part] as f64 / all.max(1) as f64)
    };
    let of = |parts: &Parts, part: usize| match parts[part] {
        0 => [String::new(), String::new()],
        ns => [duration(ns), share(parts, part)],
    };
    let rows: Vec<Vec<String>> = signs::LEGEND
        .iter()
        .filter(|(part, ..)| last[*part] + recent[*part] > 0)
        .map(|&(part, _, words)| {
            let mut row = vec![words.to_owned()];
            row.extend(of(last, part));
            row.extend(of(recent, part));
            row
        })
        .collect();
    let heads = [
        format!("the last {}", duration(data.last.duration_ns)),
        format!("the last {}", duration(data.recent.duration_ns)),
    ];
    let mut table = Lines::new(width, theme);
    table.table(&["its time", &heads[0], "", &heads[1], ""], &rows);
    let mut lines = table.done();
    if !rows.is_empty() {
        lines.push(Line::from(bar::spans(recent, width.into(), theme)));
    }
    lines
}

/// Its calls by peer, most blocked first.
fn peers(window: &Window, pid: u32) -> Vec<Vec<String>> {
    let mut by_peer: HashMap<&Peer, (u64, u64, u64)> = HashMap::new();
    let calls = window.calls.iter().filter(|c| c.pid == Some(pid));
    for call in calls.filter(|c| is_call(c)) {
        let sum = by_peer.entry(&call.peer).or_default();
        sum.0 += call.count;
        sum.1 += call.blocked_ns;
        sum.2 = sum.2.max(call.max_ns);
    }
    let mut rows: Vec<_> = by_peer.into_iter().collect();
    rows.sort_by(|a, b| b.1.1.cmp(&a.1.1).then_with(|| a.0.cmp(b.0)));
    let shown = rows
        .iter()
        .take(PEERS)
        .map(|(peer, (calls, blocked_ns, longest_ns))| {
            vec![
                names::peer_long(peer),
                count(*calls),
                duration(*blocked_ns),
                duration(*longest_ns),
            ]
        });
    shown.collect()
}

/// Rounds and connections are made of calls that are counted already.
fn is_call(calls: &Calls) -> bool {
    !matches!(calls.op, "exchange" | "established")
}
