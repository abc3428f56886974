//! Who may fetch: names and passwords from a file, for HTTP's basic authentication (decision 0014).

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::{Choice, ConstantTimeEq as _};

use super::file;
use crate::error::Error;

/// Those who may.
#[derive(Debug)]
pub struct Auth {
    /// `name:password`, as it is sent: so nothing that comes in needs to be decoded.
    known: Vec<Vec<u8>>,
}

impl Auth {
    /// Reads a file with a `name:password` in each line; empty lines and those that begin with # are left out.
    ///
    /// # Errors
    /// It is missing or bad, or there is nobody in it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = file("the passwords", path)?;
        Self::parse(&bytes).map_err(|why| Error::Usage(format!("{}: {why}", path.display())))
    }

    /// The same from memory.
    ///
    /// # Errors
    /// Why, with the line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut known = Vec::new();
        for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            // What is in the line is a secret: it is not shown.
            match line.iter().position(|b| *b == b':') {
                None | Some(0) => {
                    return Err(format!("line {}: name:password is expected", number + 1));
                }
                Some(at) if at + 1 == line.len() => {
                    return Err(format!("line {}: the password is empty", number + 1));
                }
                Some(_) => known.push(STANDARD.encode(line).into_bytes()),
            }
        }
        match known.is_empty() {
            true => Err("no name:password in it".to_owned()),
            false => Ok(Self { known }),
        }
    }

    /// True when the value of an Authorization header is of one of them. How long it takes tells nothing but lengths.
    pub fn allows(&self, header: Option<&[u8]>) -> bool {
        let Some((scheme, sent)) = header.and_then(|h| h.split_at_checked(6)) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return false;
        }
        let sent = sent.trim_ascii();
        let fits = |known: &Vec<u8>| known[..].ct_eq(sent);
        let any = self
            .known
            .iter()
            .map(fits)
            .fold(Choice::from(0), |a, b| a | b);
        any.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_their_own_passwords_may() {
        let auth = Auth::parse(b"# who may\n\nprometheus:s3cret:with:colons\r\nother:x\n").unwrap();
        let of = |text: &str| format!("Basic {}", STANDARD.encode(text)).into_bytes();
        for right in ["prometheus:s3cret:with:colons", "other:x"] {
            assert!(auth.allows(Some(&of(right))));
        }
        for wrong in ["prometheus:x", "other:", "", ":", "other:x ", "other"] {
            assert!(!auth.allows(Some(&of(wrong))), "{wrong}");
        }
        assert!(!auth.allows(None));
        for wrong in [
            &b"Basic"[..],
            b"",
            b"Bearer b3RoZXI6eA==",
            b"Basic \xff\xfe",
            b"b3RoZXI6eA==",
        ] {
            assert!(!auth.allows(Some(wrong)));
        }
        assert!(auth.allows(Some(b"bAsIc  b3RoZXI6eA==")));
    }

    #[test]
    fn a_file_that_lets_nobody_in_or_anybody_is_refused() {
        for (bad, why) in [
            (&b""[..], "no name:password in it"),
            (b"# nobody\n", "no name:password in it"),
            (b"a:b\nnothing\n", "line 2: name:password is expected"),
            (b":x\n", "line 1: name:password is expected"),
            (b"a:\n", "line 1: the password is empty"),
        ] {
            assert_eq!(Auth::parse(bad).unwrap_err(), why);
        }
    }
}
