//! Files, the space that is left, journals, and who sleeps behind them.

use super::{
    chart::{self, Form, Series},
    ink,
    section::{About, section},
    table::{Cell, charts, figure, table},
    writer::Html,
};
use crate::{
    aggregate::{
        Window,
        files::{FileSystem, Files},
        journal::{Disk, Journal, told as functions},
    },
    diagnose::{Diagnosis, Unit},
    present::{
        errno, escape,
        fs::{
            journal::{about, busy},
            space::{ends_soon, notes, told},
            unseen,
            words::{median_size, path, quantiles, reason, team},
        },
        units::{bytes, count, duration, percent, rate},
    },
};

/// File systems and journals that are drawn.
const DRAWN: usize = 3;
/// Characters of a path.
const PATH: usize = 100;

const ABOUT: About = About {
    id: "storage",
    title: "Files and journals",
    rules: &["S"],
};

/// All of it.
pub(super) fn storage(h: &mut Html, window: &Window, diagnosis: &Diagnosis) {
    if window.files.is_none() && window.journal.is_none() {
        return;
    }
    section(h, &ABOUT, diagnosis, &unseen(window), |h| {
        charts(h, |h| {
            if let Some(files) = &window.files {
                created(h, files, window.duration_ns);
                files
                    .file_systems
                    .iter()
                    .filter(told)
                    .take(DRAWN)
                    .for_each(|fs| {
                        space(h, fs, window.duration_ns);
                    });
            }
            let disks = window.journal.iter().flat_map(|j| &j.disks);
            disks
                .filter(busy)
                .take(DRAWN)
                .for_each(|d| commits(h, d, window.duration_ns));
        });
        if let Some(files) = &window.files {
            tables(h, files, window.duration_ns);
        }
        if let Some(journal) = &window.journal {
            journals(h, journal, window.duration_ns);
        }
    });
}

fn created(h: &mut Html, files: &Files, length_ns: u64) {
    if files.created == 0 {
        return;
    }
    let sums = files.timeline.iter().map(|p| (p.at_ns, p.since_start[0]));
    let series = Series {
        ink: ink::FIRST,
        form: Form::Bars,
        points: chart::rates(sums, length_ns),
    };
    let caption = format!("Files created a second: {} in all", count(files.created));
    let svg = chart::over_time(length_ns, Unit::PerSecond, &[series], None);
    figure(h, &caption, &caption, svg, &[]);
}

/// What is left of a file system that fills.
fn space(h: &mut Html, fs: &FileSystem, length_ns: u64) {
    let Some((_, inodes)) = ends_soon(fs) else {
        return;
    };
    let (unit, what) = match inodes {
        true => (Unit::Count, "Inodes left"),
        false => (Unit::Bytes, "Space left"),
    };
    let points = fs.over_time.iter().map(|p| {
        let left = if inodes {
            p.free_inodes
        } else {
            p.available_bytes
        };
        (p.at_ns, left as f64)
    });
    let series = Series {
        ink: ink::FIRST,
        form: Form::Line,
        points: points.collect(),
    };
    let caption = format!("{what} in {}", path(&fs.mount.mount_point, PATH));
    let svg = chart::over_time(length_ns, unit, &[series], None);
    figure(h, &caption, &caption, svg, &[]);
}

fn commits(h: &mut Html, disk: &Disk, length_ns: u64) {
    let points = disk.commits.timeline.iter();
    let series = Series {
        ink: ink::DISK,
        form: Form::Stems,
        points: points.map(|p| (p.at_ns, p.took_ns as f64)).collect(),
    };
    let caption = format!(
        "Commits of the journal of {}: how long each took",
        path(&disk.name, PATH)
    );
    let svg = chart::over_time(length_ns, Unit::Ns, &[series], None);
    figure(h, &caption, &caption, svg, &[]);
}

