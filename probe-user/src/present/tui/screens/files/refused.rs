//! Calls that were refused for want of space.

use ratatui::text::Line;

use super::{files, no_files, pids, team_key};
use crate::{
    aggregate::files::Refused,
    present::{
        errno,
        fs::words::{path, team, team_cell},
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width,
            screens::cells::{Lines, ago, figures, head, number, room, row, text, words},
        },
        units::count,
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "refused",
    columns: COLUMNS,
    head: |data, width, theme| head(&[], &data.recent, PROBES, width, theme),
    rows,
    detail,
    empty: |data| no_files(data, PROBES, "No call was refused for want of space"),
};

const COLUMNS: &[Column] = &[
    words("refused for want of space", Width::Fill(18), 0),
    figures("times", 7, 0),
    words("call", Width::Cells(10), 2),
    words("error", Width::Cells(7), 1),
    words("on", Width::Fill(14), 0),
    figures("last", 11, 3),
];
const ON: usize = 4;
const PROBES: &[(&str, &str)] = &[("no_space", "calls refused for want of space")];

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let list = files(data)
        .map(|f| f.refused.as_slice())
        .unwrap_or_default();
    let (who, on) = (room(COLUMNS, 0, width), room(COLUMNS, ON, width));
    let rows = list.iter().map(|r| {
        row(
            key(r),
            [
                text(team_cell(&r.team, who)),
                number(count(r.count), r.count as f64),
                text(r.call),
                text(errno::name(r.errno)).tone(theme, Tone::Critical),
                text(place(r, on)),
                number(ago(r.last_ns, &data.recent), r.last_ns as f64),
            ],
        )
    });
    rows.collect()
}

/// Where it is mounted, or else what was to be created.
fn place(r: &Refused, max: usize) -> String {
    match &r.mount_point {
        Some(at) => path(at, max),
        None => path(&r.path, max),
    }
}

fn key(r: &Refused) -> String {
    format!(
        "{} {} {} {:?}",
        r.call,
        r.errno,
        team_key(&r.team),
        r.device
    )
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let list = files(data)
        .map(|f| f.refused.as_slice())
        .unwrap_or_default();
    let Some(r) = list.iter().find(|r| key(r) == of) else {
        return lines.done();
    };
    lines.heading(&format!("{} {}", r.call, errno::name(r.errno)));
    lines.labelled("By", &team(&r.team));
    lines.labelled("Processes", &pids(&r.team));
    lines.labelled("Times", &count(r.count));
    lines.labelled(
        "On",
        &r.mount_point
            .as_ref()
            .map(|at| path(at, 200))
            .unwrap_or_default(),
    );
    lines.labelled("Such as", &path(&r.path, 200));
    lines.labelled("First", &ago(r.first_ns, &data.recent));
    lines.labelled("Last", &ago(r.last_ns, &data.recent));
    lines.done()
}
