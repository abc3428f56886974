//! Requests by group: how many, how long, and where their time went.

use probe_common::part;
use ratatui::text::Line;

use super::one::{self, divided};
use crate::{
    aggregate::{Group, Histogram},
    present::{
        names,
        spark::spark,
        tui::{
            Data, Row, Section, Theme, Width, bar,
            screens::cells::{
                Lines, drawn, figures, per_second, room, row, some, text, time, words,
            },
            section::Column,
        },
        units::{count, duration, percent},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "by group",
    columns: COLUMNS,
    head,
    rows,
    detail,
    empty,
};

const BAR: usize = 8;
const SPREAD: usize = 9;

const COLUMNS: &[Column] = &[
    words("group", Width::Fill(8), 0),
    figures("requests", 8, 1),
    figures("rate", 7, 2),
    figures("open", 5, 3),
    figures("p50", 7, 0),
    figures("p90", 7, 5),
    figures("p95", 7, 0),
    figures("p99", 7, 1),
    words("time by part", Width::Fill(12), 0),
    words("spread", Width::Fill(12), 4),
];

fn serving(data: &Data) -> impl Iterator<Item = &Group> {
    let groups = data.recent.groups.iter();
    groups.filter(|group| group.all_requests() > 0)
}

/// The decades in which all requests of all groups are: the first ns of the first, and the first ns above the last.
fn range(data: &Data) -> Option<(u64, u64)> {
    let walls = || serving(data).map(|g| &g.wall).filter(|w| !w.is_empty());
    let shortest = walls().map(Histogram::min).min()?.max(1);
    let longest = walls().map(Histogram::max).max()?;
    let below = 10u64.pow(shortest.ilog10());
    let above = longest.max(1).ilog10() + 1;
    Some((below, 10u64.saturating_pow(above)))
}

fn head(data: &Data, width: u16, _: &Theme) -> Vec<Line<'static>> {
    let mut text = format!("The last {}", duration(data.recent.duration_ns));
    if let Some((shortest, longest)) = range(data)
        && room(COLUMNS, SPREAD, width) > 0
    {
        text.push_str(&format!(
            "; spread: how many took how long, from {} to {} on a logarithmic scale",
            duration(shortest),
            duration(longest)
        ));
    }
    vec![Line::from(text)]
}

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let (cells, columns) = (room(COLUMNS, BAR, width), room(COLUMNS, SPREAD, width));
    let range = range(data);
    let made = serving(data).map(|group| {
        let parts = group.all_parts();
        let quantile = |q| time((group.requests > 0).then(|| group.wall.value_at_quantile(q)));
        let shape = match range {
            Some(range) if columns > 0 => spread(&group.wall, range, columns),
            _ => String::new(),
        };
        row(
            key(group),
            [
                text(names::group(&group.name, group.php_fpm)),
                some(group.requests),
                per_second(group.requests, &data.recent),
                some(group.incomplete),
                quantile(0.5),
                quantile(0.9),
                quantile(0.95),
                quantile(0.99),
                drawn(
                    bar::spans(&parts, cells, theme),
                    parts[part::NETWORK] as f64,
                ),
                text(shape),
            ],
        )
    });
    made.collect()
}

fn key(group: &Group) -> String {
    format!("{} {}", group.php_fpm, group.name.escape_ascii())
}

/// How often each duration came, as a line of columns that are `range` divided by equal factors.
fn spread(wall: &Histogram, (shortest, longest): (u64, u64), columns: usize) -> String {
    let decades = (longest as f64 / shortest as f64).ln().max(1e-9);
    let mut counts = vec![0u64; columns];
    for value in wall.iter_recorded() {
        let ns = value.value_iterated_to().max(1);
        let at = (ns as f64 / shortest as f64).ln() / decades * columns as f64;
        // A cast from a float saturates.
        counts[(at as usize).min(columns - 1)] += u64::from(value.count_at_value());
    }
    let top = counts.iter().copied().max().unwrap_or(0);
    // The few that are slow are what matters: they show however many are fast.
    let seen = |n: u64| if n == 0 { 0 } else { n.max(top.div_ceil(7)) };
    let points = counts.iter().enumerate().map(|(i, &n)| (i as u64, seen(n)));
    spark(points, top, columns as u64, columns)
}

