//! The sections about limits and failures: ports, queues, failed connects, gaps, the kernel's counters.

use super::{
    per_s,
    sections::{Page, WHO},
    words::{listener, peer, process, quantiles, stay},
};
use crate::{
    aggregate::tcp::{Gap, ListenQueue, Ports},
    present::{
        errno,
        layout::{KEEP, cell, right},
        page::labelled,
        style::Tone,
        units::{count, duration, percent, plural, seconds},
    },
};

impl Page<'_> {
    pub(super) fn ports(&self, out: &mut String) {
        let used = |p: &&Ports| p.used() + p.failures > 0;
        let list: Vec<_> = self.tcp.ports.iter().filter(used).collect();
        if list.is_empty() {
            return;
        }
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {}",
                cell("Ports to", WHO),
                right("used", 7),
                right("of", 7),
                right("opened", 9),
                right("we close", 9),
            ),
        );
        for p in list.iter().take(self.sheet.shown) {
            let left = format!(
                "{} {} {} {} {}  ",
                cell(&peer(&p.peer, WHO), WHO),
                right(&count(p.used()), 7),
                right(&count(p.usable), 7),
                right(&per_s(p.opened_per_s), 9),
                right(&per_s(p.closed_by_us_per_s), 9),
            );
            let (first, rest) = port_words(p);
            self.sheet.row(out, &left, &first);
            if !rest.is_empty() {
                self.sheet.row(out, "    ", &rest);
            }
        }
        self.sheet.more(out, list.len(), "destinations");
    }

    pub(super) fn queues(&self, out: &mut String) {
        let busy = |q: &&ListenQueue| q.overflows + q.queue_max + q.syn_queue_max + q.accepted > 0;
        let list: Vec<_> = self.tcp.listeners.iter().filter(busy).collect();
        let idle = self.tcp.listeners.len() - list.len();
        if list.is_empty() {
            return;
        }
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {} {} {} {}",
                cell("Waiting for accept()", WHO),
                right("now", 5),
                right("most", 5),
                right("limit", 5),
                right("refused", 7),
                right("accepted", 9),
                right("p50", 7),
                right("p99", 7),
            ),
        );
        for q in list.iter().take(self.sheet.shown) {
            let (p50, p99) = quantiles(&q.wait);
            let inexact = if q.overflows_inexact { "~" } else { "" };
            let known = |n: u64| {
                if q.looks > 0 {
                    count(n)
                } else {
                    "-".to_owned()
                }
            };
            let line = format!(
                "{} {} {} {} {} {} {} {}",
                cell(&listener(&q.address, WHO), WHO),
                right(&known(q.queue), 5),
                right(&known(q.queue_max), 5),
                right(&known(q.limit), 5),
                right(&format!("{inexact}{}", count(q.overflows)), 7),
                right(
                    &if q.tcp {
                        count(q.accepted)
                    } else {
                        String::new()
                    },
                    9
                ),
                right(&p50, 7),
                right(&p99, 7),
            );
            out.push_str(line.trim_end());
            out.push('\n');
            let mut notes = Vec::new();
            if !q.owners.is_empty() {
                let owners: Vec<String> = q.owners.iter().take(3).map(process).collect();
                let more = q.owners.len().saturating_sub(3);
                let more = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                notes.push(format!("{}{more}", owners.join(", ")));
            }
            if q.full > 0 {
                notes.push(format!(
                    "full at {} of {} looks",
                    count(q.full),
                    count(q.looks)
                ));
            }
            if q.syn_queue_max > 0 {
                let most = plural(q.syn_queue_max, "handshake", "handshakes");
                notes.push(format!("up to {most} not finished"));
            }
            if !notes.is_empty() {
                self.sheet.row(out, "    ", &notes.join("; "));
            }
        }
        self.sheet.more(out, list.len(), "listeners");
        if idle > 0 && !self.sheet.tight {
            let idle = plural(idle as u64, "listener", "listeners");
            let line = format!("  {idle} with nobody waiting");
            out.push_str(&self.sheet.style.paint(Tone::Faint, &line));
            out.push('\n');
        }
    }

    pub(super) fn failed(&self, out: &mut String) {
        let list = &self.tcp.failed;
        if list.is_empty() {
            return;
        }
        let title = format!(
            "{} {}  error",
            cell("Failed connects to", WHO),
            right("times", 8)
        );
        self.sheet.heading(out, &title);
        for f in list.iter().take(self.sheet.shown) {
            let left = format!(
                "{} {}  ",
                cell(&peer(&f.peer, WHO), WHO),
                right(&count(f.count), 8)
            );
            let by = if f.process.pid == 0 {
                "several processes".to_owned()
            } else {
                process(&f.process)
            };
            let text = format!(
                "{} by {by}, {} to {}",
                errno::name(f.errno),
                seconds(f.first_ns),
                seconds(f.last_ns)
            );
            self.sheet.row(out, &left, &text);
        }
        self.sheet.more(out, list.len(), "kinds");
    }

    pub(super) fn gaps(&self, out: &mut String) {
        let list: Vec<&Gap> = self.tcp.gaps.iter().filter(was_away).collect();
        if list.is_empty() {
            return;
        }
        let title = format!(
            "{} {}  failed connects",
            cell("Nobody listened on", WHO),
            right("for", 8)
        );
        self.sheet.heading(out, &title);
        for g in list.iter().copied().take(self.sheet.shown) {
            let length = gap_length(g, (self.seconds * 1e9) as u64);
            let left = format!("{} {}  ", cell(&peer(&g.peer, WHO), WHO), right(&length, 8));
            self.sheet.row(out, &left, &gap_words(g));
        }
        self.sheet.more(out, list.len(), "times");
    }

    /// The kernel's own counters, those that grew and mean trouble.
    pub(super) fn counters(&self, out: &mut String) {
        let c = &self.tcp.counters;
        let text: Vec<String> = [
            ("ListenOverflows", c.listen_overflows),
            ("ListenDrops", c.listen_drops),
            ("TCPReqQFullDrop", c.syn_queue_drops),
            ("SyncookiesSent", c.syncookies_sent),
            ("TCPTimeWaitOverflow", c.time_wait_overflow),
        ]
        .into_iter()
        .filter_map(|(name, grown)| Some((name, grown.filter(|n| *n > 0)?)))
        .map(|(name, grown)| format!("{name}{KEEP}+{}", count(grown)))
        .collect();
        if !text.is_empty() {
            if !self.sheet.tight {
                out.push('\n');
            }
            labelled(out, "Kernel counts", &text.join(", "), self.sheet.style);
        }
    }
}

