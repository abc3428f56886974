//! How many sockets are in which state, how they come and go, and how long they stay.

use ratatui::text::Line;

use super::{CENSUS, STATES, empty, in_state, tcp};
use crate::{
    aggregate::tcp::{Dwell, Point, Process, StateDwell, Tcp},
    present::{
        spark::spark,
        tcp::{
            sections::note,
            words::{peer, process, quantiles, stay},
        },
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{Lines, figures, head, number, per_second, room, row, text, words},
        },
        units::{count, duration, percent, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "states",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, &[CENSUS[0], STATES], "No TCP socket"),
};

const COLUMNS: &[Column] = &[
    words("state", Width::Cells(12), 0),
    figures("count", 8, 0),
    figures("entered", 8, 2),
    figures("left", 8, 3),
    figures("stay p50", 8, 2),
    figures("p99", 7, 4),
    words("", Width::Cells(11), 5),
    words("over time", Width::Fill(9), 1),
];
const OVER_TIME: usize = 7;
/// Lines of each list in the details.
const LISTED: usize = 8;

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(tcp) = tcp(data)
        && let Some(now) = tcp.timeline.last()
    {
        facts.push(plural(now.states.total(), "socket", "sockets"));
        facts.push(format!("counted in {}", duration(tcp.census_ns)));
        let orphans = tcp.counters.orphans.filter(|n| *n > 0);
        facts.extend(orphans.map(|n| plural(n, "orphan at most", "orphans at most")));
        let slowed = tcp.slowed_to_ns.map(duration);
        facts.extend(slowed.map(|pace| format!("only every {pace}, as it takes so long")));
    }
    head(&facts, &data.recent, &[CENSUS[0], STATES], width, theme)
}

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let Some(now) = tcp.timeline.last().map(|p| p.states) else {
        return Vec::new();
    };
    let none = StateDwell::default();
    let of = |state: &str| tcp.dwell_by_state.iter().find(|d| d.state == state);
    let was = |state: &str| tcp.timeline.iter().any(|p| in_state(&p.states, state) > 0);
    let mut list: Vec<(&str, u64, &StateDwell)> = now
        .named()
        .into_iter()
        .map(|(state, n)| (state, n, of(state).unwrap_or(&none)))
        .filter(|(state, n, dwell)| *n > 0 || dwell.entered + dwell.count > 0 || was(state))
        .collect();
    // A stable sort: equals stay in the order of a connection's life.
    list.sort_by_key(|row| std::cmp::Reverse(row.1));
    let columns = room(COLUMNS, OVER_TIME, width);
    list.into_iter()
        .map(|(state, n, dwell)| {
            let (p50, p99) = quantiles(&dwell.durations);
            let at = |q| dwell.durations.quantile(q) as f64;
            row(
                state.to_owned(),
                [
                    text(state),
                    number(count(n), n as f64),
                    per_second(dwell.entered, &data.recent),
                    per_second(dwell.count, &data.recent),
                    number(p50, at(0.5)),
                    number(p99, at(0.99)),
                    text(note(state, &now, dwell)),
                    number(over_time(&tcp.timeline, state, columns), n as f64),
                ],
            )
        })
        .collect()
}

/// The state's sockets at each census, against the most of them.
fn over_time(timeline: &[Point], state: &str, columns: usize) -> String {
    let points = timeline
        .iter()
        .map(|p| (p.at_ns, in_state(&p.states, state)));
    let most = points.clone().map(|p| p.1).max().unwrap_or(0);
    let length = timeline.last().map_or(0, |p| p.at_ns + 1);
    spark(points, most, length, columns)
}

