//! File systems: how full they are, and when they end.

use ratatui::text::Line;

use super::{files, no_files};
use crate::{
    aggregate::files::{FileSystem, Files, Trend},
    present::{
        escape,
        fs::{
            space::{ends_soon, notes, pace, told},
            words::{path, team_cell, time},
        },
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{Lines, figures, head, number, room, row, text, words},
        },
        units::{bytes, count, duration, percent, plural, rate},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "space",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| no_files(data, &[], "No file system with something in it"),
};

const COLUMNS: &[Column] = &[
    words("file system", Width::Fill(18), 0),
    words("what", Width::Fill(7), 4),
    figures("space", 6, 0),
    figures("free", 8, 2),
    figures("taken", 11, 5),
    figures("inodes", 6, 0),
    figures("free", 12, 1),
    figures("taken", 9, 2),
    figures("ends in", 10, 1),
];

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(files) = files(data) {
        let shown = files.file_systems.iter().filter(told).count();
        facts.push(plural(shown as u64, "file system", "file systems"));
        let rest = files.file_systems.len() - shown;
        if rest > 0 {
            let rest = count(rest as u64);
            facts.push(format!("and {rest} empty, or on the same space (overlay)"));
        }
        facts.extend(not_asked(files));
    }
    head(&facts, &data.recent, &[], width, theme)
}

fn not_asked(files: &Files) -> Option<String> {
    let first = files.not_asked.first()?;
    let more = match files.not_asked.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let at = path(&first.mount_point, 30);
    Some(format!("not asked, as that may hang: {at}{more}"))
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let list = files(data)
        .map(|f| f.file_systems.as_slice())
        .unwrap_or_default();
    let columns = room(COLUMNS, 0, width);
    let rows = list.iter().filter(told).map(|fs| {
        let (inodes, free) = match fs.inodes_used() {
            Some(used) => (
                number(percent(used), used),
                number(count(fs.free_inodes), fs.free_inodes as f64),
            ),
            None => (number("", -1.0), number("no limit", -1.0)),
        };
        let (ends, order) = match ends_soon(fs) {
            Some((s, _)) => (time(s), 1.0 / s.max(1e-9)),
            None => (String::new(), 0.0),
        };
        row(
            key(fs),
            [
                text(path(&fs.mount.mount_point, columns)),
                text(what(fs)),
                number(percent(fs.bytes_used()), fs.bytes_used()),
                number(bytes(fs.available_bytes), fs.available_bytes as f64),
                number(bytes_pace(&fs.bytes), fs.bytes.per_s),
                inodes,
                free,
                number(pace(&fs.inodes_trend), fs.inodes_trend.per_s),
                number(ends, order).tone(theme, Tone::Warning),
            ],
        )
    });
    rows.collect()
}

/// `ext4 /dev/sda1`.
fn what(fs: &FileSystem) -> String {
    let kind = escape::bounded(&fs.mount.fs_type, 8);
    match fs.mount.source == fs.mount.fs_type {
        true => kind,
        false => format!("{kind} {}", path(&fs.mount.source, 40)),
    }
}

/// Bytes taken a second; `-` before what was given back.
fn bytes_pace(trend: &Trend) -> String {
    let size = bytes(trend.per_s.abs().round() as u64);
    match trend.per_s {
        n if n.abs() < 1.0 => String::new(),
        n if n < 0.0 => format!("-{size}/s"),
        _ => format!("{size}/s"),
    }
}

fn key(fs: &FileSystem) -> String {
    format!("{}:{}", fs.device.major, fs.device.minor)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(files) = files(data) else {
        return lines.done();
    };
    let Some(fs) = files.file_systems.iter().find(|fs| key(fs) == of) else {
        return lines.done();
    };
    lines.heading(&path(&fs.mount.mount_point, 200));
    let kind = escape::bounded(&fs.mount.fs_type, 16);
    let source = path(&fs.mount.source, 100);
    lines.labelled("What", &format!("{kind} on {source} ({})", key(fs)));
    if fs.more_mounts > 0 {
        let places = plural(fs.more_mounts, "more place", "more places");
        lines.labelled("", &format!("mounted in {places}"));
    }
    let space = format!(
        "{} of {} free, {} used",
        bytes(fs.available_bytes),
        bytes(fs.total_bytes),
        percent(fs.bytes_used())
    );
    lines.labelled("Space", &space);
    if let Some(used) = fs.inodes_used() {
        let (free, all) = (count(fs.free_inodes), count(fs.inodes));
        lines.labelled(
            "Inodes",
            &format!("{free} of {all} free, {} used", percent(used)),
        );
    }
    let taken = [
        (bytes_pace(&fs.bytes), "of space"),
        (pace(&fs.inodes_trend), "inodes"),
    ];
    let taken = taken.into_iter().filter(|(n, _)| !n.is_empty());
    let taken: Vec<String> = taken.map(|(n, what)| format!("{n} {what}")).collect();
    lines.labelled("Taken", &taken.join(", "));
    lines.labelled("Ends", &notes(fs).join("; "));
    let looks = plural(fs.looks, "look", "looks");
    lines.labelled(
        "Known from",
        &format!("{looks} in {}", duration(fs.span_ns)),
    );
    creators(files, fs, data.recent.duration_ns, &mut lines);
    lines.done()
}

fn creators(files: &Files, fs: &FileSystem, length_ns: u64, lines: &mut Lines) {
    let of = |c: &&crate::aggregate::files::Creator| {
        c.work.device == fs.device && c.work.created + c.work.unlinked > 0
    };
    let list: Vec<_> = files.creators.iter().filter(of).collect();
    if list.is_empty() {
        return;
    }
    lines.heading("Who creates files in it");
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(8)
        .map(|c| {
            let at = c.work.path.as_ref().map(|at| path(at, 60));
            vec![
                at.unwrap_or_else(|| "a directory not known".to_owned()),
                rate(c.work.created, length_ns),
                count(c.work.unlinked),
                count(c.directories),
                team_cell(&c.work.team, 30),
            ]
        })
        .collect();
    lines.table(&["below", "created", "removed", "directories", "by"], &rows);
}
