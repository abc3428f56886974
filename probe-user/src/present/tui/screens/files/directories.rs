//! Who creates files where.

use ratatui::text::Line;

use super::{files, no_files, pids, team_key};
use crate::{
    aggregate::files::{FileSystem, Work},
    present::{
        escape,
        fs::words::{median_size, path, quantiles, team, team_cell},
        spark::growth,
        tui::{
            Column, Data, Row, Section, Theme, Width,
            screens::cells::{
                Lines, figures, head, number, per_second, room, row, some, text, words,
            },
        },
        udp::per_s,
        units::{bytes, count, mean, plural, rate},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "directories",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| no_files(data, PROBES, "No file was created, removed or synced"),
};

const COLUMNS: &[Column] = &[
    words("directory", Width::Fill(20), 0),
    figures("created", 9, 0),
    figures("rate", 8, 1),
    figures("p50 size", 8, 2),
    figures("removed", 8, 3),
    figures("fsync", 7, 4),
    words("by", Width::Fill(18), 1),
];
const BY: usize = 6;
const PROBES: &[(&str, &str)] = &[
    ("files", "who creates files"),
    ("file_syncs", "fsync by directory"),
    ("file_unlinks", "files removed"),
];
/// Columns of a sparkline above the table.
const SPARK: usize = 20;
/// The key of what is in no row of its own.
const OTHER: &str = "other";

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    let length = data.recent.duration_ns;
    if let Some(files) = files(data).filter(|f| f.created > 0) {
        let points = files.timeline.iter().map(|p| (p.at_ns, p.since_start[0]));
        let drawn = growth(points, length, SPARK);
        facts.push(format!(
            "{} files created {drawn}",
            per_s(files.created, length)
        ));
        facts.push(format!("at worst {}/s", mean(files.peak_per_s)));
    }
    head(&facts, &data.recent, PROBES, width, theme)
}

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let Some(files) = files(data) else {
        return Vec::new();
    };
    let (at, by) = (room(COLUMNS, 0, width), room(COLUMNS, BY, width));
    let line = |key: String, name: String, who: String, work: &Work| {
        row(
            key,
            [
                text(name),
                some(work.created),
                per_second(work.created, &data.recent),
                number(median_size(&work.sizes), work.sizes.quantile(0.5) as f64),
                some(work.unlinked),
                some(work.syncs.count),
                text(who),
            ],
        )
    };
    let places = files.places.iter();
    let mut rows: Vec<Row> = places
        .map(|work| line(key(work), name(work, at), team_cell(&work.team, by), work))
        .collect();
    let other = &files.other;
    if other.created + other.unlinked + other.syncs.count > 0 {
        let name = "other directories".to_owned();
        rows.push(line(OTHER.to_owned(), name, String::new(), other));
    }
    rows
}

fn name(work: &Work, max: usize) -> String {
    match &work.path {
        Some(at) => path(at, max),
        None => "a directory not known".to_owned(),
    }
}

fn key(work: &Work) -> String {
    let (device, team) = (work.device, team_key(&work.team));
    format!("{}:{} {team} {:?}", device.major, device.minor, work.path)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(files) = files(data) else {
        return lines.done();
    };
    let length = data.recent.duration_ns;
    if of == OTHER {
        lines.heading("Other directories");
        about(&files.other, length, &mut lines);
    } else if let Some(work) = files.places.iter().find(|work| key(work) == of) {
        lines.heading(&name(work, 256));
        lines.labelled("By", &team(&work.team));
        lines.labelled("Processes", &pids(&work.team));
        if work.deleted {
            lines.labelled("", "the directory itself was removed");
        }
        about(work, length, &mut lines);
        let on = |fs: &&FileSystem| fs.device == work.device;
        if let Some(fs) = files.file_systems.iter().find(on) {
            let kind = escape::bounded(&fs.mount.fs_type, 16);
            let at = path(&fs.mount.mount_point, 100);
            lines.labelled("File system", &format!("{at} ({kind})"));
        }
    }
    lines.done()
}

fn about(work: &Work, length_ns: u64, lines: &mut Lines) {
    let created = plural(work.created, "file", "files");
    lines.labelled(
        "Created",
        &format!("{created}, {}", rate(work.created, length_ns)),
    );
    let names: Vec<String> = work
        .examples
        .iter()
        .map(|name| escape::bounded(name, 64))
        .collect();
    lines.labelled("Such as", &names.join(", "));
    let s = &work.sizes;
    if s.count > 0 {
        let (p50, p99) = (bytes(s.quantile(0.5)), bytes(s.quantile(0.99)));
        let all = bytes(s.total_bytes);
        lines.labelled("Sizes", &format!("p50 {p50}, p99 {p99}, {all} together"));
    }
    if work.unlinked > 0 {
        lines.labelled("Removed", &plural(work.unlinked, "file", "files"));
    }
    if work.syncs.count > 0 {
        let [p50, p99, longest] = quantiles(&work.syncs);
        let calls = count(work.syncs.count);
        let text = format!("{calls} calls, p50 {p50}, p99 {p99}, the longest {longest}");
        lines.labelled("fsync", &text);
    }
}
