//! Colours and signs. The sixteen colours of the terminal's own palette, so that light and dark ones work; without
//! colours, everything is told by words and signs too.

use probe_common::part;
use ratatui::style::{Color, Modifier, Style};

use super::Tone;
use crate::present::bar;

/// How many colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// None (NO_COLOR).
    #[default]
    None,
    /// The terminal's sixteen.
    Sixteen,
}

/// How things look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    /// How many colours.
    pub palette: Palette,
}

impl Theme {
    /// A tone as a style.
    pub fn style(&self, tone: Tone) -> Style {
        let plain = Style::new();
        let colour = |c| match self.palette {
            Palette::None => plain,
            Palette::Sixteen => plain.fg(c),
        };
        match tone {
            Tone::Plain => plain,
            Tone::Faint => plain.add_modifier(Modifier::DIM),
            Tone::Strong => plain.add_modifier(Modifier::BOLD),
            Tone::Good => colour(Color::Green),
            Tone::Warning => colour(Color::Yellow).add_modifier(Modifier::BOLD),
            Tone::Critical => colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// The sign that stands for a part of time ([`part`]) in a bar, and its style.
    pub fn part(&self, which: usize) -> (char, Style) {
        let colour = match which {
            part::ON_CPU => Color::Green,
            part::RUN_QUEUE => Color::Yellow,
            part::NETWORK => Color::Blue,
            part::CLIENT | part::LOCAL => Color::Cyan,
            part::DISK => Color::Magenta,
            part::LOCK => Color::Red,
            part::SLEEP => Color::Blue,
            _ => Color::Reset,
        };
        let style = match self.palette {
            Palette::None => Style::new(),
            Palette::Sixteen => Style::new().fg(colour),
        };
        (bar::sign(which), style)
    }
}
