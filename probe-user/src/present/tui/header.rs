//! The first line: which machine, since when, what is watched, how busy it is, what was lost, and what watching costs.

use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};

use super::{App, Data, Tone};
use crate::{
    aggregate::{Group, Window},
    present::{escape, names, units::count},
};

/// A piece of the line.
struct Piece {
    text: String,
    style: Style,
    /// Where there is no room for all, those with the highest number go first.
    rank: u8,
}

/// The line.
pub fn line(app: &App, width: u16) -> Line<'static> {
    let data = &app.data;
    let mut pieces = Vec::new();
    let mut add = |rank, text: String, tone| {
        pieces.push(Piece {
            text,
            style: app.theme.style(tone),
            rank,
        });
    };
    add(6, "stallscope".to_owned(), Tone::Strong);
    if data.recent.duration_ns > 0 {
        add(
            5,
            escape::bounded(data.recent.host.as_bytes(), 20),
            Tone::Plain,
        );
        add(1, elapsed(data.elapsed_ns), Tone::Plain);
        add(0, watched(data), Tone::Strong);
        let (lost, tone) = (data.lost, lost_tone(data.lost));
        add(2, format!("lost {}", count(lost)), tone);
        add(3, format!("cost {}", cost(&data.recent)), Tone::Plain);
    } else {
        add(0, "waiting for the first numbers".to_owned(), Tone::Faint);
    }
    if let Some((text, tone)) = playback(app) {
        add(0, text, tone);
        if let Some(last) = pieces.last_mut() {
            last.style = last.style.add_modifier(Modifier::REVERSED);
        }
    }
    pieces.push(Piece {
        text: "?=help".to_owned(),
        style: app.theme.style(Tone::Faint),
        rank: 4,
    });
    fitting(pieces, width)
}

fn fitting(mut pieces: Vec<Piece>, width: u16) -> Line<'static> {
    let needed = |pieces: &[Piece]| -> usize {
        let lengths = pieces.iter().map(|p| p.text.chars().count() + 2);
        lengths.sum()
    };
    while needed(&pieces) > usize::from(width) {
        let last = (0..pieces.len()).max_by_key(|&at| pieces[at].rank);
        match last.filter(|&at| pieces[at].rank > 0) {
            Some(at) => drop(pieces.remove(at)),
            None => break,
        }
    }
    // The help stands at the right.
    let spare = usize::from(width).saturating_sub(needed(&pieces));
    let mut spans = Vec::new();
    for piece in pieces {
        let gap = if piece.rank == 4 { spare } else { 0 };
        spans.push(Span::raw(" ".repeat(gap + 1)));
        spans.push(Span::styled(piece.text, piece.style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn elapsed(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

fn lost_tone(lost: u64) -> Tone {
    if lost > 0 { Tone::Warning } else { Tone::Plain }
}

/// What is watched, and how much of it is at work.
fn watched(data: &Data) -> String {
    let window = &data.recent;
    let serving: Vec<&Group> = serving(window);
    let who = match serving.as_slice() {
        [one] => names::group(&one.name, one.php_fpm),
        _ => escape::bounded(window.target.as_bytes(), 30),
    };
    if serving.is_empty() {
        let processes = window.processes.len() as u64 + window.processes_left_out;
        return format!("{who} {} followed", count(processes));
    }
    let (busy, all) = busy(data);
    format!("{who} {}/{} busy", count(busy), count(all))
}

/// The groups that serve requests.
fn serving(window: &Window) -> Vec<&Group> {
    let groups = window.groups.iter();
    groups.filter(|g| g.all_requests() > 0).collect()
}

/// Workers in a request now, and all, of the groups that serve requests.
fn busy(data: &Data) -> (u64, u64) {
    let serving = serving(&data.recent);
    let workers = data.last.processes.iter().filter(|p| {
        let of = |g: &&Group| g.name == p.group && g.php_fpm == p.process.pool.is_some();
        !p.process.ended && serving.iter().any(of)
    });
    workers.fold((0, 0), |(busy, all), worker| {
        (busy + u64::from(worker.current.is_some()), all + 1)
    })
}

/// Of one core.
fn cost(window: &Window) -> String {
    let spent = window.cost.own_cpu_ns + window.cost.kernel_ns.unwrap_or(0);
    let percent = 100.0 * spent as f64 / window.duration_ns.max(1) as f64;
    format!("{percent:.1} %")
}

/// What is special about what is shown.
fn playback(app: &App) -> Option<(String, Tone)> {
    let Some(playback) = &app.playback else {
        return app.frozen.then(|| (" FROZEN ".to_owned(), Tone::Warning));
    };
    Some(if playback.ended {
        (" REPLAY: END ".to_owned(), Tone::Warning)
    } else if playback.paused {
        (" REPLAY PAUSED ".to_owned(), Tone::Warning)
    } else if (playback.speed - 1.0).abs() < 1e-9 {
        (" REPLAY ".to_owned(), Tone::Strong)
    } else {
        (format!(" REPLAY x{} ", playback.speed), Tone::Strong)
    })
}
