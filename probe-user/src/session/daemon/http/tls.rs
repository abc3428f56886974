//! The certificate: read, and proved to fit its key, before it is used.

use std::{path::Path, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::file;
use crate::error::Error;

/// Reads a certificate chain and its private key.
///
/// # Errors
/// A file is missing or bad, or one does not belong to the other.
pub(super) fn read(cert: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let bad = |path: &Path, why: &str| Error::Usage(format!("{}: {why}", path.display()));
    let bytes = file("the certificate", cert)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(cert, &format!("bad PEM: {error}")))?;
    if chain.is_empty() {
        return Err(bad(cert, "no certificate in it (PEM is expected)"));
    }
    let bytes = file("the private key", key)?;
    let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        bad(
            key,
            "no private key in it (PEM without a password is expected)",
        )
    })?;
    let words = |error| {
        let (cert, key) = (cert.display(), key.display());
        Error::Usage(format!("{cert} with {key}: {error}"))
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(words)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(words)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
