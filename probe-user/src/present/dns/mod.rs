//! `stallscope dns`: who asks what, what becomes of it, and what waiting for it costs.

pub(super) mod json;
#[cfg(test)]
mod tests;

use super::{
    Style, escape,
    layout::{KEEP, cell, right},
    names,
    page::{self, Sheet},
    units::{count, duration, mean, percent, plural},
};
use crate::aggregate::{
    Peer, Window,
    dns::{Client, Dns, GroupId, GroupResolver, Name, Resolver, Sums, rcode_name, type_name},
};

/// Columns of the numbers at the right of a row.
const NUMBERS: usize = 58;

/// The page; ends with a newline. Where it has a screen of so many `rows`, it is cut to that.
pub fn page(window: &Window, rows: Option<usize>, style: Style) -> String {
    let dns = window.dns.as_deref();
    let parts = [("dns", "questions and answers")];
    let foot = page::foot(window, &page::without(window, &parts), style);
    page::fit(&foot, rows, style, |sheet| {
        let mut out = String::new();
        let seconds = window.duration_ns.max(1) as f64 / 1e9;
        let what = dns.map_or_else(
            || "no questions".to_owned(),
            |dns| {
                let asked = dns.total.asked;
                format!(
                    "{}, {}/s, at worst {}/s",
                    plural(asked, "DNS question", "DNS questions"),
                    mean(asked as f64 / seconds),
                    mean(dns.peak_per_s),
                )
            },
        );
        page::header(&mut out, window, &what, style);
        if let Some(dns) = dns {
            let page = Page { dns, sheet };
            page.clients(&mut out);
            page.names(&mut out);
            page.servers(&mut out);
            page.waiting(&mut out);
            page.drops(&mut out, window);
        }
        out
    })
}

/// The same, and more, as one JSON document on one line; with what UDP sockets dropped.
pub fn json(window: &Window) -> String {
    page::document(window, json::Both::of(window))
}

struct Page<'a> {
    dns: &'a Dns,
    sheet: Sheet,
}

impl Page<'_> {
    /// Columns of what a row is about.
    fn room(&self) -> usize {
        self.sheet.style.columns().saturating_sub(NUMBERS).max(22)
    }

    fn heading(&self, out: &mut String, what: &str) {
        self.sheet.heading(
            out,
            &format!(
                "{} {} {} {} {} {} {} {}",
                cell(what, self.room()),
                right("asked", 8),
                right("same", 5),
                right("retried", 7),
                right("no answer", 9),
                right("p50", 7),
                right("p99", 7),
                right("lost", 8),
            ),
        );
    }

    fn line(&self, out: &mut String, who: &str, s: &Sums) {
        let some = |n: u64| if n > 0 { count(n) } else { String::new() };
        let same = match s.duplicates {
            0 => String::new(),
            n => percent(n as f64 / s.asked.max(1) as f64),
        };
        let at = |q| {
            if s.latency.count > 0 {
                duration(s.latency.durations.quantile(q))
            } else {
                String::new()
            }
        };
        let lost = match s.timed_out.total_ns {
            0 => String::new(),
            ns => duration(ns),
        };
        let line = format!(
            "{} {} {} {} {} {} {} {}",
            cell(who, self.room()),
            right(&count(s.asked), 8),
            right(&same, 5),
            right(&some(s.retried), 7),
            right(&some(s.unanswered), 9),
            right(&at(0.5), 7),
            right(&at(0.99), 7),
            right(&lost, 8),
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }

    fn clients(&self, out: &mut String) {
        let list = &self.dns.clients;
        if list.is_empty() {
            self.sheet.heading(out, "Nobody asked anything.");
            return;
        }
        self.heading(out, "Who asks");
        for c in list.iter().take(self.sheet.shown) {
            self.line(out, &group(&c.group), &c.sums);
            let notes = notes(c);
            if !notes.is_empty() {
                self.sheet.row(out, "    ", &notes.join("; "));
            }
            let of = |r: &&GroupResolver| r.group == c.group;
            // A group whose processes differ is shown by two of them at most.
            for r in self.dns.resolvers.iter().filter(of).take(2) {
                if !self.sheet.tight {
                    self.sheet.row(out, "    ", &resolver(&r.resolver));
                }
            }
        }
        self.sheet.more(out, list.len(), "groups of processes");
    }

    fn names(&self, out: &mut String) {
        let list = &self.dns.names;
        if list.is_empty() {
            return;
        }
        self.heading(out, "For what");
        for n in list.iter().take(self.sheet.shown) {
            self.line(
                out,
                &question(n.name.as_ref(), n.qtype, self.room()),
                &n.sums,
            );
        }
        self.sheet.more(out, list.len(), "names");
        if self.dns.other_names.asked > 0 {
            self.line(out, "further names", &self.dns.other_names);
        }
    }

    fn servers(&self, out: &mut String) {
        let list = &self.dns.servers;
        if list.is_empty() {
            return;
        }
        self.heading(out, "Whom");
        for s in list.iter().take(self.sheet.shown) {
            let tcp = matches!(&s.peer, Peer::Inet { transport, .. } if transport == "tcp");
            let name = names::peer(&s.peer, 60) + if tcp { " (TCP)" } else { "" };
            if name.chars().count() <= self.room() {
                self.line(out, &name, &s.sums);
            } else {
                // An address is never cut.
                out.push_str(&name);
                out.push('\n');
                self.line(out, "", &s.sums);
            }
        }
        self.sheet.more(out, list.len(), "servers");
    }

    fn waiting(&self, out: &mut String) {
        let list = &self.dns.waiting;
        if list.is_empty() {
            return;
        }
        let title = format!("{} {}", cell("Waiting now", self.room()), right("for", 8));
        self.sheet.heading(out, &title);
        for w in list.iter().take(self.sheet.shown) {
            let who = format!("{} {}", group(&w.group), w.tid);
            let left = format!(
                "{} {}  ",
                cell(&who, self.room()),
                right(&duration(w.for_ns), 8)
            );
            let text = format!(
                "{} from {}",
                question(w.name.as_ref(), w.qtype, 40),
                names::peer(&w.server, 40)
            );
            self.sheet.row(out, &left, &text);
        }
        self.sheet.more(out, list.len(), "threads");
    }

    /// What the servers' own sockets here dropped.
    fn drops(&self, out: &mut String, window: &Window) {
        let sockets = window.udp.iter().flat_map(|udp| &udp.sockets);
        let dns = sockets.filter(|s| s.local.port() == 53 && s.remote.is_none());
        for s in dns.take(self.sheet.shown) {
            let readers: Vec<String> = s
                .owners
                .iter()
                .take(2)
                .map(|(p, _)| format!("{} {}", escape::bounded(&p.comm, 20), p.pid))
                .collect();
            let text = format!(
                "{} ({}) dropped {}, {}/s at worst: see `stallscope udp`",
                s.local,
                readers.join(", "),
                plural(s.drops, "datagram", "datagrams"),
                mean(s.peak_per_s)
            );
            page::labelled(out, "Buffer full", &text, self.sheet.style);
        }
    }
}

