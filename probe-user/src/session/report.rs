//! A report in the format that was asked for.

use super::{CLEAR, FOUND, output};
use crate::{
    aggregate::Window,
    cli::Output,
    diagnose::{self, Severity},
    error::Error,
    present::{self, Style},
};

/// Judges a window, and prints the report. The exit code says whether anything at warning or above was found, also when the
/// reader of the report went away before its end (`| head`).
///
/// # Errors
/// It cannot be written.
pub fn print(mut window: Window, output: Output, style: Style) -> Result<u8, Error> {
    if output.redact {
        // Before judging: what the rules say can then hold no true name.
        present::redact::all(&mut window);
    }
    let diagnosis = diagnose::run(&window);
    let report = if output.json {
        present::json::report(&window, &diagnosis)
    } else if output.html {
        present::html::report(&window, &diagnosis)
    } else if output.markdown {
        present::markdown::report(&window, &diagnosis)
    } else {
        present::text::report(&window, &diagnosis, style)
    };
    output::print(&report)?;
    Ok(match diagnosis.worst() {
        Some(worst) if worst >= Severity::Warning => FOUND,
        _ => CLEAR,
    })
}
