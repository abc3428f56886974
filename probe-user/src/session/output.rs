//! Where output goes: stdout for results, stderr for progress and the kernel side's log.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{cli::Color, error::Error};

/// Whether to colour what goes to stdout.
pub fn colour(when: Color) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            // no-color.org: any value that is not empty counts.
            let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
            io::stdout().is_terminal() && !refused && !dumb
        }
    }
}

/// Whether the reader of stdout is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It took what was written.
    There,
    /// It closed its end (`| head`): it has what it wanted, which is no error.
    Gone,
}

/// Writes `text` to stdout.
///
/// # Errors
/// [`Error::Io`] when it cannot be written, for example on a full disk.
pub fn print(text: &str) -> Result<Reader, Error> {
    let mut out = io::stdout().lock();
    judge(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether the reader of stdout is still there, for when there is nothing to write.
pub fn reader() -> Reader {
    let out = io::stdout();
    // Asked for nothing, the kernel still tells of a pipe without a reader.
    let mut polled = [PollFd::new(&out, PollFlags::empty())];
    let told = poll(&mut polled, Some(&Timespec::default())).is_ok_and(|n| n > 0);
    if told && polled[0].revents().contains(PollFlags::ERR) {
        Reader::Gone
    } else {
        Reader::There
    }
}

/// What the result of writing to stdout means.
///
/// # Errors
/// [`Error::Io`] for everything but a reader that went away.
pub fn judge(written: io::Result<()>) -> Result<Reader, Error> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(source) => Err(Error::Io {
            what: "cannot write the result to stdout".into(),
            source,
        }),
    }
}

/// One line on stderr; a closed stderr is no reason to stop.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "stallscope: {line}");
}

/// Any text on one line, with nothing that a terminal would obey.
pub fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        // escape_debug also escapes what hides or reorders text (U+202E and the like), but quotes too.
        match c {
            '\'' | '"' | '\\' => safe.push(c),
            _ => safe.extend(c.escape_debug()),
        }
    }
    safe
}

/// One line on a terminal's stderr that says how far the run is, refreshed in place.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Shows nothing where stderr is not a terminal.
    pub fn new() -> Self {
        Self {
            shown: false,
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Replaces the line. It is cut to `WIDTH`, so that it never wraps and can always be erased.
    pub fn show(&mut self, line: &str) {
        const WIDTH: usize = 78;
        if self.terminal {
            let line: String = plain(line).chars().take(WIDTH).collect();
            let _ = write!(io::stderr(), "\r\x1b[2K{line}");
            self.shown = true;
        }
    }

    /// Erases the line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Sends the kernel side's own log to stderr (`-v`).
pub fn log_to_stderr() {
    static LOG: Log = Log;
    // A second call finds the same logger in place.
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, of: &log::Metadata<'_>) -> bool {
        // The loader's own chatter is not what -v asks for.
        !of.target().starts_with("aya") || of.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            let text = plain(&record.args().to_string());
            // Our own crate loads and attaches; every other record came from the kernel side's ring.
            let side = match record.target().split("::").next() {
                Some("stallscope" | "aya" | "aya_obj") => "loader",
                _ => "kernel side",
            };
            let _ = writeln!(io::stderr(), "\rstallscope: {side}: {level}: {text}");
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        assert_eq!(judge(Ok(())).unwrap(), Reader::There);
        let gone = judge(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        assert_eq!(gone, Reader::Gone);
        let error = judge(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write the result to stdout: ")
        );
    }

    #[test]
    fn text_from_elsewhere_is_one_harmless_line() {
        assert_eq!(plain("it's \"www\" \\ ü"), "it's \"www\" \\ ü");
        assert_eq!(
            plain("a\u{1b}[2J\r\nb\u{202e}\u{9b}c"),
            r"a\u{1b}[2J\r\nb\u{202e}\u{9b}c"
        );
    }

    #[test]
    fn colour_can_be_forced() {
        assert!(colour(Color::Always));
        assert!(!colour(Color::Never));
    }
}
