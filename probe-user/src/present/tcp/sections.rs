//! The sections of the page. One that has nothing to say is not there.

use super::{
    per_s,
    words::{peer, process, quantiles, states, stay},
};
use crate::{
    aggregate::{
        Window,
        tcp::{HalfClosed, StateDwell, States, Tcp},
    },
    present::{
        layout::{cell, right},
        page::{Sheet, without},
        units::{count, duration},
    },
};

/// Columns of a peer, an address, or a process at the left of a row.
pub(super) const WHO: usize = 28;

/// What the sections are made of.
pub(super) struct Page<'a> {
    pub tcp: &'a Tcp,
    /// Length of the window.
    pub seconds: f64,
    /// Where it is tight, only states that a socket is in.
    pub sheet: Sheet,
}

impl Page<'_> {
    pub fn write(&self, out: &mut String) {
        self.states(out);
        self.peers(out);
        if !self.sheet.tight {
            self.processes(out);
        }
        self.half_closed(out);
        self.ports(out);
        self.queues(out);
        self.failed(out);
        self.gaps(out);
        self.counters(out);
        // Where room is short, trouble comes first.
        if self.sheet.tight {
            self.processes(out);
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
        rows.retain(|&(state, n)| n > 0 || !self.sheet.tight && passed(state));
        self.sheet.heading(
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
        self.sheet.heading(out, &title);
        for p in peers.iter().take(self.sheet.shown) {
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
            self.sheet.row(out, &left, &text);
        }
        self.sheet.more(out, peers.len(), "peers");
        if self.tcp.other.total() > 0 {
            let left = format!(
                "{} {}  ",
                cell("other peers", WHO),
                right(&count(self.tcp.other.total()), 8)
            );
            self.sheet.row(out, &left, &states(&self.tcp.other));
        }
    }

    fn processes(&self, out: &mut String) {
        let list = &self.tcp.processes;
        if list.is_empty() {
            return;
        }
        let title = cell("By process", WHO);
        self.sheet
            .heading(out, &format!("{title} {}  by state", right("sockets", 8)));
        for p in list.iter().take(self.sheet.shown) {
            let who = cell(&process(&p.process), WHO);
            let left = format!("{who} {}  ", right(&count(p.states.total()), 8));
            self.sheet.row(out, &left, &states(&p.states));
        }
        self.sheet.more(out, list.len(), "processes");
    }

    fn half_closed(&self, out: &mut String) {
        let there = |h: &&HalfClosed| h.orphaned + h.held > 0;
        let list: Vec<_> = self.tcp.half_closed.iter().filter(there).collect();
        if list.is_empty() {
            return;
        }
        self.sheet.heading(
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
        for h in list.iter().take(self.sheet.shown) {
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
                self.sheet
                    .row(out, "    ", &format!("held: {}", holders.join(", ")));
            }
        }
        self.sheet.more(out, list.len(), "peers");
    }
}

/// What could not be seen, and why.
pub(in crate::present) fn unseen(tcp: &Tcp, window: &Window) -> Vec<String> {
    let parts = [
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
    ];
    let mut out = without(window, &parts);
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

/// What else is to be said of a state.
pub(in crate::present) fn note(state: &str, now: &States, dwell: &StateDwell) -> String {
    match state {
        "fin_wait_2" if now.fin_wait_2 > 0 => {
            let held = now.fin_wait_2 - now.fin_wait_2_orphaned;
            format!("{} held", count(held))
        }
        "time_wait" if dwell.oldest_ns > 0 => format!("oldest {}", stay(dwell.oldest_ns)),
        _ => String::new(),
    }
}
