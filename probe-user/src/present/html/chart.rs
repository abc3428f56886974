//! Charts as inline SVG, drawn by plotters (decision 0013). What is drawn holds no name of the traced system: labels
//! are numbers, and names stand beside the chart as text.

use std::ops::Range;

use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, DefaultFormatting, KeyPointHint, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
};

use super::ink::{self, Ink};
use crate::{
    diagnose::{Quantity, Unit},
    present::units,
};

/// Size of a chart with axes: as wide as a phone, so that its labels can be read there.
const SIZE: (u32, u32) = (440, 190);
/// Width of a strip in its own units; it is stretched to the width that there is.
const WIDE: i32 = 1000;
/// Height of a row of a waterfall, likewise.
const ROW: i32 = 10;
/// Bars of a chart of durations.
const BARS: usize = 28;
/// An axis of durations spans at least so many decades.
const DECADES: f64 = 1.0;
/// Stretches of time that rates are shown for, at most, and how long each is at least, ns: the kernel side tells how far
/// its sums have come ten times a second.
const STRETCHES: u64 = 60;
const STRETCH_NS: u64 = 200_000_000;

/// A drawing.
#[derive(Debug)]
pub(super) struct Svg(String);

impl Svg {
    /// Its markup.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From what plotters wrote, under an opening tag of our own.
    fn of(drawn: &str, open: &str) -> Self {
        let inside = drawn.split_once(">\n").map_or("", |(_, inside)| inside);
        // What is so anyway.
        let inside = inside.replace(" opacity=\"1\"", "");
        Self(format!("{open}{}", inside.replace(" stroke=\"none\"", "")))
    }
}

/// Shares of a whole side by side, as wide as the page. What is left of 1 is empty.
pub(super) fn strip(pieces: &[(f64, Ink)]) -> Svg {
    let mut rects = vec![((0, 0), (WIDE, ROW), ink::BACK)];
    let mut from = 0.0;
    for &(share, ink) in pieces {
        if share > 0.0 {
            let to = from + share;
            // What is there at all shows.
            let begin = at(from).min(WIDE - 2);
            rects.push(((begin, 0), (at(to).max(begin + 2), ROW), ink));
            from = to;
        }
    }
    stretched(ROW, &rects)
}

/// A row for each stretch of time, from the top: from and to as shares of the width.
pub(super) fn waterfall(rows: &[(f64, f64, Ink)]) -> Svg {
    let height = ROW * rows.len().max(1) as i32;
    let mut rects = vec![((0, 0), (WIDE, height), ink::BACK)];
    for (&(from, to, ink), top) in rows.iter().zip((0..).step_by(ROW as usize)) {
        let begin = at(from).min(WIDE - 3);
        let end = at(to).max(begin + 3);
        rects.push(((begin, top), (end, top + ROW - 1), ink));
    }
    stretched(height, &rects)
}

fn at(share: f64) -> i32 {
    // A cast from a float saturates, and makes NaN 0.
    (share.clamp(0.0, 1.0) * f64::from(WIDE)).round() as i32
}

/// Corners and colour.
type Rect = ((i32, i32), (i32, i32), Ink);

fn stretched(height: i32, rects: &[Rect]) -> Svg {
    let mut drawn = String::new();
    {
        let mut backend = SVGBackend::with_string(&mut drawn, (WIDE as u32, height as u32));
        for (from, to, ink) in rects {
            // A drawing in memory does not fail.
            let _ = backend.draw_rect(*from, *to, &ink.rgb(), true);
        }
        let _ = backend.present();
    }
    let open = format!(
        "<svg viewBox=\"0 0 {WIDE} {height}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    Svg::of(&drawn, &open)
}

/// How a [`Series`] is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// From point to point.
    Line,
    /// A bar from each point to the next.
    Bars,
    /// A stem at each point.
    Stems,
}