/// `pool www`, or a process name.
pub(super) fn group(id: &GroupId) -> String {
    match names::group(&id.name, id.php_fpm) {
        name if name.is_empty() => "unknown".to_owned(),
        name => name,
    }
}

/// `hooks.example.com A` in at most `max` columns.
pub(super) fn question(name: Option<&Name>, qtype: u16, max: usize) -> String {
    let Some(name) = name else {
        return "names without a place".to_owned();
    };
    let kind = type_name(qtype).map_or_else(|| format!("TYPE{qtype}"), str::to_owned);
    let room = max.saturating_sub(kind.len() + 1);
    let name = match name.as_slice() {
        [] => ".".to_owned(),
        name => written(name, room),
    };
    format!("{name} {kind}")
}

/// A name as it is written: what is not printable in it is `\DDD` already, in printable bytes.
fn written(name: &[u8], max: usize) -> String {
    let plain = name.iter().all(|b| (b' '..=b'~').contains(b));
    match std::str::from_utf8(name) {
        Ok(text) if plain && text.len() <= max => text.to_owned(),
        Ok(text) if plain => {
            let kept: String = text.chars().take(max.saturating_sub(1)).collect();
            format!("{kept}…")
        }
        _ => escape::bounded(name, max),
    }
}

/// What else is to be said of a client: answers that are none, refusals, search domains.
pub(super) fn notes(c: &Client) -> Vec<String> {
    let s = &c.sums;
    let mut out = Vec::new();
    if c.processes > 1 {
        out.push(plural(c.processes, "process", "processes"));
    }
    for (code, n) in s.rcodes.iter().enumerate().skip(1).filter(|(_, n)| **n > 0) {
        let name = rcode_name(code).map_or_else(|| format!("RCODE {code}"), str::to_owned);
        out.push(format!("{name}{KEEP}{}", count(*n)));
    }
    for (n, what) in [
        (s.empty, "without a record"),
        (s.truncated, "cut off"),
        (s.refused, "to nobody who listens"),
        (c.expanded, "tried with a search domain in vain"),
    ] {
        if n > 0 {
            out.push(format!("{} {what}", count(n)));
        }
    }
    let t = &s.timed_out;
    if t.count > 0 {
        out.push(format!(
            "{} of {} on average",
            plural(t.count, "time-out", "time-outs"),
            duration(t.total_ns / t.count)
        ));
    }
    out
}

/// `resolv.conf: 127.0.0.53; timeout:5 attempts:2 ndots:1`.
pub(super) fn resolver(r: &Resolver) -> String {
    let servers: Vec<String> = r.servers.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "resolv.conf: {}; timeout:{} attempts:{}",
        if servers.is_empty() {
            "no server".to_owned()
        } else {
            servers.join(", ")
        },
        r.timeout_s,
        r.attempts
    );
    if r.ndots != 1 || r.search > 0 {
        text.push_str(&format!(" ndots:{}", r.ndots));
    }
    if r.search > 0 {
        let n = plural(r.search.into(), "search domain", "search domains");
        text.push_str(&format!(", {n}"));
    }
    for (is, what) in [
        (r.single_request, " single-request"),
        (r.use_vc, " use-vc"),
        (
            r.nss_resolve,
            "; nsswitch.conf asks systemd-resolved's socket first, which is not seen",
        ),
    ] {
        if is {
            text.push_str(what);
        }
    }
    text
}
