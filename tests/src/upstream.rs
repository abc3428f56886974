//! Peers that answer late, by a known time, and keep their own account of it.
//!
//! They run on threads of the test process, which the tool never follows, over TCP (IPv4, IPv6) and
//! Unix sockets (path, abstract), and as a UDP responder.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd as _},
        linux::net::SocketAddrExt as _,
        unix::net::UnixListener,
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;

use crate::sys::{self, Addr};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Whatever one read returns is a request; the answer is one byte.
    Byte,
    /// HTTP/1.1 without request bodies.
    Http,
}

/// How the peer behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// What is spoken.
    pub protocol: Protocol,
    /// From the request to the answer.
    pub delay: Duration,
    /// Keep the connection after the answer?
    pub keep_alive: bool,
}

impl Behaviour {
    /// One-byte answers after `delay_ms`, connection kept.
    pub fn bytes(delay_ms: u64) -> Self {
        Self {
            protocol: Protocol::Byte,
            delay: Duration::from_millis(delay_ms),
            keep_alive: true,
        }
    }

    /// HTTP answers after `delay`.
    pub fn http(delay: Duration, keep_alive: bool) -> Self {
        Self {
            protocol: Protocol::Http,
            delay,
            keep_alive,
        }
    }
}

/// One answered request, in the peer's own account.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Number of the connection, from 0.
    pub connection: u64,
    /// The request had arrived (CLOCK_MONOTONIC ns).
    pub request_ns: u64,
    /// The answer was about to be sent (CLOCK_MONOTONIC ns).
    pub answer_ns: u64,
}

type Account = Arc<Mutex<Vec<Exchange>>>;

/// A running peer; dropping it ends its threads.
pub struct Upstream {
    /// Where it listens.
    pub addr: Addr,
    account: Account,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

trait Stream: Read + Write + AsFd + Send {}
impl<T: Read + Write + AsFd + Send> Stream for T {}

impl Upstream {
    /// On 127.0.0.1, at a port that the kernel picks.
    pub fn tcp(behaviour: Behaviour) -> anyhow::Result<Self> {
        Self::inet("127.0.0.1:0", behaviour)
    }

    /// On an address of this machine, at a port that the kernel picks.
    pub fn tcp_on(ip: std::net::IpAddr, behaviour: Behaviour) -> anyhow::Result<Self> {
        Self::inet(&SocketAddr::new(ip, 0).to_string(), behaviour)
    }

    /// On ::1, at a port that the kernel picks.
    pub fn tcp6(behaviour: Behaviour) -> anyhow::Result<Self> {
        Self::inet("[::1]:0", behaviour)
    }

    fn inet(on: &str, behaviour: Behaviour) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(on).with_context(|| format!("listening on {on}"))?;
        let addr = Addr::Inet(listener.local_addr()?);
        Ok(Self::start(addr, behaviour, listener, |l| {
            let (stream, _) = l.accept()?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }))
    }

    /// On a Unix socket at `path`.
    pub fn unix(path: &Path, behaviour: Behaviour) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let addr = Addr::Unix(path.to_owned());
        Ok(Self::start(addr, behaviour, listener, |l| {
            Ok(Box::new(l.accept()?.0))
        }))
    }

    /// On an abstract Unix socket.
    pub fn abstract_name(name: &str, behaviour: Behaviour) -> anyhow::Result<Self> {
        let at = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&at)?;
        let addr = Addr::Abstract(name.to_owned());
        Ok(Self::start(addr, behaviour, listener, |l| {
            Ok(Box::new(l.accept()?.0))
        }))
    }

    fn start<L: AsFd + Send + 'static>(
        addr: Addr,
        behaviour: Behaviour,
        listener: L,
        accept: fn(&L) -> std::io::Result<Box<dyn Stream>>,
    ) -> Self {
        let account = Account::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (acc, st) = (Arc::clone(&account), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            let mut number = 0;
            while !st.load(Ordering::Relaxed) {
                if !readable(&listener) {
                    connections.retain(|c: &JoinHandle<()>| !c.is_finished());
                    continue;
                }
                let Ok(stream) = accept(&listener) else {
                    continue;
                };
                let (acc, st) = (Arc::clone(&acc), Arc::clone(&st));
                connections.push(std::thread::spawn(move || {
                    // A client that goes away ends its connection, nothing else.
                    let _ = serve(stream, number, behaviour, &acc, &st);
                }));
                number += 1;
            }
            for connection in connections {
                let _ = connection.join();
            }
        });
        Self {
            addr,
            account,
            stop,
            thread: Some(thread),
        }
    }

    /// All requests answered so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.account.lock().map(|a| a.clone()).unwrap_or_default()
    }

    /// Time that requests waited for their answer, by this peer's own account, ns.
    pub fn busy_ns(&self) -> u64 {
        self.exchanges()
            .iter()
            .map(|e| e.answer_ns - e.request_ns)
            .sum()
    }

    /// `tcp 127.0.0.1:80`, `unix /path`, `unix @name`.
    pub fn text(&self) -> String {
        self.addr.text("tcp")
    }

    /// `127.0.0.1:80`, where that applies.
    pub fn host_port(&self) -> String {
        match &self.addr {
            Addr::Inet(a) => a.to_string(),
            other => other.text(""),
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits a moment for something to read.
fn readable(of: &impl AsFd) -> bool {
    let mut fds = [sys::pollfd(of.as_fd().as_raw_fd(), libc::POLLIN)];
    sys::poll(&mut fds, LOOK.as_millis() as i32) == Ok(1)
}

fn serve(
    mut stream: Box<dyn Stream>,
    connection: u64,
    behaviour: Behaviour,
    account: &Mutex<Vec<Exchange>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut pending = Vec::new();
    loop {
        while !readable(&stream) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        let mut buf = [0u8; 4096];
        let n = stream.read(&mut buf)?;
        if n == 0 {
            return Ok(());
        }
        let request_ns = sys::now_ns();
        pending.extend_from_slice(&buf[..n]);
        if behaviour.protocol == Protocol::Http && !pending.ends_with(b"\r\n\r\n") {
            continue;
        }
        pending.clear();
        std::thread::sleep(behaviour.delay);
        let answer_ns = sys::now_ns();
        if let Ok(mut account) = account.lock() {
            account.push(Exchange {
                connection,
                request_ns,
                answer_ns,
            });
        }
        let answer: &[u8] = match (behaviour.protocol, behaviour.keep_alive) {
            (Protocol::Byte, _) => b"x",
            (Protocol::Http, true) => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            (Protocol::Http, false) => {
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
            }
        };
        stream.write_all(answer)?;
        if !behaviour.keep_alive {
            return Ok(());
        }
    }
}

/// A UDP socket that answers each datagram with one byte after a delay.
pub struct UdpResponder {
    /// Where it listens.
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpResponder {
    /// Listens on `on`, for example `127.0.0.1:0`.
    pub fn start(on: &str, delay: Duration) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(on).with_context(|| format!("binding {on}"))?;
        let addr = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let st = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buf = [0u8; 2048];
            while !st.load(Ordering::Relaxed) {
                if !readable(&socket) {
                    continue;
                }
                if let Ok((_, from)) = socket.recv_from(&mut buf) {
                    std::thread::sleep(delay);
                    let _ = socket.send_to(b"x", from);
                }
            }
        });
        Ok(Self {
            addr,
            stop,
            thread: Some(thread),
        })
    }

    /// `udp 127.0.0.1:53`.
    pub fn text(&self) -> String {
        format!("udp {}", self.addr)
    }
}

impl Drop for UdpResponder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
