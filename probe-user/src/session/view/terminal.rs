//! The terminal: taken for the view, and given back as it was on every way out: at the end, after an error, in a panic,
//! when a signal ends or stops us.

use std::{
    io::{self, BufWriter, IsTerminal, Stdout},
    panic,
    sync::{Mutex, Once, PoisonError},
    thread,
};

use ratatui::{
    Terminal as Drawn,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, MoveTo, Show},
        event::{DisableBracketedPaste, EnableBracketedPaste},
        execute,
        style::Print,
        terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen},
    },
    layout::Rect,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, getpid, kill_process},
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr},
};

use crate::{
    error::Error,
    present::tui::{App, draw},
};

/// Bytes written at once: a whole screen in colour.
const WRITTEN: usize = 64 << 10;
/// Clicks and the wheel are told, in the form that has no limit of 223 columns. Movements are not: they would be a
/// stream of bytes over a slow line.
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1000l";

/// The terminal's settings before it was taken; `None` while it is not. It is given back by whoever takes them from here.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether there is a terminal to show the view on, and nothing else writes on it.
///
/// # Errors
/// One line that says what to do instead.
pub fn check(verbose: bool) -> Result<(), Error> {
    if verbose && io::stderr().is_terminal() {
        return Err(Error::Usage(
            "-v writes where the live view is; send that elsewhere with 2> FILE".to_owned(),
        ));
    }
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if dumb || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::Usage(
            "the live view needs a terminal; for a report of the next 30 s: `stallscope diagnose`"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The terminal, taken. Dropping it gives it back.
pub struct Terminal {
    drawn: Drawn<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    /// It is none, or refuses.
    pub fn take() -> Result<Self, Error> {
        give_back_in_a_panic();
        take().map_err(broken)?;
        let out = BufWriter::with_capacity(WRITTEN, io::stdout());
        match Drawn::new(CrosstermBackend::new(out)) {
            Ok(drawn) => Ok(Self { drawn }),
            Err(error) => {
                give_back();
                Err(broken(error))
            }
        }
    }

    /// Draws the state, as far as it differs from what is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn draw(&mut self, app: &mut App) -> Result<(), Error> {
        let size = self.drawn.size().map_err(broken)?;
        app.fit(size.width, size.height);
        self.drawn.draw(|frame| draw(frame, app)).map_err(broken)?;
        app.drawn();
        Ok(())
    }

    /// What is there is not known any more; the next drawing draws all of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn forget(&mut self) -> Result<(), Error> {
        let size = self.drawn.size().map_err(broken)?;
        // `clear` would ask the terminal where its cursor is, and read the answer before the keys are.
        self.drawn
            .resize(Rect::new(0, 0, size.width, size.height))
            .map_err(broken)
    }

    /// Whether it takes something without waiting.
    pub fn is_ready(&self) -> bool {
        let out = io::stdout();
        let mut polled = [PollFd::new(&out, PollFlags::OUT)];
        // Where polling fails, writing says why.
        poll(&mut polled, Some(&Timespec::default())).map_or(true, |n| n > 0)
    }

    /// Gives it back, stops this process until the shell continues it, and takes it again.
    ///
    /// # Errors
    /// It cannot be taken again.
    pub fn suspend(&mut self) -> Result<(), Error> {
        give_back();
        // The signal that Ctrl-Z sends is taken over, so it would not stop us.
        kill_process(getpid(), Signal::STOP).map_err(|error| broken(error.into()))?;
        self.resume()
    }

    /// We were stopped, and go on: whatever the shell has set in between, it is taken again.
    ///
    /// # Errors
    /// It refuses.
    pub fn resume(&mut self) -> Result<(), Error> {
        // In the background, the kernel stops us here until we are in the foreground.
        take().map_err(broken)?;
        self.forget()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn broken(source: io::Error) -> Error {
    Error::Io {
        what: "cannot use the terminal".into(),
        source,
    }
}

fn before() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys come one by one and unseen, on a screen of our own.
fn take() -> io::Result<()> {
    let now = tcgetattr(io::stdin())?;
    let mut raw = now.clone();
    raw.make_raw();
    tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
    // When it is taken already, what it was before is known.
    before().get_or_insert(now);
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableBracketedPaste,
        Print(MOUSE_ON),
        Hide
    )
}

/// As it was; nothing when it is not taken.
fn give_back() {
    let Some(before) = before().take() else {
        return;
    };
    // There is nobody to tell that it failed. The screen is cleared first: after its window was resized, tmux would mix
    // what was drawn into the screen that was there before.
    let _ = execute!(
        io::stdout(),
        Clear(ClearType::All),
        MoveTo(0, 0),
        Print(MOUSE_OFF),
        DisableBracketedPaste,
        Show,
        LeaveAlternateScreen
    );
    let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
}

/// A panic of this thread is told on the screen that was there before.
fn give_back_in_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (told, own) = (panic::take_hook(), thread::current().id());
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == own {
                give_back();
            }
            told(info);
        }));
    });
}