/// Something over time.
#[derive(Debug)]
pub(super) struct Series {
    pub ink: Ink,
    pub form: Form,
    /// ns after the window's start, and how much.
    pub points: Vec<(u64, f64)>,
}

/// Several things over time, with a limit that they may reach. `None` when there is nothing to draw.
pub(super) fn over_time(
    length_ns: u64,
    unit: Unit,
    series: &[Series],
    limit: Option<f64>,
) -> Option<Svg> {
    let all = series.iter().flat_map(|s| &s.points).map(|p| p.1);
    if !all.clone().any(f64::is_finite) {
        return None;
    }
    let limit = limit.filter(|limit| limit.is_finite() && *limit >= 0.0);
    let top = all
        .chain(limit)
        .filter(|v| v.is_finite())
        .fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.06 } else { 1.0 };
    let length = (length_ns.max(1) as f64) / 1e9;
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, SIZE).into_drawing_area();
        let mut chart = framed(&area, 0.0..length, top, &|s| moment(*s), &|value| {
            short(*value, unit)
        })?;
        for one in series {
            let color = one.ink.rgb();
            // What lies outside would be drawn outside, or beyond what a coordinate holds.
            let inside = |&(ns, v): &(u64, f64)| ((ns as f64 / 1e9).min(length), v.clamp(0.0, top));
            let points = one.points.iter().filter(|p| p.1.is_finite());
            let points: Vec<(f64, f64)> = points.map(inside).collect();
            match one.form {
                Form::Line => {
                    let style = color.stroke_width(2);
                    chart.draw_series(LineSeries::new(points, style)).ok()?;
                }
                Form::Bars => {
                    let ends = points.iter().skip(1).map(|p| p.0).chain([length]);
                    let bars = points.iter().zip(ends).filter(|(p, _)| p.1 > 0.0);
                    let bars = bars
                        .map(|(p, end)| Rectangle::new([(p.0, 0.0), (end, p.1)], color.filled()));
                    chart.draw_series(bars).ok()?;
                }
                Form::Stems => {
                    let stems = points.iter();
                    let stems = stems.map(|&(x, y)| {
                        PathElement::new(vec![(x, 0.0), (x, y)], color.stroke_width(2))
                    });
                    chart.draw_series(stems).ok()?;
                }
            }
        }
        if let Some(limit) = limit {
            let line = vec![(0.0, limit), (length, limit)];
            let style = ink::LIMIT.rgb().stroke_width(1);
            chart
                .draw_series(DashedLineSeries::new(line, 6, 4, style))
                .ok()?;
        }
        area.present().ok()?;
    }
    Some(with_axes(&drawn))
}

/// How often something happened per second, in stretches of time of equal length, from how far its sum had come at some
/// moments (ns after the beginning, in order).
pub(super) fn rates(sums: impl IntoIterator<Item = (u64, u64)>, length_ns: u64) -> Vec<(u64, f64)> {
    let mut sums = sums.into_iter().peekable();
    if sums.peek().is_none() {
        return Vec::new();
    }
    let stretches = (length_ns / STRETCH_NS).clamp(1, STRETCHES);
    let border = |n: u64| (u128::from(length_ns) * u128::from(n) / u128::from(stretches)) as u64;
    let (mut so_far, mut before) = (0, 0);
    (0..stretches)
        .map(|n| {
            let (from, to) = (border(n), border(n + 1));
            // What comes late belongs to the last one.
            let last = n + 1 == stretches;
            while let Some((_, sum)) = sums.next_if(|s| last || s.0 <= to) {
                so_far = sum.max(so_far);
            }
            let grown = (so_far - before) as f64;
            before = so_far;
            (from, grown * 1e9 / (to - from).max(1) as f64)
        })
        .collect()
}

