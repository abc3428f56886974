//! Who calls fsync, and how long it takes.

use ratatui::text::Line;

use super::{journal, no_journal, pids, team_key};
use crate::{
    aggregate::journal::{Disk, Syncs},
    present::{
        fs::words::{path, quantiles, team, team_cell},
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{
                Lines, figures, head, number, per_second, room, row, some, text, time, words,
            },
        },
        units::{count, duration, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "fsync",
    columns: COLUMNS,
    head: |data, width, theme| head(&[], &data.recent, PROBES, width, theme),
    rows,
    detail,
    empty: |data| {
        no_journal(
            data,
            PROBES,
            "Nobody called fsync on a file system with a journal",
        )
    },
};

const COLUMNS: &[Column] = &[
    words("who calls fsync", Width::Fill(16), 0),
    words("on", Width::Fill(14), 3),
    figures("calls", 8, 0),
    figures("rate", 8, 2),
    figures("p50", 8, 1),
    figures("p99", 8, 0),
    figures("longest", 8, 3),
    figures("in it now", 9, 2),
];
const ON: usize = 1;
const PROBES: &[(&str, &str)] = &[("file_system_syncs", "fsync by file system")];

/// Callers by file system.
fn callers(data: &Data) -> impl Iterator<Item = (&Disk, &Syncs)> {
    let disks = journal(data)
        .map(|j| j.disks.as_slice())
        .unwrap_or_default();
    disks
        .iter()
        .flat_map(|d| d.syncs.iter().map(move |s| (d, s)))
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let (who, on) = (room(COLUMNS, 0, width), room(COLUMNS, ON, width));
    let rows = callers(data).map(|(disk, s)| {
        let known = |ns: u64| time((s.calls.count > 0).then_some(ns));
        row(
            key(disk, s),
            [
                text(team_cell(&s.team, who)),
                text(path(&disk.name, on)),
                number(count(s.calls.count), s.calls.count as f64),
                per_second(s.calls.count, &data.recent),
                known(s.calls.durations.quantile(0.5)),
                known(s.calls.durations.quantile(0.99)),
                known(s.calls.max_ns),
                some(s.under_way).tone(theme, Tone::Warning),
            ],
        )
    });
    rows.collect()
}

fn key(disk: &Disk, s: &Syncs) -> String {
    let device = disk.device;
    format!("{}:{} {}", device.major, device.minor, team_key(&s.team))
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some((disk, s)) = callers(data).find(|(disk, s)| key(disk, s) == of) else {
        return lines.done();
    };
    lines.heading(&team(&s.team));
    lines.labelled("Processes", &pids(&s.team));
    let at = disk
        .mount
        .as_ref()
        .map(|m| format!(", {}", path(&m.mount_point, 100)));
    lines.labelled(
        "On",
        &format!("{}{}", path(&disk.name, 100), at.unwrap_or_default()),
    );
    let [p50, p99, longest] = quantiles(&s.calls);
    let calls = plural(s.calls.count, "call", "calls");
    let all = duration(s.calls.total_ns);
    match s.calls.count {
        0 => lines.labelled("fsync", "none ended"),
        _ => lines.labelled(
            "fsync",
            &format!("{calls}, {all} together; p50 {p50}, p99 {p99}, the longest {longest}"),
        ),
    }
    if s.calls.failed > 0 {
        lines.labelled("Failed", &count(s.calls.failed));
    }
    if s.under_way > 0 {
        let n = plural(s.under_way, "thread", "threads");
        let longest = match s.under_way_ns {
            0 => String::new(),
            ns => format!(", the longest for {}", duration(ns)),
        };
        lines.labelled("In it now", &format!("{n}{longest}"));
    }
    let own = disk.changes.iter().find(|c| c.team.is(&s.team));
    if let Some(c) = own {
        let blocks = plural(c.blocks, "block", "blocks");
        lines.labelled("Changes", &format!("{blocks} of the journal"));
    }
    lines.done()
}
