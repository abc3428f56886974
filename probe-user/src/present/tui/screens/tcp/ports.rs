//! Ephemeral ports: how many are taken, and when they end.

use ratatui::text::Line;

use super::{CENSUS, STATES, empty, peers::key, tcp};
use crate::{
    aggregate::tcp::{Ports, Settings},
    present::{
        tcp::{
            per_s,
            trouble::port_words,
            words::{peer, process, states, stay},
        },
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{Lines, ago, figures, head, number, room, row, some, text, words},
        },
        units::{count, duration, percent},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "ports",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, CENSUS, "No connection from here to elsewhere"),
};

const COLUMNS: &[Column] = &[
    words("to", Width::Fill(21), 0),
    words("from", Width::Cells(15), 7),
    figures("used", 7, 0),
    figures("of", 7, 3),
    figures("full", 5, 1),
    figures("end in", 8, 1),
    figures("opened", 8, 2),
    figures("we close", 8, 4),
    figures("levels off", 10, 5),
    figures("failed", 7, 2),
    words("opened by", Width::Fill(20), 6),
];

fn used(p: &&Ports) -> bool {
    p.used() + p.failures > 0
}

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(tcp) = tcp(data)
        && tcp.ports.iter().any(|p| used(&p))
    {
        facts.extend(settings(&tcp.settings));
    }
    head(&facts, &data.recent, &[CENSUS[0], STATES], width, theme)
}

fn settings(s: &Settings) -> Vec<String> {
    let range = s
        .port_range
        .map(|(a, b)| format!("ip_local_port_range {a} {b}"));
    let reuse = s.tw_reuse.map(|n| format!("tcp_tw_reuse {n}"));
    let stamps = s.timestamps.map(|n| format!("tcp_timestamps {n}"));
    [range, reuse, stamps].into_iter().flatten().collect()
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let columns = room(COLUMNS, 0, width);
    let rows = tcp.ports.iter().filter(used).map(|p| {
        let full = p.used() as f64 / p.usable.max(1) as f64;
        // What does not end is behind all that does.
        let (ends, order) = match p.seconds_left {
            Some(s) => (stay((s * 1e9) as u64), 1.0 / s.max(1e-9)),
            None => (String::new(), 0.0),
        };
        row(
            row_key(p),
            [
                text(peer(&p.peer, columns)),
                text(p.local.map(|a| a.to_string()).unwrap_or_default()),
                number(count(p.used()), p.used() as f64),
                number(count(p.usable), p.usable as f64),
                number(percent(full), full),
                number(ends, order).tone(theme, Tone::Warning),
                number(per_s(p.opened_per_s), p.opened_per_s),
                number(per_s(p.closed_by_us_per_s), p.closed_by_us_per_s),
                number(count(p.levels_off_at.round() as u64), p.levels_off_at),
                some(p.failures).tone(theme, Tone::Critical),
                text(p.opener.as_ref().map(process).unwrap_or_default()),
            ],
        )
    });
    rows.collect()
}

fn row_key(p: &Ports) -> String {
    format!("{:?} {}", p.local, key(&p.peer))
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(tcp) = tcp(data) else {
        return lines.done();
    };
    let Some(p) = tcp.ports.iter().find(|p| row_key(p) == of) else {
        return lines.done();
    };
    let from = p.local.map_or(String::new(), |a| format!(" from {a}"));
    lines.heading(&format!("Ports to {}{from}", peer(&p.peer, 60)));
    let (first, rest) = port_words(p);
    let (used, usable) = (count(p.used()), count(p.usable));
    lines.labelled(
        "Used",
        &format!("{used} of {usable} ({first}), {} at most", count(p.peak)),
    );
    lines.labelled("", &rest);
    lines.labelled("Sockets", &states(&p.states));
    if p.growth_per_s != 0.0 {
        let sign = if p.growth_per_s < 0.0 { "-" } else { "" };
        lines.labelled(
            "Grows by",
            &format!("{sign}{}", per_s(p.growth_per_s.abs())),
        );
    }
    lines.labelled("Opened", &per_s(p.opened_per_s));
    lines.labelled(
        "Opened by",
        &p.opener.as_ref().map(process).unwrap_or_default(),
    );
    if let Some(ns) = p.first_failure_ns {
        lines.labelled("First failure", &ago(ns, &data.recent));
    }
    lines.labelled("Settings", &settings(&tcp.settings).join(", "));
    lines.labelled(
        "Looked at",
        &format!("the last {}", duration(data.recent.duration_ns)),
    );
    lines.done()
}
