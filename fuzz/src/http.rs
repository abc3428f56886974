//! Requests for metrics, behind hyper: who gets what. An input is a method, a path, and lines `header: value`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper::{
    Request, StatusCode,
    header::{
        ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE,
    },
};
use stallscope::{
    present::metrics::Snapshot,
    session::fuzzing::{Counts, Listen, Published, ServePlan, answer},
};

use crate::input;

/// Who may: `prometheus:s3cret`.
const RIGHT: &str = "cHJvbWV0aGV1czpzM2NyZXQ=";

/// A server without a password, one with one, and what they give out.
struct Server {
    open: ServePlan,
    closed: ServePlan,
    published: Published,
    counts: Counts,
}

/// Asks both.
pub fn run(bytes: &[u8]) {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let Some(text) = input::text(bytes) else {
        return;
    };
    let Some(request) = request(text) else { return };
    let server = SERVER.get_or_init(server);
    for closed in [false, true] {
        let plan = if closed { &server.closed } else { &server.open };
        let response = answer(&request, &server.published, plan, &server.counts);
        let expected = expected(&request, closed);
        assert_eq!(response.status(), expected, "{request:?}");
        let headers = response.headers();
        let is = |name, value: &str| headers.get(name).is_some_and(|v: &HeaderValue| v == value);
        assert!(headers.contains_key(CONTENT_TYPE));
        assert_eq!(
            headers.contains_key(WWW_AUTHENTICATE),
            expected == StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            is(ALLOW, "GET, HEAD"),
            expected == StatusCode::METHOD_NOT_ALLOWED
        );
        let openmetrics = headers.get(CONTENT_TYPE).is_some_and(|v: &HeaderValue| {
            v.as_bytes().starts_with(b"application/openmetrics-text")
        });
        // Only who asks for it gets it.
        assert!(!openmetrics || asks_for_openmetrics(request.headers()));
    }
}

fn server() -> Server {
    // Its name is gone when it has been read.
    let path = std::env::temp_dir().join(format!("stallscope-fuzz-{}", std::process::id()));
    std::fs::write(&path, "prometheus:s3cret\n").expect("a file can be written");
    let interval = Duration::from_secs(1 << 20);
    let listen = Listen {
        basic_auth: Some(path.clone()),
        ..Listen::default()
    };
    let closed = ServePlan::read(Some(&listen), interval).expect("the password can be read");
    std::fs::remove_file(&path).expect("the file can be removed");
    Server {
        open: ServePlan::read(None, interval).expect("nothing is read"),
        closed,
        published: Published::new(Arc::new(Snapshot::default())),
        counts: Counts::default(),
    }
}

fn request(text: &str) -> Option<Request<()>> {
    let mut lines = text.lines();
    let mut request = Request::builder().method(lines.next()?).uri(lines.next()?);
    for line in lines.take(64) {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    request.body(()).ok()
}

fn expected(request: &Request<()>, closed: bool) -> StatusCode {
    let sent = request.headers().get(AUTHORIZATION);
    let right = sent
        .and_then(|sent| sent.to_str().ok())
        .is_some_and(|sent| {
            let parts = sent.split_at_checked(6);
            parts.is_some_and(|(scheme, sent)| {
                scheme.eq_ignore_ascii_case("basic ") && sent.trim() == RIGHT
            })
        });
    match (request.uri().path(), request.method().as_str()) {
        ("/" | "/healthz" | "/metrics", method) if !matches!(method, "GET" | "HEAD") => {
            StatusCode::METHOD_NOT_ALLOWED
        }
        ("/metrics", _) if closed && !right => StatusCode::UNAUTHORIZED,
        ("/" | "/healthz" | "/metrics", _) => StatusCode::OK,
        _ => StatusCode::NOT_FOUND,
    }
}

fn asks_for_openmetrics(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    accepted.any(|value| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        text.contains("application/openmetrics-text")
    })
}
