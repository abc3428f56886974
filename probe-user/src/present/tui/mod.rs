//! The live view. Its state ([`Data`], and what a user has chosen) is apart from drawing; a screen is a record of
//! sections, and a section is a function from the data to rows, so that a table is written once.

mod app;
mod bar;
mod draw;
mod findings;
mod header;
mod help;
mod history;
mod keys;
mod page;
mod screens;
mod section;
mod table;
mod theme;
mod waterfall;

#[cfg(test)]
mod shot;
#[cfg(test)]
mod tests;

use crate::{
    aggregate::{RequestSummary, Window},
    diagnose::Diagnosis,
};

pub use app::{Action, App, Playback};
pub use draw::draw;
pub use history::{History, Moment, stamp};
pub use screens::SCREENS;
pub use section::{
    Column, Order, Row, Screen, Section, Width, no_below, no_detail, no_head, widths,
};
pub use theme::{Palette, Theme};

/// What is shown at a moment.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// From the look before to this one: what each worker did just now.
    pub last: Window,
    /// The last ten to twenty seconds: rates, peers, sockets, files.
    pub recent: Window,
    /// What the rules say of `recent`.
    pub diagnosis: Diagnosis,
    /// The slowest requests since the view began, slowest first.
    pub slowest: Vec<Slow>,
    /// What happened, newest last.
    pub events: Vec<Event>,
    /// What was lost since watching began.
    pub lost: u64,
    /// Since watching began, ns.
    pub elapsed_ns: u64,
    /// The time of day, ns since the Unix epoch.
    pub unix_ns: u64,
}

/// A slow request.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Its group's name, any bytes.
    pub group: Vec<u8>,
    /// When it ended, or was seen last, ns since the Unix epoch.
    pub unix_ns: u64,
    /// The request.
    pub request: RequestSummary,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, ns since the Unix epoch.
    pub unix_ns: u64,
    /// How it is marked.
    pub tone: Tone,
    /// What, safe to be shown.
    pub text: String,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// Less important.
    Faint,
    /// A heading, or what is chosen.
    Strong,
    /// All is well.
    Good,
    /// A warning.
    Warning,
    /// Something critical.
    Critical,
}
