//! What must hold of everything that is written, whatever it is about.

use stallscope::{
    aggregate::Window,
    diagnose,
    present::{self, Style, json::Report},
};

/// Characters that must not stand in any output: whatever acts on a terminal, or turns text around.
fn is_forbidden(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text that anybody may be shown.
///
/// # Panics
/// It is not.
pub fn harmless(text: &str) {
    let bad = text.char_indices().find(|(_, c)| is_forbidden(*c));
    if let Some((at, c)) = bad {
        let from = text.floor_char_boundary(at.saturating_sub(60));
        panic!("{c:?} behind {:?}", &text[from..at]);
    }
}

/// Writes a report in every form; the JSON comes back as it was written, and is the same as itself.
///
/// # Panics
/// It does not.
pub fn reports(window: &Window) {
    let diagnosis = diagnose::run(window);
    let json = present::json::report(window, &diagnosis);
    harmless(&json);
    let report = Report::parse(json.as_bytes()).unwrap_or_else(|why| panic!("{why}: {json}"));
    let again = serde_json::to_string(&report).expect("what was read can be written");
    assert_eq!(json.trim_end(), again);
    itself(&report);
    harmless(&present::text::report(window, &diagnosis, Style::default()));
    harmless(&present::markdown::report(window, &diagnosis));
    let html = present::html::report(window, &diagnosis);
    harmless(&html);
    assert!(!html.contains("<script"), "a name becomes markup");
}

/// A report beside itself: nothing has changed.
///
/// # Panics
/// Something has.
pub fn itself(report: &Report) {
    use diagnose::compare::{Verdict, compare};
    let facts = present::diff::facts(report);
    let same = compare(&facts, &facts);
    assert!(
        matches!(same.verdict, Verdict::Same | Verdict::NotComparable),
        "{:?}",
        same.verdict
    );
    harmless(&present::diff::text(
        &facts,
        &facts,
        &same,
        Style::default(),
    ));
    harmless(&present::diff::json(&facts, &facts, &same));
}
