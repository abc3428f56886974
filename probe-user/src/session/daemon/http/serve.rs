//! Takes connections, so many at once, and serves each on a task of its own.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    Bound,
    answer::answer,
    patience::{PATIENCE, Patient},
};
use crate::session::daemon::net::{Plan, Shared};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 128;
/// With fewer places than this left, a connection is not kept for another request.
const SCARCE: usize = CONNECTIONS / 2;
/// A request's head must be there in this long, from when the connection is ready for it; so long it may be kept without
/// another request, too.
const HEAD: Duration = Duration::from_secs(30);
/// A TLS handshake must be done in this long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most that a request's head may take, bytes (hyper has no smaller bound than 8 KiB), and its header lines.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// The pause when there is no descriptor or memory for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// What every connection needs.
#[derive(Clone)]
struct Server {
    shared: Arc<Shared>,
    plan: watch::Receiver<Plan>,
    places: Arc<Semaphore>,
}

/// Serves until the plan's sender is gone.
pub async fn serve(bound: Bound, shared: Arc<Shared>, plan: watch::Receiver<Plan>) {
    let mut ended = plan.clone();
    let server = Server {
        shared,
        plan,
        places: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let (unix, _file) = bound.unix.unzip();
    let tcp = bound.tcp.and_then(|l| TcpListener::from_std(l).ok());
    let unix = unix.and_then(|l| UnixListener::from_std(l).ok());
    tokio::select! {
        () = server.tcp(tcp) => {}
        () = server.unix(unix) => {}
        () = async { while ended.changed().await.is_ok() {} } => {}
    }
}

impl Server {
    async fn tcp(&self, listener: Option<TcpListener>) {
        let Some(listener) = listener else {
            return std::future::pending().await;
        };
        let accept = async || {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            Ok(stream)
        };
        self.each(accept, true).await;
    }

    async fn unix(&self, listener: Option<UnixListener>) {
        let Some(listener) = listener else {
            return std::future::pending().await;
        };
        // Who may open it is what the file's mode says: it needs no TLS.
        self.each(async || Ok(listener.accept().await?.0), false)
            .await;
    }

    /// Serves each connection that `accept` gives.
    async fn each<S>(&self, accept: impl AsyncFn() -> io::Result<S>, encrypt: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        while let Some(place) = self.place().await {
            match accept().await {
                Ok(stream) => {
                    tokio::spawn(self.clone().connection(stream, place, encrypt));
                }
                Err(error) => breathe(&error).await,
            }
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    async fn connection<S>(self, stream: S, place: OwnedSemaphorePermit, encrypt: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let tls = self.plan.borrow().http.tls.clone().filter(|_| encrypt);
        let Some(tls) = tls else {
            self.requests(stream).await;
            return drop(place);
        };
        match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream).await,
            Ok(Err(_)) | Err(_) => self.shared.http.refused(),
        }
        drop(place);
    }

    async fn requests<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request| {
            let published = self.shared.published();
            let plan = &self.plan.borrow().http;
            let mut response = answer(&request, &published, plan, &self.shared.http);
            if self.places.available_permits() < SCARCE {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let stream = Patient::new(stream, PATIENCE);
        let late = stream.late();
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        // That a connection ends, or was kept for long enough, is no refusal.
        if late.load(Ordering::Relaxed) || served.is_err_and(|error| error.is_parse()) {
            self.shared.http.refused();
        }
    }
}

/// A client that is gone already is no reason to wait.
async fn breathe(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        sleep(BREATH).await;
    }
}
