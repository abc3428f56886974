//! The closing lines of the report: what stays unexplained, what was left out, lost, and spent.

use super::labelled;
use crate::{
    aggregate::Window,
    diagnose::Diagnosis,
    present::{Style, sentences, style::Tone},
};

/// What a request of the first finding about requests spends elsewhere.
pub(super) fn not_explained(
    out: &mut String,
    window: &Window,
    diagnosis: &Diagnosis,
    style: Style,
) {
    if let Some(text) = sentences::not_explained(window, diagnosis) {
        labelled(out, "Not explained", Tone::Strong, &text, style);
    }
}

/// What was seen, but is not in the requests above.
pub(super) fn left_out(out: &mut String, window: &Window, style: Style) {
    if let Some(text) = sentences::left_out(window) {
        labelled(out, "Left out", Tone::Strong, &text, style);
    }
}

/// What was seen, and lost.
pub(in crate::present) fn coverage(out: &mut String, window: &Window, style: Style) {
    let coverage = sentences::coverage(window);
    if coverage.whole {
        labelled(out, "Saw it all", Tone::Good, &coverage.seen, style);
        return;
    }
    labelled(out, "Saw", Tone::Warning, &coverage.seen, style);
    for lost in coverage.lost {
        labelled(out, "Lost", Tone::Warning, &lost, style);
    }
}

/// That names are not the true ones.
pub(super) fn redacted(out: &mut String, window: &Window, style: Style) {
    if window.redacted {
        labelled(out, "Redacted", Tone::Strong, sentences::REDACTED, style);
    }
}

/// What watching cost.
pub(in crate::present) fn cost(out: &mut String, window: &Window, style: Style) {
    labelled(out, "Cost", Tone::Strong, &sentences::cost(window), style);
}
