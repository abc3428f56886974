//! What is asked, and what is answered.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{
        ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, VARY,
        WWW_AUTHENTICATE,
    },
};

use super::{Counts, Plan};
use crate::present::metrics::{Snapshot, openmetrics};

/// A body.
pub type Body = Full<Bytes>;

const PLAIN: &str = "text/plain; charset=utf-8";
const LINKS: &str = "stallscope: /metrics for Prometheus (OpenMetrics), /healthz\n";

/// Metrics, with their text: it is made when it is first asked for, and once.
#[derive(Default)]
pub struct Published {
    snapshot: Arc<Snapshot>,
    /// `None` before the first slice.
    at: Option<Instant>,
    text: OnceLock<Bytes>,
    classic: OnceLock<Bytes>,
}

impl Published {
    /// Metrics as of now.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            at: Some(Instant::now()),
            ..Self::default()
        }
    }

    /// The metrics.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    fn text(&self) -> Bytes {
        let make = || openmetrics::text(&self.snapshot).into();
        self.text.get_or_init(make).clone()
    }

    fn classic(&self) -> Bytes {
        let make = || {
            let text = self.text();
            let text = std::str::from_utf8(&text).unwrap_or_default();
            openmetrics::classic(&self.snapshot, text).into()
        };
        self.classic.get_or_init(make).clone()
    }

    /// Why it is not well, if it is not.
    fn unwell(&self, overdue: Duration) -> Option<String> {
        match self.at {
            None => Some("the first look is still to come".to_owned()),
            Some(at) if at.elapsed() > overdue => Some(format!(
                "the last look was {} s ago",
                at.elapsed().as_secs()
            )),
            Some(_) => None,
        }
    }
}

/// Answers.
pub fn answer<B>(
    request: &Request<B>,
    published: &Published,
    plan: &Plan,
    counts: &Counts,
) -> Response<Body> {
    let path = request.uri().path();
    if !matches!(path, "/" | "/metrics" | "/healthz") {
        return plain(StatusCode::NOT_FOUND, LINKS);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        set(&mut response, ALLOW, "GET, HEAD");
        return response;
    }
    match path {
        "/metrics" => {
            // Whether it is well is told to everybody: who starts and stops us has no password.
            let sent = request.headers().get(AUTHORIZATION);
            let sent = sent.map(HeaderValue::as_bytes);
            if plan.auth.as_ref().is_some_and(|auth| !auth.allows(sent)) {
                counts.refused();
                let mut response = plain(StatusCode::UNAUTHORIZED, "name and password, please\n");
                set(
                    &mut response,
                    WWW_AUTHENTICATE,
                    "Basic realm=\"stallscope\"",
                );
                return response;
            }
            if published.at.is_none() {
                return plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the first look is still to come\n",
                );
            }
            counts.scraped();
            metrics(request.headers(), published)
        }
        "/healthz" => match published.unwell(plan.overdue) {
            None => plain(StatusCode::OK, "ok\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        _ => plain(StatusCode::OK, LINKS),
    }
}

fn metrics(headers: &HeaderMap, published: &Published) -> Response<Body> {
    let (text, media_type) = if wants_openmetrics(headers) {
        (published.text(), openmetrics::MEDIA_TYPE)
    } else {
        (published.classic(), openmetrics::CLASSIC_MEDIA_TYPE)
    };
    let mut response = Response::new(Full::new(text));
    set(&mut response, CONTENT_TYPE, media_type);
    set(&mut response, VARY, "Accept");
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

/// True for Prometheus, which names OpenMetrics first. Whoever names nothing gets the older format, which is what other tools
/// read (`curl ... | promtool check metrics`).
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let mut ranges = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let openmetrics = parts.next() == Some("application/openmetrics-text");
        openmetrics && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, PLAIN);
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

fn set(response: &mut Response<Body>, name: hyper::header::HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
