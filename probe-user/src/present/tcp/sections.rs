//! The sections of the page. One that has nothing to say is not there.

use super::per_s;
use crate::{
    aggregate::{
        Durations, Peer, Window,
        tcp::{Gap, ListenQueue, Ports, Process, StateDwell, States, Tcp},
    },
    attach::State,
    present::{
        Style, errno, escape,
        layout::{KEEP, cell, hang, right},
        names,
        style::Tone,
        units::{count, duration, percent, plural, seconds},
    },
};

/// Columns of a peer, an address, or a process at the left of a row.
const WHO: usize = 28;

/// What the sections are made of.
pub(super) struct Page<'a> {
    pub tcp: &'a Tcp,
    /// Length of the window.
    pub seconds: f64,
    /// Items to list in each section.
    pub shown: usize,
    /// Every line counts: no empty ones, and only states that a socket is in.
    pub tight: bool,
    pub style: Style,
}

impl Page<'_> {
    pub fn write(&self, out: &mut String) {
        self.states(out);
        self.peers(out);
        if !self.tight {
            self.processes(out);
        }
        self.half_closed(out);
        self.ports(out);
        self.queues(out);
        self.failed(out);
        self.gaps(out);
        self.counters(out);
        // Where room is short, trouble comes first.
        if self.tight {
            self.processes(out);
        }
    }

    fn heading(&self, out: &mut String, text: &str) {
        if !self.tight {
            out.push('\n');
        }
        out.push_str(&self.style.paint(Tone::Strong, text.trim_end()));
        out.push('\n');
    }

    /// A row: what stands at the left in its own columns, the rest wrapped behind it.
    fn row(&self, out: &mut String, left: &str, rest: &str) {
        hang(out, left, left.chars().count(), rest, self.style.columns());
    }

    fn more(&self, out: &mut String, all: usize, what: &str) {
        if all > self.shown && !self.tight {
            let line = format!("  and {} more {what}", count((all - self.shown) as u64));
            out.push_str(&self.style.paint(Tone::Faint, &line));
            out.push('\n');
        }
    }

    /// Like `ss -ant | awk '{print $1}' | sort | uniq -c | sort -rn`, with how long and how many.
    fn states(&self, out: &mut String) {
        let Some(now) = self.tcp.timeline.last().map(|p| p.states) else {
            return;
        };
        let mut rows: Vec<(&str, u64)> = now.named().to_vec();
        // A stable sort: equals stay in the order of a connection's life.
        rows.sort_by_key(|row| std::cmp::Reverse(row.1));
        let of = |state: &str| self.tcp.dwell_by_state.iter().find(|d| d.state == state);
        let passed = |state| of(state).is_some_and(|d| d.entered + d.count > 0);
        rows.retain(|&(state, n)| n > 0 || !self.tight && passed(state));
        self.heading(
            out,
            &format!(
                "{} {} {} {} {} {}",
                right("count", 8),
                cell("  state", 15),
                right("entered", 9),
                right("left", 9),
                right("stayed p50", 11),
                right("p99", 7),
            ),
        );
        for (state, n) in rows {
            let none = StateDwell::default();
            let dwell = of(state).unwrap_or(&none);
            let rate = |n: u64| per_s(n as f64 / self.seconds.max(1e-9));
            let (p50, p99) = quantiles(&dwell.durations);
            let line = format!(
                "{}   {} {} {} {} {}  {}",
                right(&count(n), 8),
                cell(state, 13),
                right(&rate(dwell.entered), 9),
                right(&rate(dwell.count), 9),
                right(&p50, 11),
                right(&p99, 7),
                note(state, &now, dwell),
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }

    fn peers(&self, out: &mut String) {
        let peers = &self.tcp.peers;
        if peers.is_empty() {
            return;
        }
        let title = format!("{} {}  by state", cell("By peer", WHO), right("sockets", 8));
        self.heading(out, &title);
        for p in peers.iter().take(self.shown) {
            let mut text = states(&p.states);
            let closed = p.closed_by_us + p.closed_by_peer;
            if closed > 0 {
                let by = p.closer.as_ref().filter(|_| p.closed_by_us > 0);
                let by = by.map_or(String::new(), |c| format!(" ({})", process(c)));
                text.push_str(&format!(
                    "; closed first: we {}{by}, they {}",
                    count(p.closed_by_us),
                    count(p.closed_by_peer)
                ));
            }
            let who = cell(&peer(&p.peer, WHO), WHO);
            let left = format!("{who} {}  ", right(&count(p.states.total()), 8));
            self.row(out, &left, &text);
        }
        self.more(out, peers.len(), "peers");
        if self.tcp.other.total() > 0 {
            let left = format!(
                "{} {}  ",
                cell("other peers", WHO),
                right(&count(self.tcp.other.total()), 8)
            );
            self.row(out, &left, &states(&self.tcp.other));
        }
    }

    fn processes(&self, out: &mut String) {
        let list = &self.tcp.processes;
        if list.is_empty() {
            return;
        }
        let title = cell("By process", WHO);
        self.heading(out, &format!("{title} {}  by state", right("sockets", 8)));
        for p in list.iter().take(self.shown) {
            let who = cell(&process(&p.process), WHO);
            let left = format!("{who} {}  ", right(&count(p.states.total()), 8));
            self.row(out, &left, &states(&p.states));
        }
        self.more(out, list.len(), "processes");
    }

    fn half_closed(&self, out: &mut String) {
        let there = |h: &&crate::aggregate::tcp::HalfClosed| h.orphaned + h.held > 0;
        let list: Vec<_> = self.tcp.half_closed.iter().filter(there).collect();
        if list.is_empty() {
            return;
        }
        self.heading(
            out,
            &format!(
                "{} {} {} {} {}",
                cell("FIN_WAIT_2: they did not close", WHO + 2),
                right("orphans", 7),
                right("held", 6),
                right("age p50", 8),
                right("p99", 7),
            ),
        );
        for h in list.iter().take(self.shown) {
            let (p50, p99) = quantiles(&h.age);
            let line = format!(
                "{} {} {} {} {}",
                cell(&peer(&h.peer, WHO + 2), WHO + 2),
                right(&count(h.orphaned), 7),
                right(&count(h.held), 6),
                right(&p50, 8),
                right(&p99, 7),
            );
            out.push_str(line.trim_end());
            out.push('\n');
            let holders: Vec<String> = h
                .holders
                .iter()
                .take(2)
                .map(|(p, n, fd)| format!("{} by {} (fd {fd})", count(*n), process(p)))
                .collect();
            if !holders.is_empty() {
                self.row(out, "    ", &format!("held: {}", holders.join(", ")));
            }
        }
        self.more(out, list.len(), "peers");
    }

    fn ports(&self, out: &mut String) {
        let used = |p: &&Ports| p.used() + p.failures > 0;
        let list: Vec<_> = self.tcp.ports.iter().filter(used).collect();
        if list.is_empty() {
            return;
        }
        self.heading(
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
        for p in list.iter().take(self.shown) {
            let left = format!(
                "{} {} {} {} {}  ",
                cell(&peer(&p.peer, WHO), WHO),
                right(&count(p.used()), 7),
                right(&count(p.usable), 7),
                right(&per_s(p.opened_per_s), 9),
                right(&per_s(p.closed_by_us_per_s), 9),
            );
            let (first, rest) = port_words(p);
            self.row(out, &left, &first);
            if !rest.is_empty() {
                self.row(out, "    ", &rest);
            }
        }
        self.more(out, list.len(), "destinations");
    }

    fn queues(&self, out: &mut String) {
        let busy = |q: &&ListenQueue| q.overflows + q.queue_max + q.syn_queue_max + q.accepted > 0;
        let list: Vec<_> = self.tcp.listeners.iter().filter(busy).collect();
        let idle = self.tcp.listeners.len() - list.len();
        if list.is_empty() {
            return;
        }
        self.heading(
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
        for q in list.iter().take(self.shown) {
            let (p50, p99) = quantiles(&q.wait);
            let inexact = if q.overflows_inexact { "≤" } else { "" };
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
                self.row(out, "    ", &notes.join("; "));
            }
        }
        self.more(out, list.len(), "listeners");
        if idle > 0 && !self.tight {
            let idle = plural(idle as u64, "listener", "listeners");
            let line = format!("  {idle} with nobody waiting");
            out.push_str(&self.style.paint(Tone::Faint, &line));
            out.push('\n');
        }
    }

    fn failed(&self, out: &mut String) {
        let list = &self.tcp.failed;
        if list.is_empty() {
            return;
        }
        let title = format!(
            "{} {}  error",
            cell("Failed connects to", WHO),
            right("times", 8)
        );
        self.heading(out, &title);
        for f in list.iter().take(self.shown) {
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
            self.row(out, &left, &text);
        }
        self.more(out, list.len(), "kinds");
    }

    fn gaps(&self, out: &mut String) {
        let list = &self.tcp.gaps;
        if list.is_empty() {
            return;
        }
        let title = format!(
            "{} {}  failed connects",
            cell("Nobody listened on", WHO),
            right("for", 8)
        );
        self.heading(out, &title);
        for g in list.iter().take(self.shown) {
            let length = g.end_ns.map_or_else(
                || {
                    format!(
                        ">{}",
                        duration(((self.seconds * 1e9) as u64).saturating_sub(g.start_ns))
                    )
                },
                |end| duration(end.saturating_sub(g.start_ns)),
            );
            let left = format!("{} {}  ", cell(&peer(&g.peer, WHO), WHO), right(&length, 8));
            self.row(out, &left, &gap_words(g));
        }
        self.more(out, list.len(), "times");
    }

    /// The kernel's own counters, those that grew and mean trouble.
    fn counters(&self, out: &mut String) {
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
            if !self.tight {
                out.push('\n');
            }
            labelled(out, "Kernel counts", &text.join(", "), self.style);
        }
    }
}

/// A label at the left, as in the closing lines of every report.
pub(super) fn labelled(out: &mut String, label: &str, text: &str, style: Style) {
    let first =
        style.paint(Tone::Warning, label) + &" ".repeat(15usize.saturating_sub(label.len()));
    hang(out, &first, 15, text, style.columns());
}

/// What could not be seen, and why.
pub(super) fn unseen(tcp: &Tcp, window: &Window) -> Vec<String> {
    let off = |id: &str| {
        let probe = window.probes.iter().find(|p| p.id == id)?;
        match &probe.state {
            State::Off(why) => Some(escape::name(why.as_bytes())),
            State::Active => None,
        }
    };
    let mut out = Vec::new();
    for (id, what) in [
        (
            "tcp_states",
            "rates, who closed first, how long in most states",
        ),
        (
            "tcp_census",
            if tcp.timeline.is_empty() {
                "how many sockets are in which state"
            } else {
                "queues of TCP listeners; sockets are counted from /proc"
            },
        ),
        ("socket_owners", "which process holds what; Unix listeners"),
        ("connects", "failed connects, gaps"),
        ("listens", "the moment at which someone listens again"),
        ("accepts", "how long connections wait for accept()"),
    ] {
        if let Some(why) = off(id) {
            out.push(format!("{what} ({id}: {why})"));
        }
    }
    if let Some(ns) = tcp.slowed_to_ns {
        out.push(format!(
            "what happens between two censuses, {} apart as each took up to {}",
            duration(ns),
            duration(tcp.census_ns)
        ));
    }
    if tcp.half_closed_left_out > 0 {
        let n = count(tcp.half_closed_left_out);
        out.push(format!(
            "how long {n} more sockets stay in fin_wait_2: too many"
        ));
    }
    if tcp.listeners_left_out > 0 {
        let n = count(tcp.listeners_left_out);
        out.push(format!("the queues of {n} more listeners"));
    }
    if tcp.gaps_left_out > 0 {
        let n = count(tcp.gaps_left_out);
        out.push(format!(
            "gaps at further addresses, with {n} failed connects"
        ));
    }
    out
}

/// A listener's address: `tcp :80`, `/run/php.sock`.
pub(super) fn listener(address: &Peer, max: usize) -> String {
    match address {
        Peer::Listener { on } => escape::bounded(on, max),
        other => names::peer(other, max),
    }
}

/// A peer in `max` columns: `10.0.0.8:6379`, or `198.51.100.7 > tcp :443` for a client.
fn peer(p: &Peer, max: usize) -> String {
    match p {
        Peer::Inbound {
            on,
            address: Some(address),
        } => format!("{address} > {}", escape::bounded(on, 20)),
        other => names::peer(other, max),
    }
}

fn process(p: &Process) -> String {
    let name = escape::bounded(&p.comm, 20);
    if name.is_empty() {
        format!("pid {}", p.pid)
    } else {
        format!("{name} {}", p.pid)
    }
}

/// p50 and p99, empty when nothing is known.
fn quantiles(durations: &Durations) -> (String, String) {
    if durations.is_empty() {
        return Default::default();
    }
    let at = |q| stay(durations.quantile(q));
    (at(0.5), at(0.99))
}

/// A duration; what is about a minute in seconds, as timers are set.
fn stay(ns: u64) -> String {
    match ns / 1_000_000_000 {
        s @ 10..=180 => format!("{s} s"),
        _ => duration(ns),
    }
}

/// Sockets by state, most first: `time_wait 3,000, established 100`.
fn states(s: &States) -> String {
    let mut named: Vec<(&str, u64)> = s.named().into_iter().filter(|n| n.1 > 0).collect();
    named.sort_by_key(|n| std::cmp::Reverse(n.1));
    let words: Vec<String> = named
        .iter()
        .map(|(state, n)| format!("{state}{KEEP}{}", count(*n)))
        .collect();
    words.join(", ")
}

fn note(state: &str, now: &States, dwell: &StateDwell) -> String {
    match state {
        "fin_wait_2" if now.fin_wait_2 > 0 => {
            let held = now.fin_wait_2 - now.fin_wait_2_orphaned;
            format!("{} held", count(held))
        }
        "time_wait" if dwell.oldest_ns > 0 => format!("oldest {}", stay(dwell.oldest_ns)),
        _ => String::new(),
    }
}

/// What there is to say about the ports to a destination: at the row's end, and below it.
fn port_words(p: &Ports) -> (String, String) {
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

fn gap_words(g: &Gap) -> String {
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
        (None, None) if !g.served_before => text.push_str("; not known to be ever served"),
        (None, None) => {}
    }
    text
}
