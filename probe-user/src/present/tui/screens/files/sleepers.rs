//! Who sleeps uninterruptibly, and behind what.

use ratatui::text::Line;

use super::{journal, no_journal, pids, team_key};
use crate::{
    aggregate::journal::{Asleep, Journal, Sleep},
    present::{
        escape,
        fs::words::{quantiles, reason, reason_id, team, team_cell},
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{Lines, figures, head, number, room, row, some, text, time, words},
        },
        units::{count, duration, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "sleep in D",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| {
        no_journal(
            data,
            PROBES,
            "No task slept in D for a millisecond or longer",
        )
    },
};

const COLUMNS: &[Column] = &[
    words("who sleeps in D", Width::Fill(14), 0),
    words("for", Width::Fill(14), 0),
    figures("times", 7, 2),
    figures("time", 8, 0),
    figures("longest", 8, 3),
    figures("now", 6, 1),
];
const PROBES: &[(&str, &str)] = &[("sleepers", "who sleeps in D, and behind what")];
/// Tasks listed in the details.
const LISTED: usize = 8;

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(journal) = journal(data) {
        facts.extend(now(journal));
        if let Some(why) = &journal.no_symbols {
            let why = escape::bounded(why.as_bytes(), 60);
            facts.push(format!("what for is not known: {why}"));
        }
    }
    head(&facts, &data.recent, PROBES, width, theme)
}

/// `3 asleep now, php-fpm8.2 4711 for 180 ms`.
fn now(journal: &Journal) -> Option<String> {
    let first = journal.asleep.first()?;
    let n = count(journal.asleep.len() as u64);
    Some(format!("{n} asleep now, the longest {}", task(first)))
}

fn task(a: &Asleep) -> String {
    let name = escape::bounded(&a.comm, 16);
    match a.for_ns {
        0 => format!("{name} {} just now", a.tid),
        ns => format!("{name} {} for {}", a.tid, duration(ns)),
    }
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let sleeps = journal(data)
        .map(|j| j.sleeps.as_slice())
        .unwrap_or_default();
    let who = room(COLUMNS, 0, width);
    let rows = sleeps.iter().map(|s| {
        row(
            key(s),
            [
                text(team_cell(&s.team, who)),
                text(reason(s.waits_for)),
                number(count(s.count()), s.count() as f64),
                time(Some(s.total_ns())),
                time(Some(s.longest_ns())),
                some(s.asleep).tone(theme, Tone::Warning),
            ],
        )
    });
    rows.collect()
}

fn key(s: &Sleep) -> String {
    format!("{} {}", reason_id(s.waits_for), team_key(&s.team))
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(journal) = journal(data) else {
        return lines.done();
    };
    let Some(s) = journal.sleeps.iter().find(|s| key(s) == of) else {
        return lines.done();
    };
    lines.heading(&format!(
        "{}: asleep for {}",
        team(&s.team),
        reason(s.waits_for)
    ));
    lines.labelled("Processes", &pids(&s.team));
    let (times, all) = (plural(s.count(), "sleep", "sleeps"), duration(s.total_ns()));
    let [p50, p99, longest] = quantiles(&s.sleeps);
    let each = match s.sleeps.count {
        0 => String::new(),
        _ => format!("; p50 {p50}, p99 {p99}, the longest {longest}"),
    };
    lines.labelled("Slept", &format!("{times}, {all} together{each}"));
    stack(
        &s.stack,
        "Where most of the time went, innermost first",
        &mut lines,
    );
    asleep(journal, s, &mut lines);
    lines.done()
}

fn stack(functions: &[String], heading: &str, lines: &mut Lines) {
    if functions.is_empty() {
        return;
    }
    lines.heading(heading);
    for function in functions {
        lines.text(&escape::bounded(function.as_bytes(), 80));
    }
}

/// Its processes, as far as they are listed, that sleep for that now.
fn asleep(journal: &Journal, s: &Sleep, lines: &mut Lines) {
    let of = |a: &&Asleep| a.waits_for == s.waits_for && s.team.pids.contains(&a.pid);
    let list: Vec<&Asleep> = journal.asleep.iter().filter(of).collect();
    if list.is_empty() {
        return;
    }
    lines.heading("Asleep now");
    for a in list.iter().take(LISTED) {
        lines.text(&task(a));
    }
    if list.len() > LISTED {
        lines.faint(&format!("and {} more", count((list.len() - LISTED) as u64)));
    }
}
