//! Paths, teams and reasons in a few columns.

use crate::{
    aggregate::{
        Team, Timed,
        files::{Sizes, Trend},
        journal::WaitsFor,
    },
    present::{
        escape,
        units::{bytes, count, duration},
    },
};

/// A path in at most `max` columns: of a longer one, the end says more than the beginning.
pub(in crate::present) fn path(path: &[u8], max: usize) -> String {
    let whole = escape::name(path);
    if whole.chars().count() <= max {
        return whole;
    }
    // Cut at a slash, so that no escape is cut in two.
    let fits = |&(at, _): &(usize, &str)| whole[at..].chars().count() < max;
    match whole.match_indices('/').find(fits) {
        // What is behind the slash was not cut off at the end before.
        Some((at, _)) if !whole.ends_with('…') => format!("…{}", &whole[at..]),
        // A name that is too long by itself: it tells more than the directories above it.
        _ => match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) if at > 0 && max > 2 => {
                format!("…/{}", escape::bounded(&path[at + 1..], max - 2))
            }
            _ => escape::bounded(path, max),
        },
    }
}

/// A team: `mysqld 900`, `pool www, 20 processes`.
pub(in crate::present) fn team(team: &Team) -> String {
    let name = super::team_name(team);
    match (team.processes, team.pids.as_slice()) {
        (0, _) => name,
        (1, [pid, ..]) => format!("{name} {pid}"),
        (n, _) => format!("{name}, {} processes", count(n)),
    }
}

/// The same in so many columns, for the left of a row: `mysqld 900`, `pool www (20)`.
pub(in crate::present) fn team_cell(team: &Team, max: usize) -> String {
    let number = match (team.processes, team.pids.as_slice()) {
        (0, _) => String::new(),
        (1, [pid, ..]) => format!(" {pid}"),
        (n, _) => format!(" ({})", count(n)),
    };
    let room = max.saturating_sub(number.chars().count());
    let name = if team.name.is_empty() {
        "other processes".to_owned()
    } else if team.php_fpm {
        format!(
            "pool {}",
            escape::bounded(&team.name, room.saturating_sub(5))
        )
    } else {
        escape::bounded(&team.name, room)
    };
    name + &number
}

/// What a task sleeps for, in words.
pub(in crate::present) fn reason(waits_for: WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Commit => "a journal commit",
        WaitsFor::Transaction => "room in the journal's transaction",
        WaitsFor::Buffer => "a buffer that a commit holds",
        WaitsFor::JournalThread => "the journal's own work",
        WaitsFor::BlockIo => "a disk",
        WaitsFor::Lock => "a lock in the kernel",
        WaitsFor::Memory => "memory",
        WaitsFor::Other => "something else",
        WaitsFor::Unknown => "not known",
    }
}

/// The same as JSON names it.
pub(in crate::present) fn reason_id(waits_for: WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Commit => "journal_commit",
        WaitsFor::Transaction => "journal_transaction",
        WaitsFor::Buffer => "journal_buffer",
        WaitsFor::JournalThread => "journal_thread",
        WaitsFor::BlockIo => "block_io",
        WaitsFor::Lock => "lock",
        WaitsFor::Memory => "memory",
        WaitsFor::Other => "other",
        WaitsFor::Unknown => "unknown",
    }
}

/// p50, p99 and the longest, empty when there was none.
pub(in crate::present) fn quantiles(timed: &Timed) -> [String; 3] {
    if timed.count == 0 {
        return Default::default();
    }
    [
        duration(timed.durations.quantile(0.5)),
        duration(timed.durations.quantile(0.99)),
        duration(timed.max_ns),
    ]
}

/// The median size, empty when none is known.
pub(in crate::present) fn median_size(sizes: &Sizes) -> String {
    match sizes.count {
        0 => String::new(),
        _ => bytes(sizes.quantile(0.5)),
    }
}

/// A time in seconds, in words.
pub(in crate::present) fn time(seconds: f64) -> String {
    // A cast from a float saturates.
    duration((seconds * 1e9) as u64)
}

/// When something ends: `in 23 s (20 s to 25 s at the paces seen)`.
pub(in crate::present) fn ends(trend: &Trend) -> Option<String> {
    let left = trend.seconds_left?;
    let range = match trend.left_between() {
        Some((soonest, Some(latest))) => {
            format!(" ({} to {} at the paces seen)", time(soonest), time(latest))
        }
        Some((soonest, None)) => {
            format!(" ({} at the fastest pace seen; in bursts)", time(soonest))
        }
        None => String::new(),
    };
    Some(format!("in {}{range}", time(left)))
}