/// How long things took: buckets (from, to, ns, and how many), with a line at each mark. The axis of time is logarithmic.
/// `None` when there is nothing to draw.
pub(super) fn durations(buckets: &[(u64, u64, u64)], marks: &[u64]) -> Option<Svg> {
    let log = |ns: u64| (ns.max(1) as f64).log10();
    let (first, last) = (buckets.first()?, buckets.last()?);
    // The last bucket of all has no end.
    let end = |bucket: &(u64, u64, u64)| bucket.1.min(bucket.0.saturating_mul(2)).max(bucket.0 + 1);
    let (mut low, mut high) = (log(first.0), log(end(last)));
    let wanting = (DECADES - (high - low)).max(0.1) / 2.0;
    (low, high) = (low - wanting, high + wanting);
    let width = (high - low) / BARS as f64;
    let mut bars = [0.0; BARS];
    for bucket in buckets {
        let (from, to) = (log(bucket.0), log(end(bucket)));
        for (n, bar) in bars.iter_mut().enumerate() {
            let (left, right) = (low + n as f64 * width, low + (n + 1) as f64 * width);
            let inside = (to.min(right) - from.max(left)).max(0.0);
            *bar += bucket.2 as f64 * inside / (to - from).max(1e-9);
        }
    }
    let top = bars.iter().copied().fold(0.0, f64::max).max(1.0) * 1.06;
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, SIZE).into_drawing_area();
        let mut chart = framed(
            &area,
            Decades { low, high },
            top,
            &|log| short(10f64.powf(*log), Unit::Ns),
            &|value| short(*value, Unit::Count),
        )?;
        let color = ink::FIRST.rgb();
        let columns = bars.iter().enumerate().filter(|(_, n)| **n > 0.0);
        let columns = columns.map(|(n, &count)| {
            let left = low + n as f64 * width;
            Rectangle::new([(left, 0.0), (left + width * 0.9, count)], color.filled())
        });
        chart.draw_series(columns).ok()?;
        let style = ink::LIMIT.rgb().stroke_width(1);
        for &mark in marks {
            let mark = log(mark).clamp(low, high);
            let line = vec![(mark, 0.0), (mark, top)];
            chart
                .draw_series(DashedLineSeries::new(line, 4, 3, style))
                .ok()?;
        }
        area.present().ok()?;
    }
    Some(with_axes(&drawn))
}

/// An axis from 10^`low` to 10^`high`, labelled at round numbers.
struct Decades {
    low: f64,
    high: f64,
}

impl Ranged for Decades {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, log: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (log - self.low) / (self.high - self.low);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        ticks(self.low, self.high)
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// Places of labels on an axis from 10^`low` to 10^`high`: 1, 2 and 5 of each decade, or as few of them as there is room for.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    /// Labels that have room.
    const MOST: usize = 6;
    // Both ends are logarithms of a u64, and within 0 to 20 but for the margins.
    let decades = low.floor() as i32..=high.ceil() as i32;
    let every = |of: &[f64], step: usize| -> Vec<f64> {
        let all = decades.clone().step_by(step).flat_map(|decade| {
            of.iter()
                .map(move |digit| f64::from(decade) + digit.log10())
        });
        all.filter(|at| (low..=high).contains(at)).collect()
    };
    let choices = [
        every(&[1.0, 2.0, 5.0], 1),
        every(&[1.0], 1),
        every(&[1.0], 2),
    ];
    let fits = choices.into_iter().find(|ticks| ticks.len() <= MOST);
    fits.unwrap_or_else(|| every(&[1.0], 4))
}

fn with_axes(drawn: &str) -> Svg {
    let (width, height) = SIZE;
    Svg::of(
        drawn,
        &format!("<svg viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\">"),
    )
}

/// A moment on an axis, s after the beginning.
fn moment(s: f64) -> String {
    if s >= 120.0 && s % 60.0 == 0.0 {
        format!("{} m", s / 60.0)
    } else {
        // Two digits are more than an axis of six labels needs.
        format!("{} s", (s * 100.0).round() / 100.0)
    }
}