fn detail(data: &Data, state: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(tcp) = tcp(data) else {
        return lines.done();
    };
    lines.heading(state);
    lines.text(meaning(state));
    let numbers = tcp.timeline.iter().map(|p| in_state(&p.states, state));
    if let (Some(least), Some(most)) = (numbers.clone().min(), numbers.max()) {
        let drawn = over_time(&tcp.timeline, state, usize::from(width).saturating_sub(14));
        lines.labelled("Over time", &drawn);
        lines.labelled("", &format!("{} to {} sockets", count(least), count(most)));
    }
    if let Some(dwell) = tcp.dwell_by_state.iter().find(|d| d.state == state) {
        let (p50, p99) = quantiles(&dwell.durations);
        if !p50.is_empty() {
            let known = match dwell.source {
                "census" => "; known to about a second",
                _ => "",
            };
            lines.labelled("Stayed", &format!("p50 {p50}, p99 {p99}{known}"));
        }
        if dwell.oldest_ns > 0 {
            lines.labelled("The oldest", &stay(dwell.oldest_ns));
        }
    }
    by_peer(tcp, state, &mut lines);
    by_process(tcp, state, &mut lines);
    left(tcp, state, &mut lines);
    lines.done()
}

fn by_peer(tcp: &Tcp, state: &str, lines: &mut Lines) {
    let number = tcp
        .timeline
        .last()
        .map_or(0, |p| in_state(&p.states, state));
    let mut list: Vec<_> = tcp
        .peers
        .iter()
        .map(|p| (&p.peer, in_state(&p.states, state)))
        .filter(|(_, n)| *n > 0)
        .collect();
    list.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    if list.is_empty() {
        return;
    }
    lines.heading("With most of them");
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(LISTED)
        .map(|(who, n)| {
            let share = percent(*n as f64 / number.max(1) as f64);
            vec![peer(who, 60), count(*n), share]
        })
        .collect();
    lines.table(&["peer", "sockets", "of all"], &rows);
}

fn by_process(tcp: &Tcp, state: &str, lines: &mut Lines) {
    let mut list: Vec<_> = tcp
        .processes
        .iter()
        .map(|p| (&p.process, in_state(&p.states, state)))
        .filter(|(_, n)| *n > 0)
        .collect();
    list.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    if list.is_empty() {
        return;
    }
    lines.heading("Held by");
    let row = |(who, n): &(&Process, u64)| vec![process(who), count(*n)];
    let rows: Vec<Vec<String>> = list.iter().take(LISTED).map(row).collect();
    lines.table(&["process", "sockets"], &rows);
}

fn left(tcp: &Tcp, state: &str, lines: &mut Lines) {
    let mut list: Vec<&Dwell> = tcp.dwell.iter().filter(|d| d.state == state).collect();
    list.sort_by_key(|d| std::cmp::Reverse(d.count));
    if list.is_empty() {
        return;
    }
    lines.heading("Went on to");
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(LISTED)
        .map(|d| {
            let (p50, p99) = quantiles(&d.durations);
            let by = d.process.as_ref().map(process).unwrap_or_default();
            let who = format!("{}, {}", d.to, peer(&d.peer, 40));
            vec![who, count(d.count), p50, p99, by]
        })
        .collect();
    lines.table(&["state, peer", "times", "p50", "p99", "process"], &rows);
}

/// What it means that a socket is in a state.
fn meaning(state: &str) -> &'static str {
    match state {
        "listen" => "Waits for connections.",
        "syn_sent" => "connect() is under way: the other side has not answered.",
        "syn_received" => "A handshake is under way, on the side that listens.",
        "established" => "Open.",
        "fin_wait_1" => "Closed by us; the other side has not acknowledged it.",
        "fin_wait_2" => {
            "Closed by us; the other side has not closed. One that no process holds (an orphan) goes after \
             tcp_fin_timeout; one that is held stays."
        }
        "closing" => "Both sides closed at once.",
        "time_wait" => {
            "Closed by both, by us first: its port stays taken for 60 s, so that late packets harm nobody."
        }
        "close_wait" => "Closed by the other side; the process here has not closed it yet.",
        "last_ack" => "Closed by the other side, then by us; the end is not acknowledged.",
        _ => "Held by a process, and not connected.",
    }
}
