//! For which names.

use ratatui::text::Line;

use super::questions::{about, asked, columns, dns, empty, facts, line};
use crate::{
    aggregate::dns::NameSums,
    present::{
        dns::question,
        tui::{
            Column, Data, Row, Section, Theme,
            screens::cells::{Lines, room, text},
        },
        units::plural,
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "names",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, "Nobody asked for a name"),
};

const COLUMNS: &[Column] = &columns("for which name");
/// The key of what is in no row of its own: no other begins like that.
const OTHER: &str = "other";

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let Some(dns) = dns(data) else {
        return Vec::new();
    };
    let columns = room(COLUMNS, 0, width);
    let mut rows: Vec<Row> = dns
        .names
        .iter()
        .map(|n| {
            let name = text(question(n.name.as_ref(), n.qtype, columns));
            let by = match n.clients {
                0 | 1 => String::new(),
                clients => format!("asked by {}", plural(clients, "group", "groups")),
            };
            line(key(n), name, &n.sums, by, &data.recent, theme)
        })
        .collect();
    if dns.other_names.asked > 0 {
        let (name, sums) = (text("further names"), &dns.other_names);
        let none = String::new();
        rows.push(line(
            OTHER.to_owned(),
            name,
            sums,
            none,
            &data.recent,
            theme,
        ));
    }
    rows
}

fn key(n: &NameSums) -> String {
    format!("{} {:?}", n.qtype, n.name)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(dns) = dns(data) else {
        return lines.done();
    };
    if of == OTHER {
        lines.heading("Further names");
        about(&dns.other_names, &mut lines);
    } else if let Some(n) = dns.names.iter().find(|n| key(n) == of) {
        lines.heading(&question(n.name.as_ref(), n.qtype, 256));
        about(&n.sums, &mut lines);
        let same = |r: &crate::aggregate::dns::Row| r.name == n.name && r.qtype == n.qtype;
        asked(dns, "By and of whom", same, &mut lines);
    }
    lines.done()
}
