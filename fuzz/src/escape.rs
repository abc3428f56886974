//! Names from the traced system, on their way to a terminal: harmless, bounded, and still the same name.

use std::borrow::Cow;

use stallscope::present::escape::{MAX, again, bounded, name};

use crate::memory;

/// Characters that must not reach a terminal: whatever acts, hides, or turns text around, by their Unicode names and apart from
/// the tool's own list.
const FORBIDDEN: [char; 12] = [
    '\u{1b}',
    '\u{7f}',
    '\u{85}',
    '\u{9b}',
    '\u{ad}',
    '\u{200b}',
    '\u{200f}',
    '\u{2028}',
    '\u{202e}',
    '\u{2066}',
    '\u{feff}',
    '\u{e0001}',
];

/// Escapes it to a length that the first byte says.
pub fn run(bytes: &[u8]) {
    let Some((&max, bytes)) = bytes.split_first() else {
        return;
    };
    let max = usize::from(max);
    // A character is a text of its own, and one that is cut off is not looked at further.
    let most = memory::ALWAYS + 128 * max.min(4 * bytes.len() + 1);
    let shown = memory::within(most, || bounded(bytes, max));
    harmless(&shown, max);
    harmless(&name(bytes), MAX);
    // Nothing happens to what was escaped once.
    assert!(matches!(again(&shown, 4 * MAX), Cow::Borrowed(same) if same == shown));
    // What was not cut off is still the same name.
    let whole = bounded(bytes, usize::MAX);
    assert_eq!(back(&whole), bytes, "{whole:?}");
    if whole.chars().count() <= max {
        assert_eq!(shown, whole);
    } else if max > 0 {
        let kept = shown
            .strip_suffix('…')
            .expect("it says that something is cut off");
        assert!(whole.starts_with(kept));
        assert!(bytes.starts_with(&back(kept)));
    }
    // Text that is read back is anybody's.
    let text = String::from_utf8_lossy(bytes);
    let shown = again(&text, max);
    // An escape is eight more characters than what it stands for.
    harmless(&shown, 10 * max + 1);
    assert!(matches!(again(&shown, 10 * max + 1), Cow::Borrowed(_)) || shown.len() > 10 * max);
}

fn harmless(text: &str, max: usize) {
    assert!(
        text.chars().count() <= max,
        "{} characters",
        text.chars().count()
    );
    let bad = text
        .chars()
        .find(|c| c.is_control() || FORBIDDEN.contains(c));
    assert_eq!(bad, None, "{text:?}");
}

/// The reverse of escaping.
fn back(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
        } else if let Some(behind) = rest.strip_prefix('\\') {
            out.push(b'\\');
            rest = behind;
        } else if let Some(digits) = rest.strip_prefix('x') {
            out.push(u8::from_str_radix(&digits[..2], 16).expect("two digits"));
            rest = &digits[2..];
        } else {
            let (digits, behind) = rest
                .strip_prefix("u{")
                .and_then(|digits| digits.split_once('}'))
                .expect("an escape that is known");
            let c = u32::from_str_radix(digits, 16)
                .ok()
                .and_then(char::from_u32);
            let c = c.expect("a character");
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            rest = behind;
        }
    }
    out
}
