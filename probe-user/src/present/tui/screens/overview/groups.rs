//! Who is at work: a line for each group of processes, with the last moment as a bar.

use ratatui::text::{Line, Span};

use super::rule;
use crate::{
    aggregate::{Group, Parts},
    present::{
        layout::{cell, right},
        names,
        tui::{Data, Theme, bar},
        units::{count, duration},
    },
};

/// Columns of a group's name, of how many are busy, and of the 95th percentile.
const NAME: usize = 18;
const BUSY: usize = 13;
const P95: usize = 11;
/// Columns of a bar at least.
const BAR: usize = 16;

/// In at most `room` lines; none where there is no room for one group.
pub fn lines(data: &Data, width: u16, room: usize, theme: &Theme) -> Vec<Line<'static>> {
    let groups = listed(data);
    // The heading and what the signs mean.
    let shown = groups.len().min(room.saturating_sub(2));
    if shown == 0 {
        return Vec::new();
    }
    let note = format!("each bar is the last {}", duration(data.last.duration_ns));
    let mut lines = vec![rule(&[(0, "workers")], &note, width, theme)];
    let mut all = Parts::default();
    for group in &groups[..shown] {
        lines.push(line(data, group, width.into(), theme));
        all.iter_mut()
            .zip(group.worker_parts)
            .for_each(|(sum, ns)| *sum = sum.saturating_add(ns));
    }
    let legend = bar::legend(&all, width.saturating_sub(1), theme);
    lines.extend(legend.into_iter().take(1).map(indented));
    lines
}

fn indented(mut line: Line<'static>) -> Line<'static> {
    line.spans.insert(0, Span::raw(" "));
    line
}

/// Those that serve requests first, then those with most time.
fn listed(data: &Data) -> Vec<&Group> {
    let mut groups: Vec<&Group> = data.last.groups.iter().filter(|g| g.workers > 0).collect();
    groups.sort_by_key(|group| {
        std::cmp::Reverse(recent(data, group).map_or(0, Group::all_requests) > 0)
    });
    groups
}

/// The same group in the last seconds.
fn recent<'a>(data: &'a Data, group: &Group) -> Option<&'a Group> {
    let mut groups = data.recent.groups.iter();
    groups.find(|g| g.name == group.name && g.php_fpm == group.php_fpm)
}

fn line(data: &Data, group: &Group, width: usize, theme: &Theme) -> Line<'static> {
    let of_group = |p: &&crate::aggregate::ProcessTime| {
        !p.process.ended && p.group == group.name && p.process.pool.is_some() == group.php_fpm
    };
    let workers = data.last.processes.iter().filter(of_group);
    let busy = workers.filter(|p| p.current.is_some()).count() as u64;
    let serves = recent(data, group).filter(|g| g.all_requests() > 0);
    let state = match serves {
        Some(_) => format!("{}/{} busy", count(busy), count(group.workers.into())),
        None => count(group.workers.into()),
    };
    let p95 = serves
        .filter(|g| g.requests > 0)
        .map_or(String::new(), |g| {
            format!("p95 {}", duration(g.wall.value_at_quantile(0.95)))
        });
    let waits = serves
        .and_then(|g| g.peers.first())
        .filter(|p| p.wait_ns() > 0);
    let fixed = 1 + NAME + 1 + BUSY + 1 + P95 + 1;
    let left = width.saturating_sub(fixed);
    // Half of what is left is the bar's, the other half says who is waited for most.
    let bar_width = (left / 2).clamp(BAR.min(left), 60.max(left / 3));
    let rest = left.saturating_sub(bar_width + 1);
    let mut spans = vec![Span::raw(format!(
        " {} {} {} ",
        cell(&names::group(&group.name, group.php_fpm), NAME),
        right(&state, BUSY),
        right(&p95, P95)
    ))];
    spans.extend(bar::spans(&group.worker_parts, bar_width, theme));
    if let Some(peer) = waits {
        let text = format!(" {}", cell(&names::peer(&peer.peer, rest), rest));
        spans.push(Span::raw(text.trim_end().to_owned()));
    }
    Line::from(spans)
}
