//! Sockets by the process that holds them.

use ratatui::text::Line;

use super::{OWNERS, empty, in_other, tcp};
use crate::{
    aggregate::tcp::{ListenQueue, Process, Tcp},
    present::{
        errno, escape,
        tcp::words::{listener, peer, process, states},
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{Lines, figures, head, number, room, row, some, text, words},
        },
        units::{count, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "processes",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, &[OWNERS], "No process with a TCP socket"),
};

const COLUMNS: &[Column] = &[
    words("process", Width::Fill(14), 0),
    figures("pid", 7, 0),
    figures("sockets", 7, 0),
    figures("established", 11, 1),
    figures("listen", 6, 2),
    figures("close_wait", 10, 2),
    figures("fin_wait_2", 10, 3),
    figures("syn_sent", 8, 4),
    figures("other", 6, 5),
    words("listens on", Width::Fill(16), 6),
];
/// Lines of each list in the details.
const LISTED: usize = 8;

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(tcp) = tcp(data)
        && tcp.owners_known
    {
        let n = tcp.processes.len() as u64;
        facts.push(plural(n, "process", "processes"));
        facts.push("sockets in time_wait and orphans belong to nobody".to_owned());
    }
    head(&facts, &data.recent, &[OWNERS], width, theme)
}

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let columns = room(COLUMNS, 0, width);
    let rows = tcp.processes.iter().map(|p| {
        let s = &p.states;
        row(
            p.process.pid.to_string(),
            [
                text(escape::bounded(&p.process.comm, columns)),
                number(p.process.pid.to_string(), p.process.pid.into()),
                number(count(s.total()), s.total() as f64),
                some(s.established),
                some(s.listen),
                some(s.close_wait),
                some(s.fin_wait_2),
                some(s.syn_sent),
                some(in_other(s) + s.time_wait),
                text(listens(tcp, &p.process).join(", ")),
            ],
        )
    });
    rows.collect()
}

fn detail(data: &Data, pid: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(tcp) = tcp(data) else {
        return lines.done();
    };
    let Some(p) = tcp
        .processes
        .iter()
        .find(|p| p.process.pid.to_string() == pid)
    else {
        return lines.done();
    };
    lines.heading(&process(&p.process));
    lines.labelled("Sockets", &states(&p.states));
    does(tcp, &p.process, &mut lines);
    lines.done()
}

/// Addresses that it listens on.
fn listens(tcp: &Tcp, who: &Process) -> Vec<String> {
    let own = |q: &&ListenQueue| q.owners.iter().any(|o| o.pid == who.pid);
    let listeners = tcp.listeners.iter().filter(own);
    listeners.map(|q| listener(&q.address, 60)).collect()
}

fn does(tcp: &Tcp, who: &Process, lines: &mut Lines) {
    let pid = who.pid;
    let list = |all: Vec<String>| {
        let more = all.len().saturating_sub(LISTED);
        let shown = all[..all.len() - more].join(", ");
        match more {
            0 => shown,
            _ => format!("{shown} and {more} more"),
        }
    };
    lines.labelled("Listens on", &list(listens(tcp, who)));
    let opens = tcp.ports.iter();
    let opens = opens.filter(|p| p.opener.as_ref().is_some_and(|o| o.pid == pid));
    let to = opens.map(|p| peer(&p.peer, 60)).collect();
    lines.labelled("Connects to", &list(to));
    let closes = tcp.peers.iter();
    let closes = closes.filter(|p| p.closer.as_ref().is_some_and(|c| c.pid == pid));
    let first = closes.map(|p| format!("{} to {}", count(p.closed_by_us), peer(&p.peer, 60)));
    lines.labelled("Closes first", &list(first.collect()));
    let half = tcp.half_closed.iter();
    let half = half.flat_map(|h| h.holders.iter().map(move |holder| (h, holder)));
    let held = half
        .filter(|(_, (p, ..))| p.pid == pid)
        .map(|(h, (_, n, fd))| format!("{} to {} (fd {fd})", count(*n), peer(&h.peer, 60)));
    lines.labelled("Half-closed", &list(held.collect()));
    let failed = tcp.failed.iter().filter(|f| f.process.pid == pid);
    let failed = failed.map(|f| {
        format!(
            "{} to {}: {}",
            count(f.count),
            peer(&f.peer, 60),
            errno::name(f.errno)
        )
    });
    lines.labelled("Failed", &list(failed.collect()));
}
