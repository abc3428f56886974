//! The screens, in the order of their keys.

mod cells;
#[cfg(test)]
pub(super) mod check;
mod events;
mod files;
mod names;
mod overview;
mod requests;
mod tcp;
mod workers;

use super::Screen;
pub(super) use cells::{Lines, cut};

/// Every screen; the first is shown first.
pub const SCREENS: &[Screen] = &[
    overview::SCREEN,
    workers::SCREEN,
    requests::SCREEN,
    tcp::SCREEN,
    names::SCREEN,
    files::SCREEN,
    events::SCREEN,
];
