//! Text in a report. It is safe to show, wherever it comes from: what is written has been escaped on the way in, and what
//! is read from a file, which may be hostile, is escaped by reading it.

use std::{borrow::Cow, fmt, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::present::escape;

/// The longest text that is read, in characters; the rest is cut off. Names are shorter by far, commands and sentences too.
const MAX: usize = 8192;

/// Text without anything that acts on a terminal or deceives the eye: see [`escape`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(Cow<'static, str>);

impl Text {
    /// A name from the traced system, escaped.
    pub fn name(bytes: &[u8]) -> Self {
        Self(escape::name(bytes).into())
    }

    /// As a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Our own words.
impl From<&'static str> for Text {
    fn from(words: &'static str) -> Self {
        Self(words.into())
    }
}

/// What has been escaped already, or is made of numbers and our own words.
impl From<String> for Text {
    fn from(escaped: String) -> Self {
        Self(escaped.into())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(escape::again(text, MAX).into_owned().into()))
            }
        }
        from.deserialize_str(Visitor)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_safe_to_show_and_what_is_safe_stays_as_it_is() {
        let read = |json: &str| serde_json::from_str::<Text>(json).unwrap();
        assert_eq!(read(r#""\u001b[2J\n\u202e""#), "\\x1b[2J\\x0a\\u{202e}");
        // An escape in a report is not escaped once more.
        let text = Text::name(b"\x1b[2J \xff \\ \xc3\xb8");
        assert_eq!(text, "\\x1b[2J \\xff \\\\ ø");
        let written = serde_json::to_string(&text).unwrap();
        assert_eq!(read(&written), text);
        assert!(serde_json::from_str::<Text>("7").is_err());
    }

    #[test]
    fn endless_text_is_cut() {
        let endless = serde_json::to_string(&"x".repeat(3_000_000)).unwrap();
        let read: Text = serde_json::from_str(&endless).unwrap();
        assert_eq!(read.chars().count(), MAX + 1);
        assert!(read.ends_with("x…"));
    }
}
