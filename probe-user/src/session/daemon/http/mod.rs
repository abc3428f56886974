//! Metrics over HTTP: `GET /metrics` as OpenMetrics, `GET /healthz`.
//!
//! hyper speaks HTTP/1, rustls TLS. Nobody can hold up anybody else: the number of connections, the size of a request, the time
//! for its head and the time for taking the answer are bounded, and the text is made once for all who ask in between two looks.

pub(in crate::session) mod answer;
pub(in crate::session) mod auth;
mod bind;
mod patience;
mod serve;
mod tls;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_rustls::TlsAcceptor;

use self::auth::Auth;
pub use self::{
    answer::Published,
    bind::{Bound, bind},
    serve::serve,
};
use super::settings::Listen;
use crate::{error::Error, present::metrics::Own};

/// What was served.
#[derive(Default)]
pub struct Counts {
    scrapes: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    fn scraped(&self) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds them.
    pub fn count(&self, own: &mut Own) {
        own.scrapes = self.scrapes.load(Ordering::Relaxed);
        own.scrapes_refused = self.refused.load(Ordering::Relaxed);
    }
}

/// How it serves: certificate and password, read and checked.
#[derive(Clone, Default)]
pub struct Plan {
    tls: Option<TlsAcceptor>,
    auth: Option<Arc<Auth>>,
    /// A look that is older than this is overdue.
    overdue: Duration,
}

impl Plan {
    /// Reads what is named; everything is looked at each `interval`.
    ///
    /// # Errors
    /// A file is missing or bad.
    pub fn read(listen: Option<&Listen>, interval: Duration) -> Result<Self, Error> {
        let tls = listen.and_then(|listen| listen.tls.as_ref());
        let auth = listen.and_then(|listen| listen.basic_auth.as_ref());
        Ok(Self {
            tls: tls.map(|(cert, key)| tls::read(cert, key)).transpose()?,
            auth: auth.map(|path| Auth::read(path)).transpose()?.map(Arc::new),
            overdue: interval * 3 + Duration::from_secs(10),
        })
    }
}

/// A file of the configuration, which is small.
///
/// # Errors
/// It cannot be read.
fn file(what: &str, path: &std::path::Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    const MAX_BYTES: u64 = 1 << 20;
    let io = |source| Error::Io {
        what: format!("{what} {}", path.display()),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}
