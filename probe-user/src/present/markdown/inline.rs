//! Words, names and commands, so that none of them means anything to a Markdown parser.

use crate::{
    diagnose::{Piece, Sentence},
    present::names,
};

/// A sentence: names in code spans, our own words escaped.
pub(super) fn sentence(sentence: &Sentence) -> String {
    let pieces = sentence.0.iter().enumerate().map(|(n, piece)| {
        let said = names::piece(piece);
        match piece {
            Piece::Peer(_) | Piece::Name(_) => code(&said),
            // Only what stands first can be taken for a list or a heading.
            Piece::Text(_) | Piece::Value(_) if n == 0 => first(typed(&said)),
            Piece::Text(_) | Piece::Value(_) => typed(&said),
        }
    });
    pieces.collect()
}

/// A name as a code span. Nothing is interpreted in it, and its fence is longer than any run of backticks in the name.
pub(super) fn code(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let ticks = "`".repeat(longest_run(name, '`') + 1);
    // A space at each end is taken away by the parser, so that the name may end with a backtick or a space.
    let bare = !name.starts_with(['`', ' ']) && !name.ends_with(['`', ' ']);
    let space = if bare { "" } else { " " };
    format!("{ticks}{space}{name}{space}{ticks}")
}

/// Commands in a block of their own, each line behind `indent`.
pub(super) fn fence(commands: &str, indent: &str) -> String {
    let ticks = "`".repeat(longest_run(commands, '`').max(2) + 1);
    let lines: Vec<String> = commands.lines().map(|l| format!("{indent}{l}")).collect();
    format!("{indent}{ticks}sh\n{}\n{indent}{ticks}", lines.join("\n"))
}

/// Our own words at the beginning of a paragraph or an item.
pub(super) fn text(said: &str) -> String {
    first(words(said))
}

fn first(said: String) -> String {
    let digits = said.bytes().take_while(u8::is_ascii_digit).count();
    let behind = &said[digits..];
    if said.starts_with(['#', '+', '-', '=', ':']) {
        format!("\\{said}")
    } else if digits > 0 && (behind.starts_with(". ") || behind.starts_with(") ")) {
        format!("{}\\{behind}", &said[..digits])
    } else {
        said
    }
}

/// Our own words: what stands between backticks is to be typed.
fn typed(said: &str) -> String {
    let pieces = said.split('`').enumerate();
    let pieces = pieces.map(|(n, piece)| {
        if n % 2 == 1 {
            code(piece)
        } else {
            words(piece)
        }
    });
    pieces.collect()
}

/// Our own words. They may hold a name that was escaped for a terminal only (a group's, a reason's).
fn words(said: &str) -> String {
    let words: Vec<String> = said
        .split(' ')
        .map(|word| {
            if is_linked(word) {
                code(word)
            } else {
                escaped(word)
            }
        })
        .collect();
    words.join(" ")
}

/// What trackers make something of after Markdown is done with it: mentions, links, references, formulas.
fn is_linked(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let reference = |sign: char| {
        let mut behind = word.split(sign).skip(1);
        behind.any(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    word.contains(['@', '$'])
        || lower.contains("://")
        || lower.contains("www.")
        || lower.contains("mailto:")
        || ['#', '!'].into_iter().any(reference)
}

fn escaped(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut before = None;
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let special = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '&' | '|' | '~' => true,
            // Within a word it means nothing.
            '_' => !(letter(before) && letter(rest.peek().copied())),
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(c);
        before = Some(c);
    }
    out
}

fn longest_run(text: &str, of: char) -> usize {
    let runs = text.split(|c| c != of).map(str::len);
    runs.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_what_is_in_it() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("``x`"), "``` ``x` ```");
        assert_eq!(code(" "), "`   `");
        assert_eq!(fence("a ```` b", "  "), "  `````sh\n  a ```` b\n  `````");
    }

    #[test]
    fn our_words_mean_nothing_to_a_parser() {
        assert_eq!(
            text("<b>x</b> *a* [l](u) &lt;"),
            "\\<b\\>x\\</b\\> \\*a\\* \\[l\\](u) \\&lt;"
        );
        assert_eq!(text("net.core.rmem_max _x_"), "net.core.rmem_max \\_x\\_");
        assert_eq!(
            text("ask @root, see https://x.y/"),
            "ask `@root,` see `https://x.y/`"
        );
        assert_eq!(
            text("pool www: see #12 or group!7"),
            "pool www: see `#12` or `group!7`"
        );
        assert_eq!(text("# a"), "\\# a");
        assert_eq!(text("1. a"), "1\\. a");
        assert_eq!(text("8.90 s of >99 %"), "8.90 s of \\>99 %");
    }
}
