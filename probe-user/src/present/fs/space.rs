//! The sections about space and files: how full, who creates where, what was refused.

use super::{
    Page, WHO,
    words::{ends, median_size, path, quantiles, team, team_cell},
};
use crate::{
    aggregate::files::{FileSystem, Trend, Work},
    present::{
        errno, escape,
        layout::{cell, right},
        style::Tone,
        units::{bytes, count, mean, percent, rate, seconds},
    },
};

/// An end that is further away than this is not told: the window says nothing about next month, s.
const TOLD_S: f64 = 30.0 * 86_400.0;
/// Columns of a mount point.
const MOUNT: usize = 23;

impl Page<'_> {
    pub(super) fn file_systems(&self, out: &mut String) {
        let Some(files) = self.files.filter(|f| !f.file_systems.is_empty()) else {
            return;
        };
        let list: Vec<&FileSystem> = files.file_systems.iter().filter(told).collect();
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {} {} {}",
                cell("File systems", MOUNT),
                cell("", 8),
                right("space", 6),
                right("free", 8),
                right("inodes", 7),
                right("free", 12),
                right("taken", 9),
            ),
        );
        for fs in list.iter().take(self.sheet.shown) {
            let (inodes, free, taken) = match fs.inodes_used() {
                Some(used) => (percent(used), count(fs.free_inodes), pace(&fs.inodes_trend)),
                None => (String::new(), "no limit".to_owned(), String::new()),
            };
            let line = format!(
                "{} {} {} {} {} {} {}",
                cell(&path(&fs.mount.mount_point, MOUNT), MOUNT),
                cell(&escape::bounded(&fs.mount.fs_type, 8), 8),
                right(&percent(fs.bytes_used()), 6),
                right(&bytes(fs.available_bytes), 8),
                right(&inodes, 7),
                right(&free, 12),
                right(&taken, 9),
            );
            out.push_str(line.trim_end());
            out.push('\n');
            let notes = notes(fs);
            if !notes.is_empty() {
                self.sheet.row(out, "    ", &notes.join("; "));
            }
        }
        self.sheet.more(out, list.len(), "file systems");
        let rest = files.file_systems.len() - list.len();
        if rest > 0 && !self.sheet.tight {
            let line = format!(
                "  and {} empty, or on the same space (overlay)",
                count(rest as u64)
            );
            out.push_str(&self.sheet.style.paint(Tone::Faint, &line));
            out.push('\n');
        }
    }

    pub(super) fn places(&self, out: &mut String) {
        let Some(files) = self.files.filter(|f| !f.places.is_empty()) else {
            return;
        };
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {} {}",
                cell("Files created in", WHO + 2),
                right("files", 9),
                right("rate", 10),
                right("p50 size", 9),
                right("removed", 8),
                right("fsync", 8),
            ),
        );
        for work in files.places.iter().take(self.sheet.shown) {
            self.place(out, work);
        }
        self.sheet.more(out, files.places.len(), "directories");
        let other = &files.other;
        if other.created + other.unlinked + other.syncs.count > 0 {
            let work = Work {
                path: Some(b"other directories".to_vec()),
                examples: Vec::new(),
                team: Default::default(),
                ..other.clone()
            };
            self.place(out, &work);
        }
    }

    fn place(&self, out: &mut String, work: &Work) {
        let zero = |n: u64| if n == 0 { String::new() } else { count(n) };
        let at = match &work.path {
            Some(at) => path(at, WHO + 2),
            None => "a directory not known".to_owned(),
        };
        let line = format!(
            "{} {} {} {} {} {}",
            cell(&at, WHO + 2),
            right(&zero(work.created), 9),
            right(
                &match work.created {
                    0 => String::new(),
                    n => rate(n, self.length_ns),
                },
                10
            ),
            right(&median_size(&work.sizes), 9),
            right(&zero(work.unlinked), 8),
            right(&zero(work.syncs.count), 8),
        );
        out.push_str(line.trim_end());
        out.push('\n');
        let mut notes = Vec::new();
        if !work.team.name.is_empty() {
            notes.push(team(&work.team));
        }
        if work.deleted {
            notes.push("the directory itself was removed".to_owned());
        }
        if work.syncs.count > 0 {
            let [p50, p99, _] = quantiles(&work.syncs);
            notes.push(format!("fsync p50 {p50}, p99 {p99}"));
        }
        if !work.examples.is_empty() {
            let names: Vec<String> = work
                .examples
                .iter()
                .take(2)
                .map(|name| escape::bounded(name, 24))
                .collect();
            notes.push(format!("such as {}", names.join(", ")));
        }
        if !notes.is_empty() {
            self.sheet.row(out, "    ", &notes.join("; "));
        }
    }

    pub(super) fn refused(&self, out: &mut String) {
        let Some(files) = self.files.filter(|f| !f.refused.is_empty()) else {
            return;
        };
        let title = format!(
            "{} {}  call and error",
            cell("Refused for want of space", WHO),
            right("times", 8)
        );
        self.sheet.heading(out, &title);
        for r in files.refused.iter().take(self.sheet.shown) {
            let left = format!(
                "{} {}  ",
                cell(&team_cell(&r.team, WHO), WHO),
                right(&count(r.count), 8)
            );
            let mut text = format!("{} {}", r.call, errno::name(r.errno));
            if let Some(at) = &r.mount_point {
                text.push_str(&format!(" on {}", path(at, 40)));
            }
            if !r.path.is_empty() {
                text.push_str(&format!(", such as {}", path(&r.path, 60)));
            }
            text.push_str(&format!(
                "; {} to {}",
                seconds(r.first_ns),
                seconds(r.last_ns)
            ));
            self.sheet.row(out, &left, &text);
        }
        self.sheet.more(out, files.refused.len(), "kinds");
    }
}

