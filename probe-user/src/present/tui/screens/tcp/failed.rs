//! Connects that failed, and addresses that nobody listened on for a while.

use ratatui::text::Line;

use super::{empty, peers::key, tcp};
use crate::{
    aggregate::{
        Window,
        tcp::{FailedConnects, Gap},
    },
    present::{
        errno,
        tcp::{
            trouble::{gap_length, was_away},
            words::{peer, process},
        },
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{
                Lines, ago, figures, head, number, per_second, room, row, text, words,
            },
        },
        units::{count, plural},
    },
};

/// The table of failed connects.
pub const SECTION: Section = Section {
    title: "failed",
    columns: COLUMNS,
    head: |data, width, theme| head(&[], &data.recent, &[CONNECTS], width, theme),
    rows,
    detail,
    empty: |data| empty(data, &[CONNECTS], "No connect failed"),
};

/// The table of gaps.
pub const GAPS: Section = Section {
    title: "gaps",
    columns: GAP_COLUMNS,
    head: |data, width, theme| {
        head(
            &left_out(data),
            &data.recent,
            &[CONNECTS, LISTENS],
            width,
            theme,
        )
    },
    rows: gaps,
    detail: gap_detail,
    empty: |data| empty(data, &[CONNECTS], "No address was without a listener"),
};

const COLUMNS: &[Column] = &[
    words("failed connects to", Width::Fill(21), 0),
    figures("times", 7, 0),
    figures("rate", 8, 2),
    words("error", Width::Cells(13), 0),
    words("by", Width::Fill(20), 1),
    figures("last", 11, 3),
];
const GAP_COLUMNS: &[Column] = &[
    words("nobody listened on", Width::Fill(21), 0),
    figures("for", 8, 0),
    figures("began", 11, 2),
    figures("failed", 7, 0),
    words("error", Width::Cells(13), 1),
    words("of", Width::Fill(18), 3),
    words("then", Width::Fill(18), 4),
];
const CONNECTS: (&str, &str) = ("connects", "failed connects, gaps");
const LISTENS: (&str, &str) = ("listens", "the moment at which someone listens again");

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let columns = room(COLUMNS, 0, width);
    let rows = tcp.failed.iter().map(|f| {
        row(
            failed_key(f),
            [
                text(peer(&f.peer, columns)),
                number(count(f.count), f.count as f64),
                per_second(f.count, &data.recent),
                text(errno::name(f.errno)).tone(theme, Tone::Warning),
                text(by(f)),
                number(ago(f.last_ns, &data.recent), f.last_ns as f64),
            ],
        )
    });
    rows.collect()
}

fn by(f: &FailedConnects) -> String {
    match f.process.pid {
        0 => "several processes".to_owned(),
        _ => process(&f.process),
    }
}

fn failed_key(f: &FailedConnects) -> String {
    format!("{} {} {}", f.process.pid, f.errno, key(&f.peer))
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let failed = tcp(data)
        .map(|tcp| tcp.failed.as_slice())
        .unwrap_or_default();
    let Some(f) = failed.iter().find(|f| failed_key(f) == of) else {
        return lines.done();
    };
    lines.heading(&peer(&f.peer, 108));
    let times = plural(f.count, "connect", "connects");
    lines.labelled("Failed", &format!("{times} with {}", errno::name(f.errno)));
    lines.labelled("By", &by(f));
    lines.labelled("First", &ago(f.first_ns, &data.recent));
    lines.labelled("Last", &ago(f.last_ns, &data.recent));
    let others: Vec<String> = failed
        .iter()
        .filter(|o| o.peer == f.peer && failed_key(o) != of)
        .take(8)
        .map(|o| format!("{} {} of {}", count(o.count), errno::name(o.errno), by(o)))
        .collect();
    lines.labelled("And also", &others.join(", "));
    lines.done()
}

fn left_out(data: &Data) -> Vec<String> {
    let left_out = tcp(data).map_or(0, |tcp| tcp.gaps_left_out);
    let more = format!(
        "and {} failed at further addresses",
        plural(left_out, "connect", "connects")
    );
    (left_out > 0).then_some(more).into_iter().collect()
}

fn gaps(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let Some(tcp) = tcp(data) else {
        return Vec::new();
    };
    let columns = room(GAP_COLUMNS, 0, width);
    // The last one first.
    let rows = tcp.gaps.iter().rev().filter(was_away).map(|g| {
        let failed: u64 = g.failed.iter().map(|(_, n)| n).sum();
        let error = g.failed.first().map(|(e, _)| errno::name(*e));
        let tone = match g.end_ns {
            Some(_) => Tone::Plain,
            None => Tone::Critical,
        };
        row(
            gap_key(g, &data.recent),
            [
                text(peer(&g.peer, columns)),
                number(gap_length(g, data.recent.duration_ns), length(g)).tone(theme, tone),
                number(ago(g.start_ns, &data.recent), g.start_ns as f64),
                number(count(failed), failed as f64),
                text(error.unwrap_or_default()),
                text(
                    g.refused
                        .first()
                        .map(|(p, _)| process(p))
                        .unwrap_or_default(),
                ),
                text(then(g)),
            ],
        )
    });
    rows.collect()
}

/// How it ended.
fn then(g: &Gap) -> String {
    match (&g.back, g.end_ns) {
        (Some(back), _) => format!("{} listens", process(back)),
        (None, Some(_)) => "served again".to_owned(),
        (None, None) => "still away".to_owned(),
    }
}

fn length(g: &Gap) -> f64 {
    g.end_ns
        .map_or(f64::MAX, |end| end.saturating_sub(g.start_ns) as f64)
}

/// An address and when its gap began, to a tenth of a second of the day: windows move on.
fn gap_key(g: &Gap, window: &Window) -> String {
    let at = window.start_unix_ns.saturating_add(g.start_ns) / 100_000_000;
    format!("{at} {}", key(&g.peer))
}

fn gap_detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let gaps = tcp(data).map(|tcp| tcp.gaps.as_slice()).unwrap_or_default();
    let Some(g) = gaps.iter().find(|g| gap_key(g, &data.recent) == of) else {
        return lines.done();
    };
    lines.heading(&format!("Nobody listened on {}", peer(&g.peer, 108)));
    lines.labelled("For", &gap_length(g, data.recent.duration_ns));
    let failed = g
        .failed
        .iter()
        .map(|(e, n)| format!("{} {}", count(*n), errno::name(*e)));
    lines.labelled("Failed", &failed.collect::<Vec<_>>().join(", "));
    let seen = match g.start_seen {
        true => "the listener's end was seen",
        false => "with the first connect that failed",
    };
    lines.labelled(
        "Began",
        &format!("{}, {seen}", ago(g.start_ns, &data.recent)),
    );
    lines.labelled("Then", &then(g));
    if !g.refused.is_empty() {
        lines.heading("Refused");
        let row = |(p, n): &(_, u64)| vec![process(p), count(*n)];
        let rows: Vec<Vec<String>> = g.refused.iter().map(row).collect();
        lines.table(&["process", "connects"], &rows);
    }
    lines.done()
}
