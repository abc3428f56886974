//! A connection to the collector, with TLS where the plan says so. Nothing of it outlives it: what serves it ends with it, also
//! while the other side hangs.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    body::Bytes,
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::plan::Plan;
use crate::cli::Protocol;

/// How long an address of several is tried.
const DIAL: Duration = Duration::from_secs(3);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 8;
/// What the other side may send ahead: its answers are small.
const WINDOW: u32 = 64 << 10;

/// An open connection.
pub(super) struct Line {
    /// Where requests go in.
    pub to: To,
    tasks: Tasks,
}

/// By protocol.
pub(super) enum To {
    /// HTTP.
    Http(http1::SendRequest<Full<Bytes>>),
    /// gRPC.
    Grpc(http2::SendRequest<tonic::body::Body>),
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn open(plan: &Plan, lookup: &mut Lookup) -> Result<Self, String> {
        let end = &plan.end;
        let addresses = lookup.addresses(&end.host, end.port).await?;
        let mut why = "it has no address".to_owned();
        for address in addresses.into_iter().take(ADDRESSES) {
            match timeout(DIAL, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Self::speak_over(plan, stream).await,
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => why = format!("{address}: no answer within {} s", DIAL.as_secs()),
            }
        }
        Err(why)
    }

    async fn speak_over(plan: &Plan, stream: TcpStream) -> Result<Self, String> {
        // A message is written whole; it need not wait for more.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &plan.tls else {
            return Self::speak(plan, stream).await;
        };
        let name = ServerName::try_from(plan.end.host.clone())
            .map_err(|_| "the host's name is none for TLS".to_owned())?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .map_err(|error| format!("TLS: {error}"))?;
        Self::speak(plan, stream).await
    }

    async fn speak<S>(plan: &Plan, stream: S) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = TokioIo::new(stream);
        let tasks = Tasks::default();
        let to = match plan.protocol {
            Protocol::Http => {
                let (to, line) = http1::handshake(stream).await.map_err(words)?;
                tasks.spawn(async { drop(line.await) });
                To::Http(to)
            }
            Protocol::Grpc => {
                let (to, line) = http2::Builder::new(tasks.clone())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .handshake(stream)
                    .await
                    .map_err(words)?;
                tasks.spawn(async { drop(line.await) });
                To::Grpc(to)
            }
        };
        Ok(Self { to, tasks })
    }

    /// The other side has ended it.
    pub fn is_closed(&self) -> bool {
        match &self.to {
            To::Http(to) => to.is_closed(),
            To::Grpc(to) => to.is_closed(),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// An error with what is behind it: hyper's own words alone say little.
pub(super) fn words(error: hyper::Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        let said = inner.to_string();
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
        source = inner.source();
    }
    words
}

/// The tasks of a connection.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended leave nothing behind.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn end(&self) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

type Found = Result<Vec<SocketAddr>, String>;

/// Looks names up, in a thread of its own, because the system's resolver takes as long as it likes. There is one such thread
/// at most; whoever gave up waiting for it finds its answer the next time.
#[derive(Default)]
pub(super) struct Lookup {
    under_way: Option<oneshot::Receiver<Found>>,
}

impl Lookup {
    async fn addresses(&mut self, host: &str, port: u16) -> Found {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if self.under_way.is_none() {
            self.under_way = Some(begin(host.to_owned(), port)?);
        }
        let Some(answer) = &mut self.under_way else {
            return Err("the look-up has no thread".to_owned());
        };
        let found = answer.await;
        self.under_way = None;
        found.unwrap_or_else(|_| Err("the look-up failed".to_owned()))
    }
}

fn begin(host: String, port: u16) -> Result<oneshot::Receiver<Found>, String> {
    let (tell, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("lookup".to_owned())
        .spawn(move || {
            let found = (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect)
                .map_err(|error| format!("{host}: {error}"));
            // Nobody may be waiting any more.
            let _ = tell.send(found);
        })
        .map_err(|error| format!("no thread for a look-up: {error}"))?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_look_up_and_a_name_gets_one() {
        let mut lookup = Lookup::default();
        let found = lookup.addresses("::1", 4317).await.unwrap();
        assert_eq!(found, ["[::1]:4317".parse().unwrap()]);
        assert!(lookup.under_way.is_none());
        let found = lookup.addresses("localhost", 4317).await.unwrap();
        assert!(found.iter().any(|a| a.ip().is_loopback()), "{found:?}");
        let said = lookup.addresses("no name at all", 1).await.unwrap_err();
        assert!(said.starts_with("no name at all: "), "{said}");
    }
}
