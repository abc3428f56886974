//! A collector of the test's own, built on OpenTelemetry's protocol crate: takes metrics and findings by gRPC or HTTP, keeps what it
//! got, and can be told to be difficult. Unit tests of the sending side use this file, too.

use std::{
    convert::Infallible,
    future::pending,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::HeaderMap,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point},
};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tonic::{Code, Status, codegen::Service as _};

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// What it does with a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Takes it.
    Take,
    /// Takes it after so long.
    Slow(Duration),
    /// Takes it, and says that so many points or records were left out.
    Partly(i64),
    /// Answers with an HTTP status or a gRPC code, and with a pause in seconds that it asks for.
    Refuse {
        /// HTTP.
        status: u16,
        /// gRPC.
        code: Code,
        /// `Retry-After`; RetryInfo.
        pause: Option<u64>,
    },
    /// Sends the client elsewhere (HTTP only).
    Redirect(SocketAddr),
    /// Reads it and never answers.
    Hang,
    /// Ends the connection instead of answering.
    Reset,
}

/// What came.
#[derive(Debug, Default)]
pub struct Got {
    /// Messages of metrics that were taken.
    pub metrics: Vec<ExportMetricsServiceRequest>,
    /// Messages of findings that were taken.
    pub logs: Vec<ExportLogsServiceRequest>,
    /// When each message came, taken or not.
    pub tries: Vec<Instant>,
    /// The headers of the last one.
    pub headers: HeaderMap,
}

impl Got {
    /// All records that were taken, in order.
    pub fn records(&self) -> Vec<LogRecord> {
        let logs = self.logs.iter().flat_map(|message| &message.resource_logs);
        logs.flat_map(|of_one| &of_one.scope_logs)
            .flat_map(|scope| scope.log_records.clone())
            .collect()
    }

    /// The newest points of a sum or gauge: labels in words (`key=value`, sorted), and value.
    pub fn numbers(&self, metric: &str) -> Vec<(Vec<String>, f64)> {
        let points = |data: &Data| -> Vec<NumberDataPoint> {
            match data {
                Data::Sum(sum) => sum.data_points.clone(),
                Data::Gauge(gauge) => gauge.data_points.clone(),
                _ => Vec::new(),
            }
        };
        let newest = self.metrics.iter().rev().find_map(|message| {
            let mut metrics = message
                .resource_metrics
                .iter()
                .flat_map(|of_one| &of_one.scope_metrics)
                .flat_map(|scope| &scope.metrics);
            metrics
                .find(|m| m.name == metric)?
                .data
                .as_ref()
                .map(points)
        });
        newest
            .unwrap_or_default()
            .iter()
            .map(|point| (words(&point.attributes), value(point)))
            .collect()
    }
}

fn value(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    }
}

/// Attributes as `key=value`, sorted.
pub fn words(attributes: &[KeyValue]) -> Vec<String> {
    let mut words: Vec<String> = attributes
        .iter()
        .map(|attribute| {
            let value = attribute.value.as_ref().and_then(|v| v.value.as_ref());
            let value = match value {
                Some(Value::StringValue(text)) => text.clone(),
                Some(Value::IntValue(number)) => number.to_string(),
                Some(Value::DoubleValue(number)) => number.to_string(),
                other => format!("{other:?}"),
            };
            format!("{}={value}", attribute.key)
        })
        .collect();
    words.sort();
    words
}

#[derive(Debug)]
struct State {
    manner: Manner,
    got: Got,
}

type Shared = Arc<Mutex<State>>;

