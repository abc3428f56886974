//! Who asks name servers.

use ratatui::text::Line;

use super::questions::{about, asked, columns, dns, empty, facts, line};
use crate::{
    aggregate::dns::Client,
    present::{
        dns::{group, notes, resolver},
        layout::KEEP,
        tui::{
            Column, Data, Row, Section, Theme,
            screens::cells::{Lines, text},
        },
        units::plural,
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "who asks",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, "Nobody asked a name server"),
};

const COLUMNS: &[Column] = &columns("who asks");

fn rows(data: &Data, _: u16, theme: &Theme) -> Vec<Row> {
    let clients = dns(data)
        .map(|dns| dns.clients.as_slice())
        .unwrap_or_default();
    let rows = clients.iter().map(|c| {
        let more = notes(c).join("; ").replace(KEEP, " ");
        let who = text(group(&c.group));
        line(key(c), who, &c.sums, more, &data.recent, theme)
    });
    rows.collect()
}

fn key(c: &Client) -> String {
    format!("{:?}", c.group)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(dns) = dns(data) else {
        return lines.done();
    };
    let Some(c) = dns.clients.iter().find(|c| key(c) == of) else {
        return lines.done();
    };
    lines.heading(&group(&c.group));
    let processes = plural(c.processes, "process", "processes");
    lines.labelled("Who", &format!("{processes}, such as {}", c.example_pid));
    about(&c.sums, &mut lines);
    if c.expanded > 0 {
        let n = plural(c.expanded, "question", "questions");
        lines.labelled(
            "In vain",
            &format!("{n} with a search domain behind the name"),
        );
    }
    for r in dns.resolvers.iter().filter(|r| r.group == c.group).take(3) {
        lines.labelled("Resolves by", &resolver(&r.resolver));
    }
    asked(dns, "Asks for", |r| r.group == c.group, &mut lines);
    lines.done()
}
