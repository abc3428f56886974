//! A request's waits over its time, a line each: calls one after the other are a staircase.

use ratatui::text::{Line, Span};

use super::{Theme, Tone, screens::cut};
use crate::{
    aggregate::{RequestSummary, WaitsFor},
    present::{
        bar,
        layout::{cell, right},
        names,
        units::duration,
    },
};

/// Columns of a time.
const TIME: usize = 8;
/// Columns of what was waited for, where there is room for more than [`NARROW`].
const WHAT: usize = 22;
/// Below so many columns, the times are left out; below half of them, what was waited for too.
const NARROW: usize = 60;

/// The lines: a scale, and the waits as bars; none when there was no wait to show. `now` is what it waits for, if it
/// is not finished.
pub fn lines(
    request: &RequestSummary,
    now: Option<&WaitsFor>,
    width: u16,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let steps = steps(request, now);
    if steps.is_empty() {
        return Vec::new();
    }
    let place = Place::of(usize::from(width));
    let faint = theme.style(Tone::Faint);
    let end = duration(request.wall_ns);
    let mut scale = format!("0{end:>width$}", width = place.bar.saturating_sub(1));
    if scale.chars().count() > place.bar {
        scale = cell("0", place.bar);
    }
    let mut head = String::new();
    if place.times {
        head = format!("{} {} ", right("starts", TIME), right("lasts", TIME));
    }
    let mut lines = vec![Line::styled(format!("{head}{scale} waits for"), faint)];
    if place.what == 0 {
        lines = vec![Line::styled(scale, faint)];
    }
    for steps in folded(&steps, width) {
        let mut line = Line::default();
        if place.times {
            let figure = |ns| right(&cut(&duration(ns), TIME), TIME);
            let length_ns = steps
                .iter()
                .fold(0u64, |ns, s| ns.saturating_add(s.length_ns));
            let (start, length) = (figure(steps[0].start_ns), figure(length_ns));
            line.push_span(format!("{start} {length} "));
        }
        let (sign, style) = theme.part(steps[0].part);
        let mut drawn = 0;
        for step in steps {
            let (begin, end) = cells(step, request.wall_ns, place.bar);
            line.push_span(" ".repeat(begin.saturating_sub(drawn)));
            let long = end.saturating_sub(drawn.max(begin));
            line.push_span(Span::styled(sign.to_string().repeat(long), style));
            drawn = drawn.max(end);
        }
        if place.what > 0 {
            let what = match steps.len() {
                1 => steps[0].what.clone(),
                n => format!("{n} x {}", steps[0].what),
            };
            line.push_span(" ".repeat(place.bar - drawn + 1));
            line.push_span(cell(&what, place.what).trim_end().to_owned());
        }
        lines.push(line);
    }
    lines
}

/// The waits of each line: one, or on a small terminal several for the same thing, so that a staircase is seen whole.
fn folded(steps: &[Step], width: u16) -> impl Iterator<Item = &[Step]> {
    /// Narrower ones are low as well.
    const SMALL: u16 = 100;
    /// Lines that fit on a low one.
    const LINES: usize = 14;
    let each = match width {
        0..SMALL => steps.len().div_ceil(LINES),
        _ => 1,
    };
    steps
        .chunk_by(|a, b| a.part == b.part && a.what == b.what)
        .flat_map(move |same| same.chunks(each))
}

/// How a line is divided.
struct Place {
    times: bool,
    bar: usize,
    what: usize,
}

impl Place {
    fn of(width: usize) -> Self {
        let times = width >= NARROW;
        let rest = width.saturating_sub(if times { 2 * (TIME + 1) } else { 0 });
        // A wide terminal has room for paths.
        let what = match width {
            0..30 => 0,
            _ => WHAT.max(rest / 4).min(rest / 2),
        };
        let bar = rest.saturating_sub(what + usize::from(what > 0)).max(1);
        Self { times, bar, what }
    }
}

/// One wait.
struct Step {
    start_ns: u64,
    length_ns: u64,
    part: usize,
    what: String,
}

fn steps(request: &RequestSummary, now: Option<&WaitsFor>) -> Vec<Step> {
    /// Of a name of no address, as much as is kept of any.
    const MAX: usize = 108;
    let of = |peer: Option<&_>, part| {
        peer.map_or_else(
            || bar::words(part).to_owned(),
            |peer| names::peer(peer, MAX),
        )
    };
    let done = request.spans.iter().map(|span| Step {
        start_ns: span.start_ns,
        length_ns: span.length_ns,
        part: span.part,
        what: of(span.peer.as_ref(), span.part),
    });
    let now = now.filter(|_| request.unfinished).map(|waits| {
        let length_ns = waits.for_ns.min(request.wall_ns);
        Step {
            start_ns: request.wall_ns - length_ns,
            length_ns,
            part: waits.part,
            what: format!("{} (now)", of(waits.peer.as_ref(), waits.part)),
        }
    });
    done.chain(now).collect()
}

