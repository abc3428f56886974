//! How text output looks: width and colour.

/// Whether to write colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    #[default]
    Never,
    /// ANSI colours.
    Always,
}

/// Width and colour of text output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to write colours.
    pub color: Color,
    /// Columns; taken as at least 60 and at most 120.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            color: Color::Never,
            width: 92,
        }
    }
}

/// What a colour says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tone {
    /// A critical finding.
    Critical,
    /// A warning; a probe that is off.
    Warning,
    /// All is well.
    Good,
    /// A heading, or the headline of a finding.
    Strong,
    /// What is less important.
    Faint,
}

impl Style {
    /// The columns to fill.
    pub(super) fn columns(&self) -> usize {
        self.width.clamp(60, 120)
    }

    /// `text` in a tone; unchanged without colour.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Critical => "1;31",
            Tone::Warning => "1;33",
            Tone::Good => "32",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        match self.color {
            Color::Never => text.to_owned(),
            Color::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
