//! A line for each worker: what it does, where its time went, what it waits for.

mod detail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use probe_common::part;
use ratatui::text::Line;

use super::{
    cells::{Cell, cut, drawn, figures, number, room, row, some, text, time, words},
    requests::one,
};
use crate::{
    aggregate::{Parts, Peer, ProcessTime, Window},
    present::{
        bar as signs, escape, names,
        tui::{Data, Row, Screen, Section, Theme, Tone, Width, bar, section::Column},
        units::{count, duration, plural},
    },
};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "workers",
    sections: &[Section {
        title: "workers",
        columns: COLUMNS,
        head,
        rows,
        detail: detail::lines,
        empty,
    }],
    below: legend,
};

const STATE: usize = 1;
const REQUEST: usize = 3;
const BAR: usize = 4;
const WAITS: usize = 5;

const COLUMNS: &[Column] = &[
    figures("pid", 7, 0),
    words("state", Width::Cells(5), 3),
    figures("age", 7, 0),
    words("request", Width::Fill(13), 0),
    words("time by part", Width::Fill(14), 0),
    words("waits for", Width::Fill(17), 1),
    figures("since", 7, 2),
    figures("served", 7, 5),
    words("group", Width::Fill(8), 4),
];

/// What a worker is in the middle of; those that matter most come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Busy,
    /// Its requests overlap and cannot be told apart.
    Loop,
    Idle,
    Ended,
}

impl State {
    fn of(process: &ProcessTime) -> Self {
        match process {
            p if p.process.ended => Self::Ended,
            p if p.current.is_some() => Self::Busy,
            p if p.event_driven => Self::Loop,
            _ => Self::Idle,
        }
    }
}

/// A worker of the table.
struct Worker<'a> {
    state: State,
    /// Its last moment.
    last: &'a ProcessTime,
    /// The same in the last seconds.
    recent: Option<&'a ProcessTime>,
    /// It came in the last seconds.
    new: bool,
}

impl Worker<'_> {
    fn key(&self) -> String {
        let process = &self.last.process;
        format!("{} {}", process.pid, process.start_ticks)
    }

    fn word(&self) -> &'static str {
        match self.state {
            State::Ended => "ended",
            _ if self.new => "new",
            State::Busy => "busy",
            State::Loop => "loop",
            State::Idle => "idle",
        }
    }
}

/// Those in a request first, the oldest on top; then event loops, those that are idle, and those that ended.
fn workers(data: &Data) -> Vec<Worker<'_>> {
    let recent: HashMap<(u32, u32), &ProcessTime> =
        data.recent.processes.iter().map(|p| (id(p), p)).collect();
    let mut list: Vec<Worker> = data
        .last
        .processes
        .iter()
        .map(|last| {
            let recent = recent.get(&id(last)).copied();
            Worker {
                state: State::of(last),
                last,
                recent,
                new: recent.is_some_and(|recent| is_new(recent, &data.recent)),
            }
        })
        .collect();
    let there: HashMap<(u32, u32), ()> = data.last.processes.iter().map(|p| (id(p), ())).collect();
    // One that ended is gone from the next look on; it stays for some seconds.
    let ended = data.recent.processes.iter();
    let ended = ended.filter(|p| p.process.ended && !there.contains_key(&id(p)));
    list.extend(ended.map(|process| Worker {
        state: State::Ended,
        last: process,
        recent: Some(process),
        new: false,
    }));
    list.sort_by_key(|worker| {
        let age = worker.last.current.as_ref().map(|c| c.wall_ns);
        (worker.state, std::cmp::Reverse(age), id(worker.last))
    });
    list
}

fn id(process: &ProcessTime) -> (u32, u32) {
    (process.process.pid, process.process.start_ticks)
}

/// It was not there for a tenth of the window or more.
fn is_new(process: &ProcessTime, window: &Window) -> bool {
    let there_ns: u64 = process.parts.iter().sum();
    there_ns < window.duration_ns - window.duration_ns / 10
}

