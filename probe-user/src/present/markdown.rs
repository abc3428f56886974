//! The report as Markdown, to be pasted into a ticket.

use crate::{aggregate::Window, diagnose::Diagnosis};

/// The whole document.
pub fn report(_window: &Window, _diagnosis: &Diagnosis) -> String {
    String::new()
}
