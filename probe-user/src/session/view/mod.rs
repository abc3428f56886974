//! `stallscope` without a command, and `replay --view`: the live view.

mod input;
mod live;
mod player;
mod save;
mod terminal;

use std::time::{Duration, Instant};

use self::{
    input::{Input, Told},
    terminal::Terminal,
};
use super::{CLEAR, output};
use crate::{
    aggregate::{Look, Window},
    diagnose,
    error::Error,
    present::{
        Color, Style,
        redact::Names,
        tui::{Action, App, History, Moment, Palette, Theme, Tone},
    },
};

pub use live::run;
pub use player::replay;
pub use terminal::check;

/// What is shown as the last seconds covers one to two of these: long enough for rates that do not jump, short enough
/// to see an end.
const SPAN_NS: u64 = 10_000_000_000;
/// The least time from one drawing to the next, while keys are typed.
const FRAME: Duration = Duration::from_millis(33);

/// What live view and replay share: the state, and the terminal that it is drawn on.
struct View {
    app: App,
    history: History,
    terminal: Terminal,
    input: Input,
    /// Made-up names, where names are to be hidden.
    names: Option<Names>,
    /// When it was drawn last.
    drawn: Option<Instant>,
    /// Reports that were saved.
    saved: Vec<String>,
}

impl View {
    /// Takes the terminal.
    fn open(style: Style, redact: bool) -> Result<Self, Error> {
        let palette = match style.color {
            Color::Never => Palette::None,
            Color::Always => Palette::Sixteen,
        };
        let terminal = Terminal::take()?;
        Ok(Self {
            app: App::new(Theme { palette }),
            history: History::default(),
            terminal,
            input: Input::start()?,
            names: redact.then(Names::default),
            drawn: None,
            saved: Vec::new(),
        })
    }

    /// Judges a look, and shows it.
    fn look(&mut self, mut look: Look, now: Moment) {
        if let Some(names) = &mut self.names {
            names.redact(&mut look.last);
            names.redact(&mut look.recent);
        }
        let diagnosis = diagnose::run(&look.recent);
        let data = self.history.look(look, diagnosis, now);
        self.app.data(data);
    }

    /// Shows the last moment, with the last seconds as they were judged.
    fn glance(&mut self, mut last: Window, now: Moment) {
        if let Some(names) = &mut self.names {
            names.redact(&mut last);
        }
        let Self { app, history, .. } = self;
        app.amend(|data| history.glance(last, now, data));
    }

    /// Draws what changed, or says when to.
    fn draw(&mut self) -> Result<Option<Instant>, Error> {
        if !self.app.is_changed() {
            return Ok(None);
        }
        let now = Instant::now();
        let due = self.drawn.map_or(now, |drawn| drawn + FRAME);
        if due > now {
            return Ok(Some(due));
        }
        self.drawn = Some(now);
        // A terminal that takes nothing (a stalled connection) is tried again later: waiting for it would stop the reading.
        if !self.terminal.is_ready() {
            return Ok(Some(now + FRAME));
        }
        self.terminal.draw(&mut self.app)?;
        Ok(None)
    }

    /// Takes in what was typed and what became of the terminal. `total` is all that was seen, for a report.
    fn told(&mut self, told: Told, total: impl Fn() -> Window) -> Result<Action, Error> {
        let action = match told {
            Told::Event(event) => self.app.event(&event),
            Told::Resized => Action::Repaint,
            Told::Stopped => Action::Suspend,
            Told::Continued => {
                self.terminal.resume()?;
                Action::Repaint
            }
            Told::Gone => Action::Quit,
        };
        match action {
            Action::Suspend => {
                self.terminal.suspend()?;
                self.app.repaint();
            }
            Action::Repaint => {
                self.terminal.forget()?;
                self.app.repaint();
            }
            Action::Save | Action::SaveRedacted => {
                let redact = action == Action::SaveRedacted || self.names.is_some();
                self.save(total(), redact);
            }
            _ => {}
        }
        Ok(action)
    }

    fn save(&mut self, window: Window, redact: bool) {
        match save::report(window, redact, super::own::unix_ns()) {
            Ok(paths) => {
                let text = format!("saved {}", paths.join(" and "));
                self.app.say(Tone::Good, output::plain(&text));
                self.saved.extend(paths);
            }
            Err(error) => {
                let text = output::plain(&error.to_string());
                self.app.say(Tone::Critical, text);
            }
        }
    }

    /// Gives the terminal back, and says what was saved.
    fn close(self) -> Result<u8, Error> {
        let Self {
            terminal,
            input,
            saved,
            ..
        } = self;
        drop(input);
        drop(terminal);
        if !saved.is_empty() {
            output::print(&format!("saved {}\n", output::plain(&saved.join(", "))))?;
        }
        Ok(CLEAR)
    }
}