/// Hardly anything is in it, and nothing comes: /dev, an empty tmpfs.
pub(in crate::present) fn idle(fs: &FileSystem) -> bool {
    const HARDLY: f64 = 0.01;
    let still = fs.bytes.per_s == 0.0 && fs.inodes_trend.per_s == 0.0;
    fs.total_bytes == 0
        || still && fs.bytes_used() < HARDLY && fs.inodes_used().unwrap_or(0.0) < HARDLY
}

/// It has a space of its own, and something is in it.
pub(in crate::present) fn told(fs: &&FileSystem) -> bool {
    fs.space_of.is_none() && !idle(fs)
}

/// Time until nothing is left, s, and whether it is inodes that end first; `None` where that is far away.
pub(in crate::present) fn ends_soon(fs: &FileSystem) -> Option<(f64, bool)> {
    fs.ends().filter(|(s, _)| *s <= TOLD_S)
}

/// Taken a second: `31/s`; `-` before what was given back.
pub(in crate::present) fn pace(trend: &Trend) -> String {
    let per_s = trend.per_s;
    if per_s == 0.0 {
        String::new()
    } else if per_s < 0.0 {
        format!("-{}/s", mean(-per_s))
    } else {
        format!("{}/s", mean(per_s))
    }
}

/// What ends when.
pub(in crate::present) fn notes(fs: &FileSystem) -> Vec<String> {
    let soon = |trend: &Trend| trend.seconds_left.is_some_and(|s| s <= TOLD_S);
    let mut notes = Vec::new();
    for (trend, what) in [(&fs.inodes_trend, "inodes end"), (&fs.bytes, "space ends")] {
        if let Some(ends) = ends(trend).filter(|_| soon(trend)) {
            notes.push(format!("{what} {ends}"));
        }
    }
    // What ends first comes first.
    if fs.ends().is_some_and(|(_, inodes)| !inodes) {
        notes.reverse();
    }
    notes
}
