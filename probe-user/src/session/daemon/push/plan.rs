//! Where it sends: what the user gave, read and checked before anything is attached.

use std::{fs::File, io::Read, net::Ipv6Addr, path::Path, sync::Arc, time::Duration};

use hyper::{
    Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::super::settings::Push;
use crate::{cli::Protocol, error::Error};

/// The port where a collector takes gRPC.
const GRPC_PORT: u16 = 4317;
/// The port where it takes HTTP.
const HTTP_PORT: u16 = 4318;
/// With TLS and no port, the URL is one of a service on the internet, which means what it means in a browser.
const HTTPS_PORT: u16 = 443;
/// The longest file that a header's value is read from, bytes.
const MAX_VALUE: u64 = 16 << 10;
/// Headers that the protocols use themselves.
const OURS: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Where it sends: URL, headers and certificates, read and checked.
#[derive(Clone)]
pub struct Plan {
    /// The collector.
    pub(super) end: End,
    /// How it is spoken to.
    pub(super) protocol: Protocol,
    /// The user's headers. Their values are secrets, and marked so.
    pub(super) headers: HeaderMap,
    /// Whom to trust; `None`: no TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// How often metrics are sent.
    pub(super) interval: Duration,
}

/// A collector's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// With TLS.
    pub tls: bool,
    /// Name or address, that of IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What stands before `/v1/metrics`: empty, or a path without a slash at its end.
    pub path: String,
}

impl End {
    /// `https://collector:4317`, for messages and for what a request is addressed to.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// `collector:4317`.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Plan {
    /// Reads what is named.
    ///
    /// # Errors
    /// A bad URL or header; a file is missing or bad.
    pub fn read(push: &Push) -> Result<Self, Error> {
        let end = end(&push.url, push.protocol)?;
        let tls = match (end.tls, &push.ca) {
            (true, ca) => Some(Arc::new(trust(ca.as_deref(), push.protocol)?)),
            (false, None) => None,
            (false, Some(_)) => {
                return usage("--otlp-ca is for https, and --otlp names http".to_owned());
            }
        };
        Ok(Self {
            end,
            protocol: push.protocol,
            headers: headers(&push.headers)?,
            tls,
            interval: push.interval,
        })
    }
}

/// How a collector at `url` is spoken to where the user does not say: HTTP at its port, or below a path, which gRPC does not have.
pub fn usual_protocol(url: &str) -> Protocol {
    match end(url, Protocol::Http) {
        Ok(end) if given_port(url) == Some(HTTP_PORT) || !end.path.is_empty() => Protocol::Http,
        _ => Protocol::Grpc,
    }
}

fn given_port(url: &str) -> Option<u16> {
    with_scheme(url).parse::<Uri>().ok()?.port_u16()
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    }
}

/// Takes a URL apart.
///
/// # Errors
/// It is none, or of something else.
pub fn end(url: &str, protocol: Protocol) -> Result<End, Error> {
    // It may hold a password, so it is not repeated before it is known to have none.
    if url.contains('@') {
        return usage(
            "--otlp: no name and password in the URL; give them as --otlp-header authorization=@FILE"
                .to_owned(),
        );
    }
    let bad = |why: &str| usage(format!("--otlp {url}: {why}"));
    let Ok(uri) = with_scheme(url).parse::<Uri>() else {
        return bad("not a URL; it looks like http://collector:4317");
    };
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return bad("only http and https are spoken"),
    };
    // What stands between brackets is an address of IPv6; `Uri` takes brackets anywhere.
    let host = uri.host().unwrap_or_default();
    let within = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match within {
        None if host.is_empty() => return bad("the host is missing"),
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
        None if !host.contains(['[', ']']) => host,
        _ => return bad("the host is neither a name nor an address"),
    };
    // `Uri` takes a port that is none for no port.
    let authority = uri.authority().map_or("", |a| a.as_str());
    let behind = authority.rsplit(']').next().unwrap_or_default();
    let port = match (behind.split_once(':'), uri.port_u16()) {
        (_, Some(port)) if port > 0 => port,
        (None, _) if tls => HTTPS_PORT,
        (None, _) => match protocol {
            Protocol::Grpc => GRPC_PORT,
            Protocol::Http => HTTP_PORT,
        },
        (Some(_), _) => return bad("the port must be a number from 1 to 65535"),
    };
    if uri.query().is_some() || url.contains('#') {
        return bad("nothing may follow the path");
    }
    let path = uri.path().trim_end_matches('/');
    if path.ends_with("/v1/metrics") || path.ends_with("/v1/logs") {
        return bad("leave /v1/metrics and /v1/logs off: they are added");
    }
    if protocol == Protocol::Grpc && !path.is_empty() {
        return bad("gRPC has no path; leave it off, or use --otlp-protocol http");
    }
    Ok(End {
        tls,
        host: host.to_owned(),
        port,
        path: path.to_owned(),
    })
}

/// The user's headers, whose values may be `@FILE`.
///
/// # Errors
/// One is none, or its file cannot be read.
pub fn headers(given: &[(String, String)]) -> Result<HeaderMap, Error> {
    let mut all = HeaderMap::new();
    for (name, value) in given {
        // The value is a secret and stands in no message.
        let bad = |why: &str| usage(format!("--otlp-header {name}: {why}"));
        let Ok(key) = HeaderName::from_bytes(name.as_bytes()) else {
            return bad("not a header's name");
        };
        if OURS.contains(&key.as_str()) || key.as_str().starts_with("grpc-") {
            return bad("this header is part of the protocol");
        }
        let value = match value.strip_prefix('@') {
            Some(file) => secret(name, Path::new(file))?,
            None => value.clone(),
        };
        let Ok(mut value) = HeaderValue::from_str(&value) else {
            return bad("the value has characters that no header may have");
        };
        value.set_sensitive(true);
        if all.try_append(key, value).is_err() {
            return bad("too many headers");
        }
    }
    Ok(all)
}

