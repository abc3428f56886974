//! The slowest requests since the view began, and every one that is open now.

use std::collections::HashSet;

use probe_common::part;
use ratatui::text::Line;

use super::one;
use crate::{
    aggregate::{RequestSummary, WaitsFor},
    present::{
        tui::{
            Data, Row, Section, Theme, Tone, Width, bar,
            screens::cells::{drawn, figures, number, room, row, text, words},
            section::Column,
        },
        units::{count, duration, percent, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "slowest",
    columns: COLUMNS,
    head,
    rows,
    detail,
    empty,
};

const REQUEST: usize = 1;
const MOSTLY: usize = 2;
const BAR: usize = 3;

const COLUMNS: &[Column] = &[
    figures("time", 7, 0),
    words("request", Width::Fill(16), 0),
    words("mostly", Width::Fill(20), 1),
    words("time by part", Width::Fill(16), 0),
    figures("connects", 8, 2),
    figures("ended", 8, 3),
    words("group", Width::Fill(8), 4),
    figures("pid", 7, 5),
];

/// A request of the table.
struct Listed<'a> {
    group: &'a [u8],
    request: &'a RequestSummary,
    /// What its worker waits for, while it is open.
    now: Option<&'a WaitsFor>,
    unix_ns: u64,
}

impl Listed<'_> {
    /// One that is open is told by its worker, as the worker has no other.
    fn key(&self) -> String {
        let request = self.request;
        match request.unfinished {
            true => format!("{} open", request.pid),
            false => format!("{} {}", request.pid, self.unix_ns),
        }
    }
}

/// The slowest first.
fn listed(data: &Data) -> Vec<Listed<'_>> {
    let mut list = Vec::new();
    let mut open = HashSet::new();
    // What its worker does now is nearer to the truth than what was kept of it.
    for process in &data.last.processes {
        if let Some(request) = process.current.as_deref().filter(|r| r.unfinished) {
            open.insert(request.pid);
            list.push(Listed {
                group: &process.group,
                request,
                now: process.waits_for.as_ref(),
                unix_ns: data.unix_ns,
            });
        }
    }
    for slow in &data.slowest {
        if slow.request.unfinished && !open.insert(slow.request.pid) {
            continue;
        }
        list.push(Listed {
            group: &slow.group,
            request: &slow.request,
            now: None,
            unix_ns: slow.unix_ns,
        });
    }
    list.sort_by_key(|l| (std::cmp::Reverse(l.request.wall_ns), l.request.pid));
    list
}

fn head(data: &Data, _: u16, _: &Theme) -> Vec<Line<'static>> {
    let open = data.last.processes.iter().filter(|p| p.current.is_some());
    let text = format!(
        "{} open now; the slowest of the last {}",
        plural(open.count() as u64, "request", "requests"),
        duration(data.elapsed_ns),
    );
    vec![Line::from(text)]
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let room = |at| room(COLUMNS, at, width);
    let (name, mostly, cells) = (room(REQUEST), room(MOSTLY), room(BAR));
    let made = listed(data).into_iter().map(|listed| {
        let request = listed.request;
        let most = one::mostly(request, mostly.saturating_sub(6));
        let (what, share) = most.unwrap_or_default();
        let ended = match request.unfinished {
            true => number("open", f64::INFINITY).tone(theme, Tone::Strong),
            false => {
                let ago = data.unix_ns.saturating_sub(listed.unix_ns);
                number(duration(whole_seconds(ago)), listed.unix_ns as f64)
            }
        };
        row(
            listed.key(),
            [
                number(duration(request.wall_ns), request.wall_ns as f64),
                text(one::name(request, name)),
                number(
                    match what.is_empty() {
                        true => what,
                        false => format!("{what} {}", percent(share)),
                    },
                    share,
                ),
                drawn(
                    bar::spans(&request.parts, cells, theme),
                    request.parts[part::NETWORK] as f64,
                ),
                number(count(request.connects.into()), request.connects.into()),
                ended,
                text(crate::present::escape::bounded(listed.group, 64)),
                number(request.pid.to_string(), -f64::from(request.pid)),
            ],
        )
    });
    made.collect()
}

/// How long ago something was is told in whole seconds: more would flicker.
fn whole_seconds(ns: u64) -> u64 {
    ns / 1_000_000_000 * 1_000_000_000
}

fn detail(data: &Data, key: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let list = listed(data);
    let Some(found) = list.iter().find(|l| l.key() == key) else {
        return Vec::new();
    };
    one::lines(found.request, found.group, found.now, width, theme)
}

fn empty(data: &Data) -> String {
    match data.last.duration_ns {
        0 => "Nothing has been read yet.".to_owned(),
        _ => format!(
            "No request was seen in the last {}.",
            duration(data.elapsed_ns)
        ),
    }
}
