//! The sections about journals, fsync, and who sleeps in D.

use super::{
    Page, WHO,
    words::{path, quantiles, reason, team, team_cell},
};
use crate::{
    aggregate::journal::{Changes, Disk, told},
    present::{
        escape,
        layout::{cell, right},
        units::{count, duration, percent, plural, rate},
    },
};

/// Columns of a device.
const DEVICE: usize = 23;

impl Page<'_> {
    pub(super) fn journals(&self, out: &mut String) {
        let Some(journal) = self.journal else {
            return;
        };
        let list: Vec<&Disk> = journal.disks.iter().filter(busy).collect();
        if list.is_empty() {
            return;
        }
        let heads = ["commits", "p50", "p95", "p99", "longest", "every"];
        let heads: Vec<String> = heads.iter().map(|head| right(head, 8)).collect();
        let title = format!("{} {}", cell("Journals", DEVICE), heads.join(" "));
        self.sheet.heading(out, &title);
        for disk in list.iter().take(self.sheet.shown) {
            let c = &disk.commits;
            let known = |text: String| {
                if c.total.count > 0 {
                    text
                } else {
                    String::new()
                }
            };
            let [p50, p95, p99] = c.quantiles_ns.map(|ns| known(duration(ns)));
            let every = match c.interval.count {
                0 => String::new(),
                _ => duration(c.interval.mean_ns()),
            };
            let cells = [
                count(c.total.count),
                p50,
                p95,
                p99,
                known(duration(c.total.max_ns)),
                every,
            ];
            let cells: Vec<String> = cells.iter().map(|text| right(text, 8)).collect();
            let line = format!(
                "{} {}",
                cell(&path(&disk.name, DEVICE), DEVICE),
                cells.join(" ")
            );
            out.push_str(line.trim_end());
            out.push('\n');
            self.sheet.row(out, "    ", &about(disk).join("; "));
        }
        self.sheet.more(out, list.len(), "journals");
    }

    pub(super) fn syncs(&self, out: &mut String) {
        let disks = self.journal.map(|j| j.disks.as_slice()).unwrap_or_default();
        let list: Vec<_> = disks
            .iter()
            .flat_map(|d| d.syncs.iter().map(move |s| (d, s)))
            .collect();
        if list.is_empty() {
            return;
        }
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {} {}",
                cell("fsync by", WHO),
                right("calls", 8),
                right("rate", 10),
                right("p50", 8),
                right("p99", 8),
                right("longest", 8),
            ),
        );
        let several = disks.iter().filter(|d| !d.syncs.is_empty()).count() > 1;
        for (disk, s) in list.iter().take(self.sheet.shown) {
            let [p50, p99, longest] = quantiles(&s.calls);
            let line = format!(
                "{} {} {} {} {} {}",
                cell(&team_cell(&s.team, WHO), WHO),
                right(&count(s.calls.count), 8),
                right(&rate(s.calls.count, self.length_ns), 10),
                right(&p50, 8),
                right(&p99, 8),
                right(&longest, 8),
            );
            out.push_str(line.trim_end());
            out.push('\n');
            let mut notes = Vec::new();
            if several {
                notes.push(format!("on {}", path(&disk.name, 40)));
            }
            if s.under_way > 0 {
                notes.push(format!(
                    "{} in it now, the longest for {}",
                    count(s.under_way),
                    duration(s.under_way_ns)
                ));
            }
            if s.calls.failed > 0 {
                notes.push(format!("{} failed", count(s.calls.failed)));
            }
            if !notes.is_empty() {
                self.sheet.row(out, "    ", &notes.join("; "));
            }
        }
        self.sheet.more(out, list.len(), "callers");
    }

    pub(super) fn sleeps(&self, out: &mut String) {
        let Some(journal) = self.journal.filter(|j| !j.sleeps.is_empty()) else {
            return;
        };
        let title = format!(
            "{} {} {} {}  for",
            cell("Asleep in D (1 ms or longer)", WHO),
            right("times", 7),
            right("time", 8),
            right("longest", 8)
        );
        self.sheet.heading(out, &title);
        for s in journal.sleeps.iter().take(self.sheet.shown) {
            let left = format!(
                "{} {} {} {}  ",
                cell(&team_cell(&s.team, WHO), WHO),
                right(&count(s.count()), 7),
                right(&duration(s.total_ns()), 8),
                right(&duration(s.longest_ns()), 8),
            );
            self.sheet.row(out, &left, reason(s.waits_for));
            let stack = told(&s.stack);
            if !stack.is_empty() && !self.sheet.tight {
                let stack = escape::name(stack.as_bytes());
                self.sheet.row(out, "    ", &stack);
            }
        }
        self.sheet.more(out, journal.sleeps.len(), "reasons");
        let now: Vec<String> = journal
            .asleep
            .iter()
            .take(self.sheet.shown.min(3))
            .map(|a| {
                let name = escape::bounded(&a.comm, 16);
                let (tid, time) = (a.tid, duration(a.for_ns));
                format!("{name} {tid} for {time} ({})", reason(a.waits_for))
            })
            .collect();
        if !now.is_empty() {
            let more = match journal.asleep.len() - now.len() {
                0 => String::new(),
                more => format!(", and {}", plural(more as u64, "more task", "more tasks")),
            };
            let text = format!("now: {}{more}", now.join(", "));
            self.sheet.row(out, "    ", &text);
        }
    }
}

/// It committed something, or is about to.
pub(in crate::present) fn busy(disk: &&Disk) -> bool {
    disk.commits.total.count > 0 || disk.commits.under_way_ns.is_some()
}

/// Where it is mounted and how, what its commits spend their time on, and who changes most.
pub(in crate::present) fn about(disk: &Disk) -> Vec<String> {
    let c = &disk.commits;
    let mut notes = Vec::new();
    if let Some(mount) = &disk.mount {
        notes.push(path(&mount.mount_point, 40));
    }
    if let Some(ns) = c.under_way_ns {
        notes.push(format!("one under way for {}", duration(ns)));
    }
    if c.total.total_ns > 0 {
        let share = |ns: u64| percent(ns as f64 / c.total.total_ns as f64);
        notes.push(format!(
            "logging {}, flushing {}, locking {}",
            share(c.logging.total_ns),
            share(c.flushing.total_ns),
            share(c.locking.total_ns)
        ));
    }
    notes.push(format!(
        "data={}, commit={}",
        escape::bounded(disk.data_mode().as_bytes(), 16),
        disk.commit_interval_s()
    ));
    if c.total.count > 0 && !c.exact {
        notes.push("percentiles to an eighth".to_owned());
    }
    let all: u64 = disk.changes.iter().map(|c| c.blocks).sum();
    let most = disk.changes.iter().find(|c: &&Changes| c.blocks > 0);
    if let Some(most) = most {
        notes.push(format!(
            "{} of the changes by {}",
            percent(most.blocks as f64 / all.max(1) as f64),
            team(&most.team)
        ));
    }
    notes
}
