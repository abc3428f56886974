//! UDP sockets whose buffer was full.

use ratatui::text::Line;

use crate::{
    aggregate::{
        Window,
        udp::{Dropping, Udp},
    },
    present::{
        escape,
        spark::growth,
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{
                Lines, ago, drawn, figures, head, number, per_second, room, row, text, why_empty,
                words,
            },
        },
        udp::{agreement, counted, lasts, limits, over_time, per_s, whose},
        units::{bytes, count, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "drops",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| {
        let watched = udp(data).is_some();
        why_empty(
            data,
            watched,
            "UDP is",
            PROBES,
            "No UDP socket dropped a datagram",
        )
    },
};

const COLUMNS: &[Column] = &[
    words("socket that drops", Width::Fill(18), 0),
    figures("drops", 8, 0),
    figures("rate", 8, 1),
    figures("at worst", 9, 2),
    figures("buffer", 7, 1),
    figures("lasts", 7, 1),
    words("queue", Width::Fill(6), 3),
    words("read by", Width::Cells(18), 2),
    words("sender", Width::Fill(21), 5),
];
const QUEUE: usize = 6;
const READER: usize = 7;
const PROBES: &[(&str, &str)] = &[
    (
        "udp_drops",
        "why datagrams are dropped, and the worst tenth of a second",
    ),
    ("udp_census", "buffer limits; queues come from /proc"),
    ("udp_owners", "which process holds a socket"),
];
/// Columns of the labels in the details, and some air.
const MARGIN: usize = 16;

pub(super) fn udp(data: &Data) -> Option<&Udp> {
    data.recent.udp.as_deref()
}

fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(udp) = udp(data) {
        facts.extend(udp.total.map(|n| plural(n, "UDP socket", "UDP sockets")));
        facts.extend(counted(udp, data.recent.duration_ns));
        if udp.other_drops > 0 {
            let n = plural(udp.other_drops, "datagram", "datagrams");
            facts.push(format!("other sockets dropped {n} more"));
        }
    }
    head(&facts, &data.recent, PROBES, width, theme)
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let Some(udp) = udp(data) else {
        return Vec::new();
    };
    let (who, queue) = (room(COLUMNS, READER, width), room(COLUMNS, QUEUE, width));
    let rows = udp.sockets.iter().map(|s| {
        let limit = s.rcvbuf_bytes;
        let most = s.queue_max_bytes();
        let full = most as f64 / limit.unwrap_or(most).max(1) as f64;
        let length = data.recent.duration_ns;
        row(
            key(s),
            [
                text(s.local.to_string()),
                number(count(s.drops), s.drops as f64).tone(theme, Tone::Critical),
                per_second(s.drops, &data.recent),
                number(per_s_worst(s), s.peak_per_s),
                number(
                    limit.map_or("?".to_owned(), bytes),
                    limit.unwrap_or(0) as f64,
                ),
                number(lasts(s), lasts_order(s)),
                drawn(over_time(s, limit.unwrap_or(most), length, queue), full),
                text(reader(s, who)),
                text(sender(s)),
            ],
        )
    });
    rows.collect()
}

/// The worst tenth of a second, per second.
fn per_s_worst(s: &Dropping) -> String {
    // Of a rate, the number in a second.
    per_s(s.peak_per_s.round() as u64, 1_000_000_000)
}

/// The shortest first.
fn lasts_order(s: &Dropping) -> f64 {
    match (s.rcvbuf_bytes, s.datagram_bytes) {
        (Some(limit), Some(each)) => s.peak_per_s * each / limit.max(1) as f64,
        _ => 0.0,
    }
}

fn reader(s: &Dropping, max: usize) -> String {
    let Some((process, _)) = s.owners.first() else {
        return format!("user id {}", s.uid);
    };
    let pid = process.pid.to_string();
    let name = escape::bounded(&process.comm, max.saturating_sub(pid.len() + 1));
    format!("{name} {pid}")
}

fn sender(s: &Dropping) -> String {
    let other = s.remote.or(s.sender);
    other.map(|a| a.to_string()).unwrap_or_default()
}

fn key(s: &Dropping) -> String {
    let reader = s.owners.first().map_or(0, |(p, _)| p.pid);
    format!("{} {reader}", s.local)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(udp) = udp(data) else {
        return lines.done();
    };
    let Some(s) = udp.sockets.iter().find(|s| key(s) == of) else {
        return lines.done();
    };
    lines.heading(&s.local.to_string());
    let (rate, worst) = (per_s(s.drops, data.recent.duration_ns), per_s_worst(s));
    let n = plural(s.drops, "datagram", "datagrams");
    lines.labelled("Dropped", &format!("{n}, {rate}, at worst {worst}"));
    lines.labelled("Whose", &whose(s));
    courses(s, &data.recent, usize::from(width), &mut lines);
    if let (Some(limit), left) = (s.rcvbuf_bytes, lasts(s)) {
        let text = format!("{}; it lasts {left} at the worst rate", bytes(limit));
        lines.labelled("Buffer", &text);
    }
    lines.labelled("First drop", &ago(s.first_ns, &data.recent));
    lines.labelled("Last drop", &ago(s.last_ns, &data.recent));
    for line in counted(udp, data.recent.duration_ns) {
        lines.labelled("Kernel counts", &line);
    }
    lines.labelled("Limits", &limits(&udp.settings).join(", "));
    lines.labelled("Agreement", &agreement(&udp.agreement).unwrap_or_default());
    lines.done()
}

/// The queue and the drops over the window, below each other.
fn courses(s: &Dropping, window: &Window, width: usize, lines: &mut Lines) {
    let columns = width.saturating_sub(MARGIN);
    let limit = s.rcvbuf_bytes.unwrap_or(s.queue_max_bytes());
    let queue = over_time(s, limit, window.duration_ns, columns);
    lines.labelled("Queue", &queue);
    if let Some(most) = s.queue.iter().max_by_key(|p| p.bytes) {
        let held = most.datagrams.map_or_else(String::new, |n| {
            format!(", {}", plural(n, "datagram", "datagrams"))
        });
        lines.labelled(
            "",
            &format!("at most {} of {}{held}", bytes(most.bytes), bytes(limit)),
        );
    }
    let points = s.timeline.iter().map(|p| (p.at_ns, p.since_start[0]));
    lines.labelled(
        "Drops",
        &growth(points, window.duration_ns, queue.chars().count()),
    );
}
