//! `stallscope udp`: sockets that drop, their queues, and what the kernel counts.

pub(super) mod json;
#[cfg(test)]
mod tests;

use json::UdpJson;

use std::net::SocketAddr;

use super::{
    Style, escape,
    layout::{cell, right},
    page::{self, Sheet, labelled},
    spark::spark,
    units::{bytes, count, duration, mean, percent, plural},
};
use crate::aggregate::{
    Window,
    udp::{Agreement, Dropping, Settings, Udp, UdpCounters},
};

/// Columns of the numbers at the right of a row.
const NUMBERS: usize = 49;
/// Columns of a queue over time.
const SPARK: usize = 40;

/// The page; ends with a newline. Where it has a screen of so many `rows`, it is cut to that.
pub fn page(window: &Window, rows: Option<usize>, style: Style) -> String {
    let udp = window.udp.as_deref();
    let unseen = udp.map_or_else(Vec::new, |udp| unseen(udp, window));
    let foot = page::foot(window, &unseen, style);
    page::fit(&foot, rows, style, |sheet| {
        let mut out = String::new();
        let what = match udp.and_then(|udp| udp.total) {
            Some(n) => plural(n, "UDP socket", "UDP sockets"),
            None => "no count of sockets".to_owned(),
        };
        page::header(&mut out, window, &what, style);
        if let Some(udp) = udp {
            let page = Page {
                udp,
                length_ns: window.duration_ns,
                sheet,
            };
            page.dropping(&mut out);
            page.queues(&mut out);
            page.counters(&mut out);
        }
        out
    })
}

/// The same, and more, as one JSON document on one line.
pub fn json(window: &Window) -> String {
    page::document(window, window.udp.as_deref().map(UdpJson::of))
}

/// How near a socket's queue is to its limit: the fullest, in words.
pub(super) fn closest(udp: &Udp) -> Option<String> {
    let queue = udp.queues.iter().find(|q| q.max_bytes > 0)?;
    let limit = queue.rcvbuf_bytes?;
    Some(format!(
        "{} of {} queued at {} (UDP)",
        bytes(queue.max_bytes),
        bytes(limit),
        queue.local
    ))
}

pub(super) fn unseen(udp: &Udp, window: &Window) -> Vec<String> {
    let parts = [
        (
            "udp_drops",
            "why datagrams are dropped, and the worst tenth of a second",
        ),
        ("udp_census", "buffer limits; queues come from /proc"),
        ("udp_owners", "which process holds a socket"),
    ];
    let mut out = page::without(window, &parts);
    if udp.other_drops > 0 {
        let n = plural(udp.other_drops, "datagram", "datagrams");
        out.push(format!("which sockets dropped {n} more"));
    }
    if udp.census_left_out > 0 {
        let n = plural(udp.census_left_out, "more socket", "more sockets");
        out.push(format!("the queues of {n}"));
    }
    out
}

struct Page<'a> {
    udp: &'a Udp,
    /// Length of the window.
    length_ns: u64,
    sheet: Sheet,
}

