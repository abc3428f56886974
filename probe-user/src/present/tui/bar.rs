//! Time by part as a bar of signs, each in its colour, and what the signs mean.

use ratatui::text::{Line, Span};

use super::{Theme, Tone};
use crate::{aggregate::Parts, present::bar};

/// A bar of exactly `width` cells; no time at all leaves it empty.
pub fn spans(parts: &Parts, width: usize, theme: &Theme) -> Vec<Span<'static>> {
    let cells = bar::cells(parts, width);
    let drawn = cells.into_iter().map(|(part, n)| {
        let (sign, style) = theme.part(part);
        Span::styled(sign.to_string().repeat(n), style)
    });
    drawn.collect()
}

/// What the signs mean: of the parts that have any time, in lines of at most `width` cells.
pub fn legend(parts: &Parts, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let faint = theme.style(Tone::Faint);
    let mut lines: Vec<Line> = Vec::new();
    for (part, sign, words) in bar::LEGEND {
        if parts[part] == 0 {
            continue;
        }
        let needed = 2 + words.chars().count();
        match lines.last_mut() {
            Some(line) if line.width() + 2 + needed <= usize::from(width) => line.push_span("  "),
            _ => lines.push(Line::default()),
        }
        if let Some(line) = lines.last_mut() {
            line.push_span(Span::styled(sign.to_string(), theme.part(part).1));
            line.push_span(Span::styled(format!(" {words}"), faint));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use probe_common::part;

    use super::*;

    #[test]
    fn a_bar_fills_its_cells_and_only_its_parts_are_explained() {
        let theme = Theme::default();
        let mut parts = Parts::default();
        (parts[part::NETWORK], parts[part::ON_CPU]) = (3, 1);
        let text = Line::from_iter(spans(&parts, 8, &theme)).to_string();
        assert_eq!(text, "░░░░░░▓▓");
        let lines = legend(&parts, 80, &theme);
        let text: Vec<String> = lines.iter().map(Line::to_string).collect();
        assert_eq!(text, ["░ network  ▓ on CPU"]);
        let lines = legend(&[1; part::COUNT], 30, &theme);
        assert!(lines.len() > 1 && lines.iter().all(|l| l.width() <= 30));
        assert!(legend(&Parts::default(), 30, &theme).is_empty());
    }
}
