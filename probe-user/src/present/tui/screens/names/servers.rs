//! Which name servers.

use ratatui::text::Line;

use super::questions::{about, asked, columns, dns, empty, facts, line};
use crate::{
    aggregate::{Peer, Window, dns::Server, udp::Dropping},
    present::{
        names,
        tui::{
            Column, Data, Row, Section, Theme,
            screens::cells::{Lines, text},
        },
        udp::whose,
        units::{count, plural},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "servers",
    columns: COLUMNS,
    head: facts,
    rows,
    detail,
    empty: |data| empty(data, "No name server was asked"),
};

const COLUMNS: &[Column] = &columns("name server");

fn rows(data: &Data, _: u16, theme: &Theme) -> Vec<Row> {
    let servers = dns(data)
        .map(|dns| dns.servers.as_slice())
        .unwrap_or_default();
    let rows = servers.iter().map(|s| {
        let dropped: u64 = own(s, &data.recent).map(|d| d.drops).sum();
        let more = match dropped {
            0 => String::new(),
            n => format!("its buffer was full: {} dropped", count(n)),
        };
        line(key(s), text(name(s)), &s.sums, more, &data.recent, theme)
    });
    rows.collect()
}

fn key(s: &Server) -> String {
    format!("{:?}", s.peer)
}

fn name(s: &Server) -> String {
    let tcp = matches!(&s.peer, Peer::Inet { transport, .. } if transport == "tcp");
    names::peer(&s.peer, 60) + if tcp { " (TCP)" } else { "" }
}

/// Its own sockets, where it is on this machine and they drop.
fn own<'a>(s: &Server, window: &'a Window) -> impl Iterator<Item = &'a Dropping> {
    let at = match &s.peer {
        Peer::Inet {
            address,
            port,
            transport,
        } if transport == "udp" => Some((*address, *port)),
        _ => None,
    };
    let sockets = window.udp.iter().flat_map(|udp| &udp.sockets);
    sockets.filter(move |d| d.remote.is_none() && Some((d.local.ip(), d.local.port())) == at)
}

fn detail(data: &Data, of: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Lines::new(width, theme);
    let Some(dns) = dns(data) else {
        return lines.done();
    };
    let Some(s) = dns.servers.iter().find(|s| key(s) == of) else {
        return lines.done();
    };
    lines.heading(&name(s));
    about(&s.sums, &mut lines);
    for d in own(s, &data.recent) {
        let n = plural(d.drops, "datagram", "datagrams");
        lines.labelled("Buffer full", &format!("{n} dropped by {}", whose(d)));
    }
    asked(dns, "Asked for", |r| r.server == s.peer, &mut lines);
    lines.done()
}