impl Page<'_> {
    fn dropping(&self, out: &mut String) {
        let list = &self.udp.sockets;
        if list.is_empty() {
            if self.udp.agreement.traced.is_some() {
                let none = "No socket dropped a datagram.";
                self.sheet.heading(out, none);
            }
            return;
        }
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {} {}",
                cell("Sockets that drop", self.room()),
                right("drops", 11),
                right("rate", 8),
                right("at worst", 9),
                right("buffer", 8),
                right("lasts", 8),
            ),
        );
        for s in list.iter().take(self.sheet.shown) {
            let limit = s.rcvbuf_bytes.map_or_else(|| "?".to_owned(), bytes);
            let line = format!(
                "{} {} {} {} {} {}",
                self.address(out, s.local),
                right(&count(s.drops), 11),
                right(&per_s(s.drops, self.length_ns), 8),
                right(&short(s.peak_per_s), 9),
                right(&limit, 8),
                right(&lasts(s), 8),
            );
            out.push_str(line.trim_end());
            out.push('\n');
            self.sheet.row(out, "    ", &whose(s));
            if let Some(queue) = self.queue(s) {
                self.sheet.row(out, "    ", &queue);
            }
        }
        self.sheet.more(out, list.len(), "sockets");
        let text = agreement(&self.udp.agreement);
        if let Some(text) = text {
            self.sheet.row(out, "", &text);
        }
    }

    /// Columns of an address.
    fn room(&self) -> usize {
        self.sheet.style.columns().saturating_sub(NUMBERS).max(22)
    }

    /// An address in its columns. One that does not fit is never cut: it stands on the line above.
    fn address(&self, out: &mut String, local: SocketAddr) -> String {
        let (text, room) = (local.to_string(), self.room());
        if text.len() <= room {
            return cell(&text, room);
        }
        out.push_str(&text);
        out.push('\n');
        cell("", room)
    }

    /// `queue ▁▇▇▁  most 212 kB, 276 datagrams`: over the window.
    fn queue(&self, s: &Dropping) -> Option<String> {
        let most = s.queue.iter().max_by_key(|p| p.bytes)?;
        let limit = s.rcvbuf_bytes.unwrap_or(most.bytes);
        let held = most.datagrams.map_or_else(String::new, |n| {
            format!(", {}", plural(n, "datagram", "datagrams"))
        });
        Some(format!(
            "queue {} at most {}{held}",
            over_time(s, limit, self.length_ns, SPARK),
            bytes(most.bytes),
        ))
    }

    fn queues(&self, out: &mut String) {
        let list = &self.udp.queues;
        if list.is_empty() {
            return;
        }
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {}",
                cell("Waiting to be read", self.room()),
                right("now", 9),
                right("most", 9),
                right("limit", 10),
                right("full", 8),
            ),
        );
        for q in list.iter().take(self.sheet.shown) {
            let (limit, full) = match q.rcvbuf_bytes {
                Some(limit) => (bytes(limit), percent(q.fill())),
                None => ("?".to_owned(), String::new()),
            };
            let line = format!(
                "{} {} {} {} {}",
                self.address(out, q.local),
                right(&bytes(q.bytes), 9),
                right(&bytes(q.max_bytes), 9),
                right(&limit, 10),
                right(&full, 8),
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
        self.sheet.more(out, list.len(), "sockets");
    }

    fn counters(&self, out: &mut String) {
        let lines = counted(self.udp, self.length_ns);
        let limits = limits(&self.udp.settings);
        let any = !lines.is_empty() || !limits.is_empty();
        if any && !self.sheet.tight {
            out.push('\n');
        }
        for line in lines {
            labelled(out, "Kernel counts", &line, self.sheet.style);
        }
        if !limits.is_empty() {
            labelled(out, "Limits", &limits.join(", "), self.sheet.style);
        }
    }
}

/// What the kernel counted, a line for each family: `IPv4: in 10,000/s, out 10,000/s, RcvbufErrors 7`.
pub(super) fn counted(udp: &Udp, length_ns: u64) -> Vec<String> {
    [("IPv4", &udp.counters.v4), ("IPv6", &udp.counters.v6)]
        .into_iter()
        .map(|(name, c)| (name, family(c, length_ns)))
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("{name}: {}", text.join(", ")))
        .collect()
}

/// What moved, in words.
fn family(c: &UdpCounters, length_ns: u64) -> Vec<String> {
    let traffic = [("in", c.in_datagrams), ("out", c.out_datagrams)];
    let mut text: Vec<String> = traffic
        .into_iter()
        .filter_map(|(name, n)| n.filter(|n| *n > 0).map(|n| (name, n)))
        .map(|(name, n)| format!("{name} {}", per_s(n, length_ns)))
        .collect();
    // A label of the kernel's own, as nstat shows it.
    let errors = [
        ("NoPorts", c.no_ports),
        ("RcvbufErrors", c.rcvbuf_errors),
        ("MemErrors", c.mem_errors),
        ("InCsumErrors", c.csum_errors),
        ("InErrors", c.in_errors),
        ("SndbufErrors", c.sndbuf_errors),
    ];
    text.extend(
        errors
            .into_iter()
            .filter_map(|(name, n)| n.filter(|n| *n > 0).map(|n| (name, n)))
            .map(|(name, n)| format!("{name} {}", count(n))),
    );
    text
}

/// The limits of buffers, as far as they are known: `rmem_default 212,992`, ...
pub(super) fn limits(s: &Settings) -> Vec<String> {
    let mut limits: Vec<String> = [
        ("rmem_default", s.rmem_default_bytes),
        ("rmem_max", s.rmem_max_bytes),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| format!("{name} {}", count(value))))
    .collect();
    if let (Some(used), Some([_, _, high])) = (s.udp_mem_used_bytes, s.udp_mem_bytes) {
        limits.push(format!("memory {} of {}", bytes(used), bytes(high)));
    }
    limits
}

