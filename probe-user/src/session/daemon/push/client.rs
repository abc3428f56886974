//! One message to the collector, and its answer, over whatever protocol the plan says; redirects are not followed, for
//! nothing goes where the user did not send it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited, combinators::MapErr};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
    metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
};
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Status, body::Body, client::GrpcService};

use super::{
    answer::{self, Outcome},
    line::{Line, Lookup, To, words},
    plan::Plan,
};

/// How long a message and its answer may take, with the connection: OpenTelemetry's usual value.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is read, bytes.
const MAX_ANSWER: usize = 64 << 10;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("stallscope/", env!("CARGO_PKG_VERSION")));

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
    /// Findings.
    Logs(ExportLogsServiceRequest),
}

/// Sends to one collector, over one connection that is kept.
pub(super) struct Client {
    plan: Plan,
    lookup: Lookup,
    line: Option<Line>,
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            lookup: Lookup::default(),
            line: None,
        }
    }

    /// Sends `message` once.
    pub async fn export(&mut self, message: Message) -> Outcome {
        let outcome = timeout(LIMIT, self.exchange(message))
            .await
            .unwrap_or_else(|_| Outcome::broken(format!("no answer within {} s", LIMIT.as_secs())));
        if matches!(outcome, Outcome::Later { .. }) {
            // A new connection may lead to somebody who is well.
            self.line = None;
        }
        outcome
    }

    async fn exchange(&mut self, message: Message) -> Outcome {
        if self.line.as_ref().is_none_or(Line::is_closed) {
            self.line = match Line::open(&self.plan, &mut self.lookup).await {
                Ok(line) => Some(line),
                Err(why) => return Outcome::broken(why),
            };
        }
        match self.line.as_mut().map(|line| &mut line.to) {
            Some(To::Http(to)) => http(&self.plan, to, &message).await,
            Some(To::Grpc(to)) => grpc(&self.plan, to, message).await,
            None => Outcome::broken("there is no connection"),
        }
    }
}

async fn http(plan: &Plan, to: &mut http1::SendRequest<Full<Bytes>>, message: &Message) -> Outcome {
    let (path, body) = match message {
        Message::Metrics(message) => ("/v1/metrics", message.encode_to_vec()),
        Message::Logs(message) => ("/v1/logs", message.encode_to_vec()),
    };
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    let (Ok(uri), Ok(host)) = (
        format!("{}{path}", plan.end.path).parse(),
        HeaderValue::from_str(&plan.end.authority()),
    ) else {
        return Outcome::Refused("the URL is none for HTTP".to_owned());
    };
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    *headers = plan.headers.clone();
    headers.insert(HOST, host);
    headers.insert(CONTENT_TYPE, PROTOBUF);
    headers.insert(USER_AGENT, AGENT);
    if let Err(error) = to.ready().await {
        return Outcome::broken(words(error));
    }
    match to.send_request(request).await {
        Ok(response) => judge(response, message).await,
        Err(error) => Outcome::broken(words(error)),
    }
}

/// What an HTTP answer says.
async fn judge(response: Response<Incoming>, message: &Message) -> Outcome {
    let (head, body) = response.into_parts();
    // A body that is too long or breaks off has nothing to say; the status stands.
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    if head.status != StatusCode::OK {
        return answer::of_http(head.status, &head.headers, &body);
    }
    Outcome::Taken(match message {
        Message::Metrics(_) => prost::Message::decode(body)
            .ok()
            .as_ref()
            .and_then(answer::of_metrics),
        Message::Logs(_) => prost::Message::decode(body)
            .ok()
            .as_ref()
            .and_then(answer::of_logs),
    })
}

async fn grpc(plan: &Plan, to: &http2::SendRequest<Body>, message: Message) -> Outcome {
    let Ok(origin) = plan.end.url().parse::<Uri>() else {
        return Outcome::Refused("the URL is none for gRPC".to_owned());
    };
    let service = Service {
        to: to.clone(),
        headers: plan.headers.clone(),
    };
    let answer = match message {
        Message::Metrics(message) => MetricsServiceClient::with_origin(service, origin)
            .max_decoding_message_size(MAX_ANSWER)
            .export(message)
            .await
            .map(|answer| answer::of_metrics(answer.get_ref())),
        Message::Logs(message) => LogsServiceClient::with_origin(service, origin)
            .max_decoding_message_size(MAX_ANSWER)
            .export(message)
            .await
            .map(|answer| answer::of_logs(answer.get_ref())),
    };
    match answer {
        Ok(partial) => Outcome::Taken(partial),
        Err(status) => answer::of_grpc(&status),
    }
}

/// What the generated clients of OpenTelemetry's protocol speak through: our connection, with our time limits and trust.
struct Service {
    to: http2::SendRequest<Body>,
    headers: HeaderMap,
}

/// A connection that breaks is not an answer of the other side, and tried again.
fn unavailable(error: hyper::Error) -> Status {
    Status::unavailable(words(error))
}

impl GrpcService<Body> for Service {
    type ResponseBody = MapErr<Incoming, fn(hyper::Error) -> Status>;
    type Error = Status;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<Self::ResponseBody>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers.insert(USER_AGENT, AGENT);
        let answer = self.to.send_request(request);
        Box::pin(async {
            let answer = answer.await.map_err(unavailable)?;
            Ok(answer.map(|body| body.map_err(unavailable as fn(hyper::Error) -> Status)))
        })
    }
}
