//! Journals: how long commits take, and on what.

use ratatui::text::Line;

use super::{journal, no_journal};
use crate::{
    aggregate::{
        Timed,
        journal::{Commits, Disk},
    },
    present::{
        fs::{
            journal::{about, busy},
            words::{path, quantiles, team_cell},
        },
        spark::spark,
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{Lines, drawn, figures, head, number, room, row, text, time, words},
        },
        units::{count, duration, percent, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "journals",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| no_journal(data, &PROBES[..1], "No journal committed anything"),
};

const COLUMNS: &[Column] = &[
    words("journal", Width::Fill(14), 0),
    words("on", Width::Fill(10), 5),
    figures("commits", 8, 0),
    figures("p50", 8, 1),
    figures("p95", 8, 4),
    figures("p99", 8, 0),
    figures("longest", 8, 2),
    figures("every", 8, 3),
    figures("locking", 7, 8),
    figures("flushing", 8, 8),
    figures("logging", 7, 8),
    words("over time", Width::Fill(9), 1),
];
const ON: usize = 1;
const OVER_TIME: usize = 11;
const PROBES: &[(&str, &str)] = &[
    ("journal_commits", "commits of journals"),
    ("journal_handles", "who changes a journal"),
];
/// Columns of the labels in the details, and some air.
const MARGIN: usize = 16;

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(journal) = journal(data) {
        let n = journal.disks.iter().filter(busy).count() as u64;
        if n > 0 {
            facts.push(plural(n, "journal", "journals"));
        }
        if let Some(first) = journal.unwatched.first() {
            let more = match journal.unwatched.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let at = path(&first.mount_point, 30);
            facts.push(format!("not watched, as they are not ext4: {at}{more}"));
        }
    }
    head(&facts, &data.recent, PROBES, width, theme)
}

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let disks = journal(data)
        .map(|j| j.disks.as_slice())
        .unwrap_or_default();
    let [name, on, columns] = [0, ON, OVER_TIME].map(|at| room(COLUMNS, at, width));
    let rows = disks.iter().filter(busy).map(|disk| {
        let c = &disk.commits;
        let some = c.total.count > 0;
        let [p50, p95, p99] = c.quantiles_ns.map(|ns| time(some.then_some(ns)));
        let mount = disk.mount.as_ref();
        let share = |part: &Timed| match c.total.total_ns {
            0 => number("", -1.0),
            all => {
                let share = part.total_ns as f64 / all as f64;
                number(percent(share), share)
            }
        };
        let every = (c.interval.count > 0).then(|| c.interval.mean_ns());
        row(
            key(disk),
            [
                text(path(&disk.name, name)),
                text(mount.map(|m| path(&m.mount_point, on)).unwrap_or_default()),
                number(count(c.total.count), c.total.count as f64),
                p50,
                p95,
                p99,
                time(some.then_some(c.total.max_ns)),
                time(every),
                share(&c.locking),
                share(&c.flushing),
                share(&c.logging),
                drawn(
                    over_time(c, data.recent.duration_ns, columns),
                    c.total.total_ns as f64,
                ),
            ],
        )
    });
    rows.collect()
}

/// How long the commits took, against the longest.
fn over_time(c: &Commits, length_ns: u64, columns: usize) -> String {
    let points = c.timeline.iter().map(|p| (p.at_ns, p.took_ns));
    let longest = points.clone().map(|p| p.1).max().unwrap_or(0);
    spark(points, longest, length_ns, columns)
}

fn key(disk: &Disk) -> String {
    format!("{}:{}", disk.device.major, disk.device.minor)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let disks = journal(data)
        .map(|j| j.disks.as_slice())
        .unwrap_or_default();
    let Some(disk) = disks.iter().find(|disk| key(disk) == of) else {
        return lines.done();
    };
    lines.heading(&format!("Journal of {}", path(&disk.name, 200)));
    lines.labelled("About", &about(disk).join("; "));
    let columns = usize::from(width).saturating_sub(MARGIN);
    lines.labelled(
        "Over time",
        &over_time(&disk.commits, data.recent.duration_ns, columns),
    );
    commits(&disk.commits, &mut lines);
    changes(disk, &mut lines);
    syncs(disk, &mut lines);
    lines.done()
}

fn commits(c: &Commits, lines: &mut Lines) {
    lines.heading("What commits spend their time on");
    let share = |part: &Timed| percent(part.total_ns as f64 / c.total.total_ns.max(1) as f64);
    let phases = [
        ("waiting for changes under way", &c.locking),
        ("writing out files' data", &c.flushing),
        ("writing the journal", &c.logging),
    ];
    let mut rows: Vec<Vec<String>> = phases
        .iter()
        .map(|(name, part)| {
            let [p50, p99, longest] = quantiles(part);
            vec![(*name).to_owned(), share(part), p50, p99, longest]
        })
        .collect();
    if c.total.count > 0 {
        // Of whole commits, every single one is known.
        let [p50, _, p99] = c.quantiles_ns.map(duration);
        let longest = duration(c.total.max_ns);
        rows.push(vec!["all".to_owned(), percent(1.0), p50, p99, longest]);
    }
    lines.table(&["phase", "share", "p50", "p99", "longest"], &rows);
    let blocks = plural(c.blocks_logged, "block", "blocks");
    lines.faint(&format!("{blocks} written to the journal"));
}

fn changes(disk: &Disk, lines: &mut Lines) {
    if disk.changes.is_empty() {
        return;
    }
    let all: u64 = disk.changes.iter().map(|c| c.blocks).sum();
    lines.heading("Who changes it");
    let rows: Vec<Vec<String>> = disk
        .changes
        .iter()
        .take(8)
        .map(|c| {
            let share = percent(c.blocks as f64 / all.max(1) as f64);
            vec![
                team_cell(&c.team, 40),
                count(c.blocks),
                share,
                count(c.handles),
            ]
        })
        .collect();
    lines.table(&["who", "blocks", "of all", "changes"], &rows);
}

fn syncs(disk: &Disk, lines: &mut Lines) {
    if disk.syncs.is_empty() {
        return;
    }
    lines.heading("Who calls fsync");
    let rows: Vec<Vec<String>> = disk
        .syncs
        .iter()
        .take(8)
        .map(|s| {
            let [p50, p99, longest] = quantiles(&s.calls);
            let total = duration(s.calls.total_ns);
            vec![
                team_cell(&s.team, 40),
                count(s.calls.count),
                total,
                p50,
                p99,
                longest,
            ]
        })
        .collect();
    lines.table(&["who", "calls", "time", "p50", "p99", "longest"], &rows);
}