/// A running collector; dropping it ends it, and every connection to it.
pub struct Receiver {
    addr: SocketAddr,
    state: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start(speaks: Speaks) -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), speaks, None)
    }

    /// Starts it at an address, with TLS where a configuration is given.
    pub fn start_at(
        addr: SocketAddr,
        speaks: Speaks,
        tls: Option<Arc<ServerConfig>>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(addr).with_context(|| format!("{addr}"))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let state: Shared = Arc::new(Mutex::new(State {
            manner: Manner::Take,
            got: Got::default(),
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = accept(listener, speaks, tls, state) => {}
                    }
                });
            }
        });
        Ok(Self {
            addr,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on it behaves so.
    pub fn be(&self, manner: Manner) {
        lock(&self.state).manner = manner;
    }

    /// Looks at what came.
    pub fn got<T>(&self, look: impl FnOnce(&Got) -> T) -> T {
        look(&lock(&self.state).got)
    }

    /// Waits until what came is enough.
    pub fn wait(
        &self,
        what: &str,
        patience: Duration,
        enough: impl Fn(&Got) -> bool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.got(&enough) {
            ensure!(
                begun.elapsed() < patience,
                "waited {patience:?} for {what}; there were {} messages, {} of metrics and {} of findings taken",
                self.got(|got| got.tries.len()),
                self.got(|got| got.metrics.len()),
                self.got(|got| got.logs.len()),
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Has tokio open what it keeps open as long as the process lives (a pair of sockets for signals), so that no case seems to
/// leave it behind.
pub fn prepare() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(())
}

fn lock(state: &Shared) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    speaks: Speaks,
    tls: Option<Arc<ServerConfig>>,
    state: Shared,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, speaks, state).await,
                Some(tls) => {
                    if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                        serve(stream, speaks, state).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, speaks: Speaks, state: Shared)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = TokioIo::new(stream);
    // That a client goes away is its own affair.
    match speaks {
        Speaks::Http => {
            let answer = service_fn(|request| http(request, Arc::clone(&state)));
            let _ = http1::Builder::new().serve_connection(stream, answer).await;
        }
        Speaks::Grpc => {
            let answer = service_fn(|request| grpc(request, Arc::clone(&state)));
            let _ = http2::Builder::new(TokioExecutor::new())
                .serve_connection(stream, answer)
                .await;
        }
    }
}

/// Notes that a message came, and says what to do with it.
async fn manner(state: &Shared, headers: &HeaderMap) -> Result<Manner, Status> {
    let manner = {
        let mut state = lock(state);
        state.got.tries.push(Instant::now());
        state.got.headers = headers.clone();
        state.manner
    };
    match manner {
        Manner::Slow(pause) => tokio::time::sleep(pause).await,
        Manner::Hang => pending().await,
        Manner::Reset => return Err(Status::unavailable("reset")),
        _ => {}
    }
    Ok(manner)
}

fn metrics_answer(manner: Manner) -> ExportMetricsServiceResponse {
    ExportMetricsServiceResponse {
        partial_success: match manner {
            Manner::Partly(rejected_data_points) => Some(ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message: "too old".to_owned(),
            }),
            _ => None,
        },
    }
}

fn logs_answer(manner: Manner) -> ExportLogsServiceResponse {
    ExportLogsServiceResponse {
        partial_success: match manner {
            Manner::Partly(rejected_log_records) => Some(ExportLogsPartialSuccess {
                rejected_log_records,
                error_message: "too old".to_owned(),
            }),
            _ => None,
        },
    }
}

async fn http(
    request: Request<Incoming>,
    state: Shared,
) -> Result<Response<Full<Bytes>>, anyhow::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let manner = manner(&state, &head.headers).await?;
    let answer = Response::builder();
    match manner {
        Manner::Refuse { status, pause, .. } => {
            let mut answer = answer.status(status);
            if let Some(pause) = pause {
                answer = answer.header("retry-after", pause);
            }
            return Ok(answer.body(Full::default())?);
        }
        Manner::Redirect(to) => {
            let to = format!("http://{to}{}", head.uri.path());
            return Ok(answer
                .status(307)
                .header("location", to)
                .body(Full::default())?);
        }
        _ => {}
    }
    let of_protobuf = head.headers.get("content-type");
    let of_protobuf = of_protobuf.is_some_and(|kind| kind == "application/x-protobuf");
    let said = match head.uri.path() {
        "/v1/metrics" if of_protobuf => {
            let message = ExportMetricsServiceRequest::decode(body)?;
            lock(&state).got.metrics.push(message);
            metrics_answer(manner).encode_to_vec()
        }
        "/v1/logs" if of_protobuf => {
            let message = ExportLogsServiceRequest::decode(body)?;
            lock(&state).got.logs.push(message);
            logs_answer(manner).encode_to_vec()
        }
        _ => return Ok(answer.status(404).body(Full::default())?),
    };
    Ok(answer
        .header("content-type", "application/x-protobuf")
        .body(Full::new(said.into()))?)
}

async fn grpc(
    request: Request<Incoming>,
    state: Shared,
) -> Result<Response<tonic::body::Body>, anyhow::Error> {
    if lock(&state).manner == Manner::Reset {
        let _ = manner(&state, request.headers()).await;
        anyhow::bail!("reset");
    }
    let taker = Taker(state);
    let never = |never: Infallible| match never {};
    if request.uri().path().contains("MetricsService") {
        let mut service = MetricsServiceServer::new(taker);
        service.call(request).await.map_err(never)
    } else {
        let mut service = LogsServiceServer::new(taker);
        service.call(request).await.map_err(never)
    }
}

struct Taker(Shared);

impl Taker {
    async fn manner<T>(&self, request: &tonic::Request<T>) -> Result<Manner, Status> {
        let headers = request.metadata().clone().into_headers();
        let manner = manner(&self.0, &headers).await?;
        match manner {
            Manner::Refuse { code, pause, .. } => {
                let details = pause.map(retry_info).unwrap_or_default();
                Err(Status::with_details(code, "as told", details.into()))
            }
            manner => Ok(manner),
        }
    }
}

#[tonic::async_trait]
impl MetricsService for Taker {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let manner = self.manner(&request).await?;
        lock(&self.0).got.metrics.push(request.into_inner());
        Ok(tonic::Response::new(metrics_answer(manner)))
    }
}

#[tonic::async_trait]
impl LogsService for Taker {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        let manner = self.manner(&request).await?;
        lock(&self.0).got.logs.push(request.into_inner());
        Ok(tonic::Response::new(logs_answer(manner)))
    }
}

/// `google.rpc.Status` with a RetryInfo of so many seconds, byte by byte: a second writing of it, apart from the one that is tested.
fn retry_info(seconds: u64) -> Vec<u8> {
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![tag << 3 | 2, bytes.len() as u8];
        all.extend(bytes);
        all
    }
    let mut duration = vec![1 << 3];
    prost::encoding::encode_varint(seconds, &mut duration);
    let info = field(1, &duration);
    let mut any = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
    any.extend(field(2, &info));
    field(3, &any)
}