/// So many in a stretch of time, per second; empty for none.
pub(super) fn per_s(n: u64, length_ns: u64) -> String {
    match n {
        0 => String::new(),
        n => short(n as f64 * 1e9 / length_ns.max(1) as f64),
    }
}

/// A socket's queue over the window, in at most so many columns, against the limit.
pub(super) fn over_time(s: &Dropping, limit: u64, length_ns: u64, columns: usize) -> String {
    let points = s.queue.iter().map(|p| (p.at_ns, p.bytes));
    spark(points, limit, length_ns, columns)
}

/// A rate in at most 8 columns: `7,243/s`, `1.2 M/s`.
fn short(per_s: f64) -> String {
    if per_s < 99_999.5 {
        format!("{}/s", mean(per_s))
    } else if per_s < 999_500.0 {
        format!("{:.0} k/s", per_s / 1e3)
    } else if per_s < 99_950_000.0 {
        format!("{:.1} M/s", per_s / 1e6)
    } else {
        format!("{:.0} M/s", per_s / 1e6)
    }
}

/// How long the buffer lasts at the worst rate.
pub(super) fn lasts(s: &Dropping) -> String {
    let (Some(limit), Some(each)) = (s.rcvbuf_bytes, s.datagram_bytes) else {
        return "?".to_owned();
    };
    if each < 1.0 || s.peak_per_s <= 0.0 {
        return "?".to_owned();
    }
    duration((limit as f64 / each / s.peak_per_s * 1e9) as u64)
}

/// Who reads it, why it drops, who sends.
pub(super) fn whose(s: &Dropping) -> String {
    let mut pieces: Vec<String> = s
        .owners
        .iter()
        .take(3)
        .map(|(p, fd)| {
            let name = escape::bounded(&p.comm, 20);
            format!("{name} {} (fd {fd})", p.pid)
        })
        .collect();
    if s.owners.len() > 3 {
        pieces.push(format!("{} more", s.owners.len() - 3));
    }
    if pieces.is_empty() {
        pieces.push(format!("user id {}", s.uid));
    }
    let mut text = pieces.join(", ");
    if let Some(r) = s.reasons {
        for (n, why) in [
            (r.memory, "for want of memory (udp_mem)"),
            (r.other, "for other reasons"),
        ] {
            if n > 0 {
                text.push_str(&format!("; {} {why}", count(n)));
            }
        }
    }
    match (s.remote, s.sender) {
        (Some(remote), _) => text.push_str(&format!("; connected to {remote}")),
        (None, Some(sender)) => text.push_str(&format!("; lately from {sender}")),
        _ => {}
    }
    if let Some(each) = s.datagram_bytes {
        let about = if s.datagram_at_most { "up to " } else { "" };
        let each = count(each.round() as u64);
        text.push_str(&format!("; a datagram takes {about}{each} bytes"));
    }
    if let Some(before) = s.before.filter(|n| *n > 0) {
        text.push_str(&format!("; dropped {} before", count(before)));
    }
    text
}

/// Whether three counts of the same drops agree.
pub(super) fn agreement(a: &Agreement) -> Option<String> {
    let mut counts = Vec::new();
    if let Some(n) = a.traced {
        counts.push(format!("seen {}", count(n)));
    }
    if let Some(n) = a.rcvbuf_errors {
        counts.push(format!("RcvbufErrors {}", count(n)));
    }
    if let Some(n) = a.sockets {
        counts.push(format!("the sockets' own counters {}", count(n)));
    }
    if counts.len() < 2 {
        return None;
    }
    let all = [a.traced, a.rcvbuf_errors, a.sockets];
    let mut known = all.iter().flatten();
    let first = known.next();
    let verdict = if known.all(|n| Some(n) == first) {
        "they agree"
    } else if a.traced > a.rcvbuf_errors && a.rcvbuf_errors.is_some() {
        "the counters were first read a moment after watching began"
    } else if a.traced < a.rcvbuf_errors && a.traced.is_some() {
        "some were dropped before each was watched"
    } else {
        "sockets that were closed took their counters along, and bad checksums count there as well"
    };
    Some(format!(
        "Drops at full buffers: {}; {verdict}",
        counts.join(", ")
    ))
}
