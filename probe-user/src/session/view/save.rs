//! A report of all that was seen, into files beside each other: one to read, one for tools.

use std::{
    fs::OpenOptions,
    io::{self, Write},
};

use crate::{
    aggregate::Window,
    diagnose,
    error::Error,
    present::{self, tui::stamp},
};

/// Names tried before giving up, when there are files of that name.
const TRIED: u32 = 100;

/// Writes them into the current directory, over nothing that is there; their names are handed back.
///
/// # Errors
/// They cannot be written.
pub fn report(mut window: Window, redact: bool, unix_ns: u64) -> Result<Vec<String>, Error> {
    if redact {
        present::redact::all(&mut window);
    }
    // The rules see the window as it is shown: names that were replaced are in no sentence.
    let diagnosis = diagnose::run(&window);
    let texts = [
        ("html", present::html::report(&window, &diagnosis)),
        ("json", present::json::report(&window, &diagnosis)),
    ];
    let stem = stem(&window.host, unix_ns);
    let mut paths = Vec::new();
    for (kind, text) in texts {
        let path = write(&stem, kind, &text).map_err(|source| Error::Io {
            what: format!("cannot save {stem}.{kind}"),
            source,
        })?;
        paths.push(path);
    }
    Ok(paths)
}

/// `stallscope-web-07-20261121-142220`.
fn stem(host: &str, unix_ns: u64) -> String {
    let host: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    format!("stallscope-{host}-{}", stamp(unix_ns))
}

fn write(stem: &str, kind: &str, text: &str) -> io::Result<String> {
    for n in 1..=TRIED {
        let path = match n {
            1 => format!("{stem}.{kind}"),
            n => format!("{stem}-{n}.{kind}"),
        };
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            opened => opened?,
        };
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a report would be taken for a whole one.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        return Ok(path);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_and_when_and_hold_nothing_odd() {
        let at = 1_795_270_940_123_000_000;
        assert_eq!(stem("web-07", at), "stallscope-web-07-20261121-142220");
        assert_eq!(stem("../\u{1b}x", 0), "stallscope-----x-19700101-000000");
    }
}
