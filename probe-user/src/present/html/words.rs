//! Sentences in HTML: numbers stand out, names are set apart from our own words.

use super::writer::Html;
use crate::{
    diagnose::{Piece, Sentence, Severity},
    present::names,
};

/// A sentence.
pub(super) fn sentence(h: &mut Html, sentence: &Sentence) {
    for piece in &sentence.0 {
        let text = names::piece(piece);
        match piece {
            Piece::Text(_) => words(h, &text),
            Piece::Value(_) => h.element("b", &[], &text),
            Piece::Peer(_) | Piece::Name(_) => h.element("code", &[], &text),
        }
    }
}

/// Our own words: what stands between backticks is to be typed.
pub(super) fn words(h: &mut Html, text: &str) {
    for (n, piece) in text.split('`').enumerate().filter(|(_, p)| !p.is_empty()) {
        if n % 2 == 1 {
            h.element("code", &[], piece);
        } else {
            h.text(piece);
        }
    }
}

/// How bad it is.
pub(super) fn badge(h: &mut Html, severity: Severity) {
    let class = format!("badge {}", severity.name());
    h.element("span", &[("class", &class)], severity.name());
}

/// A command to copy: a click chooses all of it.
pub(super) fn command(h: &mut Html, command: &str) {
    h.nest("pre", &[], |h| h.element("code", &[], command));
}
