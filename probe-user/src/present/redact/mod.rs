//! Makes a report safe to share: every address, path, name and URI of the window becomes a made-up one, the same
//! throughout.
//!
//! It is done before the rules judge: they never see a true name, and so cannot say one, in whatever sentence or
//! command. Made-up names are numbers in the order in which things appear, so that nothing can be guessed back, not
//! even its length. What rules and readers go by stays: ports, kinds of addresses (see [`addresses`]), which directory
//! is in which, and words that are the same everywhere (see [`known`]). `docs/redact.md` is for users.

mod addresses;
mod known;
mod window;
mod words;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::SocketAddr};

use crate::aggregate::Window;
use addresses::Addresses;

/// Replaces them in a window; the rules have to judge it afterwards, not before.
pub fn all(window: &mut Window) {
    Names::default().redact(window);
}

/// The made-up names given so far: windows that are redacted with the same ones can be compared.
#[derive(Debug, Default)]
pub struct Names {
    made: HashMap<(Kind, Vec<u8>), String>,
    /// How many have been made of each stem.
    last: HashMap<String, u64>,
    addresses: Addresses,
}

/// What a made-up name stands for; equal bytes of one kind are the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// A process, a PHP-FPM pool, or processes of one name.
    App,
    /// A part of a path, between two slashes; in URIs as well.
    Part,
    /// The part of a URI behind the question mark.
    Query,
    /// A label of a DNS name.
    Label,
    /// A file system's type.
    FileSystem,
    /// A kernel function, with its module.
    Function,
    /// Words of which nothing is known.
    Other,
}

/// So many names are kept for further windows, in a view that runs for days; beyond, all are made anew, and no number is
/// given twice.
const MAX_KEPT: usize = 50_000;

/// What the window calls those that found no row of their own.
const OTHER_GROUP: &[u8] = b"other processes";

impl Names {
    /// Replaces the names in a window by those given before, and by new ones.
    pub fn redact(&mut self, window: &mut Window) {
        use window::Redact;
        if self.made.len() > MAX_KEPT {
            self.made.clear();
        }
        self.addresses.forget_beyond(MAX_KEPT);
        window.redact(self);
        window.redacted = true;
    }

    /// The made-up name of a thing: what kind of thing it is, and a number.
    fn made_up(&mut self, kind: Kind, name: &[u8], stem: &str) -> &str {
        let last = &mut self.last;
        self.made.entry((kind, name.to_vec())).or_insert_with(|| {
            let last = last.entry(stem.to_owned()).or_default();
            *last += 1;
            match known::ending(name).filter(|_| kind == Kind::Part) {
                Some(ending) => format!("{stem}{last}.{ending}"),
                None => format!("{stem}{last}"),
            }
        })
    }

    /// A name without structure.
    fn plain(&mut self, kind: Kind, name: &mut Vec<u8>, stem: &str) {
        if !name.is_empty() && !known::stays(name) {
            *name = self.made_up(kind, name, stem).as_bytes().to_vec();
        }
    }

    /// A process's name, a pool's, or that of several processes.
    fn app(&mut self, name: &mut Vec<u8>) {
        if name != OTHER_GROUP {
            self.plain(Kind::App, name, "app");
        }
    }

    /// A path whose last part is a `last`.
    fn path(&mut self, path: &mut Vec<u8>, last: &str) {
        let parts: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
        let mut redacted = Vec::with_capacity(path.len());
        for (n, part) in parts.iter().enumerate() {
            if n > 0 {
                redacted.push(b'/');
            }
            let is_pid =
                n == 2 && path.starts_with(b"/proc/") && part.iter().all(u8::is_ascii_digit);
            if is_pid || matches!(*part, b"" | b"." | b"..") || known::stays(part) {
                redacted.extend_from_slice(part);
                continue;
            }
            let is = if n + 1 == parts.len() { last } else { "dir" };
            let stem = match known::service(part) {
                Some(service) => format!("{service}-{is}"),
                None => is.to_owned(),
            };
            let made_up = self.made_up(Kind::Part, part, &stem);
            redacted.extend_from_slice(made_up.as_bytes());
        }
        *path = redacted;
    }

    /// A directory's path.
    fn dir(&mut self, path: &mut Vec<u8>) {
        self.path(path, "dir");
    }

    /// A file's path, or its name alone.
    fn file(&mut self, path: &mut Vec<u8>) {
        self.path(path, "file");
    }

    /// A Unix socket's path; an abstract one begins with `@`.
    fn socket(&mut self, path: &mut Vec<u8>) {
        let mut name = path.strip_prefix(b"@").unwrap_or(path).to_vec();
        let is_abstract = name.len() < path.len();
        self.path(&mut name, "socket");
        *path = if is_abstract {
            [b"@", name.as_slice()].concat()
        } else {
            name
        };
    }

    /// A request's URI: its path, and the query as a whole.
    fn uri(&mut self, uri: &mut Vec<u8>) {
        let query = uri.iter().position(|&b| b == b'?').map(|at| {
            let query = uri.split_off(at + 1);
            uri.pop();
            query
        });
        self.path(uri, "page");
        if let Some(mut query) = query {
            self.query(&mut query);
            uri.push(b'?');
            uri.append(&mut query);
        }
    }

    fn query(&mut self, query: &mut Vec<u8>) {
        // None of its words is known to tell nothing.
        if !query.is_empty() {
            *query = self
                .made_up(Kind::Query, query, "query")
                .as_bytes()
                .to_vec();
        }
    }

    /// A DNS name, label by label.
    fn domain(&mut self, name: &mut Vec<u8>) {
        let labels = name.split(|&b| b == b'.').map(|label| {
            let mut label = label.to_vec();
            self.plain(Kind::Label, &mut label, "name");
            label
        });
        *name = labels.collect::<Vec<_>>().join(&b'.');
    }

    /// An address; its port stays.
    fn socket_address(&mut self, address: &mut SocketAddr) {
        let mut ip = address.ip();
        self.addresses.redact(&mut ip);
        address.set_ip(ip);
    }
}
