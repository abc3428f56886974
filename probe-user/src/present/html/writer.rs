//! The only way into the document: tags and attribute names are ours, everything else is escaped.

use super::chart::Svg;

/// A document in the making. Every element is closed, every attribute quoted, so that it is XML as well.
#[derive(Debug, Default)]
pub(super) struct Html {
    out: String,
    open: Vec<&'static str>,
}

/// Name and value of an attribute.
type Attribute<'a> = (&'static str, &'a str);

impl Html {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            out: "<!DOCTYPE html>\n".to_owned(),
            open: Vec::new(),
        }
    }

    /// The document; what is open is closed.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out.push('\n');
        self.out
    }

    /// Begins an element.
    pub fn open(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.start(tag, attributes);
        self.out.push('>');
        self.open.push(tag);
    }

    /// Ends the element that was begun last.
    pub fn close(&mut self) {
        if let Some(tag) = self.open.pop() {
            self.out.push_str("</");
            self.out.push_str(tag);
            self.out.push('>');
            // A line for each block: a report is looked at in a diff, too.
            if !matches!(tag, "b" | "code" | "span" | "i") {
                self.out.push('\n');
            }
        }
    }

    /// An element, with what `inside` writes in it.
    pub fn nest(
        &mut self,
        tag: &'static str,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) {
        self.open(tag, attributes);
        inside(self);
        self.close();
    }

    /// An element with nothing but text in it.
    pub fn element(&mut self, tag: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.nest(tag, attributes, |h| h.text(text));
    }

    /// An element that never has anything in it (`meta`).
    pub fn void(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.start(tag, attributes);
        self.out.push_str("/>\n");
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        escape(&mut self.out, text);
    }

    /// A drawing.
    pub fn svg(&mut self, svg: &Svg) {
        self.out.push_str(svg.as_str());
    }

    /// A piece of a document, to be appended when it is known whether there is anything in it.
    pub fn aside(&self) -> Self {
        Self::default()
    }

    /// True when nothing was written that can be seen.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Adds a piece.
    pub fn append(&mut self, mut piece: Self) {
        while !piece.open.is_empty() {
            piece.close();
        }
        self.out.push_str(&piece.out);
    }

    /// The style sheet: our own words only, as nothing in it is escaped.
    pub fn style(&mut self, css: &[&'static str]) {
        self.out.push_str("<style>\n");
        css.iter().for_each(|piece| self.out.push_str(piece));
        self.out.push_str("</style>\n");
    }

    fn start(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes.iter().filter(|a| !a.1.is_empty()) {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, value);
            self.out.push('"');
        }
    }
}

/// What means something to a parser becomes a reference. Names are escaped before they come here; a control character
/// that came another way is not let through either.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_cannot_leave_their_place() {
        let evil = "</p><script>\"' onload=x & ]]>\u{0}\u{1b}";
        let mut h = Html::default();
        h.element("p", &[("title", evil)], evil);
        let safe = "&lt;/p&gt;&lt;script&gt;&quot;&#39; onload=x &amp; ]]&gt;\u{fffd}\u{fffd}";
        assert_eq!(h.finish(), format!("<p title=\"{safe}\">{safe}</p>\n\n"));
    }

    #[test]
    fn what_is_open_is_closed() {
        let mut h = Html::default();
        h.open("section", &[]);
        h.open("p", &[]);
        assert_eq!(h.finish(), "<section><p></p>\n</section>\n\n");
    }
}