/// What there is to say about the ports to a destination: at the row's end, and below it.
pub(in crate::present) fn port_words(p: &Ports) -> (String, String) {
    let first = match p.seconds_left {
        Some(s) => format!("end in {}", stay((s * 1e9) as u64)),
        None => percent(p.used() as f64 / p.usable.max(1) as f64),
    };
    let mut rest = Vec::new();
    if p.failures > 0 {
        let times = plural(p.failures, "connect", "connects");
        rest.push(format!("{times} failed with EADDRNOTAVAIL"));
    }
    if p.closed_by_us_per_s > 0.0 {
        rest.push(format!(
            "levels off at {}",
            count(p.levels_off_at.round() as u64)
        ));
        if let Some(closer) = &p.closer {
            rest.push(format!("{} closes first", process(closer)));
        }
    }
    if p.reusable > 0 {
        let n = count(p.reusable);
        rest.push(format!("{n} more in time_wait can be reused"));
    }
    (first, rest.join("; "))
}

/// What nobody was ever seen to serve (a cache daemon that is not installed, looked for at every lookup) was not
/// away: it stands among the failed connects.
pub(in crate::present) fn was_away(g: &&Gap) -> bool {
    g.served_before || g.end_ns.is_some()
}

/// How long nobody listened: `2.00 s`, and `>8.00 s` when it lasts beyond a window of `window_ns`.
pub(in crate::present) fn gap_length(g: &Gap, window_ns: u64) -> String {
    match g.end_ns {
        Some(end) => duration(end.saturating_sub(g.start_ns)),
        None => format!(">{}", duration(window_ns.saturating_sub(g.start_ns))),
    }
}

/// What failed in a gap, and how it ended.
pub(in crate::present) fn gap_words(g: &Gap) -> String {
    let failed: Vec<String> = g
        .failed
        .iter()
        .map(|(e, n)| format!("{} {}", count(*n), errno::name(*e)))
        .collect();
    let mut text = failed.join(", ");
    if let Some((first, _)) = g.refused.first() {
        let more = g.refused.len() - 1;
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        text.push_str(&format!(", of {}{more}", process(first)));
    }
    text.push_str(&format!("; from {}", seconds(g.start_ns)));
    match (&g.back, g.end_ns) {
        (Some(back), _) => text.push_str(&format!("; then {} listened", process(back))),
        (None, Some(_)) => text.push_str("; then one succeeded"),
        (None, None) => {}
    }
    text
}
