//! Finds the fields of a tracepoint in the running kernel's `format` file.

use std::{collections::HashMap, fs, path::Path};

/// Where a field lies in a tracepoint's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
}

/// The fields of one tracepoint.
#[derive(Debug, Default)]
pub struct Format {
    fields: HashMap<String, Field>,
}

impl Format {
    /// Reads `events/<category>/<name>/format`; the error says why not, in one line.
    pub fn read(tracefs: &Path, category: &str, name: &str) -> Result<Self, String> {
        let path = tracefs
            .join("events")
            .join(category)
            .join(name)
            .join("format");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            // A module on many kernels, loaded by the first mount.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && is_ext4(category) => {
                Err("ext4 is not loaded".to_owned())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("this kernel has no tracepoint {category}:{name}"))
            }
            Err(e) => Err(format!("tracepoint {category}:{name}: {e}")),
        }
    }

    /// Parses a format file: lines such as `field:pid_t next_pid; offset:56; size:4; signed:1;`, with tabs
    /// for the blanks between them.
    pub fn parse(text: &str) -> Self {
        let mut fields = HashMap::new();
        for line in text.lines() {
            let Some(rest) = line.trim().strip_prefix("field:") else {
                continue;
            };
            let mut parts = rest.split(';').map(str::trim);
            let Some(declaration) = parts.next() else {
                continue;
            };
            let mut offset = None;
            let mut size = None;
            for part in parts {
                match part.split_once(':') {
                    Some(("offset", n)) => offset = n.parse().ok(),
                    Some(("size", n)) => size = n.parse().ok(),
                    _ => {}
                }
            }
            // The name is the last word, less an array's length: `char prev_comm[16]`.
            let name = declaration.rsplit([' ', '*']).next().unwrap_or_default();
            let name = name.split('[').next().unwrap_or_default();
            if let (Some(offset), Some(size)) = (offset, size)
                && !name.is_empty()
            {
                fields.insert(name.to_owned(), Field { offset, size });
            }
        }
        Self { fields }
    }

    /// How many arguments a system call's entry record has: fields of 8 bytes from offset 16 on.
    pub fn arguments(&self) -> u32 {
        (0..6)
            .take_while(|n| {
                self.fields.values().any(|f| {
                    *f == Field {
                        offset: 16 + n * 8,
                        size: 8,
                    }
                })
            })
            .count() as u32
    }

    /// A field by name.
    pub fn field(&self, name: &str) -> Option<Field> {
        self.fields.get(name).copied()
    }
}

/// Tracepoints of ext4 and of its journal.
fn is_ext4(category: &str) -> bool {
    matches!(category, "ext4" | "jbd2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_offsets_and_sizes() {
        let format = Format::parse(
            "name: sched_switch\nID: 314\nformat:\n\
             \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
             \tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
             \tfield:__data_loc char[] child_comm;\toffset:16;\tsize:4;\tsigned:0;\n\
             \tfield:struct pollfd * ufds;\toffset:16;\tsize:8;\tsigned:0;\n\
             \tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;\n\nprint fmt: \"x\"\n",
        );
        assert_eq!(
            format.field("prev_state"),
            Some(Field {
                offset: 32,
                size: 8
            })
        );
        assert_eq!(
            format.field("prev_comm"),
            Some(Field {
                offset: 8,
                size: 16
            })
        );
        assert_eq!(
            format.field("child_comm"),
            Some(Field {
                offset: 16,
                size: 4
            })
        );
        assert_eq!(
            format.field("ufds"),
            Some(Field {
                offset: 16,
                size: 8
            })
        );
        assert_eq!(format.field("absent"), None);
    }

    #[test]
    fn nonsense_has_no_fields() {
        assert!(
            Format::parse("field:;offset:x;\nfield:a b;size:;\n")
                .field("b")
                .is_none()
        );
    }
}
