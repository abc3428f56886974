//! Peers of requests: how long they are waited for, how often, and how quickly they answer.

use ratatui::text::Line;

use super::one;
use crate::{
    aggregate::{Group, PeerTime},
    present::{
        names,
        tui::{
            Data, Row, Section, Theme, Width,
            screens::cells::{Lines, cut, figures, number, room, row, text, time, words},
            section::Column,
        },
        units::{count, duration, percent},
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "by peer",
    columns: COLUMNS,
    head,
    rows,
    detail,
    empty,
};

const COLUMNS: &[Column] = &[
    words("peer", Width::Fill(19), 0),
    words("group", Width::Fill(9), 6),
    figures("share", 6, 0),
    figures("a request", 9, 0),
    figures("connects", 8, 1),
    figures("rounds", 6, 2),
    figures("p50", 7, 1),
    figures("p95", 7, 0),
    figures("p99", 7, 3),
    figures("longest", 7, 5),
];

/// Each group's peers, the ones waited for most first.
fn listed(data: &Data) -> Vec<(&Group, &PeerTime)> {
    let groups = data.recent.groups.iter();
    let mut list: Vec<_> = groups
        .flat_map(|group| group.peers.iter().map(move |peer| (group, peer)))
        .collect();
    list.sort_by_key(|(_, peer)| std::cmp::Reverse(peer.wait_ns()));
    list
}

fn share(group: &Group, peer: &PeerTime) -> f64 {
    peer.wait_ns() as f64 / group.all_wall_ns().max(1) as f64
}

fn head(data: &Data, width: u16, _: &Theme) -> Vec<Line<'static>> {
    let text = format!(
        "The last {}. Share of the group's request time; p50 to p99 of a round.",
        duration(data.recent.duration_ns)
    );
    vec![Line::from(cut(&text, width.into()))]
}

fn rows(data: &Data, width: u16, _: &Theme) -> Vec<Row> {
    let name = room(COLUMNS, 0, width);
    let made = listed(data).into_iter().map(|(group, peer)| {
        let requests = peer.requests();
        let each = |n: u64| number(one::per(n, requests), n as f64 / requests.max(1) as f64);
        let quantile = |q| time((!peer.exchange.is_empty()).then(|| peer.exchange.quantile(q)));
        let share = share(group, peer);
        row(
            key(group, peer),
            [
                text(names::peer(&peer.peer, name)),
                text(names::group(&group.name, group.php_fpm)),
                number(percent(share), share),
                time(peer.wait_ns().checked_div(requests)),
                each(peer.done.connects + peer.open.connects),
                each(peer.done.exchanges + peer.open.exchanges),
                quantile(0.5),
                quantile(0.95),
                quantile(0.99),
                time(Some(peer.longest_ns())),
            ],
        )
    });
    made.collect()
}

fn key(group: &Group, peer: &PeerTime) -> String {
    format!(
        "{} {} {:?}",
        group.php_fpm,
        group.name.escape_ascii(),
        peer.peer
    )
}

fn detail(data: &Data, which: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let list = listed(data);
    let Some((group, peer)) = list.iter().find(|(group, peer)| key(group, peer) == which) else {
        return Vec::new();
    };
    let mut lines = Lines::new(width, theme);
    lines.heading(&format!(
        "{} and the requests of {}, the last {}",
        names::peer_long(&peer.peer),
        names::group(&group.name, group.php_fpm),
        duration(data.recent.duration_ns)
    ));
    let mut both = peer.done;
    both.add(&peer.open);
    let requests = count(both.requests);
    lines.labelled(
        "Requests",
        &format!(
            "{requests} of {}; {} waited for it more than half of their time",
            count(group.all_requests()),
            count(both.mostly)
        ),
    );
    let each = peer.wait_ns().checked_div(both.requests).unwrap_or(0);
    lines.labelled(
        "Wait",
        &format!(
            "{} in all, {} of the group's request time; {} a request, the longest single one {}",
            duration(peer.wait_ns()),
            percent(share(group, peer)),
            duration(each),
            duration(peer.longest_ns()),
        ),
    );
    let wait = &peer.wait_per_request;
    if !wait.is_empty() {
        let at = |q| duration(wait.value_at_quantile(q));
        let (p50, p95, p99) = (at(0.5), at(0.95), at(0.99));
        let text = format!("p50 {p50}, p95 {p95}, p99 {p99}, of finished requests");
        lines.labelled("By request", &text);
    }
    let of = |n| match one::per(n, both.requests) {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    };
    lines.labelled(
        "Connects",
        &format!(
            "{} a request, {} of them while another had no answer yet",
            of(both.connects),
            percent(both.overlapped as f64 / both.connects.max(1) as f64)
        ),
    );
    if !peer.exchange.is_empty() {
        let at = |q| duration(peer.exchange.quantile(q));
        let (p50, p95, p99) = (at(0.5), at(0.95), at(0.99));
        lines.labelled(
            "Rounds",
            &format!(
                "{} a request; from sending to the last byte p50 {p50}, p95 {p95}, p99 {p99}",
                of(both.exchanges)
            ),
        );
    }
    if peer.assumed_ns > 0 {
        lines.faint(&format!(
            "{} of the wait goes on still: that it is for this peer is inferred from what was sent last.",
            duration(peer.assumed_ns)
        ));
    }
    lines.done()
}

fn empty(data: &Data) -> String {
    match data.recent.duration_ns {
        0 => "Nothing has been read yet.".to_owned(),
        ns => format!("No request waited for a peer in the last {}.", duration(ns)),
    }
}
