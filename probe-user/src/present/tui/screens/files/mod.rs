//! File systems, who creates files, journals, and who sleeps behind them.

mod directories;
mod journals;
mod refused;
mod sleepers;
mod space;
mod syncs;
#[cfg(test)]
mod tests;

use super::cells::why_empty;
use crate::{
    aggregate::{Team, files::Files, journal::Journal},
    present::tui::{Data, Screen, no_below},
};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "files/journal",
    sections: &[
        space::SECTION,
        directories::SECTION,
        refused::SECTION,
        journals::SECTION,
        syncs::SECTION,
        sleepers::SECTION,
    ],
    below: no_below,
};

fn files(data: &Data) -> Option<&Files> {
    data.recent.files.as_deref()
}

fn no_files(data: &Data, probes: &[(&str, &str)], nothing: &str) -> String {
    why_empty(data, files(data).is_some(), "Files are", probes, nothing)
}

fn journal(data: &Data) -> Option<&Journal> {
    data.recent.journal.as_deref()
}

fn no_journal(data: &Data, probes: &[(&str, &str)], nothing: &str) -> String {
    why_empty(
        data,
        journal(data).is_some(),
        "Journals are",
        probes,
        nothing,
    )
}

/// What a row of a team is known by.
fn team_key(team: &Team) -> String {
    format!("{:?} {}", team.name, team.php_fpm)
}

/// The ids of its processes: `4711, 4712 and 18 more`; empty for one alone, which its name tells already.
fn pids(team: &Team) -> String {
    if team.processes <= 1 {
        return String::new();
    }
    let named: Vec<String> = team.pids.iter().map(ToString::to_string).collect();
    match team.processes.saturating_sub(named.len() as u64) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