/// A value on an axis, without digits that say nothing: `1 s`, not `1.00 s`.
fn short(value: f64, unit: Unit) -> String {
    let text = units::quantity(Quantity { value, unit });
    [(".00 ", " "), (".0 ", " "), (".50 ", ".5 ")]
        .iter()
        .fold(text, |text, (long, short)| text.replace(long, short))
}

/// A chart's axes with their labels, drawn; `x` and `y` write the labels.
fn framed<'a, 'b: 'a, X: AsRangedCoord<Value = f64>>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    across: X,
    top: f64,
    x: &dyn Fn(&f64) -> String,
    y: &dyn Fn(&f64) -> String,
) -> Option<ChartContext<'a, SVGBackend<'b>, Cartesian2d<X::CoordDescType, RangedCoordf64>>>
where
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin_top(10)
        .margin_right(16)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(across, 0.0..top)
        .ok()?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(ink::GRID.rgb())
        .axis_style(ink::GRID.rgb())
        .label_style(("sans-serif", 16).into_font().color(&ink::LABEL.rgb()))
        .x_labels(6)
        .y_labels(4)
        .x_label_formatter(&x)
        .y_label_formatter(&y)
        .draw()
        .ok()?;
    Some(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn rates_are_what_came_in_each_stretch() {
        let rates = rates([(S / 10, 10), (S, 30), (9 * S, 31)], 2 * S);
        assert_eq!(rates.len(), 10);
        assert_eq!((rates[0], rates[4]), ((0, 50.0), (4 * S / 5, 100.0)));
        // What comes late is not lost.
        assert_eq!(rates[9], (9 * S / 5, 5.0));
        assert!(super::rates([], S).is_empty());
    }

    #[test]
    fn odd_numbers_break_no_chart() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let series = |form| Series {
                ink: ink::FIRST,
                form,
                points: vec![(0, value), (u64::MAX, 1.0)],
            };
            let all = [Form::Line, Form::Bars, Form::Stems].map(series);
            for length in [0, 1, S, u64::MAX] {
                let _ = over_time(length, Unit::Count, &all, Some(value));
            }
            assert!(strip(&[(value, ink::FIRST)]).as_str().ends_with("</svg>\n"));
            assert!(!waterfall(&[(value, value, ink::FIRST)]).as_str().is_empty());
        }
        assert!(over_time(S, Unit::Ns, &[], Some(1.0)).is_none());
        assert!(durations(&[], &[]).is_none());
        assert!(durations(&[(0, 1, 1)], &[0]).is_some());
        assert!(durations(&[(1 << 40, u64::MAX, u64::MAX)], &[u64::MAX]).is_some());
    }

    #[test]
    fn what_is_there_at_all_shows_in_a_strip() {
        let svg = strip(&[(0.9999, ink::FIRST), (0.0001, ink::LIMIT), (0.0, ink::GRID)]);
        assert!(svg.as_str().contains("x=\"998\" y=\"0\" width=\"2\""));
        assert!(!svg.as_str().contains("#D8DEE4"));
    }

    #[test]
    fn an_axis_of_durations_has_round_labels() {
        let at = |low: f64, high| -> Vec<f64> {
            ticks(low, high)
                .iter()
                .map(|t| 10f64.powf(*t).round())
                .collect()
        };
        assert_eq!(at(0.9, 2.05), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(at(0.0, 4.0), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert!(ticks(-0.5, 20.5).len() <= 6);
    }

    #[test]
    fn labels_say_no_more_than_they_must() {
        assert_eq!(moment(0.30000000000000004), "0.3 s");
        assert_eq!(moment(180.0), "3 m");
        assert_eq!(short(1e9, Unit::Ns), "1 s");
        assert_eq!(short(2.5e9, Unit::Ns), "2.5 s");
        assert_eq!(short(2e10, Unit::Ns), "20 s");
        assert_eq!(short(4000.0, Unit::Count), "4,000");
    }
}
