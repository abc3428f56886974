//! Format files of tracepoints: what they say is offsets that programs read at, so a name must lead to the numbers of its own
//! line.

use std::collections::HashMap;

use stallscope::attach::fuzzing::{Field, Format};

use crate::{input, memory};

/// Reads it, and compares each field with what a plain reader takes from its line.
pub fn run(bytes: &[u8]) {
    let Some(text) = input::text(bytes) else {
        return;
    };
    // A line of some 30 bytes is a name, two numbers, and its place in a table that doubles.
    let format = memory::within(memory::ALWAYS + 16 * text.len(), || Format::parse(text));
    assert!(format.arguments() <= 6);
    let mut fields = HashMap::new();
    for line in text.lines() {
        if let Some((name, field)) = plain(line) {
            fields.insert(name, field);
        }
    }
    for (name, field) in &fields {
        assert_eq!(format.field(name), Some(*field), "{name:?}");
    }
    assert_eq!(format.field(""), None);
    assert_eq!(format.field("no such field"), None);
    // Written once more, it says the same.
    let again: String = fields
        .iter()
        .map(|(name, f)| {
            format!(
                "\tfield:u64 {name}[1];\toffset:{};\tsize:{};\n",
                f.offset, f.size
            )
        })
        .collect();
    let again = Format::parse(&again);
    for (name, field) in &fields {
        assert_eq!(again.field(name), Some(*field), "{name:?}");
    }
    assert_eq!(again.arguments(), format.arguments());
}

/// The field of a line.
fn plain(line: &str) -> Option<(&str, Field)> {
    let parts: Vec<&str> = line.trim().strip_prefix("field:")?.split(';').collect();
    let value = |key: &str| {
        let mut of_key = parts[1..].iter().filter_map(|part| {
            let (name, value) = part.trim().split_once(':')?;
            (name == key).then_some(value)
        });
        // Of several, the last one holds, be it a number or not.
        of_key.next_back()?.parse::<u32>().ok()
    };
    let declared = parts[0].trim();
    let from = declared.rfind([' ', '*']).map_or(0, |at| at + 1);
    let to = declared[from..]
        .find('[')
        .map_or(declared.len(), |at| from + at);
    let name = &declared[from..to];
    let field = Field {
        offset: value("offset")?,
        size: value("size")?,
    };
    (!name.is_empty()).then_some((name, field))
}