/// The first cell of a wait's bar, and the one behind its last: at least one is drawn, and none beyond the width.
fn cells(step: &Step, wall_ns: u64, width: usize) -> (usize, usize) {
    let at = |ns: u64| u128::from(ns) * width as u128;
    let wall = u128::from(wall_ns.max(1));
    let begin = (at(step.start_ns) / wall).min(width as u128 - 1) as usize;
    let end = at(step.start_ns.saturating_add(step.length_ns)).div_ceil(wall);
    (begin, (end.min(width as u128) as usize).max(begin + 1))
}

#[cfg(test)]
mod tests {
    use probe_common::part;

    use super::*;
    use crate::aggregate::{
        Parts, RequestSpan,
        fixture::{MS, S, api_peer},
    };

    fn request(wall_ns: u64, spans: &[(u64, u64)]) -> RequestSummary {
        let span = |&(start_ns, length_ns): &(u64, u64)| RequestSpan {
            start_ns,
            length_ns,
            part: part::NETWORK,
            peer: Some(api_peer(5)),
        };
        RequestSummary {
            pid: 7,
            start_ns: 0,
            wall_ns,
            unfinished: false,
            partial: false,
            parts: Parts::default(),
            script: Vec::new(),
            uri: Vec::new(),
            connects: 0,
            peers: Vec::new(),
            spans: spans.iter().map(span).collect(),
            spans_lost: 0,
        }
    }

    fn text(request: &RequestSummary, now: Option<&WaitsFor>, width: u16) -> Vec<String> {
        let lines = lines(request, now, width, &Theme::default());
        assert!(lines.iter().all(|l| l.width() <= usize::from(width)));
        lines.iter().map(Line::to_string).collect()
    }

    #[test]
    fn calls_in_a_row_are_a_staircase() {
        let calls: Vec<(u64, u64)> = (0..24).map(|n| (n * 100 * MS, 100 * MS)).collect();
        let lines = text(&request(24 * 100 * MS, &calls), None, 100);
        assert_eq!(lines.len(), 25);
        assert!(lines[0].starts_with("  starts    lasts 0"), "{}", lines[0]);
        assert!(lines[0].ends_with("2.40 s waits for"), "{}", lines[0]);
        let bars: Vec<usize> = lines[1..].iter().map(|l| first_sign(l)).collect();
        assert!(bars.windows(2).all(|b| b[0] < b[1]), "{bars:?}");
        assert!(lines[24].contains("░ 203.0.113.5:443"), "{}", lines[24]);
        // A small terminal shows two on a line.
        let lines = text(&request(24 * 100 * MS, &calls), None, 80);
        assert_eq!(lines.len(), 13);
        assert!(lines[12].contains("2.20 s   200 ms"), "{}", lines[12]);
        assert!(lines[12].contains("░ 2 x 203.0.113.5:443"), "{}", lines[12]);
    }

    #[test]
    fn what_is_on_one_line_is_for_the_same_thing() {
        let mut mixed = request(40 * MS, &[]);
        mixed.spans = (0..40)
            .map(|n| RequestSpan {
                start_ns: n * MS,
                length_ns: MS,
                part: part::NETWORK,
                peer: Some(api_peer((n % 2) as u8)),
            })
            .collect();
        assert_eq!(text(&mixed, None, 80).len(), 41);
    }

    #[test]
    fn calls_at_once_stand_above_each_other() {
        let calls = [(10 * MS, 300 * MS); 8];
        let lines = text(&request(320 * MS, &calls), None, 80);
        assert_eq!(lines.len(), 9);
        assert!(lines[1..].iter().all(|line| line == &lines[1]));
    }

    #[test]
    fn a_request_without_waits_has_no_lines() {
        assert!(text(&request(S, &[]), None, 80).is_empty());
        assert!(text(&request(0, &[]), None, 80).is_empty());
    }

    #[test]
    fn what_is_waited_for_now_reaches_the_end_however_long_ago_it_began() {
        let open = RequestSummary {
            unfinished: true,
            ..request(2 * S, &[(0, 500 * MS)])
        };
        let mut now = WaitsFor {
            part: part::LOCK,
            peer: None,
            for_ns: S,
        };
        let lines = text(&open, Some(&now), 80);
        assert_eq!(lines.len(), 3);
        assert!(lines[2].contains("▪ lock (now)"), "{}", lines[2]);
        // The wait began before the request was seen.
        now.for_ns = 100 * S;
        assert!(text(&open, Some(&now), 80)[2].contains("0 s   2.00 s"));
        // A finished one waits for nothing.
        assert_eq!(text(&request(S, &[(0, S)]), Some(&now), 80).len(), 2);
    }

    #[test]
    fn times_out_of_range_and_any_width_draw_something() {
        let odd = [(5 * S, S), (0, u64::MAX), (u64::MAX, u64::MAX), (0, 0)];
        for width in [1, 5, 12, 29, 30, 59, 60, 200] {
            let lines = text(&request(S, &odd), None, width);
            assert_eq!(lines.len(), 5);
            assert!(lines[1..].iter().all(|line| line.contains('░')));
        }
    }

    fn first_sign(line: &str) -> usize {
        line.chars().position(|c| c == '░').unwrap_or_default()
    }
}
