//! `stallscope tcp`: the state table, who is in it, ports, queues, and what failed.

pub mod events;
pub(super) mod json;
pub(super) mod sections;
pub(super) mod trouble;
pub(super) mod words;

use json::TcpJson;

use super::{
    Style, names, page,
    units::{count, mean, plural},
};
use crate::aggregate::{
    Window,
    tcp::{ListenQueue, Ports, Tcp},
};

/// The page; ends with a newline. Where it has a screen of so many `rows`, it is cut to that.
pub fn page(window: &Window, rows: Option<usize>, style: Style) -> String {
    let tcp = window.tcp.as_deref();
    let unseen = tcp.map_or_else(Vec::new, |tcp| sections::unseen(tcp, window));
    let foot = page::foot(window, &unseen, style);
    page::fit(&foot, rows, style, |sheet| {
        let mut out = String::new();
        let sockets = tcp.and_then(|t| t.timeline.last()).map_or_else(
            || "no count of sockets".to_owned(),
            |point| plural(point.states.total(), "socket", "sockets"),
        );
        page::header(&mut out, window, &sockets, style);
        if let Some(tcp) = tcp {
            let page = sections::Page {
                tcp,
                seconds: window.duration_ns as f64 / 1e9,
                sheet,
            };
            page.write(&mut out);
        }
        out
    })
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
pub(super) fn per_s(n: f64) -> String {
    if n > 0.0 {
        format!("{}/s", mean(n))
    } else {
        String::new()
    }
}

/// The same, and more, as one JSON document on one line.
pub fn json(window: &Window) -> String {
    page::document(window, window.tcp.as_deref().map(TcpJson::of))
}

#[cfg(test)]
mod tests;