fn detail(data: &Data, which: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let Some(group) = serving(data).find(|group| key(group) == which) else {
        return Vec::new();
    };
    let mut lines = Lines::new(width, theme);
    lines.heading(&format!(
        "Requests of {} in the last {}",
        names::group(&group.name, group.php_fpm),
        duration(data.recent.duration_ns)
    ));
    let requests = group.all_requests();
    let each = group.all_parts().map(|ns| ns / requests.max(1));
    lines.labelled("A request", &divided(&each));
    let per = |n| one::per(n, group.requests);
    lines.labelled(
        "Connects",
        &format!("{} a request", or_none(per(group.connects))),
    );
    lines.labelled("Polls", &format!("{} a request", or_none(per(group.polls))));
    if group.incomplete > 0 {
        lines.labelled(
            "Incomplete",
            &format!(
                "{}: open now, or begun before watching did; {}",
                count(group.incomplete),
                divided(&group.incomplete_parts)
            ),
        );
    }
    let mut out = lines.done();
    let rows = durations(&group.wall, width);
    if !rows.is_empty() {
        let mut table = Lines::new(width, theme);
        table.heading("How long they took");
        table.table(&["up to", "requests", "share", ""], &rows);
        out.push(Line::default());
        out.extend(table.done());
    }
    let mut slow = Lines::new(width, theme);
    slow.heading("The slowest");
    let room = usize::from(width).saturating_sub(30).max(10);
    let slowest = group.slowest.iter().map(|request| {
        let (what, share) = one::mostly(request, 30).unwrap_or_default();
        let name = one::name(request, room);
        vec![
            name,
            duration(request.wall_ns),
            format!("{what} {}", percent(share)),
        ]
    });
    slow.table(&["request", "time", "mostly"], &slowest.collect::<Vec<_>>());
    out.push(Line::default());
    out.extend(slow.done());
    out
}

fn or_none(text: String) -> String {
    match text.is_empty() {
        true => "none".to_owned(),
        false => text,
    }
}

/// Requests by how long they took, up to 1, 2, 5, 10, 20, ... and so on, with a bar.
fn durations(wall: &Histogram, width: u16) -> Vec<Vec<String>> {
    /// Columns of the longest bar.
    const MOST: usize = 40;
    let longest = usize::from(width).saturating_sub(34).min(MOST);
    let mut steps: Vec<(u64, u64)> = Vec::new();
    let mut limit = 0;
    for value in wall.iter_recorded() {
        let ns = value.value_iterated_to();
        if ns > limit || steps.is_empty() {
            limit = step_above(ns);
            steps.push((limit, 0));
        }
        if let Some(step) = steps.last_mut() {
            step.1 += u64::from(value.count_at_value());
        }
    }
    let top = steps.iter().map(|s| s.1).max().unwrap_or(0).max(1);
    let all = wall.len().max(1);
    let rows = steps.into_iter().map(|(limit, n)| {
        let cells = (u128::from(n) * longest as u128).div_ceil(top.into()) as usize;
        vec![
            duration(limit),
            count(n),
            percent(n as f64 / all as f64),
            format!("{:<longest$}", "▪".repeat(cells)),
        ]
    });
    rows.collect()
}

/// The next of 1, 2, 5, 10, 20, ... ns that is not below `ns`.
fn step_above(ns: u64) -> u64 {
    let mut step = 1u64;
    loop {
        for factor in [1, 2, 5] {
            let limit = step.saturating_mul(factor);
            if limit >= ns {
                return limit;
            }
        }
        step = step.saturating_mul(10);
    }
}

fn empty(data: &Data) -> String {
    match data.recent.duration_ns {
        0 => "Nothing has been read yet.".to_owned(),
        ns => format!("No request in the last {}.", duration(ns)),
    }
}
