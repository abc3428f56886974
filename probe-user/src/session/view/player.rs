//! The view of a recording, at the pace at which it was recorded, or another.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::{SPAN_NS, View, terminal};
use crate::{
    aggregate::{Look, Rolling, Window},
    collect::{
        Cost, Reading,
        recording::{Frame, Full, Recording},
    },
    error::Error,
    present::tui::{Action, Moment, Playback, Tone},
    session::{CLEAR, Setup, output, replay, runtime, signals::Signals},
};

/// How often it is looked whether there is something new to show.
const TICK: Duration = Duration::from_millis(100);
/// Nothing changes by itself.
const NEVER: Duration = Duration::from_secs(3600);
/// The slowest and the fastest pace.
const SPEEDS: (f64, f64) = (0.125, 64.0);
/// A step forward.
const STEP: Duration = Duration::from_secs(10);

/// Shows a recording until it is left.
///
/// # Errors
/// There is no terminal; the recording is damaged at its beginning.
pub fn replay(recording: Recording, redact: bool, setup: Setup) -> Result<u8, Error> {
    terminal::check(false)?;
    let Some(mut player) = Player::new(recording)? else {
        output::complain("nothing is in this recording");
        return Ok(CLEAR);
    };
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let mut view = View::open(setup.style, redact)?;
        player.begin(&mut view);
        loop {
            view.app.playback(player.state.clone());
            let due = view.draw()?;
            let tick = if player.runs() { TICK } else { NEVER };
            let next = Instant::now() + tick;
            let until = due.map_or(next, |due| due.min(next));
            tokio::select! {
                _ = signals.end() => break,
                told = view.input.next() => {
                    player.catch_up(&mut view);
                    match view.told(told, || player.total())? {
                        Action::Quit => break,
                        action => player.obey(action, &mut view),
                    }
                }
                () = sleep_until(until.into()) => player.catch_up(&mut view),
            }
        }
        view.close()
    })
}

/// A recording that is played.
struct Player {
    recording: Recording,
    rolling: Rolling,
    state: Playback,
    /// How far it is, ns after the beginning.
    position_ns: u64,
    /// When that was so.
    at: Instant,
    /// When it begins, CLOCK_MONOTONIC ns of the machine that recorded it.
    start_ns: u64,
    /// The frame that comes next.
    next: Option<Frame>,
    /// The last look at everything that was taken in.
    last: Full,
    /// What had been spent when it begins, where that is not shown.
    spent: Cost,
}

fn at_ns(frame: &Frame) -> u64 {
    match frame {
        Frame::Events(reading) => reading.at_ns,
        Frame::Full(full) => full.reading.at_ns,
    }
}

impl Player {
    /// `None` when there is nothing in it.
    fn new(mut recording: Recording) -> Result<Option<Self>, Error> {
        let base = loop {
            match recording.next_frame()? {
                None => return Ok(None),
                Some(Frame::Full(full)) => break *full,
                // What comes before the first look at everything has no place.
                Some(Frame::Events(_)) => {}
            }
        };
        let about = replay::about(recording.header(), &base);
        let rolling = Rolling::new(&about, &base.reading, base.cost, SPAN_NS);
        let spent = if recording.is_whole() {
            Cost::default()
        } else {
            base.cost
        };
        let next = recording.next_frame()?;
        Ok(Some(Self {
            recording,
            rolling,
            state: Playback {
                speed: 1.0,
                ..Playback::default()
            },
            position_ns: 0,
            at: Instant::now(),
            start_ns: base.reading.at_ns,
            next,
            last: Full {
                reading: Reading::default(),
                ..base
            },
            spent,
        }))
    }

    fn runs(&self) -> bool {
        !self.state.paused && !self.state.ended
    }

    /// The first numbers are there at once.
    fn begin(&mut self, view: &mut View) {
        while let Some(next) = &self.next {
            let first = matches!(next, Frame::Full(_));
            self.position_ns = at_ns(next).saturating_sub(self.start_ns);
            self.play(view);
            if first {
                break;
            }
        }
        self.at = Instant::now();
    }

    /// Plays up to now.
    fn catch_up(&mut self, view: &mut View) {
        let now = Instant::now();
        if self.runs() {
            let passed = (now - self.at).as_nanos() as f64 * self.state.speed;
            self.position_ns = self.position_ns.saturating_add(passed as u64);
        }
        self.at = now;
        self.play(view);
    }

    /// Plays up to where it should be, and shows the last look at everything on the way.
    fn play(&mut self, view: &mut View) {
        let mut held: Option<Full> = None;
        // What came after the one that is held.
        let mut later: Vec<Reading> = Vec::new();
        let until_ns = self.start_ns.saturating_add(self.position_ns);
        while self
            .next
            .as_ref()
            .is_some_and(|next| at_ns(next) <= until_ns)
        {
            match self.next.take() {
                Some(Frame::Full(full)) => {
                    if let Some(before) = held.replace(*full) {
                        self.rolling.push(&before.reading);
                    }
                    later
                        .drain(..)
                        .for_each(|reading| self.rolling.push(&reading));
                }
                Some(Frame::Events(reading)) if held.is_some() => later.push(*reading),
                Some(Frame::Events(reading)) => self.rolling.push(&reading),
                None => break,
            }
            self.read_on(view);
        }
        if let Some(full) = held {
            let (look, now) = self.look(full);
            view.look(look, now);
        }
        later.iter().for_each(|reading| self.rolling.push(reading));
        self.state.ended = self.next.is_none();
    }

    fn read_on(&mut self, view: &mut View) {
        self.next = self.recording.next_frame().unwrap_or_else(|error| {
            // What came before it stays.
            let text = output::plain(&error.to_string());
            view.app.say(Tone::Critical, text);
            None
        });
    }

    fn look(&mut self, full: Full) -> (Look, Moment) {
        let now = Moment {
            at_ns: full.reading.at_ns,
            elapsed_ns: full.reading.at_ns.saturating_sub(self.start_ns),
            unix_ns: full.unix_ns,
        };
        let rolling = &mut self.rolling;
        let look = rolling.look(&full.reading, &full.probes, full.cost, full.unix_ns);
        self.last = Full {
            reading: Reading::default(),
            ..full
        };
        (look, now)
    }

    /// What was asked for by a key.
    fn obey(&mut self, action: Action, view: &mut View) {
        match action {
            Action::Pause => self.state.paused = !self.state.paused,
            Action::Faster => self.state.speed = (self.state.speed * 2.0).min(SPEEDS.1),
            Action::Slower => self.state.speed = (self.state.speed / 2.0).max(SPEEDS.0),
            Action::Forward => {
                self.position_ns = self.position_ns.saturating_add(STEP.as_nanos() as u64);
                self.play(view);
            }
            _ => {}
        }
    }

    /// All of it so far.
    fn total(&self) -> Window {
        self.rolling
            .total(&self.last.probes, self.last.cost.since(&self.spent))
    }
}
