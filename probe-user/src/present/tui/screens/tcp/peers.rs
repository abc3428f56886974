//! Sockets by the other side's address, and who closes first.

use ratatui::text::Line;

use super::{CENSUS, STATES, empty, in_other, tcp};
use crate::{
    aggregate::{
        Peer,
        tcp::{PeerSockets, Tcp},
    },
    present::{
        errno,
        tcp::{
            trouble::port_words,
            words::{peer, process, quantiles, states},
        },
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{
                Lines, figures, head, number, per_second, room, row, some, text, words,
            },
        },
        units::{count, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "peers",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, CENSUS, "No TCP connection"),
};

const COLUMNS: &[Column] = &[
    words("peer", Width::Fill(21), 0),
    figures("sockets", 7, 0),
    figures("established", 11, 1),
    figures("time_wait", 9, 2),
    figures("close_wait", 10, 4),
    figures("fin_wait_2", 10, 5),
    figures("syn_sent", 8, 6),
    figures("other", 6, 8),
    figures("we close", 8, 2),
    figures("they do", 8, 3),
    words("who of us", Width::Fill(20), 7),
];
/// Lines of each list in the details.
const LISTED: usize = 8;

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(tcp) = tcp(data)
        && !tcp.peers.is_empty()
    {
        facts.push(plural(tcp.peers.len() as u64, "peer", "peers"));
        let other = tcp.other.total();
        if other > 0 {
            facts.push(format!(
                "{} at further peers",
                plural(other, "socket", "sockets")
            ));
        }
    }
    head(&facts, &data.recent, &[CENSUS[0], STATES], width, theme)
}

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let columns = room(COLUMNS, 0, width);
    let rows = tcp.peers.iter().map(|p| {
        let s = &p.states;
        row(
            key(&p.peer),
            [
                text(peer(&p.peer, columns)),
                number(count(s.total()), s.total() as f64),
                some(s.established),
                some(s.time_wait),
                some(s.close_wait),
                some(s.fin_wait_2),
                some(s.syn_sent),
                some(in_other(s)),
                per_second(p.closed_by_us, &data.recent),
                per_second(p.closed_by_peer, &data.recent),
                text(p.closer.as_ref().map(process).unwrap_or_default()),
            ],
        )
    });
    rows.collect()
}

/// What a row of a peer is known by.
pub(super) fn key(peer: &Peer) -> String {
    format!("{peer:?}")
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(tcp) = tcp(data) else {
        return lines.done();
    };
    let Some(p) = tcp.peers.iter().find(|p| key(&p.peer) == of) else {
        return lines.done();
    };
    lines.heading(&peer(&p.peer, 108));
    about(p, &mut lines);
    limits(tcp, &p.peer, &mut lines);
    stays(tcp, &p.peer, &mut lines);
    lines.done()
}

fn about(p: &PeerSockets, lines: &mut Lines) {
    lines.labelled("Sockets", &states(&p.states));
    if p.closed_by_us + p.closed_by_peer > 0 {
        let by = p.closer.as_ref().filter(|_| p.closed_by_us > 0);
        let by = by.map_or(String::new(), |c| format!(" ({})", process(c)));
        let (we, they) = (count(p.closed_by_us), count(p.closed_by_peer));
        lines.labelled("Closed first", &format!("we {we}{by}, they {they}"));
    }
}

/// Ports to it, and connects to it that failed.
fn limits(tcp: &Tcp, to: &Peer, lines: &mut Lines) {
    for ports in tcp.ports.iter().filter(|p| p.peer == *to) {
        let (first, rest) = port_words(ports);
        let of = format!("{} of {}", count(ports.used()), count(ports.usable));
        let rest = if rest.is_empty() {
            rest
        } else {
            format!("; {rest}")
        };
        lines.labelled("Ports", &format!("{of}, {first}{rest}"));
    }
    let failed: Vec<String> = tcp
        .failed
        .iter()
        .filter(|f| f.peer == *to)
        .take(LISTED)
        .map(|f| {
            format!(
                "{} {} of {}",
                count(f.count),
                errno::name(f.errno),
                process(&f.process)
            )
        })
        .collect();
    lines.labelled("Failed", &failed.join(", "));
}

/// How long its sockets stay in each state.
fn stays(tcp: &Tcp, with: &Peer, lines: &mut Lines) {
    let list: Vec<_> = tcp.dwell.iter().filter(|d| d.peer == *with).collect();
    if list.is_empty() {
        return;
    }
    lines.heading("Left a state");
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(LISTED)
        .map(|d| {
            let (p50, p99) = quantiles(&d.durations);
            let by = d.process.as_ref().map(process).unwrap_or_default();
            let way = format!("{} > {}", d.state, d.to);
            vec![way, count(d.count), p50, p99, by]
        })
        .collect();
    lines.table(&["from > to", "times", "p50", "p99", "process"], &rows);
}