fn tables(h: &mut Html, files: &Files, length_ns: u64) {
    let list: Vec<&FileSystem> = files.file_systems.iter().filter(told).collect();
    let heads = [
        "File system",
        "type",
        "space used",
        "",
        "free",
        "inodes used",
        "free",
        "",
    ];
    table(h, &heads, &list, "file systems", |fs| {
        let (used, free) = match fs.inodes_used() {
            Some(used) => (percent(used), count(fs.free_inodes)),
            None => (String::new(), "no limit".to_owned()),
        };
        vec![
            Cell::Name(path(&fs.mount.mount_point, PATH)),
            Cell::Text(escape::bounded(&fs.mount.fs_type, 16)),
            Cell::Strip(vec![(fs.bytes_used(), ink::FIRST)]),
            Cell::Number(percent(fs.bytes_used())),
            Cell::Number(bytes(fs.available_bytes)),
            Cell::Number(used),
            Cell::Number(free),
            Cell::Text(notes(fs).join("; ")),
        ]
    });
    let heads = [
        "Files created in",
        "by",
        "files",
        "rate",
        "p50 size",
        "removed",
        "fsync",
    ];
    let some = |n: u64| if n > 0 { count(n) } else { String::new() };
    table(h, &heads, &files.places, "directories", |w| {
        let at = w.path.as_ref().map(|p| path(p, PATH));
        vec![
            Cell::Name(at.unwrap_or_else(|| "a directory not known".to_owned())),
            Cell::Name(team(&w.team)),
            Cell::Number(some(w.created)),
            Cell::Number(match w.created {
                0 => String::new(),
                n => rate(n, length_ns),
            }),
            Cell::Number(median_size(&w.sizes)),
            Cell::Number(some(w.unlinked)),
            Cell::Number(some(w.syncs.count)),
        ]
    });
    let heads = ["Refused for want of space", "by", "call", "error", "times"];
    table(h, &heads, &files.refused, "callers", |r| {
        let at = r.mount_point.as_ref().map(|p| path(p, PATH));
        vec![
            Cell::Name(at.unwrap_or_else(|| "a file system not known".to_owned())),
            Cell::Name(team(&r.team)),
            Cell::Text(r.call.to_owned()),
            Cell::Text(errno::name(r.errno)),
            Cell::Number(count(r.count)),
        ]
    });
}

fn journals(h: &mut Html, journal: &Journal, length_ns: u64) {
    let list: Vec<&Disk> = journal.disks.iter().filter(busy).collect();
    let heads = ["Journal of", "commits", "p50", "p95", "p99", "longest", ""];
    table(h, &heads, &list, "journals", |d| {
        let c = &d.commits;
        let known = |ns: u64| match c.total.count {
            0 => String::new(),
            _ => duration(ns),
        };
        let [p50, p95, p99] = c.quantiles_ns.map(known);
        vec![
            Cell::Name(path(&d.name, PATH)),
            Cell::Number(count(c.total.count)),
            Cell::Number(p50),
            Cell::Number(p95),
            Cell::Number(p99),
            Cell::Number(known(c.total.max_ns)),
            Cell::Text(about(d).join("; ")),
        ]
    });
    let syncs: Vec<_> = (journal.disks.iter())
        .flat_map(|d| d.syncs.iter().map(move |s| (d, s)))
        .collect();
    let heads = ["fsync by", "on", "calls", "rate", "p50", "p99", "longest"];
    table(h, &heads, &syncs, "callers", |(disk, s)| {
        let [p50, p99, longest] = quantiles(&s.calls);
        vec![
            Cell::Name(team(&s.team)),
            Cell::Name(path(&disk.name, PATH)),
            Cell::Number(count(s.calls.count)),
            Cell::Number(rate(s.calls.count, length_ns)),
            Cell::Number(p50),
            Cell::Number(p99),
            Cell::Number(longest),
        ]
    });
    let heads = [
        "Asleep in D, 1 ms or longer",
        "times",
        "time",
        "longest",
        "for",
        "in",
    ];
    table(h, &heads, &journal.sleeps, "reasons", |s| {
        vec![
            Cell::Name(team(&s.team)),
            Cell::Number(count(s.count())),
            Cell::Number(duration(s.total_ns())),
            Cell::Number(duration(s.longest_ns())),
            Cell::Text(reason(s.waits_for).to_owned()),
            Cell::Name(escape::name(functions(&s.stack).as_bytes())),
        ]
    });
}
