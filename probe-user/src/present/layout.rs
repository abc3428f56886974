//! Lines: wrapping and hanging indents.

/// Breaks `text` at spaces into lines of at most `width` characters; a longer word stands alone.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(
                std::mem::take(&mut line)
                    .trim_end_matches([' ', KEEP])
                    .to_owned(),
            );
            used = 0;
        }
        // A gap that a line broke at is gone.
        let word = if used == 0 {
            word.trim_start_matches(KEEP)
        } else {
            word
        };
        let length = word.chars().count();
        if length == 0 {
            continue;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    if used > 0 || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// A space to keep together what stands at its sides. Names from the traced system hold none: they are
/// escaped.
pub(super) const KEEP: char = '\u{a0}';

/// Adds `text` wrapped to `width` columns: the first line behind `first`, the others as far to the right.
/// `first` may hold colours; `indent` says how many columns it takes. A [`KEEP`] becomes a space that no
/// line breaks at.
pub(super) fn hang(out: &mut String, first: &str, indent: usize, text: &str, width: usize) {
    for (n, line) in wrap(text, width.saturating_sub(indent).max(20))
        .into_iter()
        .enumerate()
    {
        if n == 0 {
            out.push_str(first);
        } else {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&line.replace(KEEP, " "));
        out.push('\n');
    }
}

/// `text` in exactly `width` characters: padded with spaces, or cut with `…`.
pub(super) fn cell(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text}{}", " ".repeat(width - length));
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 {
        String::new()
    } else {
        format!("{kept}…")
    }
}

/// The same, padded on the left.
pub(super) fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_stay_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrap("a incomprehensible b", 5),
            ["a", "incomprehensible", "b"]
        );
        assert_eq!(wrap("", 5), [""]);
        // A wide gap is one gap, and gone where a line breaks.
        assert_eq!(wrap("ab \u{a0} cd \u{a0} ef", 7), ["ab \u{a0} cd", "ef"]);
    }

    #[test]
    fn cells_are_exactly_as_wide_as_asked() {
        assert_eq!(cell("abc", 5), "abc  ");
        assert_eq!(cell("abcdef", 5), "abcd…");
        assert_eq!(cell("größer", 6), "größer");
        assert_eq!(cell("abc", 0), "");
        assert_eq!(right("7", 3), "  7");
    }
}
