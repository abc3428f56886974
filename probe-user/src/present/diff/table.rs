//! The table of what changed: what, before, after, how much.

use super::{super::units::plural, Style, Tone, words};
use crate::{
    diagnose::compare::{
        Comparison, Facts, Judged, Row,
        measures::{self, Section},
    },
    present::layout::{cell, right},
};

/// Columns of a value.
const VALUE: usize = 11;
/// Columns of the words on a change.
const CHANGE: usize = 20;
/// Rows of a section shown.
const ROWS: usize = 30;

/// True for what is shown even where it is as it was: whoever compares two runs asks for it.
pub(super) fn always(row: &Row) -> bool {
    [measures::WALL_P50.id, measures::WALL_P95.id].contains(&row.what.id)
}

fn shown(row: &Row) -> bool {
    let changed = match row.judged {
        Judged::Better | Judged::Worse | Judged::Lower | Judged::Higher | Judged::Load => true,
        Judged::Alike | Judged::Chance | Judged::OneSided => false,
    };
    changed || always(row)
}

/// The table; nothing when there is nothing to show.
pub(super) fn table(out: &mut String, before: &Facts, after: &Facts, c: &Comparison, style: Style) {
    let rows: Vec<&Row> = c.rows.iter().filter(|row| shown(row)).collect();
    if rows.is_empty() {
        return;
    }
    let label = style.columns().saturating_sub(2 * VALUE + CHANGE);
    let head = cell("", label) + &right("before", VALUE) + &right("after", VALUE) + "  change";
    out.push('\n');
    out.push_str(&style.paint(Tone::Faint, &head));
    out.push('\n');
    let mut at = Heads::default();
    for section in rows.chunk_by(|a, b| a.what.section == b.what.section) {
        for row in section.iter().take(ROWS) {
            at.heads(out, row, before, after, style);
            let indent = if words::is_inline(row.what) || row.about.of.is_empty() {
                2
            } else {
                4
            };
            let name = " ".repeat(indent) + &words::row(row.what, &row.about);
            out.push_str(&cell(&name, label));
            out.push_str(&right(&words::value(row.what, row.before), VALUE));
            out.push_str(&right(&words::value(row.what, row.after), VALUE));
            let change = words::change(row);
            out.push_str("  ");
            out.push_str(&match row.judged {
                Judged::Better => style.paint(Tone::Good, &change),
                Judged::Worse => style.paint(Tone::Critical, &change),
                Judged::Lower | Judged::Higher => change,
                _ => style.paint(Tone::Faint, &change),
            });
            out.push('\n');
        }
        if section.len() > ROWS {
            let more = plural((section.len() - ROWS) as u64, "more row", "more rows");
            out.push_str(&format!("  and {more}; --json has them\n"));
        }
    }
}

/// The headings that stand above the row written last.
#[derive(Default)]
struct Heads {
    section: Option<Section>,
    group: String,
    of: String,
}

impl Heads {
    /// Writes the headings that the row needs and that do not stand above it yet.
    fn heads(&mut self, out: &mut String, row: &Row, before: &Facts, after: &Facts, style: Style) {
        let about = &row.about;
        let section = row.what.section;
        if self.section != Some(section) || self.group != about.group {
            let requests = |facts: &Facts| {
                let served = facts.groups.iter().find(|g| g.group == about.group);
                served.map_or(0, |g| g.requests)
            };
            let head = match section {
                Section::Requests => format!(
                    "{}: {} and {}",
                    about.group,
                    super::super::units::count(requests(before)),
                    plural(requests(after), "finished request", "finished requests")
                ),
                _ if about.group.is_empty() => section.name().to_owned(),
                _ => format!("{}: {}", section.name(), about.group),
            };
            out.push_str(&style.paint(Tone::Strong, cell(&head, style.columns()).trim_end()));
            out.push('\n');
            self.section = Some(section);
            self.group.clone_from(&about.group);
            self.of.clear();
        }
        if !words::is_inline(row.what) && self.of != about.of {
            if !about.of.is_empty() {
                let head = format!("  {}", about.of);
                out.push_str(cell(&head, style.columns()).trim_end());
                out.push('\n');
            }
            self.of.clone_from(&about.of);
        }
    }
}