fn head(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    /// Groups with a line of their own.
    const SHOWN: usize = 3;
    let mut groups: BTreeMap<(&[u8], bool), Busy> = BTreeMap::new();
    for process in data.last.processes.iter().filter(|p| !p.process.ended) {
        let key = (process.group.as_slice(), process.process.pool.is_some());
        groups.entry(key).or_default().add(process);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(name, busy)| (std::cmp::Reverse((busy.busy, busy.all)), *name));
    let more = groups.len().saturating_sub(SHOWN);
    let mut lines: Vec<Line> = groups
        .iter()
        .take(SHOWN)
        .map(|((name, pool), busy)| {
            let mut line = format!(
                "{}: {} of {} busy",
                names::group(name, *pool),
                count(busy.busy),
                plural(busy.all, "worker", "workers")
            );
            if let Some((waiting, what)) = busy.most() {
                let wait = if waiting == 1 { "waits" } else { "wait" };
                line.push_str(&format!("   {} {wait} for {what}", count(waiting)));
            }
            let full = busy.busy == busy.all;
            let tone = if full { Tone::Strong } else { Tone::Plain };
            Line::styled(cut(&line, width.into()), theme.style(tone))
        })
        .collect();
    let left_out = data.last.processes_left_out;
    let mut rest = Vec::new();
    if more > 0 {
        rest.push(plural(more as u64, "further group", "further groups"));
    }
    if left_out > 0 {
        let processes = plural(left_out, "further process", "further processes");
        rest.push(format!("{processes} that the table has no place for"));
    }
    if !rest.is_empty() {
        let text = format!("and {}", rest.join(", "));
        lines.push(Line::styled(text, theme.style(Tone::Faint)));
    }
    lines
}

/// Workers of a group.
#[derive(Default)]
struct Busy<'a> {
    all: u64,
    busy: u64,
    /// Of those that are busy, by what they wait for.
    waits: HashMap<(usize, Option<&'a Peer>), u64>,
}

impl<'a> Busy<'a> {
    fn add(&mut self, process: &'a ProcessTime) {
        self.all += 1;
        if process.current.is_none() {
            return;
        }
        self.busy += 1;
        if let Some(waits) = &process.waits_for {
            *self
                .waits
                .entry((waits.part, waits.peer.as_ref()))
                .or_default() += 1;
        }
    }

    /// What most of them wait for, and how many do.
    fn most(&self) -> Option<(u64, String)> {
        let (&(part, peer), &n) = self.waits.iter().max_by_key(|(what, n)| (**n, **what))?;
        Some((n, waited_for(part, peer, 60)))
    }
}

/// What is waited for: a peer, or the kind of wait.
fn waited_for(part: usize, peer: Option<&Peer>, max: usize) -> String {
    match peer {
        Some(peer) => names::peer(peer, max),
        None => signs::words(part).to_owned(),
    }
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let room = |at| room(COLUMNS, at, width);
    let (name, cells, waits) = (room(REQUEST), room(BAR), room(WAITS));
    let made = workers(data).into_iter().map(|worker| {
        let process = worker.last;
        let current = process.current.as_deref();
        let (waits_for, since) = match &process.waits_for {
            Some(w) if w.part != part::IDLE && worker.state != State::Ended => {
                (waited_for(w.part, w.peer.as_ref(), waits), Some(w.for_ns))
            }
            _ => (String::new(), None),
        };
        let request = match current {
            Some(request) => one::name(request, name),
            // Where there is no room for the state, it stands here.
            None if room(STATE) == 0 => worker.word().to_owned(),
            None => String::new(),
        };
        let served = worker.recent.map_or(process.requests, |r| r.requests);
        let busy_ns = process.parts.iter().sum::<u64>() - process.parts[part::IDLE];
        let faint = |cell: Cell| match worker.state {
            State::Busy | State::Loop => cell,
            State::Idle | State::Ended => cell.tone(theme, Tone::Faint),
        };
        let cells = [
            number(
                process.process.pid.to_string(),
                -f64::from(process.process.pid),
            ),
            text(worker.word()),
            time(current.map(|c| c.wall_ns)),
            text(request),
            drawn(bar::spans(&process.parts, cells, theme), busy_ns as f64),
            text(waits_for),
            time(since),
            some(served),
            text(escape::bounded(&process.group, 64)),
        ];
        row(worker.key(), cells.map(faint))
    });
    made.collect()
}

fn legend(data: &Data, width: u16, height: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut all = Parts::default();
    for process in data.last.processes.iter().chain(&data.recent.processes) {
        add(&mut all, &process.parts);
    }
    let mut lines = bar::legend(&all, width, theme);
    lines.truncate(height.into());
    lines
}

/// Adds each part to its sum.
pub fn add(to: &mut Parts, more: &Parts) {
    for (sum, part) in to.iter_mut().zip(more) {
        *sum = sum.saturating_add(*part);
    }
}

fn empty(data: &Data) -> String {
    match data.last.duration_ns {
        0 => "Nothing has been read yet.".to_owned(),
        ns => format!(
            "No process of {} was seen in the last {}.",
            escape::bounded(data.last.target.as_bytes(), 64),
            duration(ns)
        ),
    }
}
