//! Findings as lines of a log, and moments as parts of a file's name.

use super::{escape, json, names};
use crate::diagnose::{Finding, steady::Change};

/// The longest headline, characters.
const HEADLINE: usize = 300;

/// What changed, in a line: `W01 blocking-upstream opened (critical): pool www ...`.
pub fn change(change: &Change) -> String {
    let (what, open) = match change {
        Change::Opened(open) => ("opened", open),
        Change::Worse(open) => ("got worse", open),
        Change::Closed(open) => ("closed", open),
    };
    let rule = open.finding.rule;
    let severity = open.worst.name();
    format!("{rule} {what} ({severity}): {}", headline(&open.finding))
}

/// A finding's first sentence, escaped and bounded.
pub fn headline(finding: &Finding) -> String {
    let first = finding.summary.first();
    let text = first.map_or_else(|| finding.title.clone(), names::sentence);
    escape::again(&text, HEADLINE).into_owned()
}

/// A moment as it stands in a file's name: `20231114-221320`, UTC.
pub fn stamp(unix_ns: u64) -> String {
    let time = json::rfc3339(unix_ns);
    let seconds = time.split('.').next().unwrap_or_default();
    seconds.replace(['-', ':'], "").replace('T', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{Piece, Sentence, rules::finding_for_tests};

    #[test]
    fn moments_are_names() {
        assert_eq!(stamp(1_700_000_000_999_000_000), "20231114-221320");
        assert_eq!(stamp(0), "19700101-000000");
    }

    #[test]
    fn a_headline_is_one_harmless_line() {
        let mut finding = finding_for_tests();
        assert_eq!(headline(&finding), "Made up");
        let name = Piece::Name(b"\x1b[2J\n\xe2\x80\xaewww".repeat(100));
        finding.summary = vec![Sentence(vec![name])];
        let line = headline(&finding);
        assert!(
            line.starts_with(r"\x1b[2J\x0a\u{202e}www") || line.starts_with(r"\x1b[2J\n"),
            "{line}"
        );
        assert!(line.chars().count() <= HEADLINE && !line.contains(['\n', '\u{1b}']));
    }
}