/// A header's value from a file, without the line's end.
fn secret(name: &str, file: &Path) -> Result<String, Error> {
    let io = |source| Error::Io {
        what: format!("--otlp-header {name}: cannot read {}", file.display()),
        source,
    };
    let mut text = String::new();
    File::open(file)
        .map_err(io)?
        .take(MAX_VALUE + 1)
        .read_to_string(&mut text)
        .map_err(io)?;
    if text.len() as u64 > MAX_VALUE {
        return usage(format!(
            "--otlp-header {name}: {} is longer than 16 KiB",
            file.display()
        ));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Trusts the authorities in `ca`, or those of the system.
fn trust(ca: Option<&Path>, protocol: Protocol) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let bad = |why: String| {
                Error::Usage(format!(
                    "--otlp-ca {}: {why}; it must hold certificates in PEM form",
                    file.display()
                ))
            };
            let certificates = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| bad(error.to_string()))?;
            for certificate in certificates {
                roots
                    .add(certificate)
                    .map_err(|error| bad(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("no certificate in it".to_owned()));
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                return usage(
                    "--otlp: this system has no certificate authorities to trust; install ca-certificates or give --otlp-ca FILE"
                        .to_owned(),
                );
            }
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Usage(format!("--otlp: no TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![match protocol {
        Protocol::Grpc => b"h2".to_vec(),
        Protocol::Http => b"http/1.1".to_vec(),
    }];
    Ok(config)
}

fn usage<T>(message: String) -> Result<T, Error> {
    Err(Error::Usage(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str, protocol: Protocol) -> String {
        match end(url, protocol) {
            Ok(end) => format!("{} {} {} {:?}", end.tls, end.host, end.port, end.path),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let grpc = |url: &str| parts(url, Protocol::Grpc);
        let http = |url: &str| parts(url, Protocol::Http);
        assert_eq!(grpc("http://collector"), "false collector 4317 \"\"");
        assert_eq!(http("http://collector/"), "false collector 4318 \"\"");
        assert_eq!(grpc("collector:14317"), "false collector 14317 \"\"");
        assert_eq!(grpc("https://otlp.example"), "true otlp.example 443 \"\"");
        assert_eq!(
            http("https://otlp.example/otlp/"),
            "true otlp.example 443 \"/otlp\""
        );
        assert_eq!(grpc("http://[::1]:4317"), "false ::1 4317 \"\"");
        assert_eq!(grpc("[::1]"), "false ::1 4317 \"\"");
    }

    #[test]
    fn a_bad_url_is_one_line_that_says_why() {
        let http = |url: &str| parts(url, Protocol::Http);
        assert_eq!(
            http("ftp://collector"),
            "--otlp ftp://collector: only http and https are spoken"
        );
        assert!(http("http://").contains("not a URL"), "{}", http("http://"));
        assert!(http("http://a b").contains("not a URL"));
        for port in ["0", "65536", "x", ""] {
            let said = http(&format!("http://collector:{port}"));
            assert!(
                said.contains("the port must be a number") || said.contains("not a URL"),
                "{said}"
            );
        }
        assert!(http("http://c:4318/v1/metrics").contains("they are added"));
        assert!(http("http://c/?key=1").contains("nothing may follow"));
        assert!(http("http://c/#a").contains("nothing may follow"));
        assert!(parts("http://c/otlp", Protocol::Grpc).contains("gRPC has no path"));
        let said = http("http://me:secret@c");
        assert!(said.contains("--otlp-header") && !said.contains("secret"));
    }

    #[test]
    fn the_protocol_follows_from_the_port_or_the_path() {
        assert_eq!(usual_protocol("http://c:4318"), Protocol::Http);
        assert_eq!(usual_protocol("https://c/otlp"), Protocol::Http);
        assert_eq!(usual_protocol("c:4317"), Protocol::Grpc);
        assert_eq!(usual_protocol("http://c"), Protocol::Grpc);
    }

    #[test]
    fn headers_are_checked_and_their_values_never_said() {
        let one = |name: &str, value: &str| headers(&[(name.to_owned(), value.to_owned())]);
        let taken = one("Authorization", "Bearer s3cret").unwrap();
        assert_eq!(taken["authorization"], "Bearer s3cret");
        assert!(!format!("{taken:?}").contains("s3cret"));
        for (name, value) in [
            ("a b", "s3cret"),
            ("te", "s3cret"),
            ("grpc-timeout", "s3cret"),
            ("x", "s3cret\n"),
        ] {
            let said = one(name, value).unwrap_err().to_string();
            assert!(said.starts_with("--otlp-header "), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn a_value_is_read_from_a_file_and_a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "Bearer abc\n").unwrap();
        let given = |file: &Path| [("x-token".to_owned(), format!("@{}", file.display()))];
        assert_eq!(headers(&given(&file)).unwrap()["x-token"], "Bearer abc");
        let said = headers(&given(&dir.path().join("none"))).unwrap_err();
        assert!(said.to_string().contains("/none"), "{said}");
        std::fs::write(&file, vec![b'x'; 20_000]).unwrap();
        let said = headers(&given(&file)).unwrap_err().to_string();
        assert!(said.contains("longer than 16 KiB"), "{said}");
    }

    #[test]
    fn a_bad_authority_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let said = |file: &Path| {
            trust(Some(file), Protocol::Grpc)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        assert!(said(&file).contains("ca.pem"), "{}", said(&file));
        std::fs::write(&file, "no certificate").unwrap();
        assert!(said(&file).contains("no certificate in it"));
    }
}
