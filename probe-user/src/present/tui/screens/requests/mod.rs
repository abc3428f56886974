//! The slowest requests, and where their time went; requests by group, and by peer.

#[cfg(test)]
pub mod fixture;
mod groups;
pub mod one;
mod peers;
mod slowest;
#[cfg(test)]
mod tests;

use ratatui::text::Line;

use super::workers::add;
use crate::{
    aggregate::Parts,
    present::tui::{Data, Screen, Theme, bar},
};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "requests",
    sections: &[slowest::SECTION, groups::SECTION, peers::SECTION],
    below: legend,
};

fn legend(data: &Data, width: u16, height: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut all = Parts::default();
    data.slowest
        .iter()
        .for_each(|slow| add(&mut all, &slow.request.parts));
    for group in &data.recent.groups {
        add(&mut all, &group.all_parts());
    }
    let mut lines = bar::legend(&all, width, theme);
    lines.truncate(height.into());
    lines
}
