//! `stallscope tcp`: the state table, who is in it, ports, queues, and what failed.

pub mod events;
mod json;
mod sections;
mod trouble;
mod words;

use serde::Serialize;

pub(super) use json::TcpJson;

use super::{
    Style, escape,
    json::{CostJson, Host, LossJson, ProbeJson, SCHEMA_VERSION, Tool, WindowJson, line, losses},
    layout::{KEEP, hang},
    names,
    text::{cost, coverage},
    units::{count, mean, plural},
};
use crate::aggregate::{
    Window,
    tcp::{ListenQueue, Ports, Tcp},
};

/// Items listed in a section where there is room.
const ROOM: usize = 10;

/// The page; ends with a newline. Where it has a screen of so many `rows`, the lists are cut short until it
/// fits, and at last the page itself, except for what was lost and what it cost.
pub fn page(window: &Window, rows: Option<usize>, style: Style) -> String {
    let foot = foot(window, style);
    let Some(rows) = rows else {
        return body(window, ROOM, false, style) + "\n" + &foot;
    };
    let room = rows.saturating_sub(foot.lines().count());
    for shown in (1..=ROOM).rev() {
        let text = body(window, shown, false, style) + "\n";
        if text.lines().count() <= room {
            return text + &foot;
        }
    }
    let text = body(window, 1, true, style);
    let kept: String = text.split_inclusive('\n').take(room).collect();
    kept + &foot
}

fn body(window: &Window, shown: usize, tight: bool, style: Style) -> String {
    let mut out = String::new();
    header(&mut out, window, style);
    if let Some(tcp) = &window.tcp {
        let page = sections::Page {
            tcp,
            seconds: window.duration_ns as f64 / 1e9,
            shown,
            tight,
            style,
        };
        page.write(&mut out);
    }
    out
}

/// What could not be seen, what was lost, and what it cost.
fn foot(window: &Window, style: Style) -> String {
    let mut out = String::new();
    if let Some(tcp) = &window.tcp {
        for text in sections::unseen(tcp, window) {
            sections::labelled(&mut out, "Not seen", &text, style);
        }
    }
    coverage(&mut out, window, style);
    cost(&mut out, window, style);
    out
}

fn header(out: &mut String, window: &Window, style: Style) {
    let tcp = window.tcp.as_deref();
    let sockets = tcp.and_then(|t| t.timeline.last()).map_or_else(
        || "no count of sockets".to_owned(),
        |point| plural(point.states.total(), "socket", "sockets"),
    );
    let line = format!(
        "stallscope {} {KEEP} {} {KEEP} {} {KEEP} {:.1} s {KEEP} {sockets}",
        env!("CARGO_PKG_VERSION"),
        escape::bounded(window.host.as_bytes(), 30),
        escape::bounded(window.target.as_bytes(), 40),
        window.duration_ns as f64 / 1e9,
    );
    hang(out, "", 0, &line, style.columns());
}

/// How near TCP is to a limit: the fullest destination and the fullest queue, in words.
pub(super) fn closest(tcp: &Tcp) -> Vec<String> {
    let ports = |p: &&Ports| p.usable > 0 && p.used() > 0;
    let fullest = tcp.ports.iter().filter(ports).max_by_key(|p| p.used());
    let fill = |q: &ListenQueue| q.queue_max as f64 / q.limit.max(1) as f64;
    let queue = tcp
        .listeners
        .iter()
        .filter(|q| q.queue_max > 0)
        .max_by(|a, b| fill(a).total_cmp(&fill(b)));
    let mut pieces = Vec::new();
    if let Some(p) = fullest {
        pieces.push(format!(
            "{} of {} ports to {}",
            count(p.used()),
            count(p.usable),
            names::peer(&p.peer, 60)
        ));
    }
    if let Some(q) = queue {
        pieces.push(format!(
            "{} of {} waiting for accept() on {}",
            count(q.queue_max),
            count(q.limit),
            words::listener(&q.address, 60)
        ));
    }
    pieces
}

/// A number per second: `50/s`; empty for none.
fn per_s(n: f64) -> String {
    if n > 0.0 {
        format!("{}/s", mean(n))
    } else {
        String::new()
    }
}

#[derive(Serialize)]
struct Document {
    schema_version: &'static str,
    tool: Tool,
    host: Host,
    window: WindowJson,
    #[serde(flatten)]
    tcp: Option<TcpJson>,
    losses: Vec<LossJson>,
    cost: CostJson,
    probes: Vec<ProbeJson>,
}

/// The same, and more, as one JSON document on one line.
pub fn json(window: &Window) -> String {
    line(&Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        host: Host::of(&window.host, &window.kernel),
        window: WindowJson::of(window),
        tcp: window.tcp.as_deref().map(TcpJson::of),
        losses: losses(&window.losses),
        cost: CostJson::of(&window.cost, window.duration_ns),
        probes: window.probes.iter().map(ProbeJson::of).collect(),
    })
}

#[cfg(test)]
mod tests;
