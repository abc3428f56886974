//! The one way by which names from the traced system (process names, paths, URIs) reach an output.
//!
//! They are hostile input: a process may be named `\x1b[2J`, a URI may hold a bidirectional override that
//! turns the line around, and neither needs to be UTF-8. What could act on a terminal, or deceive the
//! eye, becomes a visible escape; the length is bounded.

use std::borrow::Cow;

/// The longest that a name becomes, in characters, where no shorter bound is asked for.
pub const MAX: usize = 256;

/// `bytes` in visible characters, at most [`MAX`] of them.
pub fn name(bytes: &[u8]) -> String {
    bounded(bytes, MAX)
}

/// The same in at most `max` characters; what is cut off shows as `…` at the end.
///
/// Control characters and bytes that are not UTF-8 become `\xNN`; characters that change the direction
/// of text, take no room, or are unassigned separators become `\u{NNNN}`; a backslash becomes `\\`, so
/// that an escape is never ambiguous.
pub fn bounded(bytes: &[u8], max: usize) -> String {
    let mut pieces: Vec<String> = Vec::new();
    let mut length = 0;
    'all: for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().map(visible);
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in valid.chain(invalid) {
            length += piece.chars().count();
            pieces.push(piece);
            // One more than fits is enough to know that something is cut off.
            if length > max {
                break 'all;
            }
        }
    }
    if length > max {
        // An escape is cut off whole: half of one would read as something else.
        while length > max.saturating_sub(1) {
            let Some(last) = pieces.pop() else { break };
            length -= last.chars().count();
        }
        if max > 0 {
            pieces.push("…".to_owned());
        }
    }
    pieces.concat()
}

/// Text that was escaped once, such as that of a report which is read back: nothing happens to it unless someone tampered
/// with it. What could act or deceive becomes visible, backslashes stay, and what is behind `max` characters is cut off.
pub fn again(text: &str, max: usize) -> Cow<'_, str> {
    let safe = |c: char| matches!(c, ' '..='~') || (!c.is_ascii() && !is_deceptive(c));
    if text.len() <= max && text.chars().all(safe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        match c {
            _ if n == max => {
                out.push('…');
                break;
            }
            c if safe(c) => out.push(c),
            c => out.push_str(&visible(c)),
        }
    }
    Cow::Owned(out)
}

fn visible(c: char) -> String {
    match c {
        '\\' => "\\\\".to_owned(),
        ' '..='~' => c.to_string(),
        c if (c as u32) < 0x80 => format!("\\x{:02x}", c as u32),
        c if is_deceptive(c) => format!("\\u{{{:x}}}", c as u32),
        c => c.to_string(),
    }
}

/// C1 controls, and characters that take no room, change direction, or part lines.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{ad}'                      // soft hyphen
        | '\u{300}'..='\u{36f}'         // combining marks: they may pile up over other lines
        | '\u{61c}'                     // Arabic letter mark
        | '\u{115f}' | '\u{1160}'       // Hangul fillers
        | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{2000}'..='\u{200f}'       // odd spaces, zero-width, direction marks
        | '\u{2028}'..='\u{202f}'       // separators, bidirectional overrides
        | '\u{205f}'..='\u{206f}'       // invisible operators, isolates
        | '\u{20d0}'..='\u{20ff}'
        | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{a0}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e000}'..='\u{f8ff}'       // private use: any glyph a font likes
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}'    // tags, variation selectors, private use
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_becomes_visible() {
        assert_eq!(
            name(b"\x1b[2J\x07\r\n\t\x7f"),
            "\\x1b[2J\\x07\\x0d\\x0a\\x09\\x7f"
        );
        assert_eq!(name("\u{9b}31m".as_bytes()), "\\u{9b}31m");
        assert_eq!(name(b"\xff\xfe/a\xc3"), "\\xff\\xfe/a\\xc3");
        assert_eq!(
            name("gpj.\u{202e}exe\u{2066}".as_bytes()),
            "gpj.\\u{202e}exe\\u{2066}"
        );
        assert_eq!(
            name("a\u{200b}b\u{feff}\u{2028}".as_bytes()),
            "a\\u{200b}b\\u{feff}\\u{2028}"
        );
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        assert_eq!(
            name("/catalog.php?cat=größe&x=<b>".as_bytes()),
            "/catalog.php?cat=größe&x=<b>"
        );
    }

    #[test]
    fn an_escape_cannot_be_forged() {
        assert_ne!(name(br"\x1b"), name(b"\x1b"));
        assert_eq!(name(br"\x1b"), r"\\x1b");
    }

    #[test]
    fn the_length_is_bounded_and_an_escape_is_never_cut_in_two() {
        assert_eq!(bounded(b"abcdef", 6), "abcdef");
        assert_eq!(bounded(b"abcdefg", 6), "abcde…");
        assert_eq!(bounded(b"abc\x1bdef", 6), "abc…");
        assert_eq!(bounded(b"abc", 0), "");
        assert_eq!(name(&[b'x'; 100_000]).chars().count(), MAX);
    }

    #[test]
    fn no_byte_sequence_yields_a_control_character() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let out = name(&[a, b, 0x80]);
                assert!(
                    out.chars().all(|c| !c.is_control()),
                    "{a:02x} {b:02x}: {out:?}"
                );
            }
        }
    }
}
