//! Writes windows and findings as text and JSON. No thresholds, no decisions; every name from the traced
//! system goes through [`escape`], and [`redact`] replaces it where a report is to be shared.

mod bar;
pub mod count;
pub mod diff;
pub mod dns;
pub mod doctor;
pub mod errno;
pub mod escape;
pub mod explain;
pub mod fs;
pub mod html;
pub mod json;
mod layout;
pub mod log;
pub mod markdown;
pub mod metrics;
mod names;
mod page;
pub mod redact;
pub mod rules;
mod sentences;
mod spark;
mod style;
pub mod tcp;
pub mod text;
pub mod tui;
pub mod udp;
pub mod units;
pub mod workers;

pub use style::{Color, Style};
