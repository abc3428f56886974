//! Requests at a steady pace: prefork workers that keep their connections, each with a client of its own, and three waits
//! for a peer in each request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use probe_tests::{
    child::{self, Child, Link},
    sys,
};

/// Waits for the peer in each request.
pub const WAITS: usize = 3;
/// So often a client makes up for the requests that are due.
const TICK: Duration = Duration::from_millis(5);
const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\n\r\n";

/// Workers and their clients. Dropping it ends them.
pub struct Load {
    _workers: Vec<Child>,
    _peer: Child,
    clients: Child,
}

impl Load {
    /// Starts so many workers; their clients wait until they are told to ask.
    pub fn start(workers: usize) -> anyhow::Result<Self> {
        let peer = TcpListener::bind("127.0.0.1:0").context("the peer's port")?;
        let server = TcpListener::bind("127.0.0.1:0").context("the workers' port")?;
        let (peer_at, server_at) = (peer.local_addr()?, server.local_addr()?);
        let peer = child::fork(|_| echo(&peer))?;
        let workers = (0..workers)
            .map(|_| child::fork(|_| serve(&server, peer_at)))
            .collect::<anyhow::Result<Vec<Child>>>()?;
        let count = workers.len();
        let mut clients = child::fork(move |link| clients(link, server_at, count))?;
        clients.recv().context("the clients do not connect")?;
        Ok(Self {
            _workers: workers,
            _peer: peer,
            clients,
        })
    }

    /// Asks so many times a second, as far as the machine can; how many requests were answered.
    pub fn ask(&mut self, per_s: u64, time: Duration) -> anyhow::Result<u64> {
        self.clients.tell(per_s)?;
        self.clients.tell(time.as_millis() as u64)?;
        let told = self.clients.recv()?;
        told.first().copied().context("how many")
    }
}

/// Answers each byte with itself.
fn echo(listener: &TcpListener) {
    sys::set_comm(b"bench-peer");
    for connection in listener.incoming() {
        let mut connection = connection.expect("accept");
        connection.set_nodelay(true).expect("nodelay");
        thread::spawn(move || {
            let mut byte = [0];
            while connection.read_exact(&mut byte).is_ok() {
                if connection.write_all(&byte).is_err() {
                    break;
                }
            }
        });
    }
}

/// Serves one connection after the other.
fn serve(listener: &TcpListener, peer: SocketAddr) {
    sys::set_comm(b"bench-worker");
    let mut peer = connected(peer);
    for connection in listener.incoming() {
        let mut client = connection.expect("accept");
        client.set_nodelay(true).expect("nodelay");
        let mut request = [0; 256];
        while client.read(&mut request).is_ok_and(|n| n > 0) {
            for _ in 0..WAITS {
                peer.write_all(b"?").expect("ask the peer");
                peer.read_exact(&mut [0]).expect("the peer's answer");
            }
            if client
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .is_err()
            {
                break;
            }
        }
    }
}

fn connected(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

/// A connection to each worker; asks when it is told to.
fn clients(link: &mut Link, server: SocketAddr, count: usize) {
    sys::set_comm(b"bench-client");
    let mut streams: Vec<TcpStream> = (0..count).map(|_| connected(server)).collect();
    link.send(&[]);
    loop {
        let per_s = link.wait();
        let time = Duration::from_millis(link.wait());
        let each = per_s as f64 / count as f64;
        let answered = thread::scope(|scope| {
            let asked: Vec<_> = streams
                .iter_mut()
                .map(|stream| scope.spawn(move || ask(stream, each, time)))
                .collect();
            let answered = asked.into_iter().map(|asked| asked.join().unwrap_or(0));
            answered.sum()
        });
        link.send(&[answered]);
    }
}

fn ask(stream: &mut TcpStream, per_s: f64, time: Duration) -> u64 {
    let begun = Instant::now();
    let mut answered = 0;
    let mut answer = [0; 256];
    while begun.elapsed() < time {
        while (answered as f64) < begun.elapsed().as_secs_f64() * per_s && begun.elapsed() < time {
            stream.write_all(REQUEST).expect("ask");
            assert!(stream.read(&mut answer).is_ok_and(|n| n > 0), "no answer");
            answered += 1;
        }
        thread::sleep(TICK);
    }
    answered
}
