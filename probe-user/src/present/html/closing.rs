//! The end of the document: what stays unexplained, what could not be judged, what was lost, and what watching cost.

use super::writer::Html;
use crate::{
    aggregate::Window,
    attach::State,
    diagnose::Diagnosis,
    present::{escape, sentences},
};

/// All of it.
pub(super) fn closing(h: &mut Html, window: &Window, diagnosis: &Diagnosis) {
    h.nest("section", &[("id", "coverage")], |h| {
        h.element("h2", &[], "What this report rests on");
        h.nest("table", &[("class", "closing")], |h| {
            h.nest("tbody", &[], |h| lines(h, window, diagnosis));
        });
        probes(h, window);
    });
}

fn lines(h: &mut Html, window: &Window, diagnosis: &Diagnosis) {
    let mut line = |label: &str, texts: &[String]| {
        if texts.is_empty() {
            return;
        }
        h.nest("tr", &[], |h| {
            h.element("th", &[("scope", "row")], label);
            h.nest("td", &[], |h| {
                texts.iter().for_each(|text| h.element("div", &[], text));
            });
        });
    };
    let some = |text: Option<String>| text.into_iter().collect::<Vec<_>>();
    line(
        "Not explained",
        &some(sentences::not_explained(window, diagnosis)),
    );
    line("Left out", &some(sentences::left_out(window)));
    let missing = diagnosis.not_judged.iter().map(sentences::not_judged);
    line("Not judged", &missing.collect::<Vec<_>>());
    let coverage = sentences::coverage(window);
    let seen = if coverage.whole { "Saw it all" } else { "Saw" };
    line(seen, &[coverage.seen]);
    line("Lost", &coverage.lost);
    if window.redacted {
        line("Redacted", &[sentences::REDACTED.to_owned()]);
    }
    line("Cost", &[sentences::cost(window)]);
}

/// What became of each probe.
fn probes(h: &mut Html, window: &Window) {
    if window.probes.is_empty() {
        return;
    }
    h.nest("details", &[], |h| {
        h.element("summary", &[], "Every probe");
        h.nest("table", &[("class", "closing")], |h| {
            h.nest("tbody", &[], |h| {
                for probe in &window.probes {
                    let state = match &probe.state {
                        State::Active if probe.seen == Some(0) => "active, saw nothing".to_owned(),
                        State::Active => "active".to_owned(),
                        State::Off(why) => format!("off: {}", escape::name(why.as_bytes())),
                    };
                    h.nest("tr", &[], |h| {
                        h.element("th", &[("scope", "row")], probe.id);
                        h.nest("td", &[], |h| {
                            h.text(&state);
                            if !probe.summary.is_empty() {
                                h.element("div", &[("class", "soft")], probe.summary);
                            }
                        });
                    });
                }
            });
        });
    });
}
