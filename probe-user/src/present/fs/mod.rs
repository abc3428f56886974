//! `stallscope fs`: file systems and how long they last, who creates files where, journals, fsync, and who sleeps
//! in D.

pub(super) mod journal;
pub(super) mod json;
pub(super) mod space;
pub(super) mod words;

#[cfg(test)]
mod tests;

use serde::Serialize;

use json::{FilesJson, JournalJson};

use super::{
    Style, escape, names, page,
    page::Sheet,
    units::{count, percent, plural, rate},
};
use crate::aggregate::{
    Window,
    files::{FileSystem, Files},
    journal::Journal,
};

/// Columns of what stands at the left of a row: a path, a device, a team.
const WHO: usize = 28;

/// What the sections are made of.
struct Page<'a> {
    files: Option<&'a Files>,
    journal: Option<&'a Journal>,
    /// Length of the window, ns.
    length_ns: u64,
    sheet: Sheet,
}

/// The page; ends with a newline. Where it has a screen of so many `rows`, it is cut to that.
pub fn page(window: &Window, rows: Option<usize>, style: Style) -> String {
    let (files, journal) = (window.files.as_deref(), window.journal.as_deref());
    let foot = page::foot(window, &unseen(window), style);
    page::fit(&foot, rows, style, |sheet| {
        let mut out = String::new();
        let created = files.map_or_else(
            || "files are not watched".to_owned(),
            |f| {
                let created = plural(f.created, "file created", "files created");
                match f.created {
                    0 => created,
                    n => format!("{created} ({})", rate(n, window.duration_ns)),
                }
            },
        );
        page::header(&mut out, window, &created, style);
        let page = Page {
            files,
            journal,
            length_ns: window.duration_ns,
            sheet,
        };
        page.write(&mut out);
        out
    })
}

impl Page<'_> {
    /// Where room is short, trouble comes first: what sleeps and what is refused.
    fn write(&self, out: &mut String) {
        if self.sheet.tight {
            self.refused(out);
            self.sleeps(out);
        }
        self.file_systems(out);
        self.places(out);
        self.journals(out);
        self.syncs(out);
        if !self.sheet.tight {
            self.sleeps(out);
            self.refused(out);
        }
    }
}

/// What could not be seen, and why.
pub(super) fn unseen(window: &Window) -> Vec<String> {
    let mut out = page::without(
        window,
        &[
            ("files", "who creates files"),
            ("file_syncs", "fsync by directory"),
            ("file_unlinks", "files removed"),
            ("no_space", "calls refused for want of space"),
            ("journal_commits", "commits of journals"),
            ("journal_handles", "who changes a journal"),
            ("file_system_syncs", "fsync by file system"),
            ("sleepers", "who sleeps in D, and behind what"),
        ],
    );
    if let Some(files) = &window.files {
        let names: Vec<String> = files
            .not_asked
            .iter()
            .take(4)
            .map(|m| {
                let fs_type = escape::bounded(&m.fs_type, 16);
                format!("{} ({fs_type})", words::path(&m.mount_point, 40))
            })
            .collect();
        if !names.is_empty() {
            let more = match files.not_asked.len() - names.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            out.push(format!(
                "how full {}{more} are: asking may hang, or had no answer",
                names.join(", ")
            ));
        }
    }
    if let Some(why) = window.journal.as_ref().and_then(|j| j.no_symbols.as_ref()) {
        let why = escape::name(why.as_bytes());
        out.push(format!("what tasks in D sleep for ({why})"));
    }
    out
}

/// How near a file system is to its limit, in words: the one that is fullest, by inodes or blocks.
pub(super) fn closest(files: &Files) -> Vec<String> {
    let own = |f: &&FileSystem| f.space_of.is_none() && f.total_bytes > 0;
    let full = |f: &FileSystem| f.inodes_used().unwrap_or(0.0).max(f.bytes_used());
    let fullest = files
        .file_systems
        .iter()
        .filter(own)
        .max_by(|a, b| full(a).total_cmp(&full(b)));
    let words = |f: &FileSystem| {
        let at = words::path(&f.mount.mount_point, 60);
        match f.inodes_used() {
            Some(used) if used > f.bytes_used() => format!(
                "{} of {} inodes of {at}",
                count(f.inodes - f.free_inodes),
                count(f.inodes)
            ),
            _ => format!("{} of the space of {at} used", percent(f.bytes_used())),
        }
    };
    fullest.map(words).into_iter().collect()
}

#[derive(Serialize)]
struct Document {
    /// Null when files were not watched.
    files: Option<FilesJson>,
    /// Null when journals were not watched.
    journal: Option<JournalJson>,
}

/// The same, and more, as one JSON document on one line.
pub fn json(window: &Window) -> String {
    let signal = Document {
        files: window.files.as_deref().map(FilesJson::of),
        journal: window.journal.as_deref().map(JournalJson::of),
    };
    page::document(window, signal)
}

/// A team as the page names it: `pool www`, `php-fpm8.2`.
fn team_name(team: &crate::aggregate::Team) -> String {
    if team.name.is_empty() {
        "other processes".to_owned()
    } else {
        names::group(&team.name, team.php_fpm)
    }
}
