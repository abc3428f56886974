//! The report as one HTML file that needs nothing else.

use crate::{aggregate::Window, diagnose::Diagnosis};

/// The whole document.
pub fn report(_window: &Window, _diagnosis: &Diagnosis) -> String {
    String::new()
}
