//! `stallscope diff`: what got better or worse from one run to another.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use super::{CLEAR, FOUND, Setup, output, replay};
use crate::{
    cli::Diff,
    collect::recording,
    diagnose::{
        self,
        compare::{self, Facts, Verdict},
    },
    error::Error,
    present::{self, json::Report},
};

/// Nothing changed.
const SAME: u8 = 3;
/// Nothing can be said.
const NOT_COMPARABLE: u8 = 4;

/// Runs it.
///
/// # Errors
/// Why it could not do its job.
pub fn run(args: &Diff, setup: Setup) -> Result<u8, Error> {
    let (before, after) = (facts(&args.before)?, facts(&args.after)?);
    let comparison = compare::compare(&before, &after);
    let text = if args.json {
        present::diff::json(&before, &after, &comparison)
    } else {
        present::diff::text(&before, &after, &comparison, setup.style)
    };
    output::print(&text)?;
    Ok(match comparison.verdict {
        Verdict::Better => CLEAR,
        Verdict::Worse | Verdict::Mixed => FOUND,
        Verdict::Same => SAME,
        Verdict::NotComparable => NOT_COMPARABLE,
    })
}

/// What a file says: a recording, which is told by its first bytes, or a report.
fn facts(path: &Path) -> Result<Facts, Error> {
    let name = path.display();
    let error = |source| Error::Io {
        what: format!("cannot read {name}"),
        source,
    };
    let mut file = File::open(path).map_err(error)?;
    let mut head = Vec::new();
    let magic = recording::MAGIC;
    file.by_ref()
        .take(magic.len() as u64)
        .read_to_end(&mut head)
        .map_err(error)?;
    if !head.is_empty() && magic.starts_with(&head) {
        let window = replay::window(replay::open(path)?)?;
        let diagnosis = diagnose::run(&window);
        return Ok(present::diff::facts(&Report::of(&window, &diagnosis)));
    }
    let report = Report::read(io::Cursor::new(head).chain(file))
        .map_err(|why| Error::Usage(format!("cannot read {name}: {why}")))?;
    Ok(present::diff::facts(&report))
}
